"""`tlc build` and what there is to build with."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .backbone import loading_options, say_notes
from .data_options import data_options
from .output import Steps, json_option, put_json, rate_or_off, say, size, table, unknown_figures

if TYPE_CHECKING:
    from tlc.compiler.findings import FileFindings, Findings
    from tlc.compiler.pipeline import Built, Result
    from tlc.compiler.records import Asked, FineTune, Score


def _kinds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    from tlc.compiler.augmentations import DEFAULT, parse_augment

    return DEFAULT if value is None else parse_augment(value)


@click.command()
@data_options
@click.option(
    "--target",
    required=True,
    metavar="NAME[,NAME…]",
    help="Device to build for; see `tlc targets`. Or the path of a target file.",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Bundle to write: one file if it ends in .tlc, else a folder.  [default: <data>.tlc]",
)
@click.option(
    "--backbone",
    default="efficientnet-lite0",
    show_default=True,
    metavar="NAME|PATH",
    help="Pretrained network: a name of `tlc backbones`, or a file, folder or FILE.py:FUNCTION.",
)
@loading_options
@click.option(
    "--shave",
    metavar="LAYER",
    help="Layer to cut the backbone at, by name or index of `tlc layers`, or auto.  [default: auto]",
)
@click.option(
    "--pool",
    type=click.Choice(["avg", "max", "flatten"]),
    default="avg",
    show_default=True,
    help="How the cut layer's feature map becomes a vector; flatten keeps where things are.",
)
@click.option(
    "--head",
    default="linear",
    show_default=True,
    metavar="KIND|FILE",
    help="What maps features to classes: linear, mlp, prototype (class means), none (every class is enrolled on "
    "the device), or a .keras file with a trained one.",
)
@click.option(
    "--augment",
    callback=_kinds,
    metavar="LIST|none",
    help="Copies of training images that are changed: mirror, rotate, crop, colour, resize-filter.  "
    "[default: resize-filter]",
)
@click.option(
    "--copies", default=1, show_default=True, type=click.IntRange(0, 100), help="Changed copies of each image."
)
@click.option(
    "--fine-tune",
    metavar="N|PATTERN|auto",
    help="Train the last N layers too, or those whose names match, or as many as the amount of data bears.",
)
@click.option("--epochs", default=20, show_default=True, type=click.IntRange(1), help="Epochs of fine-tuning at most.")
@click.option(
    "--learning-rate",
    default=3e-5,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Step of fine-tuning.",
)
@click.option(
    "--checkpoints",
    metavar="DIR",
    help="Where each epoch's state is kept.  [default: OUT.checkpoints, until the bundle is written]",
)
@click.option("--resume", is_flag=True, help="Go on with a fine-tuning that was stopped.")
@click.option("--logdir", metavar="DIR", help="Where logs for TensorBoard go.")
@click.option(
    "--scheme",
    type=click.Choice(["float32", "int8"]),
    help="Quantization scheme of the TFLite file.  [default: the target's]",
)
@click.option(
    "--max-drop",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Accuracy a file may lose against the float graph; more fails the build.",
)
@click.option(
    "--unknown",
    default="0.05",
    show_default=True,
    callback=rate_or_off,
    metavar="RATE|off",
    help="Share of known images that may be called unknown.",
)
@click.option(
    "--unknown-data",
    metavar="SRC",
    help="Images of anything else, to count how many pass for known.  [default: each class left out in turn]",
)
@click.option("--seed", default=0, show_default=True, help="Decides split, calibration set and folds.")
@click.option(
    "--threads",
    default=0,
    type=click.IntRange(min=0),
    help="Threads for inference during the build.  [default: one a core]",
)
@click.option(
    "--thumbnails/--no-thumbnails",
    default=True,
    help="Show a few of your images in the bundle's report.  [default: show]",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@json_option
def build(as_json: bool, target: str, output: str | None, data: str, asked: Asked, **given: Any) -> None:
    """Build a verified bundle for a device from labelled images.

    \b
    tlc build --target rpi --data photos/ -o photos.tlc
    tlc build --target rpi --data sample:digits -o digits.tlc
    """
    from tlc.compiler import Options
    from tlc.compiler import build as run

    given["unknown_rate"] = given.pop("unknown")
    given["fine_tune"] = _fine_tune(**{name: given.pop(name) for name in _FINE_TUNE})
    options = Options(
        data=data,
        targets=tuple(t.strip() for t in target.split(",") if t.strip()),
        output=Path(output or _output_name(data)),
        asked=asked,
        **given,
    )
    with Steps(quiet=as_json) as progress:
        result = run(options, progress)
    if as_json:
        put_json(_document(result))
    else:
        say_notes((), result.restored)
        _print(result)


_FINE_TUNE = ("fine_tune", "epochs", "learning_rate", "checkpoints", "resume", "logdir")


def _fine_tune(
    fine_tune: str | None, checkpoints: str | None, resume: bool, logdir: str | None, **numbers: Any
) -> FineTune | None:
    from tlc.compiler.records import FineTune

    if fine_tune is None:
        if checkpoints or resume or logdir:
            raise click.UsageError("--checkpoints, --resume and --logdir are for --fine-tune")
        return None
    folders = [Path(p) if p else None for p in (checkpoints, logdir)]
    return FineTune(fine_tune, checkpoints=folders[0], resume=resume, logdir=folders[1], **numbers)


def _output_name(data: str) -> str:
    """Return the bundle's name for a data set: that of its folder or file, without what says its kind."""
    from tlc.compiler.data_address import address_name
    from tlc.compiler.data_archive import SUFFIXES

    name = address_name(data) if "://" in data else Path(data.removeprefix("sample:")).resolve().name
    kinds = [kind for kind in (*SUFFIXES, ".csv", ".npz") if name.lower().endswith(kind)]
    return f"{name[: -len(max(kinds, key=len))] if kinds else name}.tlc"


