"""The linear head at size: held-out accuracy, seconds, memory and passes, on simulated features in a file.

    python benchmarks/head.py [--images 12000] [--classes 1000] [--width 1280] [--views 2] [--apart 0.4] [--seeds 1]
                              [--against]

Features are like pooled ones: not negative, float16, with a spectrum that falls as a power, classes in families that
are hard to tell apart, and views that differ by a twentieth of a deviation. `--apart` says how far apart classes are,
and so how often an answer is right. `--against` trains with scikit-learn on the same features in memory as well. Memory
is what the process has beside mapped files, less what it had before. Needs the compiler extra, and Linux for memory.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Head
from tlc_edge.compiler.train import linear
from tlc_edge.compiler.train.training import FeatureView, Training, Whole
from tlc_edge.runtime.progress import silent

_PART = 8192
_ASKED = 5000  # images that are held out


@dataclass
class Took:
    """What some work took."""

    seconds: float = 0.0
    processor: float = 0.0
    megabytes: float = 0.0


@contextmanager
def measured() -> Generator[Took]:
    """Measure what runs inside."""
    took, over, before = Took(), threading.Event(), anonymous()

    def watch() -> None:
        while not over.wait(0.02):
            took.megabytes = max(took.megabytes, anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    clock, processor = time.perf_counter(), time.process_time()
    try:
        yield took
    finally:
        took.seconds, took.processor = time.perf_counter() - clock, time.process_time() - processor
        over.set()
        watcher.join()


def anonymous() -> float:
    """Return what this process has beside mapped files, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))


class Simulated:
    """Classes of which features can be drawn."""

    def __init__(self, classes: int, width: int, apart: float, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        spectrum = np.arange(1, width + 1, dtype=np.float32) ** -0.5
        turn = self._draw.standard_normal((width, width), np.float32) / np.float32(width**0.5)
        self._turn = turn * spectrum[:, None]
        families = self._draw.standard_normal((max(2, classes // 10), width), np.float32)
        own = self._draw.standard_normal((classes, width), np.float32)
        self._means = np.float32(0.7 * apart) * (families[np.arange(classes) % len(families)] + own)

    def draw(self, truth: NDArray[np.int64], out: list[NDArray[np.float16]]) -> None:
        """Draw features [N, F] of images of the classes `truth`, in as many views as there are places."""
        for start in range(0, len(truth), _PART):
            rows = slice(start, min(start + _PART, len(truth)))
            shape = (rows.stop - start, self._turn.shape[1])
            seen = (self._means[truth[rows]] + self._draw.standard_normal(shape, np.float32)) @ self._turn
            pooled = np.maximum(2 * seen + 0.15, 0)
            for number, view in enumerate(out):
                noise = 0.05 * pooled.std() * self._draw.standard_normal(shape, np.float32) if number else 0
                view[rows] = np.maximum(pooled + noise, 0)


def judge(head: Head, asked: NDArray[Any], truth: NDArray[np.int64]) -> tuple[float, float]:
    """Return accuracy and log loss on held-out images."""
    right, loss = 0, 0.0
    for start in range(0, len(truth), 500):
        logits = head.logits(asked[start : start + 500].astype(np.float32)).astype(np.float64)
        own = truth[start : start + 500]
        right += int((np.argmax(logits, axis=1) == own).sum())
        logits -= logits.max(axis=1, keepdims=True)
        loss += float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(own)), own]).sum())
    return right / len(truth), loss / len(truth)


def run(given: argparse.Namespace, seed: int, way: str) -> None:
    """Train a head one way, and print a line."""
    draw = Simulated(given.classes, given.width, given.apart, seed)
    truth = np.arange(given.images) % given.classes
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, str(i)) for i in range(given.views)]
        shape = (given.images, given.width)
        views: list[Any] = [np.memmap(file, np.float16, "w+", shape=shape) for file in files]
        draw.draw(truth, views)
        asked = np.zeros((_ASKED, given.width), np.float16)
        of_asked = np.random.default_rng(seed).integers(0, given.classes, _ASKED)
        draw.draw(of_asked, [asked])
        labels = tuple(str(c) for c in range(given.classes))
        held, whole = [], None
        if way == "in memory":
            linear._MUCH = 1 << 60
            held = [np.asarray(view, np.float32) for view in views]
        else:
            whole = Whole([FeatureView(view) for view in views], truth)
        with measured() as took:
            head = linear.make(Training("linear", held, truth, labels, seed, silent, whole=whole))
    right, loss = judge(head, asked, of_asked)
    notes = ", ".join(f"{key} {head.notes[key]}" for key in ("inverse_strength", "passes", "off") if key in head.notes)
    print(
        f"seed {seed} {way}: {100 * right:.2f} % right, log loss {loss:.3f}; {took.seconds:.1f} s, "
        f"{took.processor:.1f} s of processor, {took.megabytes:.0f} MB; {notes}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--apart", type=float, default=0.4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--against", action="store_true")
    given = parser.parse_args()
    print(f"{given.images:,} x {given.width} in {given.views} views, {given.classes:,} classes")
    for seed in range(given.seeds):
        for way in ("in passes", "in memory") if given.against else ("in passes",):
            run(given, seed, way)


if __name__ == "__main__":
    main()
