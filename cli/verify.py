"""`tlc verify`: a bundle's models on labelled images, later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.errors import DataError, TlcError

from .data_options import data_options
from .layer_table import layer_rows, print_layers
from .output import Steps, json_option, put_json, say, size, table
from .parity_table import print_parity

if TYPE_CHECKING:
    from tlc_edge.compiler.verify.bundle import Verified
    from tlc_edge.compiler.verify.layer_errors import LayerError


@click.command()
@click.argument("bundle")
@data_options
@click.option(
    "--engine",
    metavar="NAME",
    help="Only this engine, or `all` that are installed.  [default: the best for each model]",
)
@click.option("--threads", type=click.IntRange(min=0), help="Threads; 0: one a core.")
@click.option("--layers", is_flag=True, help="Show which layers lose most against the bundle's float32 model.")
@json_option
def verify(
    bundle: str,
    engine: str | None,
    threads: int | None,
    layers: bool,
    limit: int | None,
    strict: bool,
    as_json: bool,
    **origin: Any,
) -> None:
    """Measure a bundle's models on labelled images, against each other and against the labels.

    Images of classes that the bundle does not know count for the comparison of the models, not for the accuracy.
    """
    from tlc_edge.compiler.data.load import Origin, load_dataset
    from tlc_edge.compiler.verify.bundle import verify_bundle
    from tlc_edge.compiler.verify.bundle_layers import verify_layers

    opened = Bundle.open(bundle)
    by_layer: dict[str, tuple[LayerError, ...]] | None = None
    without_layers: list[str] = []
    with Steps(quiet=as_json) as progress:
        dataset = load_dataset(
            Origin(**origin), strict=strict, limit=limit, progress=lambda d, t: progress("load data", d, t)
        )
        found = verify_bundle(opened, dataset, engine, threads, lambda d, t: progress("verify", d, t))
        if layers:
            try:
                by_layer = verify_layers(opened, dataset, lambda d, t: progress("layers", d, t))
            except TlcError as e:  # what was measured is told all the same
                without_layers.append(f"no layers: {e}")
    if strict and found.skipped:
        first = found.skipped[0]
        raise DataError(f"{first.name}: {first.reason}; {len(found.skipped)} unreadable in all (--strict)")
    notes = [*dataset.notes, *found.notes, *without_layers]
    for note in (*notes, *found.problems):
        say(note)
    for s in found.skipped:
        say(f"skipped {s.name}: {s.reason}")
    if as_json:
        document = _document(found, notes)
        if layers:
            rows = None if by_layer is None else {file: layer_rows(errors) for file, errors in by_layer.items()}
            document["layers"] = rows
        put_json(document)
    else:
        _print(found, by_layer or {})


def _document(found: Verified, notes: Sequence[str]) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "images": found.images,
        "judged": found.judged,
        "models": [asdict(s) for s in found.scores],
        "parity": [asdict(pair) for pair in found.parity.pairs],
        "skipped": [s.name for s in found.skipped],
        "problems": list(found.problems),
        "notes": list(notes),
    }


def _print(found: Verified, by_layer: Mapping[str, Sequence[LayerError]]) -> None:
    """Print what a person wants to know."""
    rows = [
        (
            *(s.file, s.engine, s.scheme, size(s.bytes)),
            *("-" if share is None else f"{share:.3f}" for share in (s.accuracy, s.agreement)),
            "-" if s.embedding_cosine is None else f"{s.embedding_cosine:.4f}",
        )
        for s in found.scores
    ]
    click.echo(f"{found.images} images")
    head = ("model", "engine", "scheme", "size", "accuracy", "same answer as float", "embedding cosine")
    click.echo(table(rows, head))
    print_parity(found.parity, "each model beside the others, on these images:")
    for file, errors in by_layer.items():
        print_layers(file, errors)