def _models(built: Built) -> list[dict[str, Any]]:
    return [
        {
            **asdict(score),
            "interval": [round(found.accuracy.low, 5), round(found.accuracy.high, 5)],
            "calibration_error": None if found.reliability is None else round(found.reliability.error, 5),
            "milliseconds": round(milliseconds, 3),  # on this machine
        }
        for score, found, milliseconds in zip(built.scores, built.findings.files, built.milliseconds, strict=True)
    ]


def _worst(findings: Findings) -> dict[str, Any] | None:
    from tlc.compiler.findings import worst_class

    worst = worst_class(findings)
    if worst is None:
        return None
    return {
        "label": worst.label,
        "held_out": worst.held_out,
        "found": worst.recall.right if worst.recall else 0,
    }


def _document(result: Result) -> dict[str, Any]:
    from tlc.compiler.worries import worries

    accuracy: dict[str, float] = {"float": result.float_accuracy}
    for bundle in result.bundles:
        # One target: the files' own names; several: a file of the same name may differ.
        prefix = f"{bundle.target}/" if len(result.bundles) > 1 else ""
        accuracy.update({f"{prefix}{s.file}": s.accuracy for s in bundle.scores})
    return {
        "bundles": [
            {
                "path": str(b.path),
                "target": b.target,
                "scheme": b.scheme,
                "bytes": b.bytes,
                "models": _models(b),
                "worst_class": _worst(b.findings),
                "warnings": [asdict(w) for w in worries(b.findings)],
                "unknown": b.unknown,
            }
            for b in result.bundles
        ],
        "accuracy": accuracy,
        "seconds": {name: round(s, 3) for name, s in result.seconds.items()},
        "labels": list(result.labels),
        "images": dict(result.images),
        "held_out": result.held_out,
        "restored": [asdict(r) for r in result.restored],
        "skipped": [{"file": s.name, "reason": s.reason} for s in result.skipped],
        "duplicates": [asdict(group) for group in result.duplicates],
        "cached": result.cached,
        "notes": list(result.notes),
    }


