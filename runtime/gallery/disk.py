"""What a file system can be trusted with: whether it is of this machine alone, and whether it has locks.

A write-ahead log needs memory that all users of a file share, so it cannot be on a file system that other machines
see (sqlite.org/wal.html), nor on many of those that run outside the kernel.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
# fmt: off
_LOCAL = frozenset({
    "apfs", "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfs",
    "hfsplus", "iso9660", "jffs2", "jfs", "minix", "msdos", "nilfs2", "ntfs3", "overlay", "ramfs",
    "reiserfs", "rootfs", "squashfs", "tmpfs", "ubifs", "udf", "vfat", "xfs", "zfs",
})
# fmt: on
# Locks cannot be had at all, and not only now: no lock daemon, no support.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Disk:
    """The file system that a path lies on."""

    kind: str
    """Its type, such as `ext4` or `nfs4`; empty where the system does not tell."""
    source: str
    """What is mounted, such as `nas:/photos`."""
    folder: str
    """Where."""

    @property
    def local(self) -> bool:
        """Whether it is known to be of this machine alone, and run by its kernel."""
        return self.kind in _LOCAL

    def __str__(self) -> str:
        if not self.kind:
            return "a file system of unknown type"
        return f"{self.folder} ({self.source}, {self.kind})"


def disk_of(path: Path) -> Disk:
    """Return the file system of the folder that a file lies in."""
    try:
        folder = os.path.realpath(path.parent)
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return Disk("", "", "")
    found = Disk("", "", "")
    for line in mounts:
        before, _, after = line.partition(" - ")
        try:
            where = _ESCAPED.sub(lambda m: chr(int(m[1], 8)), before.split(" ")[4])
            kind, source = after.split(" ")[:2]
        except (IndexError, ValueError):
            continue
        # Of several on one folder the latest covers the others.
        if _holds(where, folder) and len(where) >= len(found.folder):
            found = Disk(kind, _ESCAPED.sub(lambda m: chr(int(m[1], 8)), source), where)
    return found


def has_locks(folder: Path) -> bool:
    """Return whether files in a folder can be locked; where none can be made to try it, that is taken for granted."""
    if sys.platform == "win32":
        return True
    import fcntl

    # A file of its own: to close one that SQLite has open would let go of SQLite's locks.
    probe = folder / f".{os.urandom(6).hex()}.gallery.lock"
    try:
        opened = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return True
    try:
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        return e.errno not in _NO_LOCKS
    finally:
        os.close(opened)
        probe.unlink(missing_ok=True)
    return True


def _holds(where: str, folder: str) -> bool:
    return folder == where or folder.startswith(where.rstrip("/") + "/")
