"""Build a verified bundle for a device from labelled images.

\b
tlc build --target rpi --data photos/ -o photos.tlc
tlc build --target rpi --data sample:digits -o digits.tlc
tlc build --target web --data photos/ -o site/
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tlc_edge.cli.build_options import loading_options, pool_option, scheme_option, seed_option, threads_option
from tlc_edge.cli.build_summary import document, print_summary
from tlc_edge.cli.notes import say_notes
from tlc_edge.cli.numbers import Finite
from tlc_edge.cli.options import data_options, demand_options, json_option, unknown_option
from tlc_edge.cli.output import StepLines, put_json
from tlc_edge.cli.password import ask
from tlc_edge.compiler.options import AUGMENTATIONS, DEFAULT_AUGMENT, Asked, FineTune, Options, parse_augment
from tlc_edge.compiler.train.heads import head_help
from tlc_edge.targets.schemes import names


def _kinds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return DEFAULT_AUGMENT if value is None else parse_augment(value)


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in (value or "").split(",")))
    if value is not None and not all(names):
        raise click.BadParameter(f"{value!r}, expected names with commas between them")
    return names if value is not None else ()


@click.command(help=__doc__)
@data_options(required=False)
@click.option(
    "--features",
    metavar="STORE",
    help="Features of the images, from `tlc features`, in the place of --data; with --cluster, where they go.",
)
@click.option(
    "--cluster",
    metavar="auto|ADDRESS",
    help="Featurize on a Ray cluster: ray://HOST:PORT, or auto for the one that runs here, or else this machine.",
)
@click.option("--shards", type=click.IntRange(1, 1_000_000), metavar="N", help="Parts for the cluster.  [default: 32]")
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
    help="Bundle to write: one file if it ends in .tlc, else a folder. For the target web, a name that ends in / is a "
    "whole site, with the bundle beside it.  [default: <data>.tlc]",
)
@click.option(
    "--backbone",
    default=Options.backbone,
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
@pool_option
@click.option(
    "--head",
    default=Options.head,
    show_default=True,
    metavar="KIND|FILE",
    help=f"What maps features to classes: {head_help()}.",
)
@click.option(
    "--augment",
    callback=_kinds,
    metavar="LIST|none",
    help=f"Copies of training images that are changed: {', '.join(AUGMENTATIONS)}.  "
    f"[default: {','.join(DEFAULT_AUGMENT)}]",
)
@click.option(
    "--copies",
    default=Options.copies,
    show_default=True,
    type=click.IntRange(0, 100),
    help="Changed copies of each image.",
)
@click.option(
    "--fine-tune",
    metavar="N|PATTERN|auto",
    help="Train the last N layers too, or those whose names match, or as many as the amount of data bears.",
)
@click.option(
    "--epochs",
    default=FineTune.epochs,
    show_default=True,
    type=click.IntRange(1),
    help="Epochs of fine-tuning at most.",
)
@click.option(
    "--learning-rate",
    default=FineTune.learning_rate,
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
    "--formats",
    callback=_names,
    metavar="LIST",
    help="Of the target's files, those to build: tflite, onnx.  [default: all]",
)
@scheme_option
@click.option(
    "--onnx-scheme",
    type=click.Choice(names("onnx")),
    help="The same for the ONNX file, where the target has one.  [default: the target's]",
)
@click.option(
    "--max-drop",
    default=Options.max_drop,
    show_default=True,
    type=Finite(0, 100),
    metavar="POINTS",
    help="Accuracy a file may lose against the float graph.",
)
@click.option(
    "--ladder/--no-ladder",
    default=Options.ladder,
    help="Where a file loses more, try other ways to make it, or fail at once.  [default: try]",
)
@demand_options
@unknown_option("unknown_rate", Options.unknown_rate)
@click.option(
    "--unknown-data",
    metavar="SRC",
    help="Images of anything else, to count how many pass for known.  [default: each class held out in turn]",
)
@seed_option
@threads_option
@click.option(
    "--thumbnails/--no-thumbnails",
    default=Options.thumbnails,
    help="Show a few of your images in the bundle's report.  [default: show]",
)
@click.option(
    "--sign", "key", metavar="FILE", help="Sign the bundle with this secret key, of `tlc keygen`; see `tlc sign`."
)
@click.option(
    "--vendor",
    metavar="DIR",
    help="For a site: folder with its libraries, as `npm pack` makes them.  [default: from npm]",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option("-v", "--verbose", is_flag=True, help="Print all that was measured, not only what matters most.")
@json_option
def build(
    as_json: bool,
    verbose: bool,
    target: str,
    output: str | None,
    data: str | None,
    features: str | None,
    shards: int | None,
    asked: Asked,
    key: str | None,
    vendor: str | None,
    **given: Any,
) -> None:
    from tlc_edge.compiler import build as run
    from tlc_edge.compiler.data.bundle_name import bundle_name
    from tlc_edge.runtime.signing.secret_key import read_secret

    _refuse_idle(given)
    _check_source(data, features, given["cluster"], shards)
    given["fine_tune"] = _fine_tune(**{name: given.pop(name) for name in _FINE_TUNE})
    # A folder of another target is a bundle, with a slash or without.
    site = Path(output) if output and output.endswith("/") and target.strip() == "web" else None
    if vendor and site is None:
        raise click.UsageError("--vendor is for a site: --target web -o FOLDER/")
    options = Options(
        data=data or "",
        features=features,
        shards=shards or 0,
        targets=tuple(t.strip() for t in target.split(",") if t.strip()),
        output=site.with_name(f"{site.name}.tlc") if site else Path(output or bundle_name(data or features or "")),
        asked=asked,
        site=site,
        vendor=Path(vendor) if vendor else None,
        sign=None if key is None else read_secret(Path(key), ask),  # before the work, not after it
        **given,
    )
    with StepLines(quiet=as_json) as progress:
        result = run(options, progress)
    if as_json:
        put_json(document(result))
    else:
        say_notes((), result.restored)
        print_summary(result, verbose)


def _check_source(data: str | None, features: str | None, cluster: str | None, shards: int | None) -> None:
    """Refuse a build without images, or with two kinds of them.

    Raises:
        click.UsageError: it has none, or both.
    """
    if data is None and features is None:
        raise click.UsageError("Missing option '--data': the images, or --features for those of `tlc features`")
    if data is not None and features is not None and cluster is None:
        raise click.UsageError(
            "--data and --features: the store knows its images; leave --data out, or name a --cluster"
        )
    if cluster is not None and not cluster.strip():
        raise click.UsageError("--cluster is empty; expected auto, ray://HOST:PORT or HOST:PORT")
    if shards is not None and cluster is None:
        raise click.UsageError("--shards is for --cluster")


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
    if fine_tune is None:
        return None
    folders = [Path(p) if p else None for p in (checkpoints, logdir)]
    return FineTune(fine_tune, checkpoints=folders[0], resume=resume, logdir=folders[1], **numbers)
