"""What each step of a build takes as images and classes grow: seconds and peak memory, and how they grow.

    python benchmarks/growth.py [--images 100 1000 10000] [--classes 2 10 100 1000] [--backbone NAME] [--svg FILE]

Images are one to three handwritten digits side by side, each drawn at random, turned, moved and in a light of its own,
and the number that they make is their class. First the images grow, in ten classes; then the classes, with 12 images
each. Every build starts with an empty cache, in a process of its own. Seconds are those of the processor, user and
system, of the build and the processes that it starts: other work beside it changes them less than those of the clock.
The exponent of a step is that of the size by which its seconds grow above those of the smallest build: the slope of a
line through both logarithms, by least squares over the sizes at which that is `_TOLD` or more. n log n has 1.1 to 1.2
there, the square 2. `--keep FILE` adds each build to a file of lines, and takes from it what is there. Needs the
compiler and sample extras, and Linux for the memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_EACH = 12  # images of a class, where classes grow
_OF_IMAGES = 10  # classes, where images grow
_TOLD = 0.2  # seconds; steps that never take so long are left out


@dataclass(frozen=True)
class Grown:
    """A build: its size, and for each step seconds of processor and the peak of the process's memory in bytes."""

    images: int
    classes: int
    size: int
    backbone: str
    seconds: Mapping[str, float]
    peaks: Mapping[str, int]
    report_bytes: int
    bundle_bytes: int


def draw_images(folder: Path, images: int, classes: int) -> None:
    """Write `images` PNG files, a folder per class."""
    from tlc_edge.compiler.data.load import load_dataset

    digits: dict[str, list[Image.Image]] = {}
    for sample in load_dataset("sample:digits").samples:
        pixels = np.asarray(sample.source, np.uint8).reshape(28, 28)
        digits.setdefault(sample.label, []).append(Image.fromarray(pixels))
    draw = np.random.default_rng(0)
    places = len(str(classes - 1))
    for i in range(images):
        name = f"{i % classes:0{places}}"
        row = [_turned(digits[digit][draw.integers(len(digits[digit]))], draw) for digit in name]
        file = folder / name / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.hstack(row)).save(file)


def _turned(digit: Image.Image, draw: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    turn, wide, high = draw.uniform(-0.2, 0.2), *draw.uniform(0.85, 1.15, 2)
    right, down = draw.uniform(-2, 2, 2)
    rows = (wide * math.cos(turn), -math.sin(turn), math.sin(turn), high * math.cos(turn))
    a, b, c, d = rows
    moved = (a, b, 14 - 14 * a - 14 * b + right, c, d, 14 - 14 * c - 14 * d + down)
    there = np.asarray(digit.transform((28, 28), Image.Transform.AFFINE, moved, Image.Resampling.BILINEAR), np.float32)
    light, dark = draw.uniform(150, 255), draw.uniform(0, 60)
    made = dark + (light - dark) / 255 * there + draw.normal(0, 6, there.shape)
    return np.clip(made, 0, 255).astype(np.uint8)


def grow(images: int, classes: int, size: int, backbone: str, keep: Path | None = None) -> Grown:
    """Build once, in a process of its own."""
    kept = [] if keep is None or not keep.is_file() else keep.read_text().splitlines()
    for line in kept:
        found = Grown(**json.loads(line))
        if (found.images, found.classes, found.size, found.backbone) == (images, classes, size, Path(backbone).name):
            return found
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch, "data")
        data.mkdir()
        draw_images(data, images, classes)
        words = [sys.executable, __file__, "--one", str(data), scratch, "--size", str(size), "--backbone", backbone]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{images} images in {classes} classes: {done.stderr[-2000:]}")
    made = Grown(images, classes, size, Path(backbone).name, **json.loads(done.stdout.splitlines()[-1]))
    if keep is not None:
        with keep.open("a") as lines:
            lines.write(json.dumps(asdict(made)) + "\n")
    return made


def build_one(data: str, scratch: str, size: int, backbone: str) -> None:
    """Build, and print what each step took."""
    from tlc_edge.compiler import Options, build
    from tlc_edge.compiler.options import Asked
    from tlc_edge.runtime import Bundle

    seconds: dict[str, float] = {}
    peaks: dict[str, int] = {}
    running, since = ["start"], [0.0]

    def close() -> None:
        now = _processor()
        seconds[running[0]] = seconds.get(running[0], 0.0) + now - since[0]
        peaks[running[0]] = max(peaks.get(running[0], 0), _peak())
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        since[0] = now

    def note(step: str, done: int, total: int) -> None:
        if (done, total) == (0, 0):
            close()
            running[0] = step

    asked = Asked(input_size=(size, size))
    out, cache = Path(scratch, "out.tlc"), str(Path(scratch, "cache"))
    build(Options(data, ("rpi",), out, backbone, asked=asked, max_drop=100, cache=cache), note)
    close()
    report = len(Bundle.open(out).read("report.html"))
    told = {"seconds": seconds, "peaks": peaks, "report_bytes": report, "bundle_bytes": out.stat().st_size}
    print(json.dumps(told))


