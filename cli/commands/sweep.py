"""Compare cuts of a backbone, or several backbones, on your data.

Features are kept, so that a second sweep over the same images is fast.

\b
tlc sweep --data photos/ --target rpi --plot sweep.svg
tlc sweep efficientnet-lite0 mobilenet-v2 --data photos/ --target rpi
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.cli.build_options import loading_options, pool_option, scheme_option, seed_option, threads_option
from tlc_edge.cli.notes import say_notes
from tlc_edge.cli.options import data_options, json_option
from tlc_edge.cli.output import StepLines, put, put_json, size, table
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.files import write_file

if TYPE_CHECKING:
    from tlc_edge.compiler.sweep.sweep import Sweep, SweepRow


@click.command(help=__doc__)
@click.argument("backbone", nargs=-1)
@data_options()
@click.option("--target", required=True, metavar="NAME", help="Device whose scheme decides the model's size and speed.")
@loading_options
@click.option("--layer", "layers", multiple=True, metavar="LAYER", help="Where to cut; may be repeated.")
@pool_option
@scheme_option
@click.option("--plot", metavar="FILE.svg", help="Write the table as a picture too.")
@seed_option
@threads_option
@json_option
def sweep(backbone: tuple[str, ...], plot: str | None, as_json: bool, **given: Any) -> None:
    from tlc_edge.compiler.sweep.plot import plot as draw
    from tlc_edge.compiler.sweep.sweep import SweepOptions
    from tlc_edge.compiler.sweep.sweep import sweep as run

    if plot and not (Path(plot).suffix == ".svg" and Path(plot).absolute().parent.is_dir()):
        raise click.BadParameter(
            f"{plot!r}, expected a file that ends in .svg, in a folder that exists", param_hint="--plot"
        )
    if backbone:
        given["backbones"] = backbone
    options = SweepOptions(**given)
    with StepLines(quiet=as_json) as progress:
        found = run(options, progress)
    if plot:
        picture = draw(found.rows, f"{options.data}, for {options.target}")
        try:
            write_file(Path(plot), picture.encode())
        except OSError as e:
            raise BuildError(f"{plot}: cannot be written ({e.strerror or e}); choose another --plot") from None
    if as_json:
        put_json(asdict(found))
    else:
        _print(found)
    if found.stopped:
        raise KeyboardInterrupt


def _print(found: Sweep) -> None:
    say_notes(found.notes, ())
    rows = [
        (
            r.backbone,
            r.layer if r.pool in ("avg", "none") else f"{r.layer}, {r.pool}",
            r.features,
            f"{r.parameters:,}",
            "?" if r.macs is None else f"{r.macs / 1e6:.1f}",
            f"{r.judged:.3f}{_range(r)}",
            size(r.bytes),
            f"{r.milliseconds:.2f}",
            "*" if r.pareto else "",
        )
        for r in found.rows
    ]
    head = ("backbone", "layer", "features", "parameters", "MMACs", "accuracy", "size", "ms here", "Pareto")
    put(*table(rows, head))
    how = "by cross-validation with 95 % interval" if any(r.interval for r in found.rows) else ""
    how = how or f"on {found.validation} validation images"
    put("", f"accuracy {how}, linear head on float features; time on one thread")
    for f in found.failed:
        put(f"Not measured, {f.backbone} at {f.layer}: {f.reason}")
    if found.stopped:
        put(f"{found.stopped[0].upper()}{found.stopped[1:]}")


def _range(row: SweepRow) -> str:
    return "" if row.interval is None else f" {row.interval[0]:.2f}-{row.interval[1]:.2f}"
