"""Take a bundle's report out of it: a `.tlc` is one file, and a browser wants another."""

from __future__ import annotations

from pathlib import Path

from tlc_edge.runtime.errors import BundleError, UsageError
from tlc_edge.runtime.files import write_file

from .bundle import Bundle

PAGE = "report.html"
DATA = "report.json"


def write_report(bundle: Bundle, path: Path | None = None, force: bool = False) -> Path:
    """Write the page, or for a `path` that ends in `.json` the same for machines, whole or not at all.

    Returns where it went: `path`, or the bundle's name with `.report.html` behind it.

    Raises:
        UsageError: the path exists, is not the report already, and `force` is not set.
        BundleError: the bundle has no report, or the path cannot be written.
    """
    name = DATA if path is not None and path.suffix.lower() == ".json" else PAGE
    data = bundle.read(name)
    named = bundle.path if bundle.path.name not in ("", "..") else bundle.path.resolve()  # `.` has no name
    to = path or named.with_name(f"{named.name}.{PAGE}")
    try:
        if to.exists() and not force:
            if to.is_file() and to.read_bytes() == data:
                return to
            raise UsageError(f"{to} exists already; choose another -o or replace it with --force")
        write_file(to, data)
    except OSError as e:
        raise BundleError(f"{to}: cannot be written ({e.strerror or e}); choose another -o") from None
    return to
