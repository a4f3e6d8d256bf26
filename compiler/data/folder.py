"""Read a folder per class."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.images.load import source_name

from .records import SPLITS, Origin, Reading, Sample, Skipped

EXPECTED = "a folder with one folder per class"
SUFFIXES: tuple[str, ...] = ()

# By name, not by content, so that the notes lying beside the images are passed over in silence.
_READ = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm"),
    *(".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
)
# Images to people, but not to every Pillow: they are reported as skipped, not passed over.
_REPORTED = (
    *(".arw", ".cr2", ".cr3", ".dng", ".exr", ".heic", ".heif", ".hif", ".jxl", ".nef", ".orf", ".psd"),
    *(".raf", ".rw2", ".svg"),
)
_SUFFIXES = frozenset((*_READ, *_REPORTED))
_JUNK = frozenset({"__MACOSX"})


def claims(origin: Origin) -> bool:
    """Return whether it is a folder."""
    return Path(origin.data).is_dir()


def read(reading: Reading) -> list[Sample]:
    """Return the images of a folder per class.

    Raises:
        DataError: the images or the classes lie at another depth.
    """
    return read_folder(Path(reading.origin.data), reading.skipped)


def read_folder(root: Path, skipped: list[Skipped]) -> list[Sample]:
    """Return the images of a folder per class, below `train`, `validation`, `test` or not; sorted by label and name.

    Raises:
        DataError: the images or the classes lie at another depth.
    """
    samples: list[Sample] = []
    loose = [path for path in _listed(root) if not path.is_dir() and _is_image(path)]
    folders = _class_folders(root)
    for folder, split in folders:
        label = unicodedata.normalize("NFC", folder.name).strip()
        found = 0
        for path, problem in _walk(folder, root.resolve(), {folder.resolve()}):
            found += 1
            name = source_name(path.relative_to(root).as_posix())
            if problem is None:
                samples.append(Sample(path, label, split, name))
            else:
                skipped.append(Skipped(name, problem, label))
        if not found:
            name = source_name(folder.relative_to(root).as_posix())
            skipped.append(Skipped(name, "a class folder without images", label))
    if loose and not samples:
        raise DataError(
            f"{root}: {len(loose)} images lie directly in it, such as {source_name(loose[0].name)}; make one "
            "folder per class and move them there"
        )
    reason = "lies outside the class folders"
    skipped += [Skipped(source_name(path.name), reason) for path in loose]
    if len(folders) == 1 and len(inner := _folders(folders[0][0])) > 1:
        raise DataError(
            f"{root}: only one class, {folders[0][0].name!r}, with {len(inner)} folders in it; "
            f"if those are the classes, give {source_name(folders[0][0])}"
        )
    return sorted(samples, key=lambda sample: (sample.label, sample.name))


def images_below(root: Path) -> list[Path]:
    """Return every image in a folder and below that can be opened, in order.

    Raises:
        OSError: the folder cannot be listed.
    """
    return [path for path, problem in _walk(root, root.resolve(), {root.resolve()}) if problem is None]


def _class_folders(root: Path) -> list[tuple[Path, str | None]]:
    """Return each class's folder, with the split where the folders above the classes are splits."""
    tops = _folders(root)
    splits = [SPLITS.get(top.name.casefold()) for top in tops]
    if "train" not in splits or len(tops) < 2 or not all(splits):
        return [(top, None) for top in tops]
    if any(_is_image(path) for top in tops for path in _listed(top)):
        return [(top, None) for top in tops]
    return [(folder, split) for top, split in zip(tops, splits, strict=True) for folder in _folders(top)]


def _walk(folder: Path, root: Path, seen: set[Path]) -> Iterator[tuple[Path, str | None]]:
    """Yield the images in a folder and below, each with what is wrong with it, if anything.

    Links to folders are followed, but never twice to the same one, nor to one that holds the root.
    """
    try:
        paths = _listed(folder)
    except OSError as e:
        yield folder, f"cannot be listed ({e.strerror})"
        return
    for path in paths:
        if path.is_dir():
            real = path.resolve()
            if real not in seen and not root.is_relative_to(real):
                seen.add(real)
                yield from _walk(path, root, seen)
        elif _is_image(path):
            yield path, None if path.is_file() else "a broken link, or not a regular file"


def _listed(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not is_junk([p.name]))


def _folders(folder: Path) -> list[Path]:
    return [path for path in _listed(folder) if path.is_dir()]


def is_image(name: str) -> bool:
    """Whether a file of that name is meant to be an image."""
    return Path(name).suffix.lower() in _SUFFIXES


def is_junk(parts: Sequence[str]) -> bool:
    """Whether a path leads through what systems leave behind."""
    return any(part.startswith(".") or part in _JUNK for part in parts)


def _is_image(path: Path) -> bool:
    return is_image(path.name) and not path.is_dir()
