"""The report's figures, as SVG. Colours are the page's, so that a figure follows its light or dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from tlc_edge.compiler.study.learning_curve import Curve
from tlc_edge.compiler.study.reliability import Reliability

from .findings import FileFindings, Findings

COLOURS = 6
SHAPES = (
    "M0-4.4A4.4 4.4 0 1 1 0 4.4A4.4 4.4 0 1 1 0-4.4Z",  # circle
    "M-4-4H4V4H-4Z",  # square
    "M0-5L5 4H-5Z",  # triangle
    "M0-5.6L5.6 0L0 5.6L-5.6 0Z",  # diamond
    "M0 5L5-4H-5Z",  # triangle upside down
    "M-1.7-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z",  # plus
)
_SHORT = 12  # characters that still fit beside points


def look(index: int) -> tuple[int, int]:
    """Return the colour and the shape of a class: 36 pairs, in which neighbours share neither."""
    return index % COLOURS, (index + index // COLOURS) % len(SHAPES)


def shapes() -> str:
    """Return the definitions that markers refer to; once a page."""
    defined = "".join(f'<path id="s{i}" d="{path}"/>' for i, path in enumerate(SHAPES))
    return f'<svg width="0" height="0" aria-hidden="true" class="defs"><defs>{defined}</defs></svg>'


def marker(index: int, x: float, y: float, kind: str, title: str = "") -> str:
    """Return the marker of a class; `kind` is a CSS class, `seen` for training images, `judged` for held-out ones."""
    colour, shape = look(index)
    told = f"<title>{escape(title)}</title>" if title else ""
    return f'<use href="#s{shape}" x="{x:.1f}" y="{y:.1f}" class="c{colour} {kind}">{told}</use>'


def text(x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> str:
    """Return escaped text."""
    css = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}>{escape(said)}</text>'


def figure(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    """Return an SVG that takes the width it is given, up to its own; `title` is what those hear who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def accuracy_plot(files: Sequence[FileFindings]) -> str:
    """Return each file's accuracy as a dot on its interval."""
    width, left, right, row = 680, 150, 24, 34
    low = max(0.0, math.floor(10 * min(f.accuracy.low for f in files)) / 10)
    low = low if low < 0.95 else 0.9
    height = row * len(files) + 40

    def x(share: float) -> float:
        return left + (width - left - right) * (share - low) / (1 - low)

    parts = [_grid_x(x, [low + (1 - low) * i / 5 for i in range(6)], 8, height - 28)]
    for i, f in enumerate(files):
        y, a = 8 + row * (i + 0.5), f.accuracy
        parts += [
            text(0, y + 4, f.file),
            f'<path d="M{x(a.low):.1f} {y:.1f}H{x(a.high):.1f}M{x(a.low):.1f} {y - 6:.1f}v12M{x(a.high):.1f} '
            f'{y - 6:.1f}v12" class="line"/>',
            f'<circle cx="{x(a.share):.1f}" cy="{y:.1f}" r="6" class="dot"/>',
        ]
    said = "; ".join(f"{f.file} {_percent(f.accuracy.share)}" for f in files)
    return figure(width, height, f"Accuracy with 95 % intervals: {said}", parts)


def whisker(low: float, share: float, high: float) -> str:
    """Return a small interval with its dot, for a table's cell; the numbers stand beside it."""
    x = [4 + 92 * v for v in (low, share, high)]
    return (
        '<svg viewBox="0 0 100 14" class="whisker" aria-hidden="true"><path d="M4 7H96" class="rail"/>'
        f'<path d="M{x[0]:.1f} 7H{x[2]:.1f}" class="line"/><circle cx="{x[1]:.1f}" cy="7" r="4" class="dot"/></svg>'
    )


def reliability_plot(reliability: Reliability, file: str) -> str:
    """Return the reliability diagram: the share that is right over the probability, with the diagonal of the honest."""
    width, height, left, bottom, side = 340, 330, 44, 288, 272

    def x(v: float) -> float:
        return left + side * v

    def y(v: float) -> float:
        return bottom - side * v

    parts = [_grid_x(x, [0, 0.2, 0.4, 0.6, 0.8, 1], bottom - side, bottom)]
    parts += [text(left - 6, y(v) + 4, f"{100 * v:.0f} %", "tick", "end") for v in (0, 0.5, 1)]
    for b in reliability.bins:
        if not b.images:
            continue
        told = (
            f"{b.images} images answered with {100 * b.low:.0f} to {100 * b.high:.0f} %: "
            f"{_percent(b.accuracy)} of them right"
        )
        bar = f'<rect x="{x(b.low) + 1:.1f}" y="{y(b.accuracy):.1f}" width="{side / 10 - 2:.1f}" '
        parts += [
            f'{bar}height="{max(1.0, side * b.accuracy):.1f}" class="bar"><title>{escape(told)}</title></rect>',
            text(x(b.low) + side / 20, y(b.accuracy) - 4, str(b.images), "tick", "middle"),
        ]
    parts += [
        f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" class="dashed"/>',
        text(left + side / 2, height - 4, "probability of the answer", "tick", "middle"),
    ]
    found = [b for b in reliability.bins if b.images]
    bins = "; ".join(f"at {100 * b.probability:.0f} % {_percent(b.accuracy)} right" for b in found)
    return figure(width, height, f"Reliability of {file}: {bins}", parts)


