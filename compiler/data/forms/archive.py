"""Unpack archives of images, as if each came from an enemy.

Only plain files with the name of an image or of labels are written, each below the folder made for it; links,
devices and everything else are not. An archive that tries to reach out of that folder is refused whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from tlc_edge.compiler.cache.bound import SCRATCH, make_room
from tlc_edge.compiler.data.exports import forms as exports
from tlc_edge.compiler.data.records import Origin, Reading, Sample, Skipped
from tlc_edge.runtime.errors import DataError, first_line
from tlc_edge.runtime.files import file_sha256, stand_in
from tlc_edge.runtime.images.load import MAX_BYTES, source_name
from tlc_edge.runtime.images.walk import images_below, is_image, is_junk
from tlc_edge.runtime.zip_damage import ZIP_DAMAGE

from .archive_names import Names
from .csv_list import is_list
from .csv_table import check_encoding
from .made_folder import made_folder
from .split_folders import split_of

EXPECTED = "a .zip or .tar archive"
ZIPS = (".zip", ".tm")
SUFFIXES: tuple[str, ...] = (*ZIPS, ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
MAX_UNPACKED = 20 << 30
"""Bytes that one archive may unpack to."""
MAX_FILES = 2_000_000
LABEL_FILES = (
    *(".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".labels", ".parquet"),
    *(".txt", ".yaml", ".yml", ".names"),
)
"""Suffixes of files that may say what images are."""
_SAMPLES = "-samples.zip"
_FORMAT = "3"  # rises when more, or something else, of an archive would be unpacked

Entry = tuple[str, str | None, IO[bytes] | None]
"""A member's name, why it is not unpacked, and else its contents."""


def claims(origin: Origin) -> bool:
    """Return whether there is a file with the name of an archive known here."""
    path = Path(origin.data)
    return (path.name.lower().endswith(SUFFIXES) and path.exists()) or len(_of_classes(path)) > 1


def read(reading: Reading) -> list[Sample]:
    """Unpack it and return the images that it held.

    Raises:
        DataError: it is damaged, not to be trusted, or holds something else.
    """
    path = Path(reading.origin.data)
    if path.is_dir():
        reading.recognised.append(f"Teachable Machine's image samples (CLASS{_SAMPLES}), a class each")
        return [sample for inner in _of_classes(path) for sample in _read_class(inner, reading)]
    root = _unpacked(path, reading)
    if path.name.endswith(_SAMPLES) and not any(inside.is_dir() for inside in root.iterdir()):
        return _read_class(path, reading)
    try:
        samples = _read_unpacked(root, reading)
    except DataError as e:
        raise DataError(str(e).replace(str(root), str(path))) from None
    finally:
        reading.notes[:] = [note.replace(str(root), str(path)) for note in reading.notes]
    return samples


def _unpacked(path: Path, reading: Reading) -> Path:
    folder = made_folder(reading.origin.cache, "archives")
    return unpack(path, folder, reading.skipped, reading.notes, reading.origin.encoding)


def _of_classes(path: Path) -> list[Path]:
    """Return the archives in a folder that hold the images of one class each, as Teachable Machine calls them."""
    return [inside for inside in sorted(path.glob(f"*{_SAMPLES}")) if inside.is_file()] if path.is_dir() else []


def _read_class(path: Path, reading: Reading) -> list[Sample]:
    """Return the images of an archive that holds one class, called like it."""
    root = _unpacked(path, reading)
    label = unicodedata.normalize("NFC", path.name.removesuffix(_SAMPLES))
    return [Sample(image, label, None, f"{path.name}/{image.relative_to(root)}") for image in images_below(root)]


def _read_unpacked(root: Path, reading: Reading) -> list[Sample]:
    """Read what an archive held: a list of files if there is just one, else what any folder may be."""
    inner = root
    while len(inside := list(inner.iterdir())) == 1 and inside[0].is_dir() and not split_of(inside[0].name):
        inner = inside[0]  # most archives hold one folder that holds all
    if not any(path.is_dir() for path in inner.iterdir()) and inner != root:
        inner = inner.parent
    origin = replace(reading.origin, data=str(inner))
    lists = [path for path in inner.glob("*.csv") if is_list(path)]
    if len(lists) == 1 and not exports.claims(origin):
        origin = replace(origin, data=str(lists[0]))
    return reading.read_other(replace(reading, origin=origin, within=root))


