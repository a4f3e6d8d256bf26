"""What follows from numbers alone, and from the same ones in many builds: made once, and kept in the cache."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.arrays import read_arrays

from .folder import caching

Given = NDArray[Any] | bytes | None


def once(cache: str | None, words: Sequence[object], given: Iterable[Given], make: Callable[[], bytes]) -> bytes:
    """Return what `make` gives; not made again where it was made from the same, and is still in the cache.

    Args:
        cache: as in `caching`.
        words: what it is, as JSON has it, with all that decides it beside what is given: settings, versions of
            libraries, and a number that rises when the same would come out otherwise.
        given: what it is made from, in order.
        make: makes it; called where it is not there.
    """
    with caching(cache) as kept:
        if kept is None:
            return make()
        key = _key(words, given)
        found = kept.get(key)
        if found is None:
            found = make()
            kept.put([(key, found)])
        return found


def arrays_once(
    cache: str | None,
    words: Sequence[object],
    given: Iterable[Given],
    make: Callable[[], Mapping[str, NDArray[Any]]],
) -> Mapping[str, NDArray[Any]]:
    """Return arrays of plain numbers by name, as `once` does; they are not to be written to."""

    def packed() -> bytes:
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, **make())
        return out.getvalue()

    return read_arrays(once(cache, words, given, packed))


def _key(words: Sequence[object], given: Iterable[Given]) -> bytes:
    recipe = hashlib.sha256(json.dumps(["once", *words]).encode())
    for part in given:
        content = part.tobytes() if isinstance(part, np.ndarray) else part or b""
        head = f"{part.dtype.str}{part.shape}" if isinstance(part, np.ndarray) else type(part).__name__
        recipe.update(f"\n{head} {len(content)} ".encode())
        recipe.update(content)
    return recipe.digest()
