"""A bundle on a server of `tlc serve`, under the words of `Classifier`.

from tlc_edge.runtime.client import Client

with Client("http://raspberrypi.local:8000/#token=…") as client:
    print(client.predict("x.jpg").label)
    client.enroll("mug", ["a.jpg", "b.jpg", "c.jpg"])
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast
from urllib.parse import parse_qs

import numpy as np

from tlc_edge.runtime.gallery.records import Change, Example
from tlc_edge.runtime.images.each_image import each_image
from tlc_edge.runtime.images.load import Source, source_name
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.knn.prediction import Neighbour, Prediction
from tlc_edge.runtime.optional import NotThereError, load
from tlc_edge.runtime.vectors import Floats

from . import errors
from .errors import DeviceError, UsageError
from .wire import change_of, encoded, error_of, example_of, prediction_of

_TRIES = 6
_LONGEST_PAUSE = 5.0


class Client:
    """Use it as a context manager. Any number of threads may use one."""

    def __init__(
        self,
        address: str,
        bundle: str | None = None,
        token: str | None = None,
        *,
        trust: str | os.PathLike[str] | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Take the page's address, or the link with its token.

        Args:
            address: such as `http://127.0.0.1:8000/`; it may have `?bundle=` and, at its end, `#token=`.
            bundle: its name on the server; by default that of the address, or the first one's.
            token: as `tlc token add` gives it.
            trust: the server's `ca.crt`, where it speaks TLS by its own authority.
            timeout: seconds without an answer.

        Raises:
            DeviceError: httpx is missing, or the server cannot be reached.
            UsageError: the server has no such bundle.
        """
        try:
            self._httpx: Any = load("httpx")
        except NotThereError as e:
            raise DeviceError(f"the client needs httpx, which {e}; run: {pip_line('serve')}") from None
        page, _, fragment = address.partition("#")
        page, _, query = page.partition("?")
        page = page.removesuffix("index.html")
        token = (token or fragment.removeprefix("token=")).strip() or None
        if token is not None and not (token.isascii() and token.isprintable()):
            raise UsageError("the token has characters that none has; give it as `tlc token add` printed it")
        bundle = bundle or next(iter(parse_qs(query).get("bundle", ())), None)
        self.address = page if page.endswith("/") else f"{page}/"
        verify: Any = True if trust is None else _trusting(trust)
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._http: Any = self._httpx.Client(headers=headers, verify=verify, timeout=timeout)
        try:
            names = self._json("GET", "api/v1/bundles").get("bundles")
            if not isinstance(names, list) or not names:
                raise self._no_server()
            if bundle is not None and bundle not in names:
                raise errors.unknown_name("bundle", bundle, names)
        except BaseException:
            self.close()
            raise
        self.bundle: str = names[0] if bundle is None else bundle
        self._root = f"api/v1/bundles/{self.bundle}/"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    # Predicting

    def predict(self, image: Source, order: str = "RGB") -> Prediction:
        """Classify one image, as `Classifier.predict` does.

        Raises:
            ImageError: it cannot be read.
            DeviceError: the server cannot be reached, or refuses.
        """
        return prediction_of(self._send("predict", [image], order))

    def embed(self, image: Source, order: str = "RGB") -> Floats:
        """Return one image's embedding, float32 [D].

        Raises:
            ImageError, DeviceError: as `predict`.
        """
        return np.asarray(self._send("embed", [image], order)["embedding"], np.float32)

    def nearest(self, image: Source, order: str = "RGB") -> tuple[Prediction, list[tuple[Neighbour, Example | None]]]:
        """Classify one image, and tell which stored examples are nearest to it.

        Raises:
            ImageError, DeviceError: as `predict`.
        """
        found = self._send("nearest", [image], order)
        near = [
            (
                Neighbour(n["id"], n["label"], n["similarity"]),
                None if n["example"] is None else example_of(n["example"]),
            )
            for n in found["nearest"]
        ]
        return prediction_of(found["prediction"]), near

    # Teaching

    def enroll(
        self, label: str, images: Source | Iterable[Source], *, order: str = "RGB", thumbnails: bool = True
    ) -> Change:
        """Add examples of a class, new or known; on the device's disk when this returns. All of them or none.

        Raises:
            ImageError: one of the images cannot be read.
            UsageError: no images, more than the server takes at once, or the label cannot be used.
            GalleryError, DeviceError: it cannot be written, or the server refuses.
        """
        query = {"label": label, "thumbnails": "true" if thumbnails else "false"}
        return change_of(self._send("enroll", each_image(images), order, query))

    def enroll_not(self, images: Source | Iterable[Source], *, order: str = "RGB", thumbnails: bool = True) -> Change:
        """Add examples of what must not pass for known.

        Raises:
            ImageError, UsageError, GalleryError, DeviceError: as `enroll`.
        """
        query = {"thumbnails": "true" if thumbnails else "false"}
        return change_of(self._send("enroll-not", each_image(images), order, query))

    def forget(self, label: str) -> Change:
        """Remove a class that was enrolled; `undo` brings it back."""
        return self._change("forget", label=label)

    def rename(self, old: str, new: str, *, merge: bool = False) -> Change:
        """Give a class another name."""
        return self._change("rename", **{"from": old, "to": new, "merge": merge})

    def move(self, examples: Sequence[int], label: str) -> Change:
        """Give single examples to another class."""
        return self._change("move", examples=list(examples), label=label)

    def remove(self, examples: Sequence[int]) -> Change:
        """Remove single examples."""
        return self._change("remove", examples=list(examples))

    def undo(self, only: int | None = None) -> Change:
        """Take back the latest change; with `only`, a change's `operation`, no other."""
        return self._change("undo", **({} if only is None else {"operation": only}))

    # Looking

    def about(self) -> dict[str, Any]:
        """Return what the bundle is, and how good."""
        return self._json("GET", self._root.rstrip("/"))

    def classes(self) -> dict[str, int]:
        """Return every class the answer can be, with the number of enrolled examples."""
        return {one["label"]: one["examples"] for one in self._json("GET", f"{self._root}classes")["classes"]}

    def examples(self, label: str | None = None) -> list[Example]:
        """Return the enrolled examples, of one class or of all."""
        query = {} if label is None else {"label": label}
        return [example_of(e) for e in self._json("GET", f"{self._root}examples", params=query)["examples"]]

    def thumbnail(self, example: int) -> bytes:
        """Return an example's picture, a JPEG.

        Raises:
            DeviceError: there is none.
        """
        return self._bytes("GET", f"{self._root}thumbnails/{example}")

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write all that is enrolled to a new file, which every tlc imports.

        Raises:
            FileExistsError: something has the name.
        """
        data = self._bytes("GET", f"{self._root}gallery")
        with Path(path).open("xb") as out:
            out.write(data)

    def import_file(self, path: str | os.PathLike[str], conflicts: str = "first") -> dict[str, Any]:
        """Add the examples of a gallery; return what that did."""
        data = Path(path).read_bytes()
        return self._json("POST", f"{self._root}gallery", params={"conflicts": conflicts}, content=data)

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what happens, for as long as the server runs: its kind, and what is told.

        Raises:
            DeviceError: the server cannot be reached any more.
        """
        kind = ""
        try:
            with self._http.stream("GET", f"{self.address}{self._root}events") as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise error_of(answer)
                for line in answer.iter_lines():
                    if line.startswith("event: "):
                        kind = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        yield kind, json.loads(line.removeprefix("data: "))
        except self._httpx.TransportError as e:
            raise self._unreachable(e) from None

    # Asking

    def _send(
        self, what: str, images: Iterable[Source], order: str, query: dict[str, str] | None = None
    ) -> dict[str, Any]:
        files = [("images", encoded(image, order)) for image in images]
        if not files:
            raise UsageError("no images; give at least one")
        return self._json("POST", self._root + what, params=query, files=files)

    def _change(self, what: str, **document: Any) -> Change:
        return change_of(self._json("POST", self._root + what, json=document))

    def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            found: Any = self._ask(method, path, **more).json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._no_server()
        return cast("dict[str, Any]", found)

    def _bytes(self, method: str, path: str) -> bytes:
        found: bytes = self._ask(method, path).content
        return found

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        """Ask, and again where the server has no room just now; it has done nothing then."""
        for _ in range(_TRIES - 1):
            answer = self._ask_once(method, path, **more)
            pause = _pause(answer)
            if pause is None:
                break
            time.sleep(pause)
        else:
            answer = self._ask_once(method, path, **more)
        if answer.status_code != 200:
            raise error_of(answer)
        return answer

    def _ask_once(self, method: str, path: str, **more: Any) -> Any:
        try:
            return self._http.request(method, self.address + path, **more)
        except (self._httpx.InvalidURL, self._httpx.UnsupportedProtocol) as e:
            raise UsageError(f"{self.address}: {e}; give an address such as http://127.0.0.1:8000/") from None
        except self._httpx.TransportError as e:
            raise self._unreachable(e) from None

    def _no_server(self) -> DeviceError:
        return DeviceError(f"{self.address}: does not answer like `tlc serve`; check the address")

    def _unreachable(self, error: Exception) -> DeviceError:
        return DeviceError(
            f"{self.address}: {errors.first_line(error, 'no answer')}; check that `tlc serve` runs there"
        )


def _pause(answer: Any) -> float | None:
    """Return after how many seconds a server that had no room wants to be asked again, None where it does not."""
    told = str(answer.headers.get("retry-after", ""))
    is_busy = answer.status_code in (429, 503) and told.isascii() and told.isdecimal()
    return float(told) if is_busy and float(told) <= _LONGEST_PAUSE else None


def _trusting(certificate: str | os.PathLike[str]) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=certificate)
    except OSError as e:
        why = e.strerror or "is no certificate"
        raise DeviceError(f"{source_name(certificate)}: {why}; give the server's ca.crt") from None
