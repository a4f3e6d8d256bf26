"""Read a folder per class."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from tlc_edge.compiler.data.records import Origin, Reading, Sample, Skipped
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.images.load import source_name
from tlc_edge.runtime.images.walk import folders_in, holds_images, loose_images, walk

from .split_folders import ClassFolder, plan_folder

EXPECTED = "a folder with one folder per class"
SUFFIXES: tuple[str, ...] = ()


def claims(origin: Origin) -> bool:
    """Return whether it is a folder."""
    return Path(origin.data).is_dir()


def read(reading: Reading) -> list[Sample]:
    """Return the images of a folder per class, below the folders of a split or not; sorted by label and name.

    Raises:
        DataError: the images or the classes lie at another depth, or a split's folder could only be a class.
    """
    root, skipped = Path(reading.origin.data), reading.skipped
    loose = loose_images(root)
    if loose and not any(map(holds_images, folders_in(root))):
        raise DataError(
            f"{root}: {len(loose)} images lie directly in it, such as {source_name(loose[0].name)}; make one "
            "folder per class and move them there"
        )
    plan = plan_folder(root)
    reading.notes.extend(plan.notes)
    splits = any(of.has_splits or of.split for of in plan.folders)
    reading.recognised.append("a folder per class, below those of a split" if splits else "a folder per class")
    samples: list[Sample] = []
    for folder in plan.folders:
        samples += _read_class(folder, root, skipped)
    reason = "lies outside the class folders"
    skipped += [Skipped(source_name(path.name), reason) for path in loose]
    folders = [of.path for of in plan.folders]
    if len(folders) == 1 and len(inner := folders_in(folders[0])) > 1:
        raise DataError(
            f"{root}: only one class, {folders[0].name!r}, with {len(inner)} folders in it; "
            f"if those are the classes, give {source_name(folders[0])}"
        )
    return sorted(samples, key=lambda sample: (sample.label, sample.name))


def _read_class(folder: ClassFolder, root: Path, skipped: list[Skipped]) -> list[Sample]:
    label = unicodedata.normalize("NFC", folder.path.name).strip()
    samples: list[Sample] = []
    found = 0
    for path, problem in walk(folder.path, root):
        found += 1
        name = source_name(path.relative_to(root).as_posix())
        if problem is None:
            samples.append(Sample(path, label, folder.split_of(path), name))
        else:
            skipped.append(Skipped(name, problem, label))
    if not found:
        name = source_name(folder.path.relative_to(root).as_posix())
        skipped.append(Skipped(name, "a class folder without images", label))
    return samples
