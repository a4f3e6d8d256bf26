"""Damage to inputs, by chance: bytes as transfers break them, and values in JSON as malice writes them.

What a coverage-guided fuzzer does better is done here without one, so that every machine can fuzz.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1 << 31,
    10**18,
    -(10**30),
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 10_000,
    "\x1b[31mred\x07\r\n",
    "\u202egpj.exe\u2066",
    "\ud800",
    "../../../etc/passwd",
    "/dev/zero",
    "a\0b",
    [],
    {},
    [[[[[[[[]]]]]]]],
    [10**9, 10**9],
    {"class_name": "Lambda", "config": {}},
)
_WORDS = (
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"-1",
    b"1e999",
    b"\x1b[2J",
    b"..",
    b"/",
    b'"',
    b"{",
)


def mutated(data: bytes, chance: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return bytes changed in one place or a few."""
    if chance.random() < 0.4 and (value := _parsed(data)) is not None:
        return json.dumps(_changed(value, chance)).encode("utf-8", "surrogatepass")
    out = bytearray(data)
    for _ in range(1 << chance.randrange(5)):
        chance.choice(_CHANGES)(out, chance)
    if others and chance.random() < 0.1:
        other = chance.choice(others)
        cut = chance.randrange(len(out) + 1)
        out[cut:] = other[chance.randrange(len(other) + 1) :]
    return bytes(out)


def _flip(out: bytearray, chance: random.Random) -> None:
    if out:
        out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)


def _overwrite(out: bytearray, chance: random.Random) -> None:
    word = chance.choice(_WORDS)
    at = chance.randrange(len(out) + 1)
    out[at : at + len(word)] = word


def _cut(out: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(out) + 1)
    del out[at : at + 1 + chance.randrange(64)]


def _repeat(out: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(out) + 1)
    out[at:at] = out[at : at + 1 + chance.randrange(64)] * (1 + chance.randrange(4))


def _end(out: bytearray, chance: random.Random) -> None:
    if chance.random() < 0.2:
        del out[chance.randrange(len(out) + 1) :]


_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (_flip, _flip, _overwrite, _cut, _repeat, _end)


def _parsed(data: bytes) -> Any:
    if data[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _changed(value: Any, chance: random.Random) -> Any:
    """Change a parsed document in one place or a few: a value for a hostile one, a key less, a list longer."""
    for _ in range(1 << chance.randrange(3)):
        places = list(_places(value))
        if not places:
            return copy.deepcopy(chance.choice(HOSTILE))
        holder, key = chance.choice(places)
        what = chance.random()
        if what < 0.7:
            holder[key] = copy.deepcopy(chance.choice(HOSTILE))
        elif what < 0.85:
            del holder[key]
        elif isinstance(holder, list):
            holder += copy.deepcopy(holder[: 1 + chance.randrange(50)])
        else:
            holder[chance.choice(list(holder))] = copy.deepcopy(holder[key])
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    open_ = [value]
    while open_:
        at = open_.pop()
        keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
        for key in keys:
            found.append((at, key))
            open_.append(at[key])
    return found
