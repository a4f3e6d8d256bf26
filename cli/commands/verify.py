"""Measure a bundle's models on labelled images, against each other and against the labels.

Without --data, on IMAGEs that have no labels (files, folders, a .zip, @FILE for a list): against each other only.

Images of classes that the bundle does not know count for the comparison of the models, not for the accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.cli.options import (
    bundle_argument,
    data_options,
    demand_options,
    engine_option,
    json_option,
    threads_option,
)
from tlc_edge.cli.output import StepLines, put, put_json, say, size, table
from tlc_edge.cli.parity_table import print_parity

if TYPE_CHECKING:
    from tlc_edge.compiler.verify.layer_errors import LayerError
    from tlc_edge.compiler.verify.verify import Verification

_SHOWN = 20


@click.command(help=__doc__)
@bundle_argument
@click.argument("images", nargs=-1, metavar="[IMAGE]…")
@data_options(required=False)
@engine_option(", or all that are installed", "the best for each model")
@threads_option("one per core")
@click.option("--layers", is_flag=True, help="Show which layers lose most against the bundle's float32 model.")
@demand_options
@json_option
def verify(
    bundle: str,
    images: tuple[str, ...],
    data: str | None,
    engine: str | None,
    threads: int | None,
    layers: bool,
    limit: int | None,
    strict: bool,
    min_accuracy: float | None,
    min_class_recall: float | None,
    sure: bool,
    as_json: bool,
    **origin: Any,
) -> None:
    from tlc_edge.compiler.data.load import Origin
    from tlc_edge.compiler.verify.demands import Demands, refuse
    from tlc_edge.compiler.verify.verify import verify as run
    from tlc_edge.runtime.bundle.bundle import Bundle

    if images and data is not None:
        raise click.UsageError(f"{images[0]} and --data {data}: one or the other, images without or with labels")
    if not images and data is None:
        raise click.UsageError("Missing option '--data'.")
    opened = Bundle.open(bundle)
    with StepLines(quiet=as_json) as progress:
        done = run(
            opened,
            images if data is None else Origin(data, **origin),
            engine,
            threads,
            layers=layers,
            strict=strict,
            limit=limit,
            demands=Demands(min_accuracy, min_class_recall, sure),
            progress=progress,
        )
    for note in (*done.notes, *done.found.problems):
        say(note)
    for s in done.found.skipped:
        say(f"skipped {s.name}: {s.reason}")
    if as_json:
        document = _document(done)
        if layers:
            document["layers"] = done.layers and {file: _layer_rows(errors) for file, errors in done.layers.items()}
        put_json(document)
    else:
        _print(done)
    if done.missed:
        raise refuse(done.missed, built=False)


def _document(done: Verification) -> dict[str, Any]:
    """Return what `--json` prints."""
    found = done.found
    return {
        "images": found.images,
        "judged": found.judged,
        "models": [asdict(s) for s in found.scores],
        "parity": [asdict(pair) for pair in found.parity.pairs],
        "skipped": [s.name for s in found.skipped],
        "problems": list(found.problems),
        "notes": list(done.notes),
        "recognised": done.recognised,
        "missed": list(done.missed),
    }


def _print(done: Verification) -> None:
    """Print what a person wants to know."""
    found = done.found
    rows = [
        (
            *(s.file, s.engine, s.scheme, size(s.bytes)),
            "-" if s.accuracy is None else f"{s.accuracy:.3f}",
            "-" if s.interval is None else f"{s.interval[0]:.3f} to {s.interval[1]:.3f}",
            "-" if s.agreement is None else f"{s.agreement:.3f}",
            "-" if s.embedding_cosine is None else f"{s.embedding_cosine:.4f}",
        )
        for s in found.scores
    ]
    if done.recognised:
        put(done.recognised)
    if found.skipped or not done.recognised:
        put(f"{found.images} images")
    head = ("model", "engine", "scheme", "size", "accuracy", "95 % interval", "as float", "cosine")
    put(*table(rows, head))
    print_parity(found.parity, "each model beside the others, on these images:")
    for file, errors in (done.layers or {}).items():
        _print_layers(file, errors)


def _layer_rows(errors: Sequence[LayerError]) -> list[dict[str, Any]]:
    """Return a file's layers for `--json`, the noisiest first."""
    from tlc_edge.compiler.verify.layer_errors import worst_first

    rows = [asdict(e) for e in worst_first(errors)]
    return [{k: round(v, 6) if isinstance(v, float) else v for k, v in row.items() if k != "tensor"} for row in rows]


def _print_layers(file: str, errors: Sequence[LayerError]) -> None:
    """Print the noisiest layers of a file."""
    rows = _layer_rows(errors)
    put("", f"{file}: {len(rows)} layers against float32, the noisiest first")
    cells = [
        (r["name"], r["operation"], f"{r['snr']:.1f}", f"{r['cosine']:.4f}", f"{100 * r['added']:.2f}")
        for r in rows[:_SHOWN]
    ]
    put(*table(cells, ("layer", "operation", "SNR, dB", "cosine", "noise of its own, %")))
    if len(rows) > _SHOWN:
        put(f"… and {len(rows) - _SHOWN} more; --json lists all")
