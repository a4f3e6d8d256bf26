"""The parts that every table of the report is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from .findings import Rate


def name(label: str) -> str:
    """Return a label or file name: escaped, and with its direction of writing kept to itself."""
    return f"<bdi>{escape(label)}</bdi>"


def percent(share: float | None) -> str:
    """Return a share for people."""
    return "-" if share is None else f"{100 * share:.1f} %"


def count_of(number: int, what: str) -> str:
    """Return a number of things for people."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Return a table of cells that are HTML already; the first cell of a row is its heading."""
    top = "".join(f"<th scope=col>{cell}</th>" for cell in head)
    body = "".join(
        f"<tr><th scope=row>{first}</th>" + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    return (
        f'{captioned(caption)}<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
        "</figure>"
    )


def captioned(caption: str) -> str:
    """Open a figure: its caption stays where it is when a wide table is scrolled, also by keys."""
    return f"<figure><figcaption>{caption}</figcaption><div class=scroll tabindex=0>"


def interval(r: Rate) -> str:
    """Return a rate's 95 % interval in per cent."""
    return f"{100 * r.low:.1f} to {100 * r.high:.1f}"
