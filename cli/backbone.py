"""Backbones: which there are, what layers they have, and the options that say how one is loaded."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.targets.schemes import names

from .data_options import data_options
from .numbers import SEED, Finite
from .output import Steps, json_option, put_json, say, size, table

if TYPE_CHECKING:
    from tlc_edge.compiler.records import Restored


def loading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how a backbone is loaded; it gets them as one `asked`."""

    @click.option(
        "--weights",
        metavar="FILE",
        help="Keras weights for keras:NAME or FILE.py:FUNCTION, or a checkpoint for the latter.",
    )
    @click.option("--alpha", type=Finite(0, min_open=True), help="Width of keras: networks that have several.")
    @click.option(
        "--input-size", callback=_size, metavar="N|HxW", help="Input in pixels.  [default: the network's own]"
    )
    @click.option(
        "--pixels",
        metavar="RANGE",
        help="What a network from a file was trained on: -1..1, 0..1, 0..255, imagenet or caffe.",
    )
    @click.option(
        "--restore",
        multiple=True,
        metavar="PATTERN",
        help="Regular expression of layers to restore from the checkpoint; may be repeated.  [default: all]",
    )
    @functools.wraps(command)
    def with_asked(
        weights: str | None,
        alpha: float | None,
        input_size: tuple[int, int] | None,
        pixels: str | None,
        restore: tuple[str, ...],
        **rest: Any,
    ) -> None:
        from tlc_edge.compiler.options import Asked

        command(asked=Asked(weights, input_size, alpha, pixels, restore), **rest)

    return with_asked


def _size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", value)
    if found is None:
        raise click.BadParameter(f"{value!r}, expected a number of pixels, or HEIGHTxWIDTH")
    return int(found[1]), int(found[2] or found[1])


def say_notes(notes: Sequence[str], restored: Sequence[Restored]) -> None:
    """Say on stderr what had to be assumed, and what a checkpoint gave."""
    for note in notes:
        say(f"Note: {note}")
    if restored:
        counts = Counter(r.outcome for r in restored)
        say(table([(r.variable, r.outcome, r.reason) for r in restored], ("variable", "", "why")))
        said = ", ".join(f"{counts[k]} {text}" for k, text in _OUTCOMES.items() if counts[k])
        say(f"Restored from the checkpoint: {said}")


_OUTCOMES = {
    "restored": "restored",
    "initial": "kept their initial values as asked",
    "shape": "did not fit by shape and kept their initial values",
    "missing": "were not in it and kept their initial values",
}


@click.command()
@json_option
def backbones(as_json: bool) -> None:
    """List the pretrained networks to start from.

    Besides these names, --backbone takes a .keras or .h5 file, a TensorFlow.js model.json, the folder of a
    SavedModel or a TF-Hub feature vector, and FILE.py:FUNCTION with --weights CHECKPOINT.
    """
    from tlc_edge.compiler.backbones.find import backbones as known

    found = known()
    if as_json:
        put_json({"backbones": [asdict(b) for b in found]})
        return
    rows = [
        (
            b.name,
            "x".join(map(str, b.input)),
            f"{b.parameters:,}",
            b.width,
            b.pretrained_on,
            b.licence,
            b.source,
            "yes" if b.installed else "no",
        )
        for b in found
    ]
    click.echo(
        table(
            rows,
            ("name", "input", "parameters", "features", "pretrained on", "licence", "weights from", "here"),
        )
    )


@click.command()
@click.argument("backbone", default="efficientnet-lite0")
@loading_options
@json_option
def layers(backbone: str, as_json: bool, asked: Any) -> None:
    """List a backbone's layers, to choose where to shave.

    \b
    tlc layers keras:MobileNetV2 --alpha 0.35
    tlc layers ./my-model.keras
    """
    from tlc_edge.compiler.backbones.list_layers import list_layers

    found, rows = list_layers(backbone, asked)
    say_notes(found.notes, found.restored)
    if as_json:
        put_json(
            {
                "backbone": found.name,
                "input": asdict(found.input),
                "default": found.default_shave,
                "why": found.default_reason,
                "removed": list(found.removed),
                "merged": dict(found.merged),
                "notes": list(found.notes),
                "restored": [asdict(r) for r in found.restored],
                "layers": [asdict(row) for row in rows],
            }
        )
        return
    click.echo(
        table(
            [
                (
                    r.index,
                    r.name,
                    r.kind,
                    "x".join(map(str, r.shape)),
                    f"{r.parameters:,}",
                    "?" if r.macs is None else f"{r.macs:,}",
                    "default" if r.default else "yes" if r.shave else "no",
                )
                for r in rows
            ],
            ("", "layer", "kind", "output", "parameters", "MACs", "shave"),
        )
    )
    known = [r.macs for r in rows if r.macs is not None]
    work = f"{sum(known):,}" if len(known) == len(rows) else "an unknown number of"
    click.echo(f"\n{sum(r.parameters for r in rows):,} parameters, {work} MACs an image")
    click.echo(f"Default: {found.default_shave}, {found.default_reason}")
    for r in rows[1:]:
        if r.reason and not r.default and not r.shave:
            click.echo(f"Not at {r.name}: {r.reason}")
    if found.removed:
        click.echo(f"Left off: {', '.join(found.removed)}")
    if found.merged:
        click.echo(f"{len(found.merged)} layers are folded into others; their names can be given all the same")


@click.command()
@click.argument("backbone", nargs=-1)
@data_options
@click.option("--target", required=True, metavar="NAME", help="Device whose scheme decides the model's size and speed.")
@loading_options
@click.option("--layer", "layers", multiple=True, metavar="LAYER", help="Where to cut; may be repeated.")
@click.option("--pool", type=click.Choice(["avg", "max", "flatten"]), default="avg", show_default=True)
@click.option(
    "--scheme",
    type=click.Choice(names("tflite")),
    help="In place of the target's own.",
)
@click.option("--plot", metavar="FILE.svg", help="Write the table as a picture too.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Decides the split.")
@click.option("--threads", default=0, type=click.IntRange(min=0), help="Threads to featurize.  [default: one a core]")
@json_option
def sweep(backbone: tuple[str, ...], plot: str | None, as_json: bool, **given: Any) -> None:
    """Compare cuts of a backbone, or several backbones, on your data.

    Features are kept, so that a second sweep over the same images is fast.

    \b
    tlc sweep --data photos/ --target rpi --plot sweep.svg
    tlc sweep efficientnet-lite0 mobilenet-v2 --data photos/ --target rpi
    """
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
    with Steps(quiet=as_json) as progress:
        found = run(options, progress)
    if plot:
        Path(plot).write_text(draw(found.rows, f"{options.data}, for {options.target}"), encoding="utf-8")
    if as_json:
        put_json(asdict(found))
        return
    say_notes(found.notes, ())
    rows = [
        (
            r.backbone,
            r.layer,
            r.features,
            f"{r.parameters:,}",
            "?" if r.macs is None else f"{r.macs / 1e6:.1f}",
            f"{r.accuracy:.3f}",
            size(r.bytes),
            f"{r.milliseconds:.2f}",
            "*" if r.pareto else "",
        )
        for r in found.rows
    ]
    head = ("backbone", "layer", "features", "parameters", "MMACs", "accuracy", "size", "ms here", "Pareto")
    click.echo(table(rows, head))
    click.echo(f"\naccuracy on {found.validation} validation images, linear head on float features; time on one thread")
