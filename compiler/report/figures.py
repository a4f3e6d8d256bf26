"""The report's figures, as SVG. Colours are the page's, so that a figure follows its light or dark.

All but the map is drawn no wider than a telephone, where its text is still read.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from tlc_edge.compiler.study.learning_curve import Curve
from tlc_edge.compiler.study.reliability import Reliability

from .findings import FileFindings, Findings
from .text import html, joined, percent

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
_LETTER = 26  # size of the map's names on a narrow screen, in its units; style.css says the same


def look(index: int) -> tuple[int, int]:
    """Return the colour and the shape of a class: 36 pairs, in which neighbours share neither."""
    return index % COLOURS, (index + index // COLOURS) % len(SHAPES)


def shapes() -> Markup:
    """Return the definitions that markers refer to; once per page."""
    defined = joined([html('<path id="s{}" class="shape" d="{}"/>', i, path) for i, path in enumerate(SHAPES)])
    return html('<svg width="0" height="0" aria-hidden="true" class="defs"><defs>{}</defs></svg>', defined)


def marker(index: int, x: float, y: float, kind: str, title: str = "") -> Markup:
    """Return the marker of a class; `kind` is a CSS class, `seen` for training images, `judged` for held-out ones."""
    colour, shape = look(index)
    told = html("<title>{}</title>", title) if title else ""
    return html('<use href="#s{}" x="{:.1f}" y="{:.1f}" class="c{} {}">{}</use>', shape, x, y, colour, kind, told)


def key(index: int) -> Markup:
    """Return the marker of a class by itself, for a legend."""
    drawn = marker(index, 0, 0, "judged")
    return html('<svg viewBox="-9 -9 18 18" class="key" aria-hidden="true">{}</svg>', drawn)


def text(x: float, y: float, said: str, kind: str = "plain", anchor: str = "start") -> Markup:
    """Return text; `kind` is a CSS class."""
    return html('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>', x, y, anchor, kind, said)


def figure(width: int, height: int, widest: int, title: str, parts: Sequence[Markup]) -> Markup:
    """Return an SVG that takes the width it is given, up to `widest` pixels.

    `title` is what those hear who cannot see it.
    """
    shown = '<svg viewBox="0 0 {} {}" style="max-width:{}px" role="img" aria-label="{}">{}</svg>'
    return html(shown, width, height, widest, title, joined(parts))


def accuracy_plot(files: Sequence[FileFindings]) -> Markup:
    """Return each file's accuracy as a dot on its interval."""
    width, left, right, row = 380, 96, 22, 32
    low = max(0.0, math.floor(10 * min(f.accuracy.low for f in files)) / 10)
    low = low if low < 0.95 else 0.9
    height = row * len(files) + 32

    def x(share: float) -> float:
        return left + (width - left - right) * (share - low) / (1 - low)

    parts = [_grid_x(x, [low + (1 - low) * i / 5 for i in range(6)], 4, height - 24)]
    for i, f in enumerate(files):
        y, a = 4 + row * (i + 0.5), f.accuracy
        ends = f"M{x(a.low):.1f} {y:.1f}H{x(a.high):.1f}M{x(a.low):.1f} {y - 6:.1f}v12M{x(a.high):.1f} {y - 6:.1f}v12"
        parts += [text(0, y + 4, f.file), _path(ends, "line"), _dot(x(a.share), y, 5)]
    said = "; ".join(f"{f.file} {percent(f.accuracy.share)}" for f in files)
    return figure(width, height, 520, f"Accuracy with 95 % intervals: {said}", parts)


def whisker(low: float, share: float, high: float) -> Markup:
    """Return a small interval with its dot, for a table's cell; the numbers stand beside it."""
    x = [4 + 92 * v for v in (low, share, high)]
    drawn = joined([_path("M4 7H96", "rail"), _path(f"M{x[0]:.1f} 7H{x[2]:.1f}", "line"), _dot(x[1], 7, 4)])
    return html('<svg viewBox="0 0 100 14" class="whisker" aria-hidden="true">{}</svg>', drawn)


def reliability_plot(reliability: Reliability, file: str) -> Markup:
    """Return the reliability diagram: the share that is right over the probability, with the diagonal of the honest."""
    width, height, left, bottom, side = 340, 330, 46, 288, 272

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
            f"{percent(b.accuracy)} of them right"
        )
        bar = '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="bar"><title>{}</title></rect>'
        parts += [
            html(bar, x(b.low) + 1, y(b.accuracy), side / 10 - 2, max(1.0, side * b.accuracy), told),
            text(x(b.low) + side / 20, y(b.accuracy) - 4, str(b.images), "tick", "middle"),
        ]
    parts += [
        _path(f"M{x(0)} {y(0)}L{x(1)} {y(1)}", "dashed"),
        text(left + side / 2, height - 4, "probability of the answer", "tick", "middle"),
    ]
    found = [b for b in reliability.bins if b.images]
    bins = "; ".join(f"at {100 * b.probability:.0f} % {percent(b.accuracy)} right" for b in found)
    return figure(width, height, width, f"Reliability of {file}: {bins}", parts)


