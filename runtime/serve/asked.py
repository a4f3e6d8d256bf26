"""A request as its endpoint gets it, and the answer as it gives it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from tlc_edge.runtime.errors import UsageError

from .access import Client
from .served import Served

_MOST_DOCUMENT = 1 << 20  # bytes


@dataclass(frozen=True, eq=False)
class Call:
    """What is asked, by whom, of which bundle."""

    request: Request
    client: Client
    served: Served

    def query(self, name: str) -> str:
        """Return a value of the query.

        Raises:
            UsageError: it is not there, or `given` cannot tell it.
        """
        found = self.given(name)
        if found is None:
            raise UsageError(f"the query has no {name}; give it as ?{name}=…")
        return found

    def given(self, name: str) -> str | None:
        """Return a value of the query, None where it is not there.

        Raises:
            UsageError: it is there twice, or something in the query is no UTF-8.
        """
        found = [value for key, value in self._pairs() if key == name]
        if len(found) > 1:
            raise UsageError(f"the query has {name} {len(found)} times; give it once")
        return found[0] if found else None

    def knows(self, *names: str) -> None:
        """Let the query have no other values, for what would change otherwise than was meant.

        Raises:
            UsageError: it has.
        """
        for key, _ in self._pairs():
            if key not in names:
                known = f"known: {', '.join(names)}" if names else "none is known here"
                raise UsageError(f"unknown key {key[:40]!r} in the query; {known}")

    def _pairs(self) -> list[tuple[str, str]]:
        try:
            raw = self.request.scope["query_string"].decode("ascii")
            return parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=100)
        except ValueError:
            raise UsageError(
                "the query is no UTF-8, or has more than 100 values; write it as UTF-8, percent-encoded"
            ) from None

    async def body(self) -> bytes:
        """Return all of the body."""
        return await self.request.body()

    async def document(self, **wanted: type) -> dict[str, Any]:
        """Return the body as a JSON object with these keys, of these types; what is not there is left out.

        Raises:
            UsageError: it is none, or has others.
        """
        body = await self.body()
        if len(body) > _MOST_DOCUMENT:
            raise UsageError(f"the JSON has {len(body)} bytes, expected at most {_MOST_DOCUMENT}")
        try:
            raw: Any = json.loads(body, object_pairs_hook=_once) if body.strip() else {}
        except (ValueError, RecursionError):
            raise UsageError("the body is not JSON; send an object") from None
        if not isinstance(raw, dict):
            raise UsageError("the body is not a JSON object")
        found = cast("dict[str, Any]", raw)
        for key, value in found.items():
            if key not in wanted:
                raise UsageError(f"unknown key {key[:40]!r}; known: {', '.join(wanted)}")
            if type(value) is not wanted[key]:
                raise UsageError(f"{key} is not of the type that is expected; see openapi.json")
        return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:  # which one is meant, nobody can say
            raise UsageError(f"the JSON has the key {key[:40]!r} twice; give it once")
        found[key] = value
    return found


def required(document: dict[str, Any], name: str) -> Any:
    """Return a value of a document.

    Raises:
        UsageError: it is not there.
    """
    if name not in document:
        raise UsageError(f"the JSON has no {name!r}; see openapi.json")
    return document[name]


def example_ids(document: dict[str, Any]) -> list[int]:
    """Return the ids of examples in a document.

    Raises:
        UsageError: there are none, or they are no numbers.
    """
    found: list[Any] = required(document, "examples")
    if not found or not all(type(i) is int and 0 < i < 1 << 63 for i in found):
        raise UsageError("examples: expected a list of ids, which are whole numbers above 0")
    return found


def whole_number(text: str, what: str) -> int:
    """Read a number of a path or a query.

    Raises:
        UsageError: it is none that SQLite could hold.
    """
    if text.isascii() and text.isdecimal() and len(text) < 19:
        return int(text)
    raise UsageError(f"{what} is {text[:20]!r}, expected a whole number")


def json_response(document: Any, status: int = 200) -> Response:
    """Return a document as an answer that nobody keeps."""
    body = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, status, {"cache-control": "no-store"}, "application/json")