def _processor() -> float:
    took = os.times()
    return took.user + took.system + took.children_user + took.children_system + _of_running()


def _of_running() -> float:
    """Return what the processes that this one started and that have not ended took so far."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            said = stat.read_text().rpartition(")")[2].split()
            ticks += int(said[11]) + int(said[12]) if int(said[1]) == os.getpid() else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def told_steps(grown: Sequence[Grown]) -> list[str]:
    """Return the steps that take long in one of the builds, in their order."""
    steps = list(dict.fromkeys(step for g in grown for step in g.seconds))
    return [step for step in steps if max(g.seconds.get(step, 0.0) for g in grown) >= _TOLD]


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float | None:
    """Return the power of the size that seconds grow with; None where fewer than two sizes take long enough to tell."""
    above = [(n, s - seconds[0]) for n, s in zip(sizes, seconds, strict=True)]
    told = np.log([pair for pair in above if pair[1] >= _TOLD])
    return float(np.polyfit(told[:, 0], told[:, 1], 1)[0]) if len(told) > 1 else None


def show(title: str, grown: Sequence[Grown], sizes: Sequence[int]) -> None:
    """Print a table for the documentation: a row per step, a column per build, and the exponent."""
    print(f"\n| {title} | " + " | ".join(f"{size:,}" for size in sizes) + " | exponent |")
    print("|---" * (len(sizes) + 2) + "|")
    for step in told_steps(grown):
        seconds = [g.seconds.get(step, 0.0) for g in grown]
        cells = [f"{s:.1f} ({g.peaks.get(step, 0) / 1e9:.1f})" for s, g in zip(seconds, grown, strict=True)]
        power = exponent(sizes, seconds)
        print(f"| {step} | {' | '.join(cells)} | {'' if power is None else f'{power:.2f}'} |")
    cells = [f"{sum(g.seconds.values()):.1f} ({max(g.peaks.values()) / 1e9:.1f})" for g in grown]
    print(f"| all | {' | '.join(cells)} | |")
    print("| report.html, kB | " + " | ".join(f"{g.report_bytes / 1e3:.0f}" for g in grown) + " | |", flush=True)


def _plot(grown: Sequence[Grown], sizes: Sequence[int], title: str, left: float, steps: Sequence[str]) -> list[str]:
    """Return seconds by size, both logarithmic, a line per step."""
    most = max(g.seconds.get(s, 0.0) for g in grown for s in steps)
    wide, high, least = 300.0, 300.0, 0.05

    def x(size: int) -> float:
        return left + wide * math.log(size / sizes[0]) / max(math.log(sizes[-1] / sizes[0]), 1e-9)

    def y(seconds: float) -> float:
        return 30 + high * math.log(most / max(seconds, least)) / math.log(most / least)

    parts = [f'<text x="{left}" y="18" font-weight="bold">{title}</text>']
    parts += [f'<text x="{x(size):.0f}" y="{50 + high:.0f}" text-anchor="middle">{size:,}</text>' for size in sizes]
    for power in range(-1, int(math.log10(most)) + 1):
        at = y(10.0**power)
        parts.append(f'<path d="M{left} {at:.1f}h{wide}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    for i, step in enumerate(steps):
        line = " ".join(f"{x(n):.1f},{y(g.seconds.get(step, 0.0)):.1f}" for n, g in zip(sizes, grown, strict=True))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_colour(i, steps)}" stroke-width="2"/>')
    return parts


def _colour(i: int, steps: Sequence[str]) -> str:
    return f"hsl({360 * i // len(steps)} 65% 42%)"


def to_svg(by_images: Sequence[Grown], by_classes: Sequence[Grown]) -> str:
    """Return both as plots side by side."""
    steps = told_steps([*by_images, *by_classes])
    parts = _plot(by_images, [g.images for g in by_images], f"images, in {_OF_IMAGES} classes", 60, steps)
    parts += _plot(by_classes, [g.classes for g in by_classes], f"classes, {_EACH} images each", 430, steps)
    for i, step in enumerate(steps):
        parts.append(f'<text x="750" y="{40 + 18 * i}" fill="{_colour(i, steps)}">{step}</text>')
    body = "\n".join(parts)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 370" font-family="sans-serif" font-size="12">\n'
        f'<rect width="880" height="370" fill="#fff"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 10, 100, 1000])
    parser.add_argument("--size", type=int, default=96, help="of the network's input, in pixels")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--svg", type=Path, help="where a plot goes")
    parser.add_argument("--keep", type=Path, help="file of the builds that are done")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        build_one(given.one[0], given.one[1], given.size, given.backbone)
        return
    by_images = [grow(n, _OF_IMAGES, given.size, given.backbone, given.keep) for n in given.images]
    show(f"images, in {_OF_IMAGES} classes", by_images, given.images)
    by_classes = [grow(_EACH * n, n, given.size, given.backbone, given.keep) for n in given.classes]
    show(f"classes, {_EACH} images each", by_classes, given.classes)
    if given.svg is not None:
        given.svg.write_text(to_svg(by_images, by_classes))


if __name__ == "__main__":
    main()
