"""`report.html`: the findings as one page that needs no network and no script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .evidence import Pictures
from .figures import shapes
from .findings import Findings
from .section import Section
from .sections import SECTIONS
from .summary import subtitle, tiles
from .text import count_of, name, number, percent, shown
from .warnings import find_warnings

_HERE = Path(__file__).parent
_FILTERS: dict[str, Any] = {"name": name, "number": number, "percent": percent, "count_of": count_of}


def report_html(findings: Findings, pictures: Pictures | None, bundle: str) -> bytes:
    """Return the page as UTF-8; the same for equal findings.

    Args:
        findings: what the page says.
        pictures: what it may show; None for no images at all.
        bundle: the name of its file or folder.
    """
    sections = [make(findings, pictures) for make in SECTIONS]
    environment = _environment(sections)
    bodies = [Markup(environment.get_template(s.template.name).render(s.data)) for s in sections]
    page = environment.get_template("page.html").render(
        bundle=bundle,
        target=findings.manifest.target["title"],
        subtitle=subtitle(findings),
        tiles=tiles(findings),
        warnings=find_warnings(findings),
        shapes=shapes(),
        sections=list(zip(sections, bodies, strict=True)),
    )
    return page.encode()


def _environment(sections: Sequence[Section]) -> Environment:
    """Return what renders: all that is filled in is made visible and escaped; a name that nobody gave is an error."""
    environment = Environment(
        loader=FileSystemLoader([_HERE, *dict.fromkeys(s.template.parent for s in sections)]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(_FILTERS)
    return environment
