"""Who asks, and whether they may: the address they came to, the page they came from, and their token."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from .rates import Rates
from .tokens import Tokens

_WRONG_PER_MINUTE = 10
_CHANGES_PER_SECOND, _CHANGES_AT_ONCE = 50, 200
_BROUGHT = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""What proxies add: who asks through one is not on this machine."""


class RefusedError(Exception):
    """A request is not answered; `status` is HTTP's, `what` for the person."""

    def __init__(self, status: int, what: str, retry: int | None = None) -> None:
        super().__init__(what)
        self.status, self.what, self.retry = status, what, retry


@dataclass(frozen=True)
class Client:
    """Who asks."""

    key: str
    """What tells one from another, to take turns by."""
    may_change: bool
    token: str | None = None
    """The name of its token."""


@dataclass(frozen=True, eq=False)
class Access:
    """The rules of one server."""

    names: Collection[str]
    """Host names under which it may be reached; an address in numbers always may."""
    tokens: Tokens | None
    """None: whoever reaches it may, which is for loopback alone."""
    read_only: bool
    """Nobody may change anything."""
    cookie: str
    """Name of the cookie that holds the token."""
    wrong: Rates
    changes: Rates

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Refuse a request that came here under somebody else's name, as DNS rebinding makes them.

        An address in numbers cannot be rebound.

        Raises:
            RefusedError: it did.
        """
        name = host_name(headers.get("host", ""))
        if name is None or not (name in self.names or is_address(name)):
            raise RefusedError(
                421, "this server is not known by that name; give it with --host-name, or use its address"
            )

    def check_origin(self, headers: Mapping[str, str], is_change: bool) -> None:
        """Refuse what a page of somebody else asks for.

        Raises:
            RefusedError: it does.
        """
        site = headers.get("sec-fetch-site")
        if site not in (None, "same-origin", "none"):
            raise RefusedError(403, "asked for by a page of another site")
        origin = headers.get("origin")
        if (is_change or origin is not None) and not _is_same(origin, headers.get("host", "")):
            raise RefusedError(403, "asked for by a page of another site")

    def client(self, headers: Mapping[str, str], address: str) -> Client:
        """Return who asks.

        Raises:
            RefusedError: their token is missing or wrong, or they come through a proxy to a server that asks for none.
            DeviceError: it cannot be told which tokens there are.
        """
        if self.tokens is None:
            if any(name in headers for name in _BROUGHT):
                raise RefusedError(403, "a proxy brought this here; start `tlc serve` with --token or --host-name")
            return Client(address, not self.read_only)
        secret = _secret(headers, self.cookie)
        if secret is None:
            raise RefusedError(401, "a token is needed; open the link that `tlc serve` or `tlc token add` printed")
        token = self.tokens.find(secret)
        if token is None:
            if not self.wrong.take(address):
                raise RefusedError(429, "too many wrong tokens; wait a minute", retry=60)
            raise RefusedError(401, "the token is wrong, or was revoked; ask for another link")
        return Client(f"{token.name} {address}", not (self.read_only or token.read_only), token.name)

    def check_change(self, client: Client) -> None:
        """Refuse a change that a client may not make, or not so often.

        Raises:
            RefusedError: it may not.
        """
        if not client.may_change:
            raise RefusedError(403, "this token, or this server, is for reading only")
        if not self.changes.take(client.key):
            raise RefusedError(429, "too many changes at once; wait a second", retry=1)


def make_access(
    tokens: Tokens | None, port: int, names: Collection[str] = (), read_only: bool = False, names_of_this: bool = True
) -> Access:
    """Return the rules, with `names` beside those of this machine."""
    own = this_machine() if names_of_this else ()
    return Access(
        names=frozenset(name.lower().rstrip(".") for name in ("localhost", *own, *names)),
        tokens=tokens,
        read_only=read_only,
        cookie=f"tlc_{port}",
        wrong=Rates(_WRONG_PER_MINUTE / 60, _WRONG_PER_MINUTE),
        changes=Rates(_CHANGES_PER_SECOND, _CHANGES_AT_ONCE),
    )


def this_machine() -> list[str]:
    """Return the names of this machine: its own, and that by which others find it over mDNS."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return list(dict.fromkeys(one for one in (name, short, f"{short}.local") if short and short != "localhost"))


def host_name(host: str) -> str | None:
    """Return the name in a `Host` header, without its port; None where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    name = parts.hostname
    if not name or parts.path or parts.query or parts.fragment or "@" in host:
        return None
    return name.rstrip(".")


def is_address(name: str) -> bool:
    """Return whether a host is an address in numbers."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Return whether a host is this machine seen from itself alone."""
    return name == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)


def _is_same(origin: str | None, host: str) -> bool:
    """Return whether a request comes from a page of this server, or from no page at all."""
    if origin is None:
        return True
    scheme, mark, rest = origin.partition("://")
    return bool(mark) and scheme in ("http", "https") and rest.lower() == host.lower()


def _secret(headers: Mapping[str, str], cookie: str) -> str | None:
    given = headers.get("authorization")
    if given is not None:
        kind, _, secret = given.partition(" ")
        return secret.strip() if kind.lower() == "bearer" else ""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(cookie)
    except CookieError:
        return None
    return None if found is None else found.value
