"""Numbers and names as a page shows them, and the tables that they stand in.

A plain `str` is text: the page escapes it. `Markup` is HTML already, made here or in `figures`, and never of what a
user wrote without escaping that first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .findings import Rate

# Control characters, what turns the direction of writing (Unicode's Bidi_Control), and halves of characters: an
# escape takes care of none of them, and a name that holds one could hide or reorder what stands around it.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Return text with each character that is not to be seen as its escape, as `\\x07` or `\\u202e`."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(value: object) -> str:
    """Return a value of a template: HTML as it is, anything else as visible text, which is still to be escaped."""
    return value if isinstance(value, Markup) else visible(str(value))


def html(template: str, *values: object) -> Markup:
    """Return HTML with values put into it by `str.format`, all that is not HTML made visible and escaped."""
    return Markup(template).format(*(shown(v) if isinstance(v, str) else v for v in values))


def joined(parts: Sequence[Markup], between: str = "") -> Markup:
    """Return parts of HTML as one."""
    return Markup(between).join(parts)


def name(label: str) -> Markup:
    """Return a label or file name, with its direction of writing kept to itself."""
    return html("<bdi>{}</bdi>", label)


def percent(share: float | None) -> str:
    """Return a share for people."""
    return "-" if share is None else f"{100 * share:.1f} %"


def number(value: float | None, digits: int) -> str:
    """Return a number with so many digits after the point."""
    return "-" if value is None else f"{value:.{digits}f}"


def count_of(count: int, what: str) -> str:
    """Return a number of things for people."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def interval(r: Rate) -> str:
    """Return a rate's 95 % interval in per cent."""
    return f"{100 * r.low:.1f} to {100 * r.high:.1f}"


@dataclass(frozen=True)
class Table:
    """What `parts.html` draws as a table; on a narrow screen the rows of a wide one become cards."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Cells as text or HTML; the first of a row is its heading."""
    kind: str = "cards"
    """`cards text` where cells are words, beyond numbers; `small` where it fits any screen as it is."""
