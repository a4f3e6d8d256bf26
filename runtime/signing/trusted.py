"""The keys that this device trusts: public keys in a folder of this user's, and in one for all users.

Nothing in either folder counts that another user than this one or root could have written, and where that cannot be
told nothing is opened: a folder that cannot be read is not one without keys.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tlc_edge.runtime.errors import TrustError, UsageError
from tlc_edge.runtime.files import sync_folder, write_file

if TYPE_CHECKING:
    from .minisign import PublicKey

SYSTEM = Path("/etc/tlc/trust")
SUFFIX = ".pub"


class Trusted(NamedTuple):
    """A key that is trusted."""

    key: PublicKey
    path: Path
    """Where it is kept."""


def trust_folder() -> Path | None:
    """Return where this user's trust is kept: $TLC_TRUST, or `tlc/trust` among the settings; None without a home."""
    given = os.environ.get("TLC_TRUST")
    if given:
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "tlc" / "trust"
    except RuntimeError:
        return None


def trusted_keys() -> tuple[Trusted, ...]:
    """Return the keys that are trusted, this user's and those for all; none is what a new device has.

    Raises:
        TrustError: what is kept cannot be read, is no key, or could have been written by somebody else.
    """
    folders = dict.fromkeys(folder for folder in (SYSTEM, trust_folder()) if folder is not None)
    return tuple(found for folder in folders for found in _keys_in(folder))


def _keys_in(folder: Path) -> Sequence[Trusted]:
    try:
        names = sorted(p.name for p in folder.iterdir() if p.name.endswith(SUFFIX) and not p.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError) as e:
        if isinstance(e, NotADirectoryError) and folder.exists():
            raise TrustError(f"{folder}: is no folder; the keys that this device trusts lie there") from None
        return ()
    except OSError as e:
        raise TrustError(
            f"{folder}: cannot be read ({e.strerror or e}), so it cannot be told which keys this device trusts"
        ) from None
    if names:
        check_ours(folder)
    return [Trusted(_read(folder / name), folder / name) for name in names]


def _read(path: Path) -> PublicKey:
    from .minisign import LONGEST, read_public

    check_ours(path)
    try:
        with path.open("rb") as file:
            return read_public(file.read(LONGEST + 1))
    except (OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or e
        raise TrustError(f"{path}: {why}; trust the key again with `tlc trust`, or remove the file") from None


def check_ours(path: Path) -> None:
    """Check that none but this user and root can have written something.

    Raises:
        TrustError: another user could, or it cannot be told.
    """
    try:
        found = path.stat()
    except OSError as e:
        raise TrustError(f"{path}: cannot be read ({e.strerror or e})") from None
    if not hasattr(os, "getuid"):
        return
    if found.st_uid not in (0, os.getuid()):
        raise TrustError(f"{path}: belongs to another user, so what it says about trust does not count; remove it")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise TrustError(f"{path}: others may write it, so what it says about trust does not count; chmod go-w it")


def add_key(key: PublicKey) -> Trusted:
    """Trust a key from now on.

    Raises:
        TrustError: it cannot be written down.
    """
    folder = made_folder()
    path = folder / f"{key.id}{SUFFIX}"
    try:
        write_file(path, key.file, private=True)
    except OSError as e:
        raise TrustError(f"{path}: cannot be written ({e.strerror or e}); the key is not trusted") from None
    return Trusted(key, path)


def remove_key(named: str) -> Trusted:
    """Trust a key no longer, which is given by its number, its line or its file.

    Raises:
        UsageError: no such key is trusted.
        TrustError: its file cannot be removed.
    """
    held = trusted_keys()
    with contextlib.suppress(TrustError):
        named = given_key(named).id
    found = [t for t in held if t.key.id == named.upper().zfill(16)]  # minisign leaves zeros out
    if not found:
        ids = ", ".join(dict.fromkeys(t.key.id for t in held)) or "none"
        raise UsageError(f"no key {named!r} is trusted; trusted: {ids}")
    for trusted in found:
        try:
            trusted.path.unlink()
            sync_folder(trusted.path.parent)
        except OSError as e:
            raise TrustError(f"{trusted.path}: cannot be removed ({e.strerror or e}); it is still trusted") from None
    return found[0]


def given_key(named: str) -> PublicKey:
    """Return a public key from its file, or from its line as minisign takes it with `-P`.

    Raises:
        TrustError: it is neither.
    """
    from .minisign import LONGEST, read_public

    with contextlib.suppress(ValueError):
        return read_public(named.encode())
    try:
        with Path(named).open("rb") as file:
            return read_public(file.read(LONGEST + 1))
    except (OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or e
        raise TrustError(f"{named}: {why}; give the .pub of `tlc keygen` or minisign, or its line") from None


def made_folder() -> Path:
    """Return this user's folder, which is there and nobody else's.

    Raises:
        TrustError: it cannot be made, or others may write it.
    """
    folder = trust_folder()
    if folder is None:
        raise TrustError("there is no home folder to keep trust in; name one with TLC_TRUST")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as e:
        raise TrustError(f"{folder}: cannot be made ({e.strerror or e}); name a folder with TLC_TRUST") from None
    check_ours(folder)
    return folder
