"""A bundle: the directory, or the one `.tlc` file, that a build writes and a device loads.

The `.tlc` form is a ZIP with stored (uncompressed) entries in sorted order and a fixed date, so that
equal contents give equal bytes. Opening either form checks every file against the manifest's SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BundleError, UsageError
from tlc_edge.runtime.files import beside, put_in_place, write_folder, writing
from tlc_edge.runtime.vectors import row_lengths, unit_rows

from .arrays import read_arrays
from .manifest import Manifest, from_json, to_json

MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
"""SHA-256 of the manifest's bytes, hexadecimal, and a line feed; bundles before 0.1 have none."""
LABELS = "labels.txt"
EXEMPLARS = "exemplars.npz"
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Exemplars:
    """Examples of the base classes that travel with the bundle, so that KNN can compare old and new."""

    vectors: NDArray[np.float32]
    """[N, D], rows of unit length."""
    labels: NDArray[np.int64]
    """[N], indices into the manifest's labels."""
    lengths: NDArray[np.float32] | None = None
    """[N], the embeddings' own lengths; None where they are not known, as if all were 1."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle whose files have been checked; holds them in memory."""

    path: Path
    manifest: Manifest
    files: Mapping[str, bytes]
    """The manifest and what it lists, by name; whatever else lies in the folder or the archive is not read."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Load and check a bundle.

        Raises:
            BundleError: not a bundle, damaged, incomplete, or of a later schema.
        """
        where = Path(path)
        with _contents(where) as read:
            data = read(MANIFEST)
            if data is None:
                raise BundleError(
                    f"{where}: no {MANIFEST} in it, so this is not a tlc bundle; make one with `tlc build`"
                )
            digest = read(DIGEST)
            if digest is not None and digest != digest_of(data):
                raise BundleError(
                    f"{where}: {MANIFEST} is not as it was written (its SHA-256 is not that in {DIGEST}); "
                    "copy or build the bundle again"
                )
            manifest = from_json(data, str(where))
            files = {name: _checked(where, name, digest, read(name)) for name, digest in sorted(manifest.files.items())}
        unlisted = [m.file for m in manifest.models if m.file not in files]
        if unlisted or not manifest.models:
            raise BundleError(
                f"{where}: the manifest lists no hash for {', '.join(unlisted) or 'any model'}; build it again"
            )
        if LABELS in files and files[LABELS].decode("utf-8", "replace") != labels_text(manifest.labels):
            raise BundleError(
                f"{where}: the labels in {MANIFEST} are not those of {LABELS}; copy or build the bundle again"
            )
        return cls(where, manifest, {MANIFEST: data, **files})

    def read(self, name: str) -> bytes:
        """Return one file's bytes.

        Raises:
            BundleError: the bundle has no such file.
        """
        try:
            return self.files[name]
        except KeyError:
            raise BundleError(f"{self.path}: no file {name!r} in the bundle") from None

    def exemplars(self) -> Exemplars:
        """Return the base classes' stored examples; empty where the bundle has none."""
        width = self.manifest.embedding_width
        if EXEMPLARS not in self.files:
            return Exemplars(np.zeros((0, width), np.float32), np.zeros(0, np.int64))
        try:
            data = read_arrays(self.files[EXEMPLARS])
            vectors, labels = unit_rows(data["vectors"]), np.asarray(data["labels"], np.int64)
            scales = np.asarray(data["scales"], np.float32) if "scales" in data else None
            lengths = None if scales is None else row_lengths(np.atleast_2d(data["vectors"])) * scales
        except Exception as e:
            # numpy meets bytes that are no archive of arrays with whatever error its reader happens to hit.
            raise BundleError(f"{self.path}: {EXEMPLARS} cannot be read ({e}); build the bundle again") from None
        classes = len(self.manifest.labels)
        if (
            vectors.shape != (len(vectors), width)
            or labels.shape != (len(vectors),)
            or not np.all((labels >= 0) & (labels < classes))
            or not np.all(np.isfinite(vectors))
            or (lengths is not None and not (lengths.shape == labels.shape and np.all(np.isfinite(lengths))))
        ):
            raise BundleError(
                f"{self.path}: {EXEMPLARS} does not fit the manifest (vectors {list(vectors.shape)} of width {width} "
                f"and labels {list(labels.shape)} below {classes} expected); build the bundle again"
            )
        return Exemplars(vectors, labels, lengths)

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(len(data) for data in self.files.values())


