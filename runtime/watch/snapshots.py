"""Cameras that give one photo per request (`/snapshot.jpg`, `snapshot.cgi`, `/capture`): asked again and again.

Takes the base install only. What an address gives is asked first: a picture, a stream, or what is neither.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from http.client import HTTPException, HTTPResponse
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from tlc_edge.runtime.errors import DeviceError

from .address import shown
from .alive import nothing, wait
from .trust import explained

USUAL = 1.0
"""Seconds between two photos, where nobody says otherwise."""
_TIMEOUT = 5.0
_LARGEST = 64_000_000
"""Bytes of one photo."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM")

Fetch = Callable[[], bytes | None]
"""Gives a photo, or None where the address gives a stream."""


class Snapshots:
    """An http or https address; a user's name and password in it are sent as the camera asks, Basic or Digest."""

    def __init__(self, address: str) -> None:
        """Raises DeviceError where the address cannot be one."""
        self.name = shown(address)
        none = DeviceError(f"{self.name} is no address; expected http://HOST[:PORT]/…")
        try:
            parts = urlsplit(address)
            self._url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
            # Where the user's name has brackets, urlsplit has looked at those alone: without it the host may be none.
            is_one = bool(parts.hostname) and urlsplit(self._url).port == parts.port
        except ValueError:
            raise none from None
        if not is_one:
            raise none
        self._named = parts.username is not None
        self._open = urllib.request.build_opener(*_log_in(parts, self._url)).open

    def fetch(self) -> bytes | None:
        """Return one photo as it is encoded; None where the address gives a stream.

        Raises:
            DeviceError: nothing answers, it refuses, or it gives neither; the sentence says which.
        """
        try:
            with self._open(self._url, timeout=_TIMEOUT) as answer:
                return self._read(answer)
        except urllib.error.HTTPError as e:
            e.close()
            raise DeviceError(f"{self.name} {_refusal(e.code, e.reason, self._named)}") from None
        except (OSError, HTTPException, ValueError) as e:
            raise DeviceError(f"{self.name} cannot be opened ({_reason(e)}); check the address") from None

    def _read(self, answer: HTTPResponse) -> bytes | None:
        kind = answer.headers.get_content_type()
        if kind.startswith(("multipart/", "video/", "audio/")) or "mpegurl" in kind:
            return None
        head = answer.read(16)
        if not (kind.startswith("image/") or head.startswith(_PICTURES)):
            if kind.startswith("text/") or kind in ("application/json", "application/xhtml+xml"):
                raise DeviceError(
                    f"{self.name} gives a page ({kind}), no picture and no stream; give the picture's own address"
                )
            return None
        data = head + answer.read(_LARGEST)
        if len(data) > _LARGEST:
            raise DeviceError(
                f"{self.name} gives a picture of more than {_LARGEST} bytes; have the camera send smaller ones"
            )
        return data


def snapshots(
    first: bytes,
    fetch: Fetch,
    name: str,
    every: float,
    pauses: tuple[float, float] = (_FIRST_PAUSE, _LONGEST_PAUSE),
    beat: Callable[[], None] = nothing,
) -> Generator[bytes | str]:
    """Yield a photo every so many seconds, for ever; a sentence when none comes any more, and when they come again.

    `beat` is called every few seconds meanwhile.
    """
    due = time.monotonic() + every
    yield first
    lost: float | None = None
    pause = pauses[0]
    while True:
        beat()
        wait(due - time.monotonic(), beat)
        try:
            data, why = fetch(), "gives a stream now"
        except DeviceError as e:
            data, why = None, str(e).removeprefix(name).strip()
        if data is None:
            if lost is None:
                lost = time.monotonic()
                yield f"{name}: no picture any more ({why}); waiting for it"
            due = time.monotonic() + max(every, pause)
            pause = min(2 * pause, pauses[1])
            continue
        due = time.monotonic() + every
        if lost is not None:
            yield f"{name}: back after {time.monotonic() - lost:.0f} s"
        lost, pause = None, pauses[0]
        yield data


def _log_in(parts: SplitResult, url: str) -> list[urllib.request.BaseHandler]:
    if parts.username is None:
        return []
    known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    known.add_password(None, url, unquote(parts.username), unquote(parts.password or ""))
    return [urllib.request.HTTPBasicAuthHandler(known), urllib.request.HTTPDigestAuthHandler(known)]


def _refusal(code: int, reason: str, named: bool) -> str:
    if code in (401, 403) and named:
        return f"refuses ({code} {reason}); check the user's name and the password"
    if code in (401, 403):
        return f"refuses ({code} {reason}); give the user's name and the password: http://USER:PASSWORD@HOST/…"
    return f"answers {code} {reason}; check the address"


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError | HTTPException):
        return f"answers with what is no HTTP: {type(error).__name__}"  # its words could hold the address
    return explained(error)
