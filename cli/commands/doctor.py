"""Say what is installed, what works, and what to install next; fails where no prediction is possible.

With a BUNDLE, every engine also runs its golden samples.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tlc_edge.cli.options import json_option, optional_bundle
from tlc_edge.cli.output import put, put_json, table
from tlc_edge.runtime.errors import BundleError, EngineError

if TYPE_CHECKING:
    from tlc_edge.runtime.doctor.doctor import Diagnosis, Part


@click.command(help=__doc__)
@optional_bundle
@json_option
def doctor(bundle: str | None, as_json: bool) -> None:
    from tlc_edge.runtime.doctor.doctor import diagnose

    found = diagnose(bundle)
    if as_json:
        put_json({"works": found.works, **asdict(found)})
    else:
        _print(found)
    if found.bundle is not None:
        raise BundleError(found.bundle)
    if not found.works:
        raise EngineError(f"this device cannot predict yet; next: {'; '.join(found.next) or 'see above'}")


def _print(found: Diagnosis) -> None:
    cores = f"{found.cores} core{'' if found.cores == 1 else 's'}"
    put(f"tlc {found.tlc or '(not installed)'}, Python {found.python}, {found.machine}, {cores}", "")
    for kind, parts in (("library", found.libraries), ("engine", found.engines)):
        rows = [(p.name, p.version or "-", "yes" if p.works else "no", p.detail) for p in parts]
        put(*table(rows, (kind, "version", "works", "")), "")
    extras = [(p.detail, p.name, _extra(p)) for p in found.extras]
    put(*table(extras, ("for", "library", "version")))


def _extra(part: Part) -> str:
    if part.version is None:
        return f"not installed; {part.install}"
    return f"{part.version} {part.trouble}".rstrip()
