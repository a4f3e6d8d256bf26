"""Where answers are sent: an address that takes an HTTP POST."""

from __future__ import annotations

import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tlc_edge.runtime.errors import UsageError

from .address import shown
from .outbox import RefusedError

_TIMEOUT = 5.0
_AGAIN = (408, 425, 429)
"""The refusals that are meant for now only."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = ("Content-Length", "Transfer-Encoding", "Connection", "Host")


class Webhook:
    """POSTs each message to an address, as JSON; an answer other than 2xx is a failure, redirects included."""

    def __init__(self, url: str, headers: Sequence[str] = (), trusted: ssl.SSLContext | None = None) -> None:
        """Take an address, headers to send along, and the certificates to trust where they are not the system's.

        Args:
            url: http or https.
            headers: `NAME: VALUE`; or `@FILE`, which has one on each line, so that no token is on the command line.
            trusted: for https.

        Raises:
            UsageError: one of them is none. No value of a header is ever named.
        """
        parts = _split(url, "--webhook")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise UsageError(
                f"--webhook {shown(url)}: expected http://HOST… or https://HOST…, without a user's name; "
                "a token goes into --header"
            )
        self.name = f"webhook {parts.hostname}"
        self._url = url
        self._headers = {"Content-Type": "application/json", **_headers(headers)}
        tls = [urllib.request.HTTPSHandler(context=trusted)] if trusted else []
        self._open = urllib.request.build_opener(_NoRedirect, *tls).open

    def send(self, message: bytes) -> None:
        """POST one message."""
        request = urllib.request.Request(self._url, message, self._headers, method="POST")
        try:
            with self._open(request, timeout=_TIMEOUT):
                return
        except urllib.error.HTTPError as e:
            status = f"{e.code} {e.reason}"
            e.close()
            if e.code < 500 and e.code not in _AGAIN:
                raise RefusedError(status) from None
            raise OSError(status) from None
        except (HTTPException, ValueError) as e:
            raise OSError(f"answers with what is no HTTP ({type(e).__name__})") from None

    def close(self) -> None:
        """Nothing is kept open."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows none: the message would turn into a GET."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Return no request to go on with."""


def _headers(given: Sequence[str]) -> dict[str, str]:
    """Return headers by their names, those of files among them."""
    lines: list[str] = []
    for one in given:
        if not one.startswith("@"):
            lines.append(one)
            continue
        try:
            text = Path(one[1:]).read_text("utf-8")
        except (OSError, ValueError) as e:
            raise UsageError(f"--header {one}: {getattr(e, 'strerror', None) or 'not UTF-8'}") from None
        lines += [line for line in text.splitlines() if line.strip()]
    found: dict[str, str] = {}
    for line in lines:
        name, mark, value = (part.strip() for part in line.partition(":"))
        if not mark or not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise UsageError("--header: expected NAME: VALUE in ASCII, for example 'Authorization: Bearer …'")
        if name.title() in _OURS:
            raise UsageError(f"--header {name}: is set by the message itself")
        found[name.title()] = value
    return found


def _split(address: str, option: str) -> SplitResult:
    """Split an address into its parts, the port checked."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:  # its words hold what stands where the port should, and that may be half a password
        raise UsageError(f"{option} {shown(address.removeprefix('//'))}: its host or port is none") from None
    return parts
