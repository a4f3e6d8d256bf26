"""A real server in a thread of the tests, on loopback."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tlc_edge.runtime.serve.app import App
from tlc_edge.runtime.serve.run import Options, serving


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    app: App
    url: str
    """Of the page, on loopback in numbers, with a `/` at its end."""
    said: list[str]
    """What it said."""
    link: str | None
    """With the first token."""
    authority: bytes | None
    """The certificate to trust."""

    @property
    def token(self) -> str:
        """The first token."""
        return str(self.link).partition("#token=")[2]

    def client(self, **more: Any) -> httpx.Client:
        """A client of the first bundle."""
        name = next(iter(self.app.bundles))
        return httpx.Client(base_url=f"{self.url}api/v1/bundles/{name}/", timeout=60, **more)


@contextlib.contextmanager
def running(*bundles: Path, state: Path, **options: Any) -> Iterator[Running]:
    """Serve bundles on a free port until the block ends, with one thread per engine."""
    said: list[str] = []
    wanted = Options(**{"bundles": [str(b) for b in bundles], "port": 0, "threads": 1, **options})
    with serving(wanted, state, said.append) as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield Running(
                server.app, f"{server.scheme}://127.0.0.1:{server.port}/", said, server.link, server.app.authority
            )
        finally:
            server.stop()
            thread.join(timeout=60)
            assert not thread.is_alive()


def picture(seed: int = 0) -> bytes:
    """A photo of what no bundle of digits knows: coloured blots."""
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()
