"""A bundle: the directory, or the one `.tlc` file, that a build writes and a device loads.

The `.tlc` form is a ZIP with stored (uncompressed) entries in sorted order and a fixed date, so that
equal contents give equal bytes. Opening either form checks every file against the manifest's SHA-256.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BundleError, TrustError, UsageError, first_line
from tlc_edge.runtime.files import beside, put_in_place, write_folder, writing
from tlc_edge.runtime.signing.policy import Tell, check, keep, told
from tlc_edge.runtime.vectors import row_lengths, unit_rows

from .archive import archive_parts, is_archive_of
from .arrays import read_arrays
from .manifest import Manifest, from_json, to_json
from .model_labels import says_other_labels

if TYPE_CHECKING:
    from tlc_edge.runtime.signing.release import Release, Signed
    from tlc_edge.runtime.signing.secret_key import SecretKey

MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
"""SHA-256 of the manifest's bytes, hexadecimal, and a line feed; bundles before 0.1 have none."""
SIGNATURE = f"{MANIFEST}.minisig"
"""Of the manifest's bytes, where minisign looks for it; a bundle that nobody signed has none."""
LABELS = "labels.txt"
EXEMPLARS = "exemplars.npz"
EXPECTED = "golden/expected.npz"
"""What the models gave for the golden samples; see `tlc_edge.runtime.engines.golden`."""
CARD, CARD_INPUT = "card/card.png", "card/input.png"


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
    signed: Signed | None = None
    """What its signature says; None where nobody signed it."""

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, allow_unsigned: Tell | None = None) -> Bundle:
        """Load and check a bundle; every opening of one is this.

        With `allow_unsigned` also one is opened that this device does not trust; it gets the sentence that says so.

        Raises:
            BundleError: not a bundle, damaged, incomplete, or of a later schema.
            TrustError: a key is trusted, and the bundle is not signed by one, was changed, or is older than one seen.
        """
        where = Path(path)
        with _contents(where) as read:
            data = read(MANIFEST)
            if data is None:
                raise BundleError(
                    f"{where}: no {MANIFEST} in it, so this is not a tlc bundle; make one with `tlc build`"
                )
            signature, digest = read(SIGNATURE), read(DIGEST)
            signed = check(str(where), data, signature, allow_unsigned)  # before a byte of it is interpreted
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
        other = next((m for m in manifest.models if says_other_labels(m.format, files[m.file], manifest.labels)), None)
        if other is not None:
            raise BundleError(
                f"{where}: the labels in {MANIFEST} are not those in {other.file}; copy or build the bundle again"
            )
        if signed is not None and signed.verified and signature is not None:
            try:
                check_exact(where, {MANIFEST: data, DIGEST: digest or b"", SIGNATURE: signature, **files})
            except TrustError as e:
                told(f"{where} is opened", e, allow_unsigned)
        keep(str(where), signed, allow_unsigned)
        return cls(where, manifest, {MANIFEST: data, **files}, signed)

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


def check_exact(where: Path, contents: Mapping[str, bytes]) -> None:
    """Check that a bundle holds these files, written as tlc writes them, and nothing else.

    Raises:
        TrustError: a byte, or a file, is there that no signature covers, or is missing.
    """
    try:
        if where.is_dir():
            other = next((name for name in _names(where) if name not in contents), None)
            if other is None and contents[DIGEST] == digest_of(contents[MANIFEST]):
                return
            raise TrustError(
                f"{where}: {DIGEST} is missing; copy the bundle again"
                if other is None
                else f"{where}: {other!r} is no part of what was signed; remove it, or copy the bundle again"
            )
        if is_archive_of(contents, where.read_bytes()):
            return
    except (OSError, ValueError) as e:
        raise TrustError(f"{where}: cannot be read ({getattr(e, 'strerror', None) or e}); copy it again") from None
    raise TrustError(
        f"{where}: not the file that was signed, or packed by another tool than tlc; copy it again, or unpack it "
        "into a folder"
    )


