"""Read the files that a pattern or a list names; the class of each is the folder that it lies in."""

from __future__ import annotations

import glob
import os
import unicodedata
from pathlib import Path

from tlc_edge.compiler.data.records import Origin, Reading, Sample, Skipped
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.images.load import source_name
from tlc_edge.runtime.images.named import Named, named_images

from .split_folders import split_of

EXPECTED = ""
SUFFIXES: tuple[str, ...] = ()


def claims(origin: Origin) -> bool:
    """Return whether it is a pattern, or `@` and a list's name, and not a file or folder that is called like one."""
    data = origin.data
    return (data.startswith("@") or glob.has_magic(data)) and "://" not in data and not os.path.lexists(data)


def read(reading: Reading) -> list[Sample]:
    """Return the images, sorted by label and name; a folder of a split above that of the class is its split.

    Raises:
        DataError: there are none, or one lies in no folder that could be its class.
    """
    data = reading.origin.data
    paths: list[Path] = []
    for one in named_images([data]):
        if isinstance(one.source, str):
            paths.append(Path(one.source))
        else:
            reading.skipped.append(_skipped(one))
    if not paths:
        return []
    root = Path(os.path.commonpath([os.path.abspath(path.parent.parent) for path in paths]))  # noqa: PTH100
    reading.recognised.append("files, each of the class that its folder is called")
    samples = [_sample(path, root, data) for path in dict.fromkeys(paths)]
    return sorted(samples, key=lambda sample: (sample.label, sample.name))


def _sample(path: Path, root: Path, data: str) -> Sample:
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 - a link's own folder says its class
    label = unicodedata.normalize("NFC", folder.name).strip()
    if not label or split_of(label):
        raise DataError(
            f"{data}: {source_name(path)} lies in no folder of a class ({label or 'none'!r}); sort the images into one "
            "folder per class, or list them in a .csv with path,label"
        )
    name = source_name((folder / path.name).relative_to(root).as_posix())
    return Sample(path, label, split_of(folder.parent.name), name)


def _skipped(one: Named) -> Skipped:
    """Return why an image cannot be used: what is wrong with it, or that it is in an archive."""
    problem = one.problem or "in an archive, which is a --data of its own"
    return Skipped(one.name, problem.removeprefix(f"{one.name}: "))
