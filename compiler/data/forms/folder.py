"""Read a folder per class."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

from tlc_edge.compiler.data.records import Origin, Reading, Sample, Skipped
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.images.load import source_name
from tlc_edge.runtime.images.walk import folders_in, holds_images, is_junk, loose_images, walk

from .split_folders import ClassFolder, plan_folder
from .split_lists import by_lists

EXPECTED = "a folder with one folder per class"
SUFFIXES: tuple[str, ...] = ()
_EMPTY = "a class folder without images"
_PACKED = (".zip", ".tar", ".tgz")
_NOTES = (".json", ".txt", ".md", ".csv", ".xml")  # they tell of what else is there
_MANY = 1000  # files that are looked at to say what a folder holds
_SUFFIX = 12


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
    samples: list[Sample] = []
    for folder in plan.folders:
        samples += _read_class(folder, root, skipped)
    reading.recognised.append("a folder per class, below those of a split" if splits else "a folder per class")
    if not splits:
        listed = by_lists(root, samples)
        samples = listed.samples
        reading.recognised[-1] += f", split by {' and '.join(listed.lists)}" if listed.lists else ""
        reading.notes.extend([listed.note] if listed.note else [])
    if not samples and not loose and all(of.reason.startswith(_EMPTY) for of in skipped) and (held := _held(root)):
        raise DataError(f"{root}: no images in it, but {held}")
    reason = "lies outside the class folders"
    skipped += [Skipped(source_name(path.name), reason) for path in loose]
    full = [of.path for of in plan.folders if holds_images(of.path)]
    if len(full) == 1 and len(inner := folders_in(within := _descend(full[0]))) > 1:
        raise DataError(
            f"{root}: only one class, {full[0].name!r}, with {len(inner)} folders in it; "
            f"if those are the classes, give {source_name(within)}"
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
        held = _held(folder.path)
        skipped.append(Skipped(name, f"{_EMPTY} ({held})" if held else _EMPTY, label))
    return samples


def _descend(folder: Path) -> Path:
    """Return the innermost folder of those that hold all others of it in a single one."""
    seen = {folder.resolve()}
    while not loose_images(folder):
        inner = [of for of in folders_in(folder) if holds_images(of)]
        if len(inner) != 1 or inner[0].resolve() in seen:
            break
        folder = inner[0]
        seen.add(folder.resolve())
    return folder


def _held(folder: Path) -> str:
    """Return what a folder without images holds, and what can be done with it; empty where it holds no files."""
    files: list[Path] = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_junk([name]))
        files += [Path(here, name) for name in sorted(names) if not is_junk([name])]
        if len(files) >= _MANY:
            break
    if not files:
        return ""
    files = [of for of in files if of.suffix.lower() not in _NOTES] or files
    suffixes = [of.suffix.lower() if len(of.suffix) <= _SUFFIX else "" for of in files]
    suffix, count = Counter(suffixes).most_common(1)[0]
    name = source_name(files[suffixes.index(suffix)].relative_to(folder).as_posix())
    called = f"{count} {suffix or ''} file{'s' * (count > 1)}".replace("  ", " ") + " without a suffix" * (not suffix)
    if not suffix:
        return f"{called}, such as {name}; images are known by theirs: name them .jpg or .png"
    if suffix in _PACKED:
        return f"{called}, such as {name}; give one of them, or unpack them"
    return f"{called}, such as {name}; no images are read from such"
