"""Run with -m by `read_confined`: plain arrays from the HDF5 file on standard input, to standard output.

HDF5 can link to other files, keep an array's bytes outside, and store Python objects. All that a network's weights
need is arrays of numbers in groups; the rest is refused by name. This process reads what strangers made: it may open
nothing, and whoever reads its output trusts none of it.

Arguments: the bytes that all arrays may have together; 1 to read the arrays and not only the attributes; 1 where the
input is a pipe. Output: eight bytes, the length of a JSON header (little-endian), the header, the arrays' bytes.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from .confine import confine

_KINDS = "fiub"
_MOST_ITEMS = 200_000  # groups and arrays; the largest networks have some thousands
_SECONDS = 120  # of the processor; some hundred megabytes take one


class _RefusedError(Exception):
    """Holds what the person is told."""


def answer() -> None:
    """Read, and answer on standard output."""
    import h5py

    budget, arrays, piped = (int(a) for a in sys.argv[1:4])
    data = io.BytesIO(sys.stdin.buffer.read()) if piped else sys.stdin.buffer
    confine(memory=3 * budget + (256 << 20), seconds=_SECONDS)
    found: list[tuple[str, Any]] = []
    try:
        with h5py.File(data, "r") as file:
            top = _plain(file, "model_weights") if "model_weights" in file else file
            header: dict[str, Any] = {
                "attributes": _attributes(file),
                "ordered": "layer_names" in top.attrs or "layer_names0" in top.attrs,
            }
            found = list(_bounded(top, budget)) if arrays else []
            _send({**header, "arrays": [(n, i.dtype.newbyteorder("<").str, i.shape) for n, i in found]})
            for _, item in found:
                little = np.asarray(item[()]).astype(item.dtype.newbyteorder("<"), copy=False)
                sys.stdout.buffer.write(np.ascontiguousarray(little).tobytes())
    except _RefusedError as e:
        _send({"error": str(e)})
    except MemoryError:
        _send({"error": "asks for more memory than a file of its size can need; it was refused"})
    except Exception as e:  # HDF5 meets damage with whatever error it happens to hit
        lines = str(e).strip().splitlines() or [type(e).__name__]
        _send({"error": f"not an HDF5 file, or a damaged one ({lines[0][:200]})"})
    sys.stdout.buffer.flush()


def _send(header: dict[str, Any]) -> None:
    text = json.dumps(header).encode()
    sys.stdout.buffer.write(len(text).to_bytes(8, "little") + text)


def _attributes(file: Any) -> dict[str, str]:
    values = {name: file.attrs.get(name) for name in ("model_config", "keras_version", "backend")}
    return {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for name, value in values.items()
        if value is not None
    }


def _bounded(top: Any, budget: int) -> Iterator[tuple[str, Any]]:
    """Yield the arrays, once it is known what they take; nothing of them is read."""
    for name, item in _datasets(top, "", set()):
        if item.dtype.kind not in _KINDS:
            raise _RefusedError(f"{name} holds {item.dtype}, expected plain numbers; it was refused")
        size = math.prod(item.shape or (1,)) * item.dtype.itemsize
        budget -= size
        if budget < 0 or item.shape is None:
            raise _RefusedError(f"{name} takes {size:,} bytes, more than a file of its size can need; it was refused")
        yield name, item


def _datasets(group: Any, above: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    for name in _ordered(group):
        item = _plain(group, name)
        _once(item, f"{above}{name}", seen)
        if hasattr(item, "keys"):
            yield from _datasets(item, f"{above}{name}/", seen)
        else:
            yield f"{above}{name}", item


def _once(item: Any, name: str, seen: set[int]) -> None:
    """Refuse what is there under two names: through such groups a small file has paths without end."""
    import h5py

    address = int(h5py.h5o.get_info(item.id).addr)
    if address in seen:
        raise _RefusedError(f"{name} is there under another name as well; it was refused")
    if len(seen) >= _MOST_ITEMS:
        raise _RefusedError(f"holds more than {_MOST_ITEMS:,} groups and arrays; it was refused")
    seen.add(address)


def _ordered(group: Any) -> list[str]:
    """Return a group's names, those first that Keras lists, in its order."""
    listed: list[str] = []
    for attribute in ("layer_names", "weight_names"):
        values: list[Any] = list(group.attrs.get(attribute, []))
        # Lists too long for one attribute go on in numbered ones.
        part = 0
        while f"{attribute}{part}" in group.attrs:
            values += list(group.attrs[f"{attribute}{part}"])
            part += 1
        listed += [v.decode() if isinstance(v, bytes) else str(v) for v in values]
    first = list(dict.fromkeys(n for n in listed if _is_there(group, n)))
    inside = {n.split("/")[0] for n in first}
    return first + [n for n in group if n not in first and n not in inside]


def _is_there(group: Any, name: str) -> bool:
    """Return whether there is such a name, links not followed."""
    at = group
    for part in name.strip("/").split("/"):
        if not hasattr(at, "keys") or at.get(part, getlink=True) is None:
            return False
        at = _plain(at, part)
    return True


def _plain(group: Any, name: str) -> Any:
    """Return a group or an array that lies in this very file."""
    import h5py

    at = group
    for part in name.strip("/").split("/"):
        link = at.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise _RefusedError(f"{name} is a link to another place or file; it was refused")
        at = at[part]
    if isinstance(at, h5py.Dataset) and (at.external or at.is_virtual):
        raise _RefusedError(f"{name} keeps its numbers in another file; it was refused")
    if not isinstance(at, h5py.Dataset | h5py.Group):
        raise _RefusedError(f"{name} is a {type(at).__name__}, expected arrays of numbers; it was refused")
    return at


if __name__ == "__main__":
    answer()
