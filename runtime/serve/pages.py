"""The page's files, as the package carries them, read once."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from tlc_edge.runtime.images.page_icon import app_manifest, page_icon

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_LEAST_PACKED = 1024  # bytes; below, it is not worth it
_TOUCH_ICON = "page/icon-192.png"
_ICONS = (
    {"src": "page/icon.svg", "sizes": "any", "type": "image/svg+xml"},
    {"src": _TOUCH_ICON, "sizes": "192x192", "type": "image/png"},
)
_NOT_SERVED = ("page/sw.js", "page/index.html")  # the worker is a static site's, and index.html is at the root

# What index.html itself says, for all that is served.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob: mediastream:; style-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Page:
    """One file."""

    data: bytes
    packed: bytes | None
    """In gzip's format, where that is smaller."""
    type: str
    tag: str
    """Its ETag."""


def read_pages() -> dict[str, Page]:
    """Return the files by their names in the site; `` is the page itself."""
    root = importlib.resources.files("tlc_edge.web")
    found = {
        f"{room}/{name}": file.read_bytes()
        for room in ("page", "client", "runtime")
        for name, file in _walk(root / room)
    }
    made = {
        "index.html": found["page/index.html"],
        "app.webmanifest": app_manifest("tlc", _ICONS),
        _TOUCH_ICON: page_icon(192),
    }
    kept = {name: data for name, data in found.items() if name not in _NOT_SERVED}
    return {name: _page(name, data) for name, data in {**kept, **made}.items()}


def _walk(folder: Traversable, before: str = "") -> Iterator[tuple[str, Traversable]]:
    for inner in sorted(folder.iterdir(), key=lambda one: one.name):
        if inner.is_dir():
            yield from _walk(inner, f"{before}{inner.name}/")
        elif inner.name.endswith(tuple(TYPES)):
            yield f"{before}{inner.name}", inner


def _page(name: str, data: bytes) -> Page:
    packed = gzip.compress(data, 9, mtime=0) if len(data) >= _LEAST_PACKED else None
    kind = next(kind for end, kind in TYPES.items() if name.endswith(end))
    return Page(data, packed, kind, f'"{hashlib.sha256(data).hexdigest()[:24]}"')
