"""What a first build cannot do without: the processor's seconds of each part, and what two cores could make of them.

    python benchmarks/floor.py [--limit 2000] [--epochs 20]

Builds for a Raspberry Pi from digits, with an empty cache and in one process, and times the parts as they come: the
imports, what is made of the network, and the engines' runs over images. Then the textbook's way (see `training.py`) on
all cores. The ratio of that to the parts, shared out over the cores with no gap, is the most that a first build which
has them can be faster by; that to the engines' runs alone is the most of any build that looks at these images. Needs
the compiler and sample extras.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training import textbook

_ENGINE = "images through"
Clock = Callable[[], float]


class Parts:
    """Seconds of the parts of a build, and how often they came; of what runs within another part no second twice."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.times: Counter[str] = Counter()
        self._within = [0.0]

    def time(self, place: Any, name: str, part: Callable[..., str], clock: Clock = time.process_time) -> None:
        """Time a function or method, as the part that its arguments say."""
        function = getattr(place, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._within.append(0.0)
            since = clock()
            try:
                return function(*args, **kwargs)
            finally:
                took = clock() - since
                said = part(*args)
                self.seconds[said] += took - self._within.pop()
                self.times[said] += 1
                self._within[-1] += took

        setattr(place, name, timed)


def watch(parts: Parts) -> None:
    """Time the parts of all builds of this process."""
    from tlc_edge.compiler import pipeline
    from tlc_edge.compiler.backbones import pinned
    from tlc_edge.compiler.features import reference, trunk_files
    from tlc_edge.compiler.features.trunk_run import TrunkRun

    def through(run: TrunkRun, *_: object) -> str:
        file = run.file.load()
        return f"{_ENGINE} the {file.scheme} {file.format} file"

    def lowered(_trunk: object, form: str, scheme: str, *_: object) -> str:
        return f"{scheme} {form} file"

    parts.time(pipeline, "load_tensorflow", lambda *_: "TensorFlow's import")
    parts.time(pinned, "load", lambda *_: "the network")
    parts.time(trunk_files, "lower_trunk", lowered)
    parts.time(trunk_files, "near_float", lambda *_: "int8 weights near to float")
    parts.time(reference, "compare", lambda *_: "float file against Keras")
    parts.time(TrunkRun, "_computed", through, time.thread_time)


def build(limit: int) -> float:
    """Build once in one process; return its seconds."""
    from tlc_edge.compiler import Options
    from tlc_edge.compiler import build as build_bundle

    since = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        out, cache = Path(scratch, "x.tlc"), f"{scratch}/cache"
        asked = Options("sample:digits", ("rpi",), out, limit=limit, threads=1, max_drop=20, cache=cache)
        build_bundle(asked)
    return time.process_time() - since


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=2000, help="images")
    parser.add_argument("--epochs", type=int, default=20, help="of the textbook's way")
    given = parser.parse_args()
    parts = Parts()
    watch(parts)
    whole = build(given.limit)
    print("| part | runs | seconds |\n|---|---|---|")
    for part, seconds in parts.seconds.items():
        print(f"| {part} | {parts.times[part]:,} | {seconds:.1f} |")
    needed = sum(parts.seconds.values())
    engines = sum(seconds for part, seconds in parts.seconds.items() if part.startswith(_ENGINE))
    print(f"| all of these | | {needed:.1f} |\n| the build | | {whole:.1f} |", flush=True)
    since = time.perf_counter()
    textbook(given.limit, given.epochs)
    took, cores = time.perf_counter() - since, os.cpu_count() or 1
    print(f"textbook, {given.epochs} epochs, {cores} cores: {took:.1f} s")
    for what, seconds in (("the build with no gap", whole), ("these parts", needed), ("the engines alone", engines)):
        print(f"textbook / {what}: {took / (seconds / cores):.1f}")


if __name__ == "__main__":
    main()