def curve_plot(curve: Curve) -> str:
    """Return accuracy over the number of training images, which doubles from point to point."""
    width, height, left, right, top, bottom = 680, 300, 52, 130, 14, 256
    points = curve.points
    low = max(0.0, math.floor(10 * min(p.interval[0] for p in points)) / 10)
    first, last = math.log2(points[0].images), math.log2(points[-1].images)

    def x(images: int) -> float:
        return left + (width - left - right) * (math.log2(images) - first) / ((last - first) or 1)

    def y(share: float) -> float:
        return bottom - (bottom - top) * (share - low) / ((1 - low) or 1)

    parts = [_grid_y(y, [low + (1 - low) * i / 4 for i in range(5)], left, width - right)]
    upper = [f"{x(p.images):.1f},{y(p.interval[1]):.1f}" for p in points]
    lower = [f"{x(p.images):.1f},{y(p.interval[0]):.1f}" for p in reversed(points)]
    parts.append(f'<polygon points="{" ".join(upper + lower)}" class="band"/>')
    held = " ".join(f"{x(p.images):.1f},{y(p.accuracy):.1f}" for p in points)
    own = " ".join(f"{x(p.images):.1f},{y(max(low, p.train_accuracy)):.1f}" for p in points)
    parts += [f'<polyline points="{own}" class="dashed"/>', f'<polyline points="{held}" class="line"/>']
    for p in points:
        parts += [
            f'<circle cx="{x(p.images):.1f}" cy="{y(p.accuracy):.1f}" r="5" class="dot"><title>{p.images} images: '
            f"{_percent(p.accuracy)}</title></circle>",
            text(x(p.images), bottom + 18, str(p.images), "tick", "middle"),
        ]
    held_at, own_at = y(points[-1].accuracy), y(max(low, points[-1].train_accuracy))
    if abs(held_at - own_at) < 16:
        held_at = own_at + 16
    parts += [
        text(width - right + 12, held_at + 4, "held out"),
        text(width - right + 12, own_at + 4, "its own images", "tick"),
        text((left + width - right) / 2, height - 4, "training images", "tick", "middle"),
    ]
    said = "; ".join(f"{p.images} images {_percent(p.accuracy)}" for p in points)
    return figure(width, height, f"Learning curve, accuracy on held-out images: {said}", parts)


def names_fit(labels: Sequence[str]) -> bool:
    """Return whether the map has room for the classes' names; else it shows their numbers."""
    return len(labels) <= 2 * COLOURS and max(map(len, labels)) <= _SHORT


def map_plot(findings: Findings) -> str:
    """Return the embeddings in the plane; wrong answers are ringed, and each class is named where most of it lies."""
    width, height, margin = 760, 560, 24
    shown, study = findings.study.map, findings.study
    low = shown.points.min(axis=0)
    span = np.maximum(shown.points.max(axis=0) - low, 1e-9)
    places = margin + (shown.points - low) / span * np.array([width - 2 * margin, height - 2 * margin])
    classes = np.concatenate([study.train_classes[shown.train], findings.truth[shown.held_out]])
    parts: list[str] = []
    for (x, y), i in zip(places[: len(shown.train)].tolist(), shown.train.tolist(), strict=True):
        c = int(study.train_classes[i])
        parts.append(marker(c, x, y, "seen", f"{study.train_names[i]}: {findings.labels[c]}, training"))
    for (x, y), i in zip(places[len(shown.train) :].tolist(), shown.held_out.tolist(), strict=True):
        c = int(findings.truth[i])
        right = bool(findings.right[i])
        parts.append(
            marker(c, x, y, "judged", f"{findings.names[i]}: {findings.labels[c]}{'' if right else ', wrong'}")
        )
        if not right:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" class="ring"/>')
    short = names_fit(findings.labels)
    for c, label in enumerate(findings.labels):
        own = places[classes == c]
        if len(own):
            # The point in the middle of its class, not their mean, which may lie in another.
            middle = own[np.argmin(np.abs(own - np.median(own, axis=0)).sum(axis=1))]
            parts.append(text(middle[0], middle[1] - 8, label if short else str(c + 1), "name", "middle"))
    title = (
        f"Map of {len(shown.train)} training and {len(shown.held_out)} held-out images in {len(findings.labels)} "
        f"classes by {shown.method}; {int(np.count_nonzero(~findings.right[shown.held_out]))} ringed as wrong"
    )
    return figure(width, height, title, parts)


def _grid_x(x: Callable[[float], float], values: Sequence[float], top: float, bottom: float) -> str:
    lines = "".join(f"M{x(v):.1f} {top:.1f}V{bottom:.1f}" for v in values)
    labels = [text(x(v), bottom + 16, f"{100 * v:.0f} %", "tick", "middle") for v in values]
    return f'<path d="{lines}" class="grid"/>' + "".join(labels)


def _grid_y(y: Callable[[float], float], values: Sequence[float], left: float, right: float) -> str:
    lines = "".join(f"M{left:.1f} {y(v):.1f}H{right:.1f}" for v in values)
    labels = [text(left - 8, y(v) + 4, f"{100 * v:.0f} %", "tick", "end") for v in values]
    return f'<path d="{lines}" class="grid"/>' + "".join(labels)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
