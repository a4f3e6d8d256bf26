"""Teach the class LABEL from a few example IMAGEs, or from what a camera sees; it is on disk when this returns.

IMAGE is a file, a folder, a pattern in quotes ('mug/*.jpg'), a .zip of images, @FILE for a list with a name per
line, or - for standard input. With --not there is no LABEL: what is like the IMAGEs is unknown from then on; they are
kept as `none of these`. With --camera each example is on disk when its line is there, so Ctrl-C keeps those.
Frames that repeat one taken before are left out, and at most ten times --count are looked at.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.cli.change import print_change
from tlc_edge.cli.numbers import Finite
from tlc_edge.cli.options import bundle_argument, device_options, json_option
from tlc_edge.cli.output import say
from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.labels import NONE_OF_THESE

if TYPE_CHECKING:
    from tlc_edge.runtime.classifier import Classifier
    from tlc_edge.runtime.gallery.records import Change

_COUNT, _EVERY = 20, 0.5


@click.command(help=__doc__)
@bundle_argument
@click.argument("label", required=False)
@click.argument("images", nargs=-1, metavar="[IMAGE]…")
@click.option("--not", "unwanted", is_flag=True, help="No LABEL: what is like these IMAGEs is unknown.")
@click.option("--camera", metavar="WHERE", help="Take frames from there, as `tlc watch` does, in place of IMAGEs.")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Frames of --camera to enroll.  [default: {_COUNT}]",
)
@click.option(
    "--every",
    type=Finite(min=0),
    metavar="SECONDS",
    help=f"Between two frames of a camera, an address or a video.  [default: {_EVERY:g}]",
)
@click.option(
    "--no-thumbnails",
    is_flag=True,
    help="Keep no picture of the examples; they can then not be migrated to another model.",
)
@device_options
@json_option
def enroll(
    bundle: str,
    label: str | None,
    images: tuple[str, ...],
    unwanted: bool,
    camera: str | None,
    count: int | None,
    every: float | None,
    no_thumbnails: bool,
    as_json: bool,
    **options: Any,
) -> None:
    from tlc_edge.runtime.classifier import Classifier
    from tlc_edge.runtime.images.named import named_images

    if unwanted:  # what stands in the label's place is the first image
        label, images = NONE_OF_THESE, (*([] if label is None else [label]), *images)
    elif label is None:
        raise click.UsageError("Missing argument 'LABEL'.")
    _check(images, camera, count, every)
    with Classifier.open(bundle, **options) as classifier:
        if camera is None:
            sources = (one.source for one in named_images(images))
            change = classifier.enroll(label, sources, thumbnails=not no_thumbnails, check_base=True)
        else:
            often = _EVERY if every is None else every
            change = _from_camera(classifier, label, camera, count or _COUNT, often, not no_thumbnails)
    print_change(change, as_json, added=True, warned=camera is not None)


def _check(images: tuple[str, ...], camera: str | None, count: int | None, every: float | None) -> None:
    """Raise UsageError unless there are images, or else a camera."""
    if images and camera is not None:
        raise UsageError("IMAGEs and --camera; give one of them")
    if not images and camera is None:
        raise UsageError("nothing to enroll; give one IMAGE or more, or --camera with a number, a video or an address")
    if camera is None and (count, every) != (None, None):
        raise UsageError("--count and --every go with --camera; IMAGEs are all enrolled")


def _from_camera(classifier: Classifier, label: str, camera: str, count: int, every: float, thumbnails: bool) -> Change:
    from contextlib import closing

    from tlc_edge.runtime.watch.camera import named
    from tlc_edge.runtime.watch.enroll_frames import Stopped, enroll_frames
    from tlc_edge.runtime.watch.frames import open_frames

    added = itertools.count(1)

    def tell(name: str, change: Change) -> None:
        odd = "; ".join(w.text for w in change.warnings)
        place = f"{next(added)}/{count}" if change.added else "left out"
        say(f"{place}  {name}{'  Warning: ' if odd else ''}{odd}")

    watched = open_frames(camera, every)
    say(f"watching {watched.text}")
    with closing(watched.frames) as frames:
        try:
            return enroll_frames(
                classifier,
                label,
                frames,
                count,
                every=every,
                name=named(camera),
                thumbnails=thumbnails,
                note=say,
                enrolled=tell,
            )
        except Stopped as e:
            e.add_note(f"{e.change.label}: {e.change.added} enrolled before that, which stay")
            raise
