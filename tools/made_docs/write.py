"""Make every generated page and part, and write it or say that it is out of date."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from floors import FLOORS

from tlc_edge.cli.commands import cli
from tlc_edge.compiler.from_python import build, layers, sweep, verify
from tlc_edge.targets import all_targets
from tlc_edge.targets.schemes import SCHEMES

from .api import api_part
from .commands import cli_page
from .costs import costs_table
from .drawing import floors_svg
from .markdown import fill, names
from .shapes import json_page
from .tables import endpoints_table, schemes_table, steps_table, targets_table, warnings_table


def pages(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each generated file, and each page with generated parts, as it should be."""
    docs = root / "docs"
    yield docs / "cli.md", cli_page(cli)
    yield docs / "json.md", json_page(root / "cli" / "schemas")
    yield docs / "images" / "floors.svg", floors_svg(FLOORS)
    parts = {
        "api": api_part((build, sweep, layers, verify)),
        "costs": costs_table(),
        "endpoints": endpoints_table(json.loads((root / "runtime" / "serve" / "openapi.json").read_text("utf-8"))),
        "steps": steps_table(root / "compiler"),
        "targets": targets_table(all_targets()),
        "schemes": schemes_table(SCHEMES),
        "warnings": warnings_table(
            (root / "compiler" / "report" / "warnings.py").read_text("utf-8"),
            (root / "compiler" / "study" / "odd_labels.py").read_text("utf-8"),
        ),
    }
    for page in sorted((*root.glob("*.md"), *docs.glob("*.md"))):
        text = page.read_text("utf-8")
        if names(text):
            yield page, fill(text, parts)


def main(root: Path, words: Sequence[str]) -> int:
    """Run `tools/docs`; returns the exit code."""
    if words not in ([], ["--check"]):
        print(f"tools/docs takes nothing or --check, but got: {' '.join(words)}", file=sys.stderr)
        return 2
    stale = [(path, text) for path, text in pages(root) if not path.exists() or path.read_text("utf-8") != text]
    for path, text in stale:
        if words:
            print(f"{path.relative_to(root)} is out of date; run tools/docs", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(root)} written")
    return 1 if words and stale else 0
