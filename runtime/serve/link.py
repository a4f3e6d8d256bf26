"""The link that opens the page, as text and as a QR code for a phone's camera."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import DeviceError
from tlc_edge.runtime.files import write_file
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.optional import NotThereError, load

_FILE = "address.json"
_BLOCKS = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}


def link_of(address: str, secret: str) -> str:
    """Return an address with a token behind `#`, which no browser sends to anybody."""
    return f"{address}#token={secret}"


def qr_lines(text: str) -> list[str]:
    """Return a QR code as lines for a terminal, two rows a line; its light parts are what is drawn.

    Raises:
        DeviceError: segno is missing.
    """
    try:
        segno: Any = load("segno")
    except NotThereError as e:
        raise DeviceError(f"a QR code needs the library segno, which {e}; run: {pip_line('serve')}") from None
    rows = [[not module for module in row] for row in segno.make(text, error="l", micro=False).matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([True] * len(rows[0]))
    return [
        "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]


def remember_address(folder: Path, address: str) -> None:
    """Keep where the server is, for `tlc token add` to make links of.

    Raises:
        DeviceError: it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(folder / _FILE, json.dumps({"address": address}).encode(), private=True)
    except OSError as e:
        raise DeviceError(f"{folder}: {e.strerror or e}; give another folder with --state") from None


def known_address(folder: Path) -> str | None:
    """Return where a server of this state was last; None where there was none."""
    try:
        document: Any = json.loads((folder / _FILE).read_bytes())
        found = document["address"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