def _print(result: Result) -> None:
    for note in result.notes:
        say(note)
    if result.cached:
        say(f"{result.cached} images were seen before: their features come from the cache")
    for skipped in result.skipped[:10]:
        say(f"skipped {skipped.name}: {skipped.reason}")
    if len(result.skipped) > 10:
        say(f"… and {len(result.skipped) - 10} more; all are in report.html")
    _print_duplicates(result)
    click.echo(
        f"{len(result.labels)} classes; {result.images['train']} training images, {result.held_out} held out; "
        f"accuracy of the float graph {result.float_accuracy:.3f}; {sum(result.seconds.values()):.0f} s"
    )
    said: set[str] = set()
    for b in result.bundles:
        click.echo(f"\n{b.path}  for {b.target}, {size(b.bytes)}")
        rows = [_row(*of_file) for of_file in zip(b.scores, b.findings.files, b.milliseconds, strict=True)]
        head = ("model", "scheme", "size", "accuracy", "95 % interval", "calibration error", "same answer as float")
        click.echo(table(rows, (*head, "embedding cosine", "ms here")))
        worst = _worst(b.findings)
        if worst:
            click.echo(f"worst class: {worst['label']}, {worst['found']} of {worst['held_out']} found")
        click.echo(f"unknown: {unknown_figures(b.unknown)}")
        said |= _warn(b.findings, said)
    first = result.bundles[0].path
    click.echo(f"\nNext, on the device:  tlc predict {first} IMAGE\nThe whole report:     tlc inspect {first} --report")


def _row(score: Score, found: FileFindings, milliseconds: float) -> tuple[str, ...]:
    return (
        score.file,
        score.scheme,
        size(score.bytes),
        f"{score.accuracy:.3f}",
        f"{found.accuracy.low:.3f} to {found.accuracy.high:.3f}",
        "-" if found.reliability is None else f"{found.reliability.error:.3f}",
        f"{score.agreement:.3f}",
        f"{score.embedding_cosine:.4f}",
        f"{milliseconds:.1f}",
    )


def _warn(findings: Findings, said: set[str]) -> set[str]:
    """Print and return the warnings that were not printed yet; copies and skipped files have lines of their own."""
    from tlc.compiler.worries import worries

    elsewhere = ("copies-in-classes", "copies-in-parts", "skipped")
    new = [w.text for w in worries(findings) if w.kind not in elsewhere and w.text not in said]
    for text in new:
        click.echo(f"! {text}")
    return set(new)


def _print_duplicates(result: Result) -> None:
    if not result.duplicates:
        return
    images = sum(len(group.images) for group in result.duplicates)
    say(f"near-duplicates: {images} images show {len(result.duplicates)} pictures; each kept on one side of the split")
    worrying = [g for g in result.duplicates if len(g.labels) > 1 or len(g.parts) > 1]
    for group in worrying[:5]:
        shown = ", ".join(group.images[:4]) + (", …" if len(group.images) > 4 else "")
        if len(group.labels) > 1:
            say(f"  {shown}: one picture in the classes {' and '.join(group.labels)}; a label is wrong")
        else:
            say(f"  {shown}: could not be kept together ({', '.join(group.parts)}); the accuracy flatters")
    if len(worrying) > 5:
        say(f"  … and {len(worrying) - 5} more like these; --json lists all")


@click.command()
@json_option
def targets(as_json: bool) -> None:
    """List the devices there are profiles for."""
    from tlc.targets import all_targets

    found = all_targets()
    if as_json:
        put_json({"targets": [asdict(t) for t in found]})
        return
    rows = [
        (
            t.name,
            t.title,
            "+".join(t.formats),
            t.scheme,
            t.threads or "all",
            size(t.model_bytes) if t.model_bytes else "-",
        )
        for t in found
    ]
    click.echo(table(rows, ("name", "device", "formats", "scheme", "threads", "largest model")))
