"""Find a gallery's examples in the bare pages of its file, where SQLite itself cannot reach them any more.

A table's leaf page begins with 0x0D, the number of cells at byte 3, and from byte 8 on the places of the
cells. A cell is the size of its record and the row's id, both as varints, and the record: the size of its
header, a serial type per column, the values. What does not fit goes on in a chain of overflow pages. See
sqlite.org/fileformat2.html, sections 1.5 and 2.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

_LEAF = 0x0D
_EXAMPLE = (10, 11)  # columns of `examples` in the first version and since the second
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def carved_examples(data: bytes) -> Iterator[tuple[tuple[Any, ...], int, bool, object]]:
    """Yield what may be examples: id, label, vector, scale, sha256, name and time; check sum; whether removed; count.

    They may be stale or damaged: compare the check sum.
    """
    for number, values in _rows(data):
        if len(values) not in _EXAMPLE or not isinstance(values[2], bytes):
            continue
        _, label, vector, scale, crc, sha256, name, at, _, removed_by, stands_for = (*values, 1)[:11]
        if isinstance(label, str) and label and isinstance(crc, int):
            # SQLite stores a real that is a whole number as an integer.
            scale = float(scale) if isinstance(scale, int) else scale
            yield (number, label, vector, scale, sha256, name, at), crc, removed_by is not None, stands_for


def carved_thumbnails(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the ids of examples with their thumbnails, those that are as they were written."""
    for number, values in _rows(data):
        if len(values) == 3 and isinstance(values[1], bytes) and zlib.crc32(values[1]) == values[2]:
            yield number, values[1]


def _rows(data: bytes) -> Iterator[tuple[int, list[Any]]]:
    size = _page_size(data)
    for start in range(0, len(data), size):
        page = data[start : start + size]
        head = 100 if start == 0 else 0
        if len(page) < head + 8 or page[head] != _LEAF:
            continue
        count = struct.unpack_from(">H", page, head + 3)[0]
        for i in range(min(count, (len(page) - head - 8) // 2)):
            place = struct.unpack_from(">H", page, head + 8 + 2 * i)[0]
            try:
                yield _cell(data, page, place, size)
            except (IndexError, ValueError, struct.error, UnicodeDecodeError):
                continue


def _page_size(data: bytes) -> int:
    size = int.from_bytes(data[16:18], "big")
    size = 65536 if size == 1 else size
    return size if 512 <= size <= 65536 and size & (size - 1) == 0 else 4096


def _cell(data: bytes, page: bytes, place: int, size: int) -> tuple[int, list[Any]]:
    length, place = _varint(page, place)
    number, place = _varint(page, place)
    if length > len(data):
        raise ValueError("a record larger than the file")
    most, least = size - 35, (size - 12) * 32 // 255 - 23
    here = length
    if length > most:
        here = least + (length - least) % (size - 4)
        here = here if here <= most else least
    payload = bytearray(page[place : place + here])
    following = int.from_bytes(page[place + here : place + here + 4], "big") if length > here else 0
    while len(payload) < length:
        if not 1 < following <= len(data) // size:
            raise ValueError("a broken chain")
        overflow = data[(following - 1) * size : following * size]
        payload += overflow[4 : 4 + length - len(payload)]
        following = int.from_bytes(overflow[:4], "big")
    if len(payload) != length:
        raise ValueError("a cell beyond its page")
    return number, _record(bytes(payload))


def _record(payload: bytes) -> list[Any]:
    end, place = _varint(payload, 0)
    types: list[int] = []
    while place < end:
        kind, place = _varint(payload, place)
        types.append(kind)
    values: list[Any] = []
    for kind in types:
        value, place = _value(payload, place, kind)
        values.append(value)
    return values


def _value(payload: bytes, place: int, kind: int) -> tuple[Any, int]:
    if kind == 0:
        return None, place
    if kind in (8, 9):
        return kind - 8, place
    if kind in _INTEGERS:
        end = place + _INTEGERS[kind]
        return int.from_bytes(payload[place:end], "big", signed=True), end
    if kind == 7:
        return struct.unpack_from(">d", payload, place)[0], place + 8
    if kind < 12:
        raise ValueError("a reserved type")
    end = place + (kind - 12) // 2
    if end > len(payload):
        raise ValueError("a value beyond its record")
    raw = payload[place:end]
    return (raw.decode("utf-8") if kind % 2 else raw), end


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for i in range(9):
        byte = data[place + i]
        if i == 8:
            return value << 8 | byte, place + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + i + 1
    raise ValueError("unreachable")
