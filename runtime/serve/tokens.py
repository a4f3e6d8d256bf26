"""Who may: tokens that are shown once, kept as hashes, and revoked by their names.

A token is 256 random bits, so that its plain SHA-256 tells nothing of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import DeviceError, UsageError
from tlc_edge.runtime.files import alone, is_own, write_file

_FILE, _LOCK = "tokens.json", "tokens.lock"
_MOST = 1000
_LONGEST_NAME = 60
_LONGEST = 1 << 20  # bytes of the file


@dataclass(frozen=True)
class Token:
    """One that may."""

    name: str
    sha256: str
    read_only: bool
    created: str
    """UTC, ISO 8601, and only as right as the clock."""


def state_folder(given: str | None = None) -> Path:
    """Return where a device keeps its tokens and its certificates.

    What is given, $TLC_SERVE, or what systemd made for the service, or `tlc/serve` among this user's settings.

    Raises:
        DeviceError: there is no home.
    """
    given = given or os.environ.get("TLC_SERVE") or os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "tlc" / "serve"
    except RuntimeError:
        raise DeviceError("there is no home to keep tokens in; give a folder with TLC_SERVE") from None


class Tokens:
    """The tokens in a folder. What another process adds or revokes counts from its next question on."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._stamp: tuple[int, int, int] | None = None
        self._held: tuple[Token, ...] = ()

    def all(self) -> tuple[Token, ...]:
        """Return all, in the order they were added.

        Raises:
            DeviceError: the file cannot be read, is none of ours, or could have been written by somebody else.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._held = None, ()
            return ()
        except OSError as e:
            raise DeviceError(f"{self._path}: {e.strerror or e}; it cannot be told who may") from None
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            self._held = self._read()
            self._stamp = stamp
        return self._held

    def find(self, secret: str) -> Token | None:
        """Return the token of this secret, None where there is none.

        Raises:
            DeviceError: as `all`.
        """
        digest = _digest(secret)
        # All are compared, so that the time tells nothing.
        matching = [token for token in self.all() if hmac.compare_digest(token.sha256, digest)]
        return matching[0] if matching else None

    def add(self, name: str | None = None, read_only: bool = False) -> tuple[Token, str]:
        """Add one; return it with its secret, which nobody can tell later.

        Raises:
            UsageError: the name is taken, or cannot be one.
            DeviceError: it cannot be written.
        """
        if name is not None and (not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable()):
            raise UsageError(
                f"{name[:_LONGEST_NAME]!r} cannot name a token; use 1 to {_LONGEST_NAME} visible characters"
            )
        with self._changing():
            held = self.all()
            names = {token.name for token in held}
            if name is None:
                name = next(free for n in range(1, _MOST + 2) if (free := f"token-{n}") not in names)
            if name in names:
                raise UsageError(f"there is a token {name!r} already; choose another name, or revoke it")
            if len(held) >= _MOST:
                raise UsageError(f"there are {_MOST} tokens already; revoke some")
            secret = secrets.token_urlsafe(32)
            token = Token(name, _digest(secret), read_only, datetime.now(UTC).isoformat(timespec="seconds"))
            self._write([*held, token])
        return token, secret

    def revoke(self, name: str) -> Token:
        """Remove one; from the next request on it opens nothing.

        Raises:
            UsageError: there is none of this name.
            DeviceError: it cannot be written.
        """
        if not any(token.name == name for token in self.all()):
            raise self._unknown(name)
        with self._changing():
            held = self.all()
            for token in held:
                if token.name == name:
                    self._write([t for t in held if t is not token])
                    return token
        raise self._unknown(name)  # another process was first

    @contextlib.contextmanager
    def _changing(self) -> Generator[None]:
        """Keep other processes from changing them meanwhile: what both write, one would lose."""
        with contextlib.ExitStack() as held:
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                held.enter_context(alone(self._path.with_name(_LOCK)))
            except OSError as e:
                raise DeviceError(f"{self._path}: {e.strerror or e}; nothing was changed") from None
            yield

    def _unknown(self, name: str) -> UsageError:
        known = ", ".join(t.name for t in self.all()[:12]) or "none"
        return UsageError(f"no token {name!r}; known: {known}")

    def _read(self) -> tuple[Token, ...]:
        if not is_own(self._path):
            raise DeviceError(
                f"{self._path}: belongs to another user, or others may write it, so it cannot tell who may; remove it"
            )
        try:
            with self._path.open("rb") as file:
                document: Any = json.loads(file.read(_LONGEST))
            return tuple(_token(one) for one in document["tokens"])
        except OSError as e:
            raise DeviceError(f"{self._path}: {e.strerror or e}; it cannot be told who may") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DeviceError(
                f"{self._path}: is damaged; remove it, and add tokens anew with `tlc token add`"
            ) from None

    def _write(self, tokens: Sequence[Token]) -> None:
        try:
            text = json.dumps({"tokens": [asdict(token) for token in tokens]}, indent=1, ensure_ascii=False)
            write_file(self._path, f"{text}\n".encode(), private=True)
        except OSError as e:
            raise DeviceError(f"{self._path}: {e.strerror or e}; nothing was changed") from None
        self._stamp = None


def _token(raw: Any) -> Token:
    token = Token(raw["name"], raw["sha256"], raw["read_only"], raw["created"])
    wanted = (str, str, bool, str)
    if not all(type(value) is kind for value, kind in zip(asdict(token).values(), wanted, strict=True)):
        raise TypeError
    if len(token.sha256) != 64 or not token.sha256.isascii():
        raise ValueError
    return token


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
