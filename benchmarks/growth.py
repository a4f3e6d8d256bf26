"""What each step of a build takes as images and classes grow: seconds and peak memory, and how they grow.

    python benchmarks/growth.py [--images 100 1000 10000] [--classes 10 100 1000] [--size 96] [--svg FILE]

Images are one to three handwritten digits side by side, each drawn at random, and the number that they make is their
class. First the images grow, in as many classes as `--classes` names first; then the classes, with 12 images each.
Every build starts with an empty cache, in a process of its own. The exponent of a step is the slope of its seconds
between the two largest sizes, both logarithms: n log n has 1.1 there. Needs the compiler and sample extras, and Linux
for the memory.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_EACH = 12  # images of a class, where classes grow
_TOLD = 0.5  # seconds; steps that never take so long are left out


@dataclass(frozen=True)
class Grown:
    """A build: its size, and for each step seconds and the peak of the process's memory in bytes."""

    images: int
    classes: int
    seconds: Mapping[str, float]
    peaks: Mapping[str, int]


def draw_images(folder: Path, images: int, classes: int) -> None:
    """Write `images` PNG files, a folder per class."""
    from tlc_edge.compiler.data.load import load_dataset

    digits: dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]] = {}
    for sample in load_dataset("sample:digits").samples:
        digits.setdefault(sample.label, []).append(np.asarray(sample.source, np.uint8).reshape(28, 28))
    draw = np.random.default_rng(0)
    places = len(str(classes - 1))
    for i in range(images):
        name = f"{i % classes:0{places}}"
        row = [digits[digit][draw.integers(len(digits[digit]))] for digit in name]
        file = folder / name / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.hstack(row)).save(file)


def grow(images: int, classes: int, size: int) -> Grown:
    """Build once, in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch, "data")
        data.mkdir()
        draw_images(data, images, classes)
        words = [sys.executable, __file__, "--one", str(data), scratch, "--size", str(size)]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = json.loads(said.splitlines()[-1])
    return Grown(images, classes, found["seconds"], found["peaks"])


def build_one(data: str, scratch: str, size: int) -> None:
    """Build, and print what each step took."""
    from tlc_edge.compiler import Options, build
    from tlc_edge.compiler.options import Asked

    peaks: dict[str, int] = {}
    running = ["start"]

    def note(step: str, done: int, total: int) -> None:
        if (done, total) == (0, 0):
            peaks[running[0]] = max(peaks.get(running[0], 0), _peak())
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            running[0] = step

    asked = Asked(input_size=(size, size))
    out = Path(scratch, "out.tlc")
    result = build(Options(data, ("rpi",), out, asked=asked, max_drop=100, cache=str(Path(scratch, "cache"))), note)
    peaks[running[0]] = max(peaks.get(running[0], 0), _peak())
    print(json.dumps({"seconds": result.seconds, "peaks": peaks}))


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def show(title: str, grown: Sequence[Grown], sizes: Sequence[int]) -> None:
    """Print a table: a row per step, a column per build, and the exponent."""
    print(f"\n{title}\n{'seconds (peak in GB)':22}" + "".join(f"{size:>16,}" for size in sizes) + "  exponent")
    for step in grown[-1].seconds:
        seconds = [g.seconds.get(step, 0.0) for g in grown]
        if max(seconds) < _TOLD:
            continue
        cells = "".join(f"{s:>9.1f} ({g.peaks.get(step, 0) / 1e9:.1f})" for s, g in zip(seconds, grown, strict=True))
        slope = ""
        if len(grown) > 1 and min(seconds[-2:]) > 0:
            slope = f"{math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2]):8.2f}"
        print(f"{step:22}{cells}  {slope}")
    print(f"{'all':22}" + "".join(f"{sum(g.seconds.values()):>16.1f}" for g in grown), flush=True)


def to_svg(grown: Sequence[Grown], sizes: Sequence[int], title: str) -> str:
    """Return a plot of seconds by size, both logarithmic, a line per step that takes long."""
    steps = [s for s in grown[-1].seconds if max(g.seconds.get(s, 0.0) for g in grown) >= _TOLD]
    most = max(g.seconds.get(s, 0.0) for g in grown for s in steps)
    wide, high, left = 460.0, 300.0, 60.0

    def x(size: int) -> float:
        return left + wide * math.log(size / sizes[0]) / max(math.log(sizes[-1] / sizes[0]), 1e-9)

    def y(seconds: float) -> float:
        return 30 + high * math.log(most / max(seconds, 0.01)) / math.log(most / 0.01)

    parts = [f'<text x="{left}" y="18" font-weight="bold">{title}</text>']
    parts += [f'<text x="{x(size):.0f}" y="{50 + high:.0f}" text-anchor="middle">{size:,}</text>' for size in sizes]
    for power in range(-2, int(math.log10(most)) + 1):
        at = y(10.0**power)
        parts.append(f'<path d="M{left} {at:.1f}h{wide}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    for i, step in enumerate(steps):
        colour = f"hsl({360 * i // len(steps)} 65% 42%)"
        line = " ".join(f"{x(n):.1f},{y(g.seconds.get(step, 0.0)):.1f}" for n, g in zip(sizes, grown, strict=True))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left + wide + 12}" y="{40 + 18 * i}" fill="{colour}">{step}</text>')
    body = "\n".join(parts)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 370" font-family="sans-serif" font-size="12">\n'
        f'<rect width="680" height="370" fill="#fff"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--size", type=int, default=96, help="of the network's input, in pixels")
    parser.add_argument("--svg", type=Path, help="where a plot of the growing images goes")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        build_one(given.one[0], given.one[1], given.size)
        return
    start = time.perf_counter()
    by_images = [grow(n, given.classes[0], given.size) for n in given.images]
    show(f"images, in {given.classes[0]} classes", by_images, given.images)
    if given.svg is not None:
        given.svg.write_text(to_svg(by_images, given.images, f"seconds of each step, {given.classes[0]} classes"))
    by_classes = [grow(_EACH * n, n, given.size) for n in given.classes]
    show(f"classes, {_EACH} images each", by_classes, given.classes)
    print(f"\n{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
