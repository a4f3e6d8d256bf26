"""Read a flatbuffer by slot numbers, as its schema file lists them: no generated code to agree with itself."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Flat:
    """One table of a flatbuffer."""

    data: bytes
    start: int

    @classmethod
    def root(cls, data: bytes, identifier: bytes) -> Flat:
        """Return the root table of a buffer with this file identifier."""
        assert data[4:8] == identifier
        return cls(data, struct.unpack_from("<I", data)[0])

    def place(self, slot: int) -> int | None:
        """Return where the field is stored; None where it has its default."""
        vtable = self.start - struct.unpack_from("<i", self.data, self.start)[0]
        if 4 + 2 * slot >= struct.unpack_from("<H", self.data, vtable)[0]:
            return None
        offset = struct.unpack_from("<H", self.data, vtable + 4 + 2 * slot)[0]
        return self.start + offset if offset else None

    def number(self, slot: int, kind: str = "<b") -> int:
        """Return a number; 0, the default of all fields read here, where none is stored."""
        place = self.place(slot)
        return 0 if place is None else struct.unpack_from(kind, self.data, place)[0]

    def follow(self, slot: int) -> int | None:
        """Return where the field's offset points to."""
        place = self.place(slot)
        return None if place is None else place + struct.unpack_from("<I", self.data, place)[0]

    def table(self, slot: int) -> Flat:
        """Return the table in a field."""
        place = self.follow(slot)
        assert place is not None
        return Flat(self.data, place)

    def raw(self, slot: int) -> bytes:
        """Return a vector of bytes, or a string."""
        place = self.follow(slot)
        if place is None:
            return b""
        return self.data[place + 4 : place + 4 + struct.unpack_from("<I", self.data, place)[0]]

    def text(self, slot: int) -> str:
        """Return a string."""
        return self.raw(slot).decode()

    def tables(self, slot: int) -> list[Flat]:
        """Return a vector of tables."""
        place = self.follow(slot)
        if place is None:
            return []
        count = struct.unpack_from("<I", self.data, place)[0]
        places = [place + 4 + 4 * i for i in range(count)]
        return [Flat(self.data, p + struct.unpack_from("<I", self.data, p)[0]) for p in places]
