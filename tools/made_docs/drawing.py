"""docs/images/floors.svg: the rooms on their floors, from the table that the tests hold the imports to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_ROOM, _GAP, _HIGH, _LEFT, _TOP = 92, 8, 30, 20, 96
_CAPTION = (
    "a room imports only rooms on lower floors; the compiler also targets and the runtime, targets the runtime's "
    "errors, the command line all"
)
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1c2733}.name{font-weight:600}.small{font-size:12px;fill:#52606d}"
    "rect{stroke:#7b8794;fill:#f2f5f8}.ground{fill:#dbe7f3}.page{fill:#fff;stroke:none}"
    "line{stroke:#52606d;stroke-width:1.5}.tip{fill:#52606d}"
)


def floors_svg(floors: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """Return the drawing: the command line above the compiler's and the runtime's floors, targets between them."""
    compiler, runtime = (
        [[room for room in rooms if room != "__init__"] for rooms in floors[top]] for top in ("compiler", "runtime")
    )
    levels = max(len(compiler), len(runtime))
    wide = [_width(side) for side in (compiler, runtime)]
    bottom = _TOP + levels * (_HIGH + _GAP)
    middle = _LEFT + wide[0] + 40
    right = middle + _ROOM + 40
    width, height = right + wide[1] + _LEFT, bottom + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="The rooms of tlc on their floors">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        _box(_LEFT, 20, width - 2 * _LEFT, "cli: one file per command", "ground"),
        *_side("compiler", compiler, _LEFT, wide[0], bottom),
        *_side("runtime", runtime, right, wide[1], bottom),
        _text(middle + _ROOM / 2, _TOP - 10, "targets", "name"),
        _box(middle, bottom - _HIGH - _GAP, _ROOM, "targets", ""),
        _arrow(_LEFT + wide[0] + 4, middle - 4, bottom - _HIGH / 2 - _GAP),
        _arrow(middle + _ROOM + 4, right - 4, bottom - _HIGH / 2 - _GAP),
        _text(width / 2, height - 14, _CAPTION, "small"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _width(side: Sequence[Sequence[str]]) -> int:
    most = max(len(rooms) for rooms in side)
    return most * (_ROOM + _GAP) - _GAP


def _side(name: str, floors: Sequence[Sequence[str]], left: int, wide: int, bottom: int) -> list[str]:
    found = [_text(left + wide / 2, _TOP - 10, name, "name")]
    for level, rooms in enumerate(floors):
        top = bottom - (level + 1) * (_HIGH + _GAP)
        each = (wide - (len(rooms) - 1) * _GAP) / len(rooms)
        found += [_box(left + i * (each + _GAP), top, each, room, "") for i, room in enumerate(rooms)]
    return found


def _box(left: float, top: float, wide: float, text: str, kind: str) -> str:
    mark = f' class="{kind}"' if kind else ""
    box = f'<rect{mark} x="{left:g}" y="{top:g}" width="{wide:g}" height="{_HIGH}" rx="4"/>'
    return box + _text(left + wide / 2, top + _HIGH / 2 + 5, text, "")


def _text(x: float, y: float, text: str, kind: str) -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<text{mark} x="{x:g}" y="{y:g}" text-anchor="middle">{escape(text)}</text>'


def _arrow(start: float, end: float, y: float) -> str:
    return (
        f'<line x1="{start:g}" y1="{y:g}" x2="{end - 7:g}" y2="{y:g}"/><path class="tip" d="M{end:g} {y:g}l-8 -4v8z"/>'
    )
