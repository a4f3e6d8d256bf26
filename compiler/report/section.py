"""What a section of the page is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .evidence import Pictures
from .findings import Findings


@dataclass(frozen=True)
class Section:
    """A section with what its template is filled with."""

    anchor: str
    """Of links to it."""
    title: str
    module: str
    """The `__file__` of who makes it; the template lies beside it, under the same name."""
    data: Mapping[str, object]
    """What the template may name."""

    @property
    def template(self) -> Path:
        """The template's file."""
        return Path(self.module).with_suffix(".html")


Make = Callable[[Findings, Pictures | None], Section]
"""Makes a section of the findings, and of the pictures where there may be any."""
