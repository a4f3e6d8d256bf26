"""Sort the images in DIR into classes by typing; each is enrolled, and moved to DIR/CLASS.

For each image it shows the file and the best guesses. Type a guess's number, a class's name, new or known, `skip` (or
Enter), `undo` or `quit`; the first letter does. `=NAME` is always a class. What was sorted is on disk at once, so
Ctrl-C keeps it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.cli.answers import Answer, read_answer
from tlc_edge.cli.options import bundle_argument, device_options, json_option
from tlc_edge.cli.output import ask, put, put_json, say
from tlc_edge.runtime.errors import DeviceError, GalleryError, ImageError, UsageError

if TYPE_CHECKING:
    from tlc_edge.runtime.classifier import Classifier
    from tlc_edge.runtime.watch.sorting import Sorting

_GUESSES = 5


@click.command(help=__doc__)
@bundle_argument
@click.argument("folder", metavar="DIR")
@device_options
@json_option
def label(bundle: str, folder: str, as_json: bool, **options: Any) -> None:
    from tlc_edge.runtime.classifier import Classifier
    from tlc_edge.runtime.watch.sorting import Sorting

    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison] - closed: None
        raise UsageError(
            "tlc label asks at a terminal, and standard input is none; `tlc enroll BUNDLE LABEL IMAGE…` asks nothing"
        )
    with Classifier.open(bundle, **options) as classifier:
        sorting = Sorting(classifier, Path(folder))
        skipped, unreadable, left = 0, 0, len(sorting.pictures)
        try:
            skipped, unreadable, left = _ask_for_all(classifier, sorting)
        except KeyboardInterrupt as e:
            e.add_note(f"{_sorted(sorting.counts)} before that, which stay so")
            raise
        classes = classifier.classes()
    if as_json:
        counts = {"sorted": sorting.counts, "skipped": skipped, "unreadable": unreadable, "left": left}
        put_json({"folder": folder, **counts, "classes": {c: n for c, n in classes.items() if n}})
        return
    parts = [_sorted(sorting.counts), f"{skipped} skipped", f"{unreadable} not readable", f"{left} left"]
    put(f"{folder}: " + ", ".join(p for i, p in enumerate(parts) if i == 0 or not p.startswith("0 ")))


def _sorted(counts: dict[str, int]) -> str:
    classes = ", ".join(f"{label} {count}" for label, count in counts.items())
    return f"{sum(counts.values())} sorted{f' ({classes})' if classes else ''}"


def _ask_for_all(classifier: Classifier, sorting: Sorting) -> tuple[int, int, int]:
    """Ask about each picture; return how many were skipped, could not be read, and are left."""
    pictures = sorting.pictures
    skipped: set[int] = set()
    unreadable: set[int] = set()
    at = 0
    while at < len(pictures):
        try:
            answer = _ask(classifier, pictures[at], f"{at + 1} of {len(pictures)}")
            if answer.kind == "quit":
                break
            if answer.kind == "undo":
                at = _undo(sorting, at)
                continue
            skipped.discard(at)
            if answer.kind == "skip":
                skipped.add(at)
            else:
                change = sorting.sort(pictures[at], answer.text)
                known = " (known already)" if change.skipped else ""
                say(f"  {change.label}: {change.classes.get(change.label, 0)} enrolled{known}")
        except ImageError as e:
            say(str(e))
            unreadable.add(at)
        except UsageError as e:  # of a label that cannot be one: it is asked for again
            say(f"  {e}")
            continue
        at += 1
    return sum(i < at for i in skipped), sum(i < at for i in unreadable), len(pictures) - at


def _undo(sorting: Sorting, at: int) -> int:
    """Take back the latest sorting and return its place; that of now where it cannot be taken back."""
    try:
        return sorting.pictures.index(sorting.undo())
    except (UsageError, GalleryError, DeviceError) as e:
        say(f"  {e}")
        return at


def _ask(classifier: Classifier, picture: Path, place: str) -> Answer:
    """Show a picture's name and the best guesses, and ask until the answer is clear."""
    found = classifier.predict(picture)
    guesses = [r.label for r in found.ranked[:_GUESSES]]
    shown = "   ".join(f"{i} {r.label} {r.score:.2f}" for i, r in enumerate(found.ranked[:_GUESSES], 1))
    say(f"{picture}  ({place})", f"  {'unknown; nearest: ' if found.unknown else ''}{shown}")
    classes = classifier.classes()
    while True:
        answer = read_answer(ask("  number, class, skip, undo or quit: ", "quit"), guesses, classes)
        if answer.kind == "unclear":
            say(f"  {answer.text}")
        elif answer.kind != "new":
            return answer
        else:
            like = f"; there is {answer.like!r}" if answer.like else ""
            if ask(f"  {answer.text!r} is a new class{like}. Make it? y/n: ", "n").strip().lower() in ("y", "yes"):
                return answer
