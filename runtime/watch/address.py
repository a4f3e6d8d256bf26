"""Addresses as they may be printed: where something is, and nothing that could be a secret.

A user's name, a password, a token may stand before the `@`, in the path, and in the query; so only the host is shown.
"""

from __future__ import annotations

import re

_SHOWN = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*://)(?:([^/?#]*)@)?([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?(?=[/?#]|$)(.*)", re.DOTALL
)


def is_address(where: str) -> bool:
    """Return whether it is an address, not a file or a camera's number."""
    return "://" in where


def shown(address: str) -> str:
    """Return scheme, host and port; `…` stands for what follows, and for all where no scheme is.

    Where a password holds a character that ends the host, the host cannot be told from it: only the scheme is shown.
    """
    found = _SHOWN.fullmatch(address)
    if found is None or "@" in found[5]:
        return f"{address.partition('://')[0]}://…" if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", address) else "…"
    return f"{found[1]}{found[3]}{found[4] or ''}{'/…' if found[5].strip('/') else ''}"