def curve_plot(curve: Curve) -> Markup:
    """Return accuracy over the number of training images, which doubles from point to point."""
    width, height, left, right, top, bottom = 380, 280, 48, 20, 30, 236
    points = curve.points
    low = max(0.0, math.floor(10 * min(p.interval[0] for p in points)) / 10)
    first, last = math.log2(points[0].images), math.log2(points[-1].images)

    def x(images: int) -> float:
        return left + (width - left - right) * (math.log2(images) - first) / ((last - first) or 1)

    def y(share: float) -> float:
        return bottom - (bottom - top) * (share - low) / ((1 - low) or 1)

    def places(shares: Sequence[float]) -> list[str]:
        return [f"{x(p.images):.1f},{y(share):.1f}" for p, share in zip(points, shares, strict=True)]

    band = places([p.interval[1] for p in points]) + places([p.interval[0] for p in points])[::-1]
    own = places([max(low, p.train_accuracy) for p in points])
    parts = [
        _grid_y(y, [low + (1 - low) * i / 4 for i in range(5)], left, width - right),
        html('<polygon points="{}" class="band"/>', " ".join(band)),
        html('<polyline points="{}" class="dashed"/>', " ".join(own)),
        html('<polyline points="{}" class="line"/>', " ".join(places([p.accuracy for p in points]))),
    ]
    for p in points:
        parts += [
            _dot(x(p.images), y(p.accuracy), 5, f"{p.images} images: {percent(p.accuracy)}"),
            text(x(p.images), bottom + 18, str(p.images), "tick", "middle"),
        ]
    parts += [
        _path(f"M{left} 9h24", "line"),
        text(left + 30, 13, "held out"),
        _path(f"M{left + 104} 9h24", "dashed"),
        text(left + 134, 13, "its own images", "tick"),
        text((left + width - right) / 2, height - 4, "training images", "tick", "middle"),
    ]
    said = "; ".join(f"{p.images} images {percent(p.accuracy)}" for p in points)
    return figure(width, height, 520, f"Learning curve, accuracy on held-out images: {said}", parts)


def names_fit(labels: Sequence[str]) -> bool:
    """Return whether the map has room for the classes' names; else it shows their numbers."""
    return len(labels) <= 2 * COLOURS and max(map(len, labels)) <= _SHORT


def map_plot(findings: Findings) -> Markup:
    """Return the embeddings in the plane; wrong answers are ringed, and each class is named where most of it lies."""
    width, height, margin = 760, 560, 28
    shown, study, labels = findings.study.map, findings.study, findings.labels
    low = shown.points.min(axis=0)
    span = np.maximum(shown.points.max(axis=0) - low, 1e-9)
    places = margin + (shown.points - low) / span * np.array([width - 2 * margin, height - 2 * margin])
    classes = np.concatenate([study.train_classes[shown.train], findings.truth[shown.held_out]])
    parts: list[Markup] = []
    for (x, y), i in zip(places[: len(shown.train)].tolist(), shown.train.tolist(), strict=True):
        c = int(study.train_classes[i])
        parts.append(marker(c, x, y, "seen", f"{study.train_names[i]}: {labels[c]}, training"))
    for (x, y), i in zip(places[len(shown.train) :].tolist(), shown.held_out.tolist(), strict=True):
        c, right = int(findings.truth[i]), bool(findings.right[i])
        parts.append(marker(c, x, y, "judged", f"{findings.names[i]}: {labels[c]}{'' if right else ', wrong'}"))
        if not right:
            parts.append(_dot(x, y, 9, kind="ring"))
    short = names_fit(labels)
    for c, label in enumerate(labels):
        own = places[classes == c]
        if len(own):
            # The point in the middle of its class, not their mean, which may lie in another.
            x, y = own[np.argmin(np.abs(own - np.median(own, axis=0)).sum(axis=1))].tolist()
            parts.append(_named(label if short else str(c + 1), x, y, width))
    title = (
        f"Map of {len(shown.train)} training and {len(shown.held_out)} held-out images in {len(labels)} "
        f"classes by {shown.method}; {int(np.count_nonzero(~findings.right[shown.held_out]))} ringed as wrong"
    )
    return figure(width, height, width, title, parts)


def _named(said: str, x: float, y: float, width: float) -> Markup:
    """Return a name over a point.

    Where a narrow screen's larger letters would pass an edge, it starts or ends there.
    """
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in said)
    half = _LETTER * (0.62 * (len(said) - wide) + wide) / 2
    place, anchor = (4.0, "start") if x < half else (width - 4.0, "end") if x > width - half else (x, "middle")
    return text(place, max(y - 8, _LETTER), said, "name", anchor)


def _path(drawn: str, kind: str) -> Markup:
    return html('<path d="{}" class="{}"/>', drawn, kind)


def _dot(x: float, y: float, radius: float, title: str = "", kind: str = "dot") -> Markup:
    told = html("<title>{}</title>", title) if title else ""
    return html('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{}">{}</circle>', x, y, radius, kind, told)


def _grid_x(x: Callable[[float], float], values: Sequence[float], top: float, bottom: float) -> Markup:
    lines = "".join(f"M{x(v):.1f} {top:.1f}V{bottom:.1f}" for v in values)
    labels = [text(x(v), bottom + 16, f"{100 * v:.0f} %", "tick", "middle") for v in values]
    return joined([_path(lines, "grid"), *labels])


def _grid_y(y: Callable[[float], float], values: Sequence[float], left: float, right: float) -> Markup:
    lines = "".join(f"M{left:.1f} {y(v):.1f}H{right:.1f}" for v in values)
    labels = [text(left - 8, y(v) + 4, f"{100 * v:.0f} %", "tick", "end") for v in values]
    return joined([_path(lines, "grid"), *labels])
