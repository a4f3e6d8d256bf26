"""Files that are there whole or not at all, after a power cut too.

What is written grows beside its place under a hidden name, is brought to the disk, and takes its place by a rename,
which is brought to the disk as well. Where something is replaced, its mode stays.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO

PART = ".part"
"""How the name ends of what a kill left behind; any such file may go."""

# What file systems answer that cannot bring a folder to the disk, or need not, and systems where none can be opened.
_NO_FOLDERS = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EBADF})


def stand_in(head: bytes) -> str | None:
    """Return what lies in a file's place, by its first bytes: what Git LFS leaves, or a web page; None for the file."""
    if head.startswith(b"version https://git-lfs.github.com/"):
        return "what Git LFS leaves in a file's place; run git lfs pull where it was cloned"
    if head[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page, as comes of a download that is gone or wants a login; fetch the file itself"
    return None


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file, whole or not at all; where it is new and `private`, nobody but its owner may read it.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    with writing(path, private=private) as out:
        out.write(data)


def write_new(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file, whole or not at all, where none is; what is there, even a link, stays as it is.

    Raises:
        FileExistsError: something has the name.
        OSError: it cannot be written; nothing is left behind.
    """
    with beside(path) as part:
        with open(part, "xb", opener=_private if private else None) as out:
            out.write(data)
            _sync(out)
        try:
            os.link(part, path)  # unlike a rename it replaces nothing
        except FileExistsError:
            raise
        except OSError:  # no hard links on this file system, such as FAT on a memory card
            with open(path, "xb", opener=_private if private else None) as out:
                out.write(data)
                _sync(out)
    sync_folder(path.parent)


@contextlib.contextmanager
def writing(path: Path, like: Path | None = None, *, private: bool = False) -> Generator[IO[bytes]]:
    """Yield a file that takes the place of `path` when the block is left, and is gone where the block fails.

    Its mode is that of `like`, by default that of the file it replaces; without one, a new file's, or its
    owner's alone where it is `private`.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    part = path.with_name(_hidden(path))
    try:
        with open(part, "xb", opener=_private if private else None) as out:
            yield out
            _sync(out)
        put_in_place(part, path, like)
    finally:
        try:
            part.unlink(missing_ok=True)
        finally:  # a Ctrl-C may fall into the tidying up itself
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(lock: Path) -> Generator[None]:
    """Wait until no other thread or process has this lock, a file that stays, and have it; where the system can.

    Raises:
        OSError: the file cannot be made.
    """
    opened = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with contextlib.suppress(ImportError, OSError):  # no such module on Windows, no locks on some shares
            import fcntl

            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


@contextlib.contextmanager
def beside(path: Path) -> Generator[Path]:
    """Yield a name on the same file system for a file or folder to grow under; leave nothing there whatever happens.

    Raises:
        OSError: nothing can be written beside `path`.
    """
    import shutil  # brings the packers with it, and only who writes a folder needs it

    room = path.with_name(_hidden(path))
    try:
        room.mkdir()
        yield room / path.name
    finally:
        try:
            shutil.rmtree(room, ignore_errors=True)
        finally:  # a Ctrl-C may fall into the tidying up itself
            shutil.rmtree(room, ignore_errors=True)


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a new folder's files, by their names with `/`, and bring them to the disk; `put_in_place` is for after it.

    Raises:
        OSError: one cannot be written.
    """
    for name, data in contents.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            out.write(data)
            _sync(out)
    for inner in {(folder / name).parent for name in contents} | {folder}:
        sync_folder(inner)


def put_in_place(part: Path, path: Path, like: Path | None = None) -> None:
    """Give what is written and on the disk its final name, for good; what had the name before is gone.

    A file takes a file's place only, a folder a folder's.

    Raises:
        OSError: it cannot take the place; what had the name before still has it.
    """
    if part.is_dir() and path.is_dir():
        # A folder cannot be renamed over a full one: the old one steps aside first.
        old = part.with_name(f"{part.name}.old")
        try:
            path.rename(old)
            part.rename(path)
        except BaseException:
            if old.exists() and not path.exists():
                old.rename(path)
            raise
    else:
        if part.is_file() and (model := like or path).is_file():
            with contextlib.suppress(OSError):  # a file system without modes, such as FAT on a memory card
                part.chmod(model.stat().st_mode & 0o777)
        part.replace(path)
    sync_folder(path.parent)


def is_own(path: Path) -> bool:
    """Return whether nobody else can have put what is at a path: it is this user's, no link, and not open to others."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return False
    if not hasattr(os, "getuid"):
        return True
    # A group of this user's alone, as most systems make one, may write.
    others = 0o002 if found.st_gid == os.getgid() else 0o022
    return found.st_uid == os.getuid() and not found.st_mode & others


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the file system can.

    Raises:
        OSError: the disk failed.
    """
    try:
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as e:
        if e.errno not in _NO_FOLDERS:
            raise


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _sync(out: IO[bytes]) -> None:
    out.flush()
    os.fsync(out.fileno())


def _hidden(path: Path) -> str:
    return f".{path.name}.{os.urandom(6).hex()}{PART}"
