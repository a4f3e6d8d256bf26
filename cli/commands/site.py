"""Make a site of a bundle for `web`: the whole runtime in a browser, for any host that serves files."""

from __future__ import annotations

from pathlib import Path

import click

from tlc_edge.cli.options import bundle_argument, json_option
from tlc_edge.cli.output import put, put_json, size


@click.command(help=__doc__)
@bundle_argument
@click.option("-o", "--output", metavar="DIR", help="Folder to write.  [default: site]", default="site")
@click.option(
    "--vendor",
    metavar="DIR",
    help="Folder with the archives of LiteRT.js and SQLite that `npm pack` makes.  [default: got through npm]",
)
@click.option("--force", is_flag=True, help="Replace an existing folder.")
@json_option
def site(bundle: str, output: str, vendor: str | None, force: bool, as_json: bool) -> None:
    from tlc_edge.compiler.site.site import check_bundle, check_site, first_load, make_site, write_site
    from tlc_edge.compiler.site.vendor import vendored
    from tlc_edge.runtime.bundle.bundle import Bundle

    where = Path(output)
    check_site(where, force)
    opened = Bundle.open(bundle)
    check_bundle(opened)  # before anything is fetched
    contents = make_site(opened, vendored(Path(vendor) if vendor else None, None))
    write_site(where, contents, force)
    first = first_load(contents)
    if as_json:
        put_json(
            {"site": str(where), "files": len(contents), "bytes": sum(map(len, contents.values())), "first_load": first}
        )
        return
    put(
        f"{where}: {len(contents)} files; a first visit loads {size(first)}",
        f"try it: python3 -m http.server --directory {where} 8000, then http://localhost:8000 (phones need https)",
    )