@contextlib.contextmanager
def _contents(where: Path) -> Generator[Callable[[str], bytes | None]]:
    """Yield a function that reads one file of a bundle, or returns None where there is no such file."""
    try:
        if where.is_dir():
            yield lambda name: (where / name).read_bytes() if (where / name).is_file() else None
            return
        with zipfile.ZipFile(where) as archive:
            entries = {e.filename: e for e in archive.infolist()}
            room = where.stat().st_size  # a length above that is damage, and not worth the memory it asks for
            if any(e.compress_type != zipfile.ZIP_STORED or e.file_size > room for e in entries.values()):
                raise BundleError(
                    f"{where}: the archive is compressed or damaged; a bundle's files are stored as they are"
                )
            yield lambda name: archive.read(entries[name]) if name in entries else None
    except FileNotFoundError:
        raise BundleError(f"{where}: no such bundle; make one with `tlc build`") from None
    except zipfile.BadZipFile as e:
        raise BundleError(f"{where}: not a tlc bundle, or a damaged one ({e}); copy or build it again") from None
    except (OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as e:
        reason = getattr(e, "strerror", None) or e
        raise BundleError(f"{where}: cannot be read ({reason}); copy or build it again") from None


def _checked(where: Path, name: str, digest: str, data: bytes | None) -> bytes:
    if data is None:
        raise BundleError(f"{where}: {name} is missing; copy or build the bundle again")
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise BundleError(
            f"{where}: {name} is damaged (SHA-256 {found[:12]}…, expected {digest[:12]}…); copy or build it again"
        )
    return data


def digest_of(manifest: bytes) -> bytes:
    """Return what stands in `manifest.sha256`."""
    return f"{hashlib.sha256(manifest).hexdigest()}\n".encode()


def labels_text(labels: Sequence[str]) -> str:
    """Return what stands in `labels.txt`: a label per line."""
    return "".join(f"{label}\n" for label in labels)


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes], force: bool = False) -> None:
    """Write a bundle, whole or not at all; `path` ending in `.tlc` gives the one-file form.

    `manifest.files` must name exactly `files`. An existing path is replaced only with `force`, at the
    last moment and by a rename.

    Raises:
        UsageError: the path exists and `force` is not set.
        BundleError: the path cannot be written.
    """
    if set(manifest.files) != set(files):
        raise ValueError("manifest.files and files differ")
    check_writable(path, force)
    data = to_json(manifest)
    contents = {MANIFEST: data, DIGEST: digest_of(data), **files}
    try:
        (_write_zip if path.suffix == ".tlc" else _write_folder)(path, contents)
    except OSError as e:
        raise BundleError(f"{path}: cannot be written ({e.strerror or e}); nothing was left behind") from None


def check_writable(path: Path, force: bool) -> None:
    """Say before the work, not after it, that the bundle cannot go to `path`.

    Raises:
        UsageError: the path exists and `force` is not set, or it is something a build must not replace.
        BundleError: its folder does not exist or cannot be written.
    """
    if path.exists():
        if not force:
            raise UsageError(f"{path} exists already; choose another -o or replace it with --force")
        if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
            raise UsageError(f"{path} is a folder but not a bundle, so --force does not replace it; choose another -o")
        if path.is_dir() and path.suffix == ".tlc":
            raise UsageError(f"{path} is a folder; a name ending in .tlc is written as one file: choose another -o")
        if not path.is_dir() and path.suffix != ".tlc":
            raise UsageError(f"{path} is a file; a name not ending in .tlc is written as a folder: choose another -o")
    folder = path.parent
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder to write {path.name} into; make it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise BundleError(f"{path}: cannot be written ({e.strerror or e}); choose another -o") from None


def _write_zip(path: Path, contents: Mapping[str, bytes]) -> None:
    with writing(path) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, contents[name])


def _write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    with beside(path) as part:
        write_folder(part, contents)
        put_in_place(part, path)
