"""What shards and a head of more images than memory holds take: seconds, processor seconds, memory.

python benchmarks/cluster.py workers photos/ --backbone efficientnet-lite0   one machine against 1 and 2 workers
python benchmarks/cluster.py head --images 1000000 --width 1280              passes over simulated features
python benchmarks/cluster.py duplicates --images 50000                       near-duplicates of simulated thumbnails
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tlc_edge.compiler.data.duplicates import find_groups
from tlc_edge.compiler.train.logistic import Problem, Weights
from tlc_edge.compiler.train.training import FeatureView


def peak() -> float:
    """Return the most memory that this process had that is not a file's, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def anonymous() -> float:
    """Return what it has now beside mapped files, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds and processor seconds, those of child processes too."""
    began, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - began, sum(after[:4]) - sum(before[:4])


def workers(data: str, backbone: str, size: int) -> None:
    """Compare shards made by 1 and 2 processes with the same images in this one, without a store."""
    from tlc_edge.compiler.data.load import load_dataset
    from tlc_edge.compiler.features.featurize import featurize
    from tlc_edge.compiler.options import Asked, Options
    from tlc_edge.compiler.shards.records import read_plan
    from tlc_edge.compiler.shards.run import trunk_of
    from tlc_edge.compiler.shards.store import Store
    from tlc_edge.compiler.spread import plan_features

    with tempfile.TemporaryDirectory() as folder:
        asked = Asked(input_size=(size, size))
        options = Options(data=data, targets=("rpi",), output=Path(), backbone=backbone, asked=asked, cache="off")
        stores = [f"{folder}/{count}" for count in (1, 2)]
        for store in stores:
            plan_features(options, store, 16)
        plan, passes = read_plan(Store(stores[0]))
        samples = load_dataset(data).samples
        trunk = trunk_of(Store(stores[0]), passes[0].looks[0])
        for threads in (1, 2):
            took = timed(lambda threads=threads: featurize(trunk, samples, plan.preprocessing, threads))
            print(
                f"one process, {threads} threads: {len(samples) / took[0]:.1f} images/s, {took[1]:.1f} s of processor"
            )
        for store, count in zip(stores, (1, 2), strict=True):
            parts = [[str(i) for i in range(16) if i % count == k] for k in range(count)]
            script = "import sys; from tlc_edge.compiler.shards.run import run_shards as run\n"
            script += "run(sys.argv[1], [int(i) for i in sys.argv[2:]], 1)"
            command = [sys.executable, "-c", script, store]

            def run(command: list[str] = command, parts: list[list[str]] = parts) -> None:
                for process in [subprocess.Popen([*command, *part]) for part in parts]:
                    assert process.wait() == 0

            took = timed(run)
            print(f"{count} workers of 1 thread: {len(samples) / took[0]:.1f} images/s, {took[1]:.1f} s of processor")


def head(images: int, width: int, classes: int, passes: int) -> None:
    """Time passes of the streamed head over simulated float16 features in a file."""
    draw = np.random.default_rng(0)
    centres = draw.normal(0, 0.2, (classes, width)).astype(np.float32)
    truth = draw.integers(0, classes, images)
    with tempfile.NamedTemporaryFile() as file:
        features = np.memmap(file.name, np.float16, "w+", shape=(images, width))
        for start in range(0, images, 10_000):
            part = truth[start : start + 10_000]
            features[start : start + 10_000] = centres[part] + draw.standard_normal((len(part), width), np.float32)
        features.flush()
        problem = Problem([FeatureView(features)], truth, classes)
        at, rows = problem.start(), np.arange(images)
        most = 0.0
        for number in range(passes):
            turned = []
            took = timed(lambda at=at, turned=turned: turned.append(problem._look(at, rows, 1e-4).gradient))
            most = max(most, anonymous())
            step = turned[0].astype(np.float32)
            at = Weights(at.kernel - step[:-1], at.bias - step[-1])
            print(f"pass {number}: {took[0]:.1f} s, {took[1]:.1f} s of processor; {most:.0f} MB beside the file")
    print(f"{images:,} x {width}, {classes} classes; peak with mapped pages of the file {peak():.0f} MB")


def duplicates(images: int) -> None:
    """Time near-duplicates of thumbnails with smooth random pictures, a twentieth of them twice."""
    draw = np.random.default_rng(0)
    small = draw.normal(0, 1, (images, 4, 4, 3)).astype(np.float32).repeat(4, 1).repeat(4, 2)
    small += 0.3 * draw.standard_normal(small.shape, np.float32)
    thumbnails = np.clip(128 + 40 * small, 0, 255).astype(np.uint8)
    thumbnails[: images // 20] = np.clip(thumbnails[-(images // 20) :] * 0.9, 0, 255).astype(np.uint8)
    found: list[int] = []
    took = timed(lambda: found.append(int((find_groups(thumbnails) != np.arange(images)).sum())))
    print(f"{images:,} thumbnails: {took[0]:.1f} s, {found[0]:,} repeat another; peak {peak():.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    of_workers = commands.add_parser("workers")
    of_workers.add_argument("data")
    of_workers.add_argument("--backbone", default="efficientnet-lite0")
    of_workers.add_argument("--size", type=int, default=224)
    of_head = commands.add_parser("head")
    of_head.add_argument("--images", type=int, default=1_000_000)
    of_head.add_argument("--width", type=int, default=1280)
    of_head.add_argument("--classes", type=int, default=100)
    of_head.add_argument("--passes", type=int, default=2)
    of_duplicates = commands.add_parser("duplicates")
    of_duplicates.add_argument("--images", type=int, default=50_000)
    given = parser.parse_args()
    if given.what == "workers":
        workers(given.data, given.backbone, given.size)
    elif given.what == "head":
        head(given.images, given.width, given.classes, given.passes)
    else:
        duplicates(given.images)


if __name__ == "__main__":
    main()
