"""Time every step of a prediction, the start of a fresh process, and its memory.

IMAGEs are predicted in turn; without any, a 12-megapixel JPEG is made from the bundle's golden samples.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.cli.options import bundle_argument, device_options, json_option
from tlc_edge.cli.output import StepLines, put, put_json, size, table

if TYPE_CHECKING:
    from tlc_edge.runtime.doctor.bench import Bench


@click.command(help=__doc__)
@bundle_argument
@click.argument("images", nargs=-1, metavar="[IMAGE]…")
@click.option("--runs", default=100, show_default=True, type=click.IntRange(min=1), help="Predictions to time.")
@device_options
@json_option
def bench(bundle: str, images: tuple[str, ...], as_json: bool, **options: Any) -> None:
    from tlc_edge.runtime.doctor.bench import bench as run
    from tlc_edge.runtime.images.named import named_images

    sources = [one.source for one in named_images(images)]
    with StepLines(quiet=as_json) as progress:
        found = run(bundle, sources, progress=lambda d, t: progress("predict", d, t), **options)
    if as_json:
        put_json(_document(found))
        return
    _print(found)


def _print(found: Bench) -> None:
    start, shown = found.startup, len(found.images)
    what = f"{shown} images" if shown > 1 else found.images[0]
    threads = f"{found.threads} thread{'' if found.threads == 1 else 's'}"
    put(f"{found.file} ({found.scheme}) on {found.engine}, {threads}; {found.rows} stored examples")
    put(f"{found.runs} prediction{'' if found.runs == 1 else 's'} of {what}", "")
    rows = [(step, f"{ms.p50:.2f}", f"{ms.p95:.2f}") for step, ms in found.milliseconds.items()]
    put(*table(rows, ("step", "p50 ms", "p95 ms")))
    put(
        "",
        f"start-up  {start.total:.2f} s in a fresh process: import {start.imports:.2f}, open {start.opening:.2f}, "
        f"first prediction {start.first_prediction:.2f}",
    )
    held = [f"{size(n)} {word}" for n, word in ((start.resident, "resident"), (start.peak, "at its peak")) if n]
    if held:
        put(f"memory    {', '.join(held)}, after the first prediction")
    if found.published:
        put("", f"published for {found.target}, of other models and programs:")
        for figure in found.published:
            put(f"  {figure.milliseconds:g} ms  {figure.what}", f"      {figure.source}")


def _document(found: Bench) -> dict[str, Any]:
    start = {**asdict(found.startup), "total": found.startup.total}
    return {
        **asdict(found),
        "milliseconds": {
            step: {"p50": round(ms.p50, 3), "p95": round(ms.p95, 3)} for step, ms in found.milliseconds.items()
        },
        "startup": {key: round(value, 4) if isinstance(value, float) else value for key, value in start.items()},
    }
