"""List the devices there are profiles for."""

from __future__ import annotations

from dataclasses import asdict

import click

from tlc_edge.cli.options import json_option
from tlc_edge.cli.output import put, put_json, size, table


@click.command(help=__doc__)
@json_option
def targets(as_json: bool) -> None:
    from tlc_edge.targets import all_targets

    found = all_targets()
    if as_json:
        put_json({"targets": [asdict(t) for t in found]})
        return
    rows = [
        (
            t.name,
            t.title,
            "+".join((*t.formats, *t.extras)),
            t.scheme,
            t.threads or "all",
            size(t.model_bytes) if t.model_bytes else "-",
            size(t.peak_memory_bytes) if t.peak_memory_bytes else "-",
        )
        for t in found
    ]
    put(*table(rows, ("name", "device", "files", "scheme", "threads", "largest model", "most memory")))
