"""Read `.npz` files of images and labels."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.records import Origin, Reading, Sample
from tlc_edge.runtime.errors import DataError, first_line

from .arrays import find_scale, is_one_hot, scale_note, to_pixels

EXPECTED = "an .npz"
SUFFIXES: tuple[str, ...] = (".npz",)
MAX_UNPACKED = 16 << 30
"""Bytes of all arrays together; a file of so much is better a folder of images."""
_NPZ_KEYS = (
    ("images", "labels", None),
    ("x", "y", None),
    ("x_train", "y_train", "train"),
    ("x_val", "y_val", "validation"),
    ("x_valid", "y_valid", "validation"),
    ("x_test", "y_test", "test"),
    ("X", "y", None),
    ("X_train", "y_train", "train"),
    ("X_val", "y_val", "validation"),
    ("X_test", "y_test", "test"),
    ("train_images", "train_labels", "train"),
    ("val_images", "val_labels", "validation"),
    ("test_images", "test_labels", "test"),
)


def claims(origin: Origin) -> bool:
    """Return whether there is a file with the name of one."""
    path = Path(origin.data)
    return path.suffix.lower() in SUFFIXES and path.exists()


def read(reading: Reading) -> list[Sample]:
    """Return its images.

    Raises:
        DataError: it is damaged, or holds something else.
    """
    reading.recognised.append("arrays of images and labels")
    return read_npz(Path(reading.origin.data), reading.notes)


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
            whole = sum(entry.file_size for entry in archive.zip.infolist())
            if whole > MAX_UNPACKED:
                raise DataError(
                    f"{path}: unpacks to {whole:,} bytes, more than {MAX_UNPACKED:,}; give a folder of images"
                )
            arrays = [
                (x, _images(path, x, _array(path, archive, x)), _array(path, archive, y), split)
                for x, y, split in pairs
            ]
    except DataError:
        raise
    except Exception as e:  # numpy and zipfile meet damage with whatever error they happen to hit
        raise DataError(f"{path}: not a readable .npz of plain arrays ({first_line(e)})") from None
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


def _array(path: Path, archive: Any, name: str) -> NDArray[Any]:
    found: Any = archive[name]
    if not isinstance(found, np.ndarray):  # numpy gives a member that is no array as its bytes
        raise DataError(f"{path}: {name} is no array of numpy's; save it again with numpy.savez")
    return cast("NDArray[Any]", found)


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
