"""The options that say where labelled images come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_DATA = (
    "Labelled images: one folder a class, a .csv with path,label[,split], a table of pixels (with --labels and "
    "--shape), an .npz, a .zip or .tar of images, the address of one, or sample:digits."
)


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--data` and what belongs to it: data, labels, shape, checksum, cache, limit, strict."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


cache_option: Callable[[Any], Any] = click.option(
    "--cache",
    metavar="DIR|off",
    help="Where features, downloads and unpacked archives are kept.  [default: $TLC_CACHE, or ~/.cache/tlc]",
)

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--data", required=True, metavar="SRC", help=_DATA),
    click.option("--labels", metavar="FILE", help="Labels of a table of pixels: one column of names, or one-hot ones."),
    click.option("--shape", metavar="H,W[,C]", help="Shape of the images in a table of pixels, such as 28,28,1."),
    click.option("--checksum", metavar="sha256:…", help="SHA-256 of what an address gives; it is then fetched once."),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help="Use at most N images, spread over the classes; of a table of pixels, read its first N rows only.",
    ),
    click.option("--strict", is_flag=True, help="Fail where an image would be skipped."),
    cache_option,
)