def unpack(archive: Path, folder: Path, skipped: list[Skipped], notes: list[str], encoding: str | None = None) -> Path:
    """Return the folder that holds an archive's images; unpacked once below `folder`, under the archive's SHA-256.

    `encoding` is that of names which are not UTF-8; without it a note says how they were read.

    Raises:
        DataError: it is damaged, locked, too large unpacked, or has names that lead out of it; nothing is kept.
        UsageError: there is no such encoding.
    """
    names = Names(encoding and check_encoding(encoding))
    kept = folder / "-".join((file_sha256(archive), _FORMAT, *([encoding] if encoding else [])))
    if not kept.exists():
        with archive.open("rb") as file:
            if other := stand_in(file.read(256)):
                raise DataError(f"{archive}: {other}")
        folder.mkdir(0o700, parents=True, exist_ok=True)
        make_room(folder)
        # Whole or not at all: the name is given when all is there.
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder, ignore_cleanup_errors=True) as scratch:
            made = Path(scratch, "made")
            (made / "files").mkdir(parents=True)
            reasons = _write_all(archive, made / "files", names)
            (made / "skipped.json").write_text(json.dumps(reasons), "utf-8")
            (made / "names.json").write_text(json.dumps(names.odd), "utf-8")
            with contextlib.suppress(OSError):  # another build was faster
                made.rename(kept)
    os.utime(kept)  # for make_room
    skipped += [Skipped(name, reason) for name, reason in json.loads((kept / "skipped.json").read_text("utf-8"))]
    if odd := json.loads((kept / "names.json").read_text("utf-8")):
        notes.append(
            f"{archive}: {len(odd)} names are not UTF-8 and do not say what they are, such as {odd[0]!r}; "
            "name their --encoding (gbk, shift_jis, cp850 and so on)"
        )
    return kept / "files"


def _write_all(archive: Path, to: Path, names: Names) -> list[tuple[str, str]]:
    reasons: list[tuple[str, str]] = []
    room = min(MAX_UNPACKED, int(0.9 * shutil.disk_usage(to).free))
    entries = _zip_entries(archive, names) if archive.suffix.lower() in ZIPS else _tar_entries(archive, names)
    try:
        for count, (name, reason, content) in enumerate(entries):
            if count >= MAX_FILES:
                raise DataError(f"{archive}: more than {MAX_FILES} files; unpack it yourself if that is right")
            parts = _safe_parts(archive, name)
            if not parts or is_junk(parts) or not _is_wanted(parts[-1]):
                continue
            if reason is None and content is not None:
                reason, written = _write(content, to.joinpath(*parts), min(room, MAX_BYTES))
                room -= written
                if room < 0:
                    limit = f"{MAX_UNPACKED / 1e9:.0f} GB"
                    raise DataError(f"{archive}: unpacks to more than there is room for, or more than {limit}")
            if reason is not None:
                reasons.append((source_name(name), reason))
    except DataError:
        raise
    except OSError as e:
        if e.errno is None:  # of a stream, not of the disk
            raise DataError(f"{archive}: damaged or incomplete ({first_line(e)}); fetch it again") from None
        raise DataError(f"{archive}: cannot be unpacked ({e.strerror or e})") from None
    except NotImplementedError:
        raise DataError(
            f"{archive}: packed in a way that is not read here, as Windows does with more than 2 GB (Deflate64); "
            "unpack it and give the folder"
        ) from None
    except (tarfile.TarError, *ZIP_DAMAGE) as e:
        raise DataError(f"{archive}: damaged or incomplete ({first_line(e)}); fetch it again") from None
    except RuntimeError:
        raise DataError(f"{archive}: locked with a password; unpack it and give the folder") from None
    return reasons


def _is_wanted(name: str) -> bool:
    """Whether a file is an image, or says what images are."""
    return is_image(name) or name.lower().endswith(LABEL_FILES)


def _safe_parts(archive: Path, name: str) -> tuple[str, ...]:
    """Return a member's name as parts below the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    first = path.parts[0] if path.parts else ""
    if path.is_absolute() or ".." in path.parts or first.endswith(":") or "\0" in name:
        raise DataError(f"{archive}: its file {source_name(name)!r} would land outside the folder; do not trust it")
    return tuple(unicodedata.normalize("NFC", part) for part in path.parts)


def _write(content: IO[bytes], path: Path, most: int) -> tuple[str | None, int]:
    """Write one file of at most `most` bytes; return what is wrong with it, if anything, and the bytes unpacked."""
    written = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            # By what comes out, not by what the archive says: the two may differ.
            while piece := content.read(1 << 20):
                written += len(piece)
                if written > most:
                    break
                file.write(piece)
    except (FileExistsError, NotADirectoryError):
        return "appears twice in the archive", 0
    if written > most:
        path.unlink()
        return f"unpacks to more than {most} bytes", written
    return None, written


def _zip_entries(archive: Path, names: Names) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = info.external_attr >> 28  # the Unix file type, where the archive has it
            if not info.filename or info.is_dir():
                continue
            name = names.of_zip(info)
            if kind not in (0, 8):
                yield name, "a link or a special file in the archive", None
                continue
            with opened.open(info) as content:
                yield name, None, content


def _tar_entries(archive: Path, names: Names) -> Iterator[Entry]:
    with tarfile.open(archive, "r|*", encoding="utf-8") as opened:  # a stream: read once, from front to back
        for member in opened:
            if member.isdir():
                continue
            content = opened.extractfile(member) if member.isreg() else None
            yield names.of_tar(member.name), None if content else "a link or a special file in the archive", content
        # tarfile takes the end of the file for that of the archive; but where that is whole, empty blocks end it.
        if not opened.fileobj.read(1):
            raise tarfile.ReadError("its end is missing")
