"""Options of the commands that make something of a backbone; choices and defaults are those of the build."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import click

from tlc_edge.compiler.options import PIXEL_RANGES, POOLS, SEEDS, Asked, Options
from tlc_edge.targets.schemes import names

from .numbers import Finite
from .options import Decorator, all_of

pool_option: Decorator = click.option(
    "--pool",
    type=click.Choice(POOLS),
    default=Options.pool,
    show_default=True,
    help="How the cut layer's feature map becomes a vector; flatten keeps where things are.",
)

scheme_option: Decorator = click.option(
    "--scheme",
    type=click.Choice(names("tflite")),
    help="Quantization scheme of the TFLite file.  [default: the target's]",
)

seed_option: Decorator = click.option(
    "--seed",
    default=Options.seed,
    show_default=True,
    type=click.IntRange(0, SEEDS - 1),
    help="Decides the split and whatever else is drawn.",
)

threads_option: Decorator = click.option(
    "--threads",
    default=Options.threads,
    type=click.IntRange(min=0),
    help="Threads for inference.  [default: one per core]",
)


def _size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", value)
    if found is None:
        raise click.BadParameter(f"{value!r}, expected a number of pixels, or HEIGHTxWIDTH")
    return int(found[1]), int(found[2] or found[1])


_LOADING = all_of(
    click.option(
        "--weights",
        metavar="FILE",
        help="Keras weights for keras:NAME or FILE.py:FUNCTION, or a checkpoint for the latter.",
    ),
    click.option("--alpha", type=Finite(0, min_open=True), help="Width of keras: networks that have several."),
    click.option(
        "--input-size", callback=_size, metavar="N|HxW", help="Input in pixels.  [default: the network's own]"
    ),
    click.option(
        "--pixels",
        metavar="RANGE",
        help=f"What a network from a file was trained on: {', '.join(PIXEL_RANGES[:-1])} or {PIXEL_RANGES[-1]}.",
    ),
    click.option(
        "--restore",
        multiple=True,
        metavar="PATTERN",
        help="Regular expression of layers to restore from the checkpoint; may be repeated.  [default: all]",
    ),
)


def loading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how a backbone is loaded; it gets them as one `asked`."""

    @functools.wraps(command)
    def with_asked(
        weights: str | None,
        alpha: float | None,
        input_size: tuple[int, int] | None,
        pixels: str | None,
        restore: tuple[str, ...],
        **rest: Any,
    ) -> None:
        command(asked=Asked(weights, input_size, alpha, pixels, restore), **rest)

    added: Callable[..., None] = _LOADING(with_asked)
    return added
