"""Labelled images, from whatever `--data` names.

Needs numpy and Pillow only, because `tlc verify` on a device reads data sets too (pooch, for addresses,
is imported when there is one). Nothing is decoded while a data set is loaded: see `decode`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from tlc_edge.runtime.errors import DataError, UsageError
from tlc_edge.runtime.labels import MAX_LABEL, NONE_OF_THESE, is_label
from tlc_edge.runtime.progress import Count, silent

from .decode import decode, decode_all
from .exports import forms as exports
from .forms import (
    address,
    archive,
    by_folder,
    csv_list,
    folder,
    gallery,
    npz,
    pixel_table,
    remote,
    sample_set,
    webdataset,
)
from .records import Dataset, Origin, Reading, Sample, Skipped, refuse
from .together import Part, put_together

__all__ = ["Dataset", "Origin", "Sample", "Skipped", "decode", "decode_all", "load_dataset"]


_REST = frozenset(("unknown", "other", "others", "none", "negative", "negatives", NONE_OF_THESE))


class Form(Protocol):
    """A module that reads data sets of one form."""

    @property
    def EXPECTED(self) -> str:  # noqa: N802 - a constant of the module
        """What may be given, for an error about a path; empty for what is no path."""
        ...

    @property
    def SUFFIXES(self) -> tuple[str, ...]:  # noqa: N802
        """Of its files, in lower case."""
        ...

    def claims(self, origin: Origin) -> bool:
        """Return whether what is given is of this form, good or not."""
        ...

    def read(self, reading: Reading) -> list[Sample]:
        """Return its images, none of them decoded; raises a TlcError where it cannot be read."""
        ...


FORMS: tuple[Form, ...] = (
    pixel_table,
    sample_set,
    remote,
    address,
    webdataset,
    archive,
    exports,
    folder,
    csv_list,
    npz,
    gallery,
    by_folder,
)
"""The forms of data sets; the first that claims one reads it."""


def load_dataset(
    data: str | Origin, *, strict: bool = False, limit: int | None = None, progress: Count = silent
) -> Dataset:
    """Read a data set without decoding any image; a string stands for an `Origin` with only that.

    `limit` keeps at most so many images, spread evenly over the classes; of a pixel table, its first rows,
    and the others are not read. `progress` is called with kibibytes where there is something to download.

    Raises:
        UsageError: an unknown sample, options that do not go together, or a limit below the number of classes.
        DataError: nothing usable there; or, with `strict`, a file would be skipped.
    """
    origin = Origin(data) if isinstance(data, str) else data
    name = address.told(origin.data)
    if (origin.labels is None) != (origin.shape is None):
        raise UsageError("a table of pixels needs both --labels and --shape; give the other one too")
    if origin.checksum is not None and not address.claims(origin):
        raise UsageError(f"--checksum is for addresses, but the data are {name!r}; leave it out")
    if origin.more and (origin.labels or origin.checksum):
        raise UsageError(
            "--labels, --shape and --checksum say something of one source; give one --data, or leave them out"
        )
    reading = Reading(origin, _expected(), limit, progress, _read)
    try:
        samples = _read_all(reading) if origin.more else _read(reading)
        return finish(samples, reading, strict)
    except OSError as e:
        raise DataError(f"{e.filename or name}: cannot be read ({e.strerror or e})") from None
    except DataError as e:
        for kind in reading.recognised:
            e.add_note(f"{name} was taken for {kind}")
        for note in reading.notes:  # what was passed over may be what was meant
            e.add_note(note)
        raise


def _read_all(reading: Reading) -> list[Sample]:
    """Read several data sets as one.

    Raises:
        TlcError: one cannot be read.
    """
    parts: list[Part] = []
    kinds: list[str] = []
    for source in (reading.origin.data, *reading.origin.more):
        skipped: list[Skipped] = []
        one = replace(reading, origin=replace(reading.origin, data=source, more=()), skipped=skipped, recognised=[])
        parts.append(Part(source, _read(one), skipped))
        kinds.append(", ".join(one.recognised))
    names = map(address.told, (reading.origin.data, *reading.origin.more))
    reading.recognised.append("; ".join(f"{name}: {kind}" for name, kind in zip(names, kinds, strict=True)))
    return put_together(parts, reading.skipped, reading.notes)


def _read(reading: Reading) -> list[Sample]:
    """Read a data set in the first form that claims it.

    Raises:
        DataError: none does.
    """
    form = next((form for form in FORMS if form.claims(reading.origin)), None)
    if form is not None:
        return form.read(reading)
    path = reading.existing(reading.origin.data)
    raise DataError(f"{path}: expected {reading.expected}")


def _expected() -> str:
    """Return what may be given, for an error about something else."""
    *most, last = [form.EXPECTED for form in FORMS if form.EXPECTED]
    return f"{', '.join(most)}, or {last}"


def finish(samples: list[Sample], reading: Reading, strict: bool) -> Dataset:
    """Return a data set of these samples: check what every form must hold to, and apply the limit.

    Raises:
        UsageError: a limit below the number of classes.
        DataError: there are none, or no two classes; or, with `strict`, a file would be skipped.
    """
    origin, limit, skipped, notes = address.told(reading.origin.data), reading.limit, reading.skipped, reading.notes
    if skipped and (strict or not samples):
        raise refuse(skipped)
    if not samples:
        raise DataError(f"{origin}: no images in it; give {reading.expected}")
    labels = sorted({sample.label for sample in samples})
    for label in labels:
        if not is_label(label):
            raise DataError(
                f"{origin}: {label[:60]!r} cannot be a label; use text on one line of at most {MAX_LABEL} characters"
            )
    notes.extend([*_alike(labels, origin), *_none_of_the_others(labels, origin)])
    if len(labels) < 2:
        raise DataError(f"{origin}: only one class, {labels[0]!r}; at least two are needed, in one folder per class")
    if limit is not None:
        samples = _spread(samples, labels, limit)
    what = ", ".join(reading.recognised)
    told = what if reading.origin.more else f"{origin}: {what}" if what else origin
    recognised = f"{told}; {len(samples)} images of {len(labels)} classes"
    return Dataset(tuple(samples), tuple(labels), tuple(skipped), origin, tuple(notes), recognised)


def _alike(labels: list[str], origin: str) -> list[str]:
    """Return a warning for each group of labels that differ only in case or spaces."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        bare = "".join(label.split()).casefold()
        whole = bare.removesuffix(".0")  # as pandas writes whole numbers of a column that has gaps
        groups.setdefault(whole if whole.isdecimal() else bare, []).append(label)
    return [
        f"{origin}: the labels {' and '.join(map(repr, group))} differ only in case, spaces or a decimal, and are "
        f"{len(group)} classes; if one is meant, write it one way"
        for group in groups.values()
        if len(group) > 1
    ]


def _none_of_the_others(labels: list[str], origin: str) -> list[str]:
    """Return a warning for each class that is called as if it were of whatever is in no other class."""
    return [
        f"{origin}: {label!r} is learned as a class like the others; if it holds whatever is none of them, give its "
        "images with --unknown-data instead, so that what is like them is called unknown"
        for label in labels
        if label.casefold() in _REST and len(labels) > 2
    ]


def _spread(samples: list[Sample], labels: list[str], limit: int) -> list[Sample]:
    """Keep `limit` samples, the same number of each class where it has them, evenly over its order."""
    if limit < len(labels):
        raise UsageError(f"a limit of {limit} images is below the number of classes, {len(labels)}; raise it")
    members = {label: [i for i, s in enumerate(samples) if s.label == label] for label in labels}
    keep: list[int] = []
    # From the smallest class up: what a small class leaves over goes to the larger ones.
    for done, label in enumerate(sorted(labels, key=lambda name: (len(members[name]), name))):
        own = members[label]
        share = min(len(own), (limit - len(keep)) // (len(labels) - done))
        keep += [own[i * len(own) // share] for i in range(share)]
    return [samples[i] for i in sorted(keep)]
