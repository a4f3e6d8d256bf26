"""Markdown tables and generated parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
"""A generated part of a page: its first line, its name, what stands in it, its last line."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; what would end a cell is escaped, but not inside code, where the page shows it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def code(text: object) -> str:
    """Return text as code."""
    return f"`{text}`"


def fill(page: str, parts: Mapping[str, str]) -> str:
    """Return a page with its generated parts replaced by those of their names.

    Raises:
        KeyError: the page asks for a part that is not made.
    """
    return PART.sub(lambda found: f"{found[1]}{parts[found[2]].strip(chr(10))}\n{found[3]}", page)


def names(page: str) -> list[str]:
    """Return the names of a page's generated parts."""
    return [found[2] for found in PART.finditer(page)]
