"""`tlc inspect`, `tlc verify` and `tlc selftest`: what a bundle is, and whether it still is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tlc.runtime.bundle import Bundle
from tlc.runtime.classifier import default_gallery
from tlc.runtime.engines import open_engine
from tlc.runtime.errors import DataError, SelftestError, UsageError
from tlc.runtime.gallery import Gallery
from tlc.runtime.manifest import to_json
from tlc.runtime.report import write_report
from tlc.runtime.selftest import failure
from tlc.runtime.selftest import selftest as run_selftest

from .data_options import data_options
from .device import engine_options
from .layer_table import layer_rows, print_layers
from .output import Steps, json_option, put_json, say, size, table, unknown_figures
from .parity_table import print_parity


@click.command()
@click.argument("bundle")
@click.option("--report", is_flag=True, help="Write the bundle's report, a page for the browser, to a file.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where the report goes; one that ends in .json is for machines.  [default: <bundle>.report.html]",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@json_option
def inspect(bundle: str, report: bool, output: str | None, force: bool, as_json: bool) -> None:
    """Show what is in a bundle; opening it checks every file's hash.

    \b
    tlc inspect photos.tlc
    tlc inspect photos.tlc --report -o photos.html
    """
    import json

    if not report and (output or force):
        raise UsageError("-o and --force say where the report goes; add --report")
    opened = Bundle.open(bundle)
    if report:
        path = write_report(opened, Path(output) if output else None, force)
        if as_json:
            put_json({"report": str(path), "bytes": path.stat().st_size})
        else:
            click.echo(f"{path}: open it in a browser")
        return
    m = opened.manifest
    enrolled: dict[str, int] = {}
    gallery = Gallery.open_any_if_exists(default_gallery(opened.path))
    if gallery is not None:
        with gallery:
            enrolled = gallery.classes()
    if as_json:
        document: dict[str, Any] = json.loads(to_json(m))
        put_json({"path": str(opened.path), "bytes": opened.bytes, "manifest": document, "enrolled": enrolled})
        return
    metrics: Any = m.metrics
    shape = f"{m.preprocessing.height}x{m.preprocessing.width}x{m.preprocessing.channels}"
    facts = [
        ("target", f"{m.target.get('title')} ({m.target.get('name')})"),
        ("classes", f"{len(m.labels)}: {', '.join(m.labels[:12])}{', …' if len(m.labels) > 12 else ''}"),
        ("enrolled", ", ".join(f"{c} {n}" for c, n in enrolled.items()) or "nothing"),
        (
            "backbone",
            f"{m.backbone.get('name')}, {m.backbone.get('pretrained_on')}, {m.backbone.get('licence')}",
        ),
        ("shave", f"{m.shave.get('layer')}, {m.shave.get('pool')} pooling, {m.shave.get('width')} features"),
        ("neck", f"{m.neck.get('kind')}, embedding of {m.embedding_width}"),
        ("head", m.head.get("kind")),
        ("input", f"{shape} uint8, {m.preprocessing.fit}, {m.preprocessing.filter}"),
        ("unknown", unknown_figures(metrics.get("unknown"))),
        ("built", f"{m.created} with tlc {m.versions.get('tlc')}, TensorFlow {m.versions.get('tensorflow')}"),
        ("fingerprint", m.fingerprint[:16]),
        ("size", size(opened.bytes)),
    ]
    for key, value in facts:
        click.echo(f"{key:<12} {value}")
    found: Any = metrics.get("models")
    rows: list[tuple[str, ...]] = []
    for model in m.models:
        low, high = _figure(found, model.file, "interval", 0), _figure(found, model.file, "interval", 1)
        accuracy, same = _figure(found, model.file, "accuracy"), _figure(found, model.file, "agreement")
        rows.append((model.file, model.scheme, size(model.bytes), accuracy, f"{low} to {high}", same))
    notes: Any = m.target.get("notes")
    for note in notes if isinstance(notes, list) else ():
        click.echo(f"{'note':<12} {note}")
    click.echo("\n" + table(rows, ("model", "scheme", "size", "accuracy", "95 % interval", "same answer as float")))
    click.echo(
        f"measured on {metrics.get('held_out')} held-out images; float graph {_figure(metrics, 'float', 'accuracy')}"
    )


def _figure(metrics: Any, *path: str | int) -> str:
    """Return a figure of the manifest's metrics, which hold what the tlc of that day wrote; `-` where there is none."""
    for step in path:
        try:
            metrics = metrics[step]
        except (KeyError, IndexError, TypeError):
            return "-"
    return f"{metrics:.3f}" if isinstance(metrics, int | float) else "-"


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
    """Measure a bundle's models on labelled images, against each other and against the labels."""
    from tlc.compiler.data import Origin, load_dataset
    from tlc.compiler.verify_bundle import verify_bundle
    from tlc.compiler.verify_layers import verify_layers

    opened = Bundle.open(bundle)
    with Steps(quiet=as_json) as progress:
        dataset = load_dataset(
            Origin(**origin), strict=strict, limit=limit, progress=lambda d, t: progress("load data", d, t)
        )
        found = verify_bundle(
            opened,
            dataset,
            engine,
            threads,
            lambda d, t: progress("verify", d, t),
        )
        by_layer = verify_layers(opened, dataset, lambda d, t: progress("layers", d, t)) if layers else {}
    if strict and found.skipped:
        first = found.skipped[0]
        raise DataError(f"{first.name}: {first.reason}; {len(found.skipped)} unreadable in all (--strict)")
    for note in (*dataset.notes, *found.problems):
        say(note)
    for s in found.skipped:
        say(f"skipped {s.name}: {s.reason}")
    if as_json:
        document: dict[str, Any] = {
            "images": found.images,
            "models": [asdict(s) for s in found.scores],
            "parity": [asdict(pair) for pair in found.parity.pairs],
            "skipped": [s.name for s in found.skipped],
            "problems": list(found.problems),
        }
        if layers:
            document["layers"] = {file: layer_rows(errors) for file, errors in by_layer.items()}
        put_json(document)
        return
    rows = [
        (
            s.file,
            s.engine,
            s.scheme,
            size(s.bytes),
            f"{s.accuracy:.3f}",
            "-" if s.agreement is None else f"{s.agreement:.3f}",
            "-" if s.embedding_cosine is None else f"{s.embedding_cosine:.4f}",
        )
        for s in found.scores
    ]
    click.echo(f"{found.images} images")
    click.echo(
        table(
            rows,
            ("model", "engine", "scheme", "size", "accuracy", "same answer as float", "embedding cosine"),
        )
    )
    print_parity(found.parity, "each model beside the others, on these images:")
    for file, errors in by_layer.items():
        print_layers(file, errors)


