"""Options and arguments that several commands have, each defined once; choices and defaults are the library's."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tlc_edge.runtime.engines.table import engine_names

from .numbers import Finite
from .output import say

Decorator = Callable[[Any], Any]


def all_of(*options: Decorator) -> Decorator:
    """Return one decorator that adds these options, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")

# --- labelled images

cache_option: Decorator = click.option(
    "--cache",
    metavar="DIR|off",
    help="Where features, downloads and unpacked archives are kept.  [default: $TLC_CACHE, or ~/.cache/tlc]",
)

_SOURCES_HELP = (
    "Labelled images: one folder per class, a pattern or @list of files in such folders, a .csv with "
    "path,label[,split], a table of pixels (with --labels and --shape), an .npz, a .zip or .tar of images, the address "
    "of one, another tool's export, a device's .gallery, or sample:digits. May be repeated."
)
_LABELLED = all_of(
    click.option(
        "--labels",
        metavar="FILE",
        help="Labels of a table of pixels: one column of names, or one-hot ones. With --head own: the network's.",
    ),
    click.option("--shape", metavar="H,W[,C]", help="Shape of the images in a table of pixels, such as 28,28,1."),
    click.option("--checksum", metavar="sha256:…", help="SHA-256 of what an address gives; it is then fetched once."),
    click.option(
        "--encoding",
        metavar="NAME",
        help="Of names in an archive, or of a .csv, that are not UTF-8, such as gbk or shift_jis.",
    ),
    click.option("--crop", type=click.Choice(("boxes",)), help="Make an image of each box, where photos have boxes."),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help="Use at most N images, spread over the classes; of a table of pixels, read its first N rows only.",
    ),
    click.option("--strict", is_flag=True, help="Fail where an image would be skipped."),
    cache_option,
)


def data_options(required: bool = True) -> Decorator:
    """Return the options that say where labelled images are; a command gets the sources as `data` and `more`.

    Where they are not required, `data` is None without any.
    """
    source = click.option("--data", required=required, multiple=True, metavar="SRC", help=_SOURCES_HELP)

    def add(command: Callable[..., None]) -> Any:
        @functools.wraps(command)
        def with_sources(data: tuple[str, ...], **rest: Any) -> None:
            command(data=data[0] if data else None, more=data[1:], **rest)

        return all_of(source, _LABELLED)(with_sources)

    return add


# --- what a file must reach

demand_options = all_of(
    click.option("--min-accuracy", type=Finite(0, 1), metavar="SHARE", help="Fail where a file is right less often."),
    click.option(
        "--min-class-recall", type=Finite(0, 1), metavar="SHARE", help="Fail where it finds less of any one class."
    ),
    click.option("--sure", is_flag=True, help="Judge both by the lower end of the 95 % interval."),
)

# --- a bundle, and whom the device trusts


def bundle_argument(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument BUNDLE, and `--allow-unsigned` with it."""
    return _with_bundle(command, required=True)


def optional_bundle(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument BUNDLE, which may be None, and `--allow-unsigned` with it."""
    return _with_bundle(command, required=False)


allow_unsigned_option: Decorator = click.option(
    "--allow-unsigned", is_flag=True, help="Go on, this once, where a key is trusted and did not sign this."
)


def _with_bundle(command: Callable[..., None], required: bool) -> Callable[..., None]:
    @functools.wraps(command)
    def opening(allow_unsigned: bool, **rest: Any) -> None:
        from tlc_edge.runtime.signing.policy import allowing

        with allowing(once(say)) if allow_unsigned else contextlib.nullcontext():
            command(**rest)

    added: Callable[..., None] = click.argument("bundle", required=required)(allow_unsigned_option(opening))
    return added


def once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Return what says a warning the first time only."""
    said: set[str] = set()

    def first(text: str) -> None:
        if text not in said:
            said.add(text)
            tell(f"Warning: {text}")

    return first


state_option: Decorator = click.option(
    "--state",
    metavar="DIR",
    help="Where tokens and certificates are kept.  [default: $TLC_SERVE, or ~/.config/tlc/serve]",
)

# --- what runs a model, and what was enrolled


def engine_option(others: str = "", default: str = "what is installed") -> Decorator:
    """Return `--engine`; `others` names what it takes besides one engine's name."""
    *names, last = engine_names()
    listed = f"{', '.join(names)} or {last}"
    return click.option("--engine", metavar="NAME", help=f"{listed}{others}.  [default: {default}]")


def threads_option(default: str = "the target's") -> Decorator:
    """Return `--threads` for inference on this machine; None where it is not given."""
    return click.option(
        "--threads", type=click.IntRange(min=0), help=f"Threads; 0: one per core.  [default: {default}]"
    )


def gallery_option(what: str = "Where enrolled examples are kept.") -> Decorator:
    """Return `--gallery`, a path or None; `what` says which gallery it is."""
    return click.option("--gallery", metavar="FILE", help=f"{what}  [default: <bundle>.gallery]")


def gallery_path(bundle: str, gallery: str | None) -> Path:
    """Return where the gallery lies that `--gallery` names, or else that of the bundle.

    Raises:
        TrustError: the bundle is there, and is none that this device trusts.
    """
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.gallery.path import default_gallery
    from tlc_edge.runtime.signing.policy import trusts

    if trusts() and Path(bundle).exists():
        Bundle.open(bundle)  # these commands read nothing of it, and are not to serve it either
    return Path(gallery) if gallery else default_gallery(Path(bundle))


engine_options = all_of(engine_option(), threads_option())
"""Of every command that runs a bundle's model."""

device_options = all_of(gallery_option(), engine_options)
"""Of every command that runs a model and uses the gallery."""


def rate_or_off(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Read a false-alarm rate for click: a number, or `off`, which is 0.

    Raises:
        click.BadParameter: it is neither.
    """
    if text is None:
        return None
    try:
        return 0.0 if text == "off" else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a rate from 0 to 1 nor 'off'") from None


def unknown_option(name: str, default: float | None = None) -> Decorator:
    """Return `--unknown`, which a command gets as `name`; without a default it is the bundle's own."""
    shown = "the bundle's" if default is None else f"{default:g}"
    return click.option(
        "--unknown",
        name,
        metavar="RATE|off",
        default=None if default is None else f"{default:g}",
        callback=rate_or_off,
        help=f"Share of known images that may be called unknown.  [default: {shown}]",
    )
