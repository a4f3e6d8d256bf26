"""The commands of the device: predict, enroll, forget, undo."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import click

from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.gallery.records import Change
from tlc_edge.runtime.images.load import Source
from tlc_edge.runtime.knn.prediction import Prediction

from .output import json_option, put_json, rate_or_off, say

_gallery = click.option(
    "--gallery", metavar="FILE", help="Where enrolled examples are kept.  [default: <bundle>.gallery]"
)
_engine = click.option(
    "--engine", metavar="NAME", help="ai-edge-litert, tflite-runtime or onnxruntime.  [default: what is installed]"
)
_threads = click.option(
    "--threads", type=click.IntRange(min=0), help="Threads; 0: one a core.  [default: the target's]"
)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that runs a model."""
    return _engine(_threads(command))


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that runs a model and uses the gallery."""
    return _gallery(engine_options(command))


rate_option: Callable[[Any], Any] = click.option(
    "--unknown",
    "rate",
    metavar="RATE|off",
    callback=rate_or_off,
    help="Share of known images that may be called unknown.  [default: the bundle's]",
)


@click.command()
@click.argument("bundle")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option("--top", default=3, show_default=True, type=click.IntRange(min=1), help="Classes to show for each image.")
@rate_option
@device_options
@json_option
def predict(bundle: str, images: tuple[str, ...], top: int, rate: float | None, as_json: bool, **options: Any) -> None:
    """Say what is on each IMAGE (- reads one from standard input)."""
    results: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with Classifier.open(bundle, unknown=rate, **options) as classifier:
        sources = [image_source(name) for name in images]
        for name, prediction in zip(images, classifier.predict_many(sources, errors="return"), strict=True):
            if isinstance(prediction, ImageError):
                say(f"Error: {prediction}")
                failed.append({"image": name, "error": str(prediction)})
            elif as_json:
                results.append(_document(name, prediction))
            else:
                click.echo(f"{name}: {_line(prediction, top)}")
    if as_json:
        put_json({"results": results, **({"errors": failed} if failed else {})})
    if failed:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("bundle")
@click.argument("label")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option(
    "--no-thumbnails",
    is_flag=True,
    help="Keep no picture of the examples; they can then not be migrated to another model.",
)
@device_options
@json_option
def enroll(
    bundle: str, label: str, images: tuple[str, ...], no_thumbnails: bool, as_json: bool, **options: Any
) -> None:
    """Teach the class LABEL from a few example IMAGEs; it is on disk when this returns."""
    with Classifier.open(bundle, **options) as classifier:
        sources = [image_source(i) for i in images]
        change = classifier.enroll(label, sources, thumbnails=not no_thumbnails, check_base=True)
    _report(change, as_json, added=True)


@click.command()
@click.argument("bundle")
@click.argument("label")
@device_options
@json_option
def forget(bundle: str, label: str, as_json: bool, **options: Any) -> None:
    """Remove what was enrolled as LABEL; `tlc undo` brings it back."""
    with Classifier.open(bundle, selftest=False, **options) as classifier:
        change = classifier.forget(label)
    _report(change, as_json, added=False)


@click.command()
@click.argument("bundle")
@device_options
@json_option
def undo(bundle: str, as_json: bool, **options: Any) -> None:
    """Take back the latest enroll, forget, rename, import or limit; again and again, it walks back."""
    with Classifier.open(bundle, selftest=False, **options) as classifier:
        change = classifier.undo()
    _report(change, as_json, added=change.added > 0 or not change.removed)


def image_source(name: str) -> Source:
    """Return what an IMAGE argument stands for; `-` is standard input."""
    if name != "-":
        return name
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - so Python says that it is closed
        raise ImageError("-: standard input is closed, expected an image there")
    return sys.stdin.buffer


def _document(name: str, p: Prediction) -> dict[str, Any]:
    return {
        "image": name,
        "label": p.label,
        "score": round(p.score, 6),
        "source": p.source,
        "unknown": p.unknown,
        "ranked": [{"label": r.label, "score": round(r.score, 6)} for r in p.ranked],
        "knownness": round(p.knownness, 4),
        "threshold": round(p.threshold, 4) if math.isfinite(p.threshold) else None,
        "neighbours": [{"id": n.id, "label": n.label, "similarity": round(n.similarity, 4)} for n in p.neighbours],
        "milliseconds": {k: round(v, 3) for k, v in p.milliseconds.items()},
    }


def _line(p: Prediction, top: int) -> str:
    ranked = ", ".join(f"{r.label} {r.score:.2f}" for r in p.ranked[:top])
    return f"unknown (nearest: {ranked})" if p.unknown else ranked


def _report(change: Change, as_json: bool, added: bool) -> None:
    direction, count = ("added", change.added) if added else ("removed", change.removed)
    for warning in change.warnings:
        say(f"Warning: {warning.image} {warning.text}")
    if as_json:
        put_json(
            {
                "label": change.label,
                **({"added": change.added, "removed": change.removed} if change.undone else {direction: count}),
                "classes": dict(change.classes),
                "kind": change.kind,
                "skipped": change.skipped,
                "gone": change.gone,
                "warnings": [vars(w) for w in change.warnings],
                **({"base": vars(change.base)} if change.base is not None else {}),
            }
        )
        return
    done = f"{change.label or change.undone}: {count} {'example' if count == 1 else 'examples'} {direction}"
    if change.undone:
        done += f", {change.removed} removed" if added and change.removed else ""
        done += f" (took back: {change.undone})"
    if change.skipped:
        done += f", {change.skipped} known already"
    if change.gone:
        done += f", {change.gone} gave way to the limit (see `tlc gallery limit`)"
    click.echo(done)
    click.echo("enrolled: " + (", ".join(f"{c} {n}" for c, n in change.classes.items()) or "nothing"))
    if change.base is not None and change.base.exemplars:
        b = change.base
        click.echo(
            f"base classes: {b.after} of {b.exemplars} exemplars would now be taken for something enrolled "
            f"({b.before} before)"
        )
