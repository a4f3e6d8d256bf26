"""Featurizing against the bare engine on the same threads, and what the cache saves.

    python benchmarks/featurize.py [--data FOLDER] [--threads 0] [--times 4] [--rounds 5]

Needs the compiler extra, and a folder with one folder of photos a class (default: ../shared/data/chess).
The bare engine runs images that are decoded already, in one interpreter with all threads; featurizing reads, hashes
and decodes them too. They take turns, so that what else the machine does falls on both. Each round runs the data
set `--times` over; printed are the medians over the rounds, of the time on the clock and of that on the processors.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.decode import decode_all
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.features.featurize import featurize
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime import Preprocessing
from tlc_edge.runtime.engines.open import open_model

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "chess"


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the time that work takes, on the clock and on the processors."""
    clock, processors = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(DATA))
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    threads = given.threads or os.cpu_count() or 1

    load_tensorflow()
    trunk = TrunkFiles(shave(load_backbone("efficientnet-lite0")), "off").as_float()
    file = trunk.load()
    spec = Preprocessing(224, 224)
    samples = load_dataset(given.data).samples * given.times
    images = decode_all(samples, spec)[1]
    engine = open_model(trunk.kind, file.data, threads, ("features",))
    with tempfile.TemporaryDirectory() as scratch, FeatureCache(Path(scratch)) as cache:
        features = featurize(trunk, samples, spec, threads, cache=cache).features
        ways: dict[str, Callable[[], object]] = {
            "bare engine": lambda: [engine.run(image) for image in images],
            "featurize": lambda: featurize(trunk, samples, spec, threads),
            "decode alone": lambda: decode_all(samples, spec, threads),
            "from the cache": lambda: featurize(trunk, samples, spec, threads, cache=cache),
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, work in ways.items():
                taken[name].append(seconds(work))
        assert (featurize(trunk, samples, spec, cache=cache).features == features).all()

    print(f"{len(samples)} images of {given.data}, {threads} threads, {given.rounds} rounds")
    middle: dict[str, list[float]] = {}
    for name, values in taken.items():
        middle[name] = [1000 * statistics.median(v) / len(samples) for v in zip(*values, strict=True)]
        print(f"{name:<18} {middle[name][0]:7.2f} ms per image, {middle[name][1]:7.2f} ms of processor")
    for i, kind in enumerate(("on the clock", "by processor time")):
        ratio = middle["bare engine"][i] / middle["featurize"][i]
        print(f"featurize runs at {100 * ratio:.0f} % of the bare engine's throughput {kind}")
    print(f"the cache is {middle['featurize'][0] / middle['from the cache'][0]:.0f} times faster")


if __name__ == "__main__":
    main()
