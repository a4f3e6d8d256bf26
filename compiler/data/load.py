"""Labelled images, from whatever `--data` names.

Needs numpy and Pillow only, because `tlc verify` on a device reads data sets too (pooch, for addresses,
is imported when there is one). Nothing is decoded while a data set is loaded: see `decode`.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.compiler.cache.folder import data_folder, find_cache_folder
from tlc_edge.runtime.errors import DataError, UsageError, unknown_name
from tlc_edge.runtime.progress import Count, silent

from .address import address_name, fetch, parse_checksum
from .archive import is_archive, unpack
from .arrays import read_digits, read_npz
from .csv_list import is_list, read_list
from .decode import decode, decode_all
from .folder import read_folder
from .pixel_table import parse_shape, read_table
from .records import Dataset, Sample, Skipped, refuse

__all__ = ["Dataset", "Origin", "Sample", "Skipped", "decode", "decode_all", "load_dataset"]

_SAMPLES = ("digits",)
_EXPECTED = "a folder with one folder per class, a .csv, an .npz, or a .zip or .tar archive"


@dataclass(frozen=True)
class Origin:
    """Where a data set is, and what must be known to read it."""

    data: str
    """Folder, `.csv`, `.npz`, archive, `http` or `https` address of the last two, or `sample:digits`."""
    labels: str | None = None
    """The labels of a pixel table."""
    shape: str | None = None
    """The shape of a pixel table's images, `H,W` or `H,W,C`."""
    checksum: str | None = None
    """`sha256:…` of what an address gives."""
    cache: str | None = None
    """Folder for downloads and unpacked archives, `off`, or None for the user's own."""


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
    name = origin.data
    skipped: list[Skipped] = []
    notes: list[str] = []
    if (origin.labels is None) != (origin.shape is None):
        raise UsageError("a table of pixels needs both --labels and --shape; give the other one too")
    if origin.checksum is not None and "://" not in name:
        raise UsageError(f"--checksum is for addresses, but the data are {name!r}; leave it out")
    try:
        if origin.labels is not None and origin.shape is not None:
            shape = parse_shape(origin.shape)
            samples = read_table(_existing(name), _existing(origin.labels), shape, limit, notes)
            limit = None
        elif name.startswith("sample:"):
            samples = _read_sample(name.removeprefix("sample:"))
        elif "://" in name:
            samples = _read_address(origin, skipped, notes, progress)
        else:
            samples = _read_path(_existing(name), origin.cache, skipped, notes)
    except OSError as e:
        raise DataError(f"{e.filename or name}: cannot be read ({e.strerror or e})") from None
    return _finish(samples, skipped, name, notes, strict, limit)


def _existing(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise DataError(f"{name}: no such file or folder; give {_EXPECTED}")
    return path


def _read_sample(name: str) -> list[Sample]:
    if name not in _SAMPLES:
        raise unknown_name("sample", name, _SAMPLES)
    return read_digits()


def _read_address(origin: Origin, skipped: list[Skipped], notes: list[str], progress: Count) -> list[Sample]:
    name = address_name(origin.data)
    if not is_archive(name) and not name.lower().endswith(".npz"):
        raise DataError(f"{origin.data}: an address must be that of an .npz, a .zip or a .tar archive, by its name")
    checksum = None if origin.checksum is None else parse_checksum(origin.checksum)
    path = fetch(origin.data, checksum, _folder(origin.cache, "downloads"), notes, progress)
    return _read_path(path, origin.cache, skipped, notes)


def _read_path(path: Path, cache: str | None, skipped: list[Skipped], notes: list[str]) -> list[Sample]:
    if path.is_dir():
        return read_folder(path, skipped)
    if path.suffix.lower() == ".csv":
        return read_list(path, skipped)
    if path.suffix.lower() == ".npz":
        return read_npz(path, notes)
    if is_archive(path.name):
        root = unpack(path, _folder(cache, "archives"), skipped)
        try:
            return _read_unpacked(root, skipped)
        except DataError as e:
            raise DataError(str(e).replace(str(root), str(path))) from None
    raise DataError(f"{path}: expected {_EXPECTED}")


def _read_unpacked(root: Path, skipped: list[Skipped]) -> list[Sample]:
    """Read what an archive held: a list of files if there is just one, else a folder per class."""
    inner = root
    while len(inside := list(inner.iterdir())) == 1 and inside[0].is_dir():
        inner = inside[0]  # most archives hold one folder that holds all
    if not any(path.is_dir() for path in inner.iterdir()) and inner != root:
        inner = inner.parent
    lists = [path for path in inner.glob("*.csv") if is_list(path)]
    samples = read_list(lists[0], skipped) if len(lists) == 1 else read_folder(inner, skipped)
    for sample in samples:
        if isinstance(sample.source, Path) and not sample.source.resolve().is_relative_to(root.resolve()):
            raise DataError(f"{root}: lists {sample.name!r}, which is not in the archive; do not trust it")
    return samples


def _folder(cache: str | None, kind: str) -> Path:
    """Return where downloads and unpacked archives go; without a cache, a folder that goes when Python ends."""
    found = find_cache_folder(cache)
    if found is None:
        found = Path(tempfile.mkdtemp(prefix="tlc-"))
        atexit.register(shutil.rmtree, found, ignore_errors=True)
    return data_folder(found, kind)


def _finish(
    samples: list[Sample], skipped: list[Skipped], origin: str, notes: list[str], strict: bool, limit: int | None
) -> Dataset:
    """Check what every source must hold to, and apply the limit."""
    if skipped and (strict or not samples):
        raise refuse(skipped)
    if not samples:
        raise DataError(f"{origin}: no images in it; give {_EXPECTED}")
    labels = sorted({sample.label for sample in samples})
    for label in labels:
        if not label or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in label):
            raise DataError(f"{origin}: {label!r} cannot be a label; use text on one line")
    if len(labels) < 2:
        raise DataError(f"{origin}: only one class, {labels[0]!r}; at least two are needed, in one folder per class")
    if limit is not None:
        samples = _spread(samples, labels, limit)
    return Dataset(tuple(samples), tuple(labels), tuple(skipped), origin, tuple(notes))


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