@click.command()
@click.argument("bundle")
@engine_options
@json_option
def selftest(bundle: str, engine: str | None, threads: int | None, as_json: bool) -> None:
    """Run the bundle's golden samples on this device; fails if the answers are not the expected ones."""
    opened = Bundle.open(bundle)
    runner, model = open_engine(opened, engine, threads)
    result = run_selftest(opened, runner, model)
    if as_json:
        put_json({**asdict(result), "passed": result.passed})
    else:
        rows = [
            (
                s.name,
                f"{s.cosine:.4f}",
                "-" if s.expected is None else f"{s.difference:.3f}",
                s.expected or "-",
                s.answer or "-",
                "" if s.passed else "FAILED",
            )
            for s in result.samples
        ]
        head = ("sample", "embedding cosine", "largest probability difference", "expected", "answer", "")
        click.echo(table(rows, head) + "\n")
        if result.image_difference is not None:
            click.echo(
                f"images: the test card's pixels differ by {result.image_difference:.1f} of 255 in the mean (at most "
                f"{result.image_tolerance}): {'passed' if result.prepared else 'FAILED'}"
            )
        click.echo(
            f"{result.file} on {result.engine}: {result.images} golden samples, lowest embedding cosine "
            f"{result.lowest_cosine:.4f} (at least {result.tolerance}), largest probability difference "
            f"{result.largest_difference:.3f} (at most {result.difference_tolerance}), {result.wrong_labels} labels "
            f"differ: {'passed' if result.passed else 'FAILED'}"
        )
    if not result.passed:
        raise SelftestError(failure(opened, result))
