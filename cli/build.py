"""`tlc build` and what there is to build with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tlc_edge.targets.schemes import names

from .backbone import loading_options, say_notes
from .build_summary import document, print_summary
from .data_options import data_options
from .numbers import SEED, Finite
from .output import Steps, json_option, put_json, rate_or_off, size, table

if TYPE_CHECKING:
    from tlc_edge.compiler.options import Asked, FineTune


def _kinds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    from tlc_edge.compiler.options import DEFAULT_AUGMENT, parse_augment

    return DEFAULT_AUGMENT if value is None else parse_augment(value)


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
    default=3e-4,
    show_default=True,
    type=Finite(0, min_open=True),
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
    type=click.Choice(names("tflite")),
    help="Quantization scheme of the TFLite file.  [default: the target's]",
)
@click.option(
    "--onnx-scheme",
    type=click.Choice(names("onnx")),
    help="The same for the ONNX file, where the target has one.  [default: the target's]",
)
@click.option(
    "--max-drop",
    default=2.0,
    show_default=True,
    type=Finite(0, 100),
    metavar="POINTS",
    help="Accuracy a file may lose against the float graph.",
)
@click.option(
    "--ladder/--no-ladder",
    default=True,
    help="Where a file loses more, try other ways to make it, or fail at once.  [default: try]",
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
@click.option("--seed", default=0, show_default=True, type=SEED, help="Decides split, calibration set and folds.")
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
    from tlc_edge.compiler import Options
    from tlc_edge.compiler import build as run

    _refuse_idle(given)
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
        put_json(document(result))
    else:
        say_notes((), result.restored)
        print_summary(result)


_FINE_TUNE = ("fine_tune", "epochs", "learning_rate", "checkpoints", "resume", "logdir")


def _refuse_idle(given: Mapping[str, Any]) -> None:
    """Refuse options that would change nothing without another one.

    Raises:
        click.UsageError: there is one.
    """

    def typed(name: str) -> bool:
        return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE

    if given["fine_tune"] is None and any(typed(name) for name in _FINE_TUNE):
        raise click.UsageError("--epochs, --learning-rate, --checkpoints, --resume and --logdir are for --fine-tune")
    if not given["augment"] and given["copies"] and typed("copies"):
        raise click.UsageError("--copies is for --augment, which names nothing that changes them")


def _fine_tune(
    fine_tune: str | None, checkpoints: str | None, resume: bool, logdir: str | None, **numbers: Any
) -> FineTune | None:
    from tlc_edge.compiler.options import FineTune

    if fine_tune is None:
        return None
    folders = [Path(p) if p else None for p in (checkpoints, logdir)]
    return FineTune(fine_tune, checkpoints=folders[0], resume=resume, logdir=folders[1], **numbers)


def _output_name(data: str) -> str:
    """Return the bundle's name for a data set: that of its folder or file, without what says its kind."""
    from tlc_edge.compiler.data.address import address_name
    from tlc_edge.compiler.data.archive import SUFFIXES

    name = address_name(data) if "://" in data else Path(data.removeprefix("sample:")).resolve().name
    kinds = [kind for kind in (*SUFFIXES, ".csv", ".npz") if name.lower().endswith(kind)]
    return f"{name[: -len(max(kinds, key=len))] if kinds else name}.tlc"


@click.command()
@json_option
def targets(as_json: bool) -> None:
    """List the devices there are profiles for."""
    from tlc_edge.targets import all_targets

    found = all_targets()
    if as_json:
        put_json({"targets": [asdict(t) for t in found]})
        return
    rows = [
        (
            t.name,
            t.title,
            "+".join((*t.formats, *t.extras)),
            t.scheme,
            t.threads or "all",
            size(t.model_bytes) if t.model_bytes else "-",
            size(t.peak_memory_bytes) if t.peak_memory_bytes else "-",
        )
        for t in found
    ]
    click.echo(table(rows, ("name", "device", "files", "scheme", "threads", "largest model", "most memory")))
