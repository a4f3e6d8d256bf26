"""A key's two files: the secret one for its owner alone, and the public one; neither is ever replaced."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tlc_edge.runtime.errors import TrustError, UsageError
from tlc_edge.runtime.files import write_file, write_new

from .minisign import LONGEST, read_public
from .secret_key import SecretKey, make_secret, secret_file

KEY, PUBLIC = ".key", ".pub"


def new_key(path: Path, password: str | None = None) -> tuple[SecretKey, Path]:
    """Make a key; write the secret half to `path`, the public one beside it as `.pub`. Returns the key and that path.

    Raises:
        UsageError: one of the two files is there already.
        TrustError: one cannot be written, or cryptography is missing.
    """
    public = path.with_suffix(PUBLIC)
    if public == path:
        raise UsageError(f"{path}: the public key gets that name; name the secret one {path.stem}{KEY}")
    for there in (path, public):
        if there.exists() or there.is_symlink():
            raise UsageError(f"{there} exists already, and no key is ever replaced; choose another -o")
    key = make_secret()
    made = secret_file(key, None if password is None else password.encode())
    try:
        write_new(path, made, private=True)
        try:
            write_new(public, key.public.file)
        except BaseException:
            path.unlink()  # half of a pair is of no use
            raise
    except OSError as e:
        raise TrustError(f"{e.filename or path}: cannot be written ({e.strerror or e}); choose another -o") from None
    return key, public


def sign_file(path: Path, key: SecretKey, comment: str) -> Path:
    """Sign a file as minisign does, into `.minisig` beside it; what was there is replaced.

    Raises:
        TrustError: it cannot be read, or the signature cannot be written.
    """
    to = path.with_name(f"{path.name}.minisig")
    try:
        write_file(to, key.sign(path.read_bytes(), comment).file)
    except OSError as e:
        raise TrustError(f"{e.filename or to}: {e.strerror or e}; nothing was signed") from None
    return to


def is_public(path: Path) -> bool:
    """Return whether a path is the file of a public key."""
    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
        read_public(file.read(LONGEST + 1))
        return True
    return False
