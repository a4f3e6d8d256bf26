"""A sweep as a picture: accuracy over time, the size as a circle, in SVG written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from .sweep import SweepRow

_WIDTH, _HEIGHT = 760, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 190, 40, 56
_COLOURS = ("#0b6e99", "#b3541e", "#4b7a2b", "#7a3e9d", "#8a6d00", "#a02c4a")


def plot(rows: Sequence[SweepRow], title: str) -> str:
    """Return an SVG document; the Pareto points are filled and joined."""
    top = max(r.milliseconds for r in rows) * 1.1 or 1.0
    low = max(0.0, math.floor(20 * min(r.judged for r in rows) - 1) / 20)
    names = list(dict.fromkeys(r.backbone for r in rows))

    def x(row: SweepRow) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * row.milliseconds / top

    def y(accuracy: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (accuracy - low) / (1.0 - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{escape(title)}</text>',
        *_axes(top, low, y),
    ]
    front = sorted((r for r in rows if r.pareto), key=lambda r: r.milliseconds)
    line = " ".join(f"{x(r):.1f},{y(r.judged):.1f}" for r in front)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#999" stroke-dasharray="4 3"/>')
    largest = max(r.bytes for r in rows)
    for row in rows:
        colour = _COLOURS[names.index(row.backbone) % len(_COLOURS)]
        radius = 4 + 8 * math.sqrt(row.bytes / largest)
        said = f"{row.backbone} at {row.layer}: {row.judged:.3f}, {row.milliseconds:.2f} ms, {row.bytes:,} bytes"
        parts += [
            f'<circle cx="{x(row):.1f}" cy="{y(row.judged):.1f}" r="{radius:.1f}" stroke="{colour}" '
            f'stroke-width="2" fill="{colour if row.pareto else "white"}" fill-opacity="0.6">'
            f"<title>{escape(said)}</title></circle>",
            f'<text x="{x(row) + radius + 3:.1f}" y="{y(row.judged) + 4:.1f}">{escape(row.layer)}</text>',
        ]
    for i, name in enumerate(names):
        at = _TOP + 18 * i
        parts += [
            f'<circle cx="{_WIDTH - _RIGHT + 20}" cy="{at}" r="5" fill="{_COLOURS[i % len(_COLOURS)]}"/>',
            f'<text x="{_WIDTH - _RIGHT + 30}" y="{at + 4}">{escape(name)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _axes(top: float, low: float, y: Callable[[float], float]) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#333"/>']
    for i in range(6):
        value = low + (1 - low) * i / 5
        parts.append(f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
        at = _LEFT + (right - _LEFT) * i / 5
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{top * i / 5:.3g}</text>')
    parts.append(
        f'<text x="{(_LEFT + right) / 2}" y="{bottom + 40}" text-anchor="middle">'
        "milliseconds an image on the machine of the sweep; circle: size of the model; filled: no other is better in "
        "all</text>"
    )
    parts.append(f'<text x="16" y="{_HEIGHT / 2}" transform="rotate(-90 16 {_HEIGHT / 2})">accuracy</text>')
    return parts