def _names(folder: Path) -> Generator[str]:
    """Yield the names of what is in a folder and is no folder itself; of what cannot be looked into, its own."""
    for path, folders, files in os.walk(folder):
        at = Path(path).relative_to(folder)
        linked = [name for name in folders if (Path(path) / name).is_symlink()]
        yield from ((at / name).as_posix() for name in (*files, *linked))


@contextlib.contextmanager
def _contents(where: Path) -> Generator[Callable[[str], bytes | None]]:
    """Yield a function that reads one file of a bundle, or returns None where there is no such file."""
    import zipfile

    from tlc_edge.runtime.zip_damage import ZIP_DAMAGE

    try:
        if where.is_dir():
            yield lambda name: (where / name).read_bytes() if (where / name).is_file() else None
            return
        with zipfile.ZipFile(where) as archive:
            entries = {e.filename: e for e in archive.infolist()}
            room = where.stat().st_size  # a length above that is damage, and not worth the memory it asks for
            # Members may lie over each other: together they are no longer than the file either.
            whole = sum(e.file_size for e in entries.values())
            if whole > room or any(e.compress_type != zipfile.ZIP_STORED for e in entries.values()):
                raise BundleError(
                    f"{where}: the archive is compressed or damaged; a bundle's files are stored as they are"
                )
            yield lambda name: archive.read(entries[name]) if name in entries else None
    except FileNotFoundError:
        raise BundleError(f"{where}: no such bundle; make one with `tlc build`") from None
    except zipfile.BadZipFile as e:
        raise BundleError(
            f"{where}: not a tlc bundle, or a damaged one ({first_line(e)}); copy or build it again"
        ) from None
    except (RuntimeError, *ZIP_DAMAGE) as e:
        reason = getattr(e, "strerror", None) or first_line(e)
        raise BundleError(f"{where}: cannot be read ({reason}); copy or build it again") from None


def _checked(where: Path, name: str, digest: str, data: bytes | None) -> bytes:
    if data is None:
        raise BundleError(f"{where}: {name} is missing; copy or build the bundle again")
    import hashlib

    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise BundleError(
            f"{where}: {name} is damaged (SHA-256 {found[:12]}…, expected {digest[:12]}…); copy or build it again"
        )
    return data


def digest_of(manifest: bytes) -> bytes:
    """Return what stands in `manifest.sha256`."""
    import hashlib

    return f"{hashlib.sha256(manifest).hexdigest()}\n".encode()


def labels_text(labels: Sequence[str]) -> str:
    """Return what stands in `labels.txt`: a label per line."""
    return "".join(f"{label}\n" for label in labels)


def write_bundle(
    path: Path,
    manifest: Manifest,
    files: Mapping[str, bytes],
    force: bool = False,
    key: SecretKey | None = None,
    release: Release | None = None,
) -> None:
    """Write a bundle, whole or not at all; `path` ending in `.tlc` gives the one-file form.

    `manifest.files` must name exactly `files`. An existing path is replaced only with `force`, at the
    last moment and by a rename. With a key it is signed, as `release` says.

    Raises:
        UsageError: the path exists and `force` is not set.
        BundleError: the path cannot be written, or signed.
    """
    if set(manifest.files) != set(files):
        raise ValueError("manifest.files and files differ")
    check_writable(path, force)
    data = to_json(manifest)
    contents = {MANIFEST: data, DIGEST: digest_of(data), **files}
    if key is not None and release is not None:
        contents[SIGNATURE] = key.sign(data, release.comment).file
    try:
        (write_archive if path.suffix == ".tlc" else _write_folder)(path, contents)
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
    import tempfile  # no device needs it

    folder = path.parent
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder to write {path.name} into; make it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise BundleError(f"{path}: cannot be written ({e.strerror or e}); choose another -o") from None


def write_archive(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write a `.tlc` file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with writing(path) as out:
        for part in archive_parts(contents):
            out.write(part)


def _write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    with beside(path) as part:
        write_folder(part, contents)
        put_in_place(part, path)
