"""An example as the file keeps it: what is refused before it is written, and what is told from damage when read."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from gallery_samples import WIDTH, source, vectors

from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.gallery.packed import has_vector, is_sound, is_thumbnail, pack, row_crc, storable
from tlc_edge.runtime.gallery.records import ExampleSource

VECTOR, SHA256 = bytes(range(WIDTH)), "a" * 64
SOUND: dict[str, Any] = {
    "id": 3,
    "label": "cup",
    "vector": VECTOR,
    "scale": 0.5,
    "sha256": SHA256,
    "name": "a.jpg",
    "at": "2026-01-01",
    "stands_for": 1,
    "thumbnail": b"jpeg",
}
CRC = row_crc(VECTOR, 0.5, SHA256, "a.jpg", "2026-01-01")


def sound(**changed: object) -> bool:
    return is_sound(tuple({**SOUND, **changed}.values()), WIDTH, CRC, zlib.crc32(b"jpeg"))


def test_what_was_written_is_sound_under_any_label() -> None:
    assert sound()
    assert sound(label="mug")  # the check sum leaves it out: an index holds it a second time
    assert sound(id=4, stands_for=9)
    assert sound(thumbnail=None)


@pytest.mark.parametrize(
    "changed",
    [
        {"label": None},
        {"label": b"cup"},
        {"sha256": None},
        {"sha256": "b" * 64},
        {"name": 7},
        {"name": "b.jpg"},
        {"at": None},
        {"at": "2026-01-02"},
        {"id": "3"},
        {"id": None},
        {"stands_for": 1.5},
        {"stands_for": None},
        {"vector": VECTOR[:-1]},
        {"vector": VECTOR[::-1]},
        {"vector": VECTOR.hex()},
        {"vector": None},
        {"scale": 0.25},
        {"scale": 1},
        {"scale": None},
        {"thumbnail": b"jpeh"},
        {"thumbnail": "jpeg"},
    ],
    ids=str,
)
def test_anything_else_is_damage(changed: dict[str, object]) -> None:
    assert not sound(**changed)


def test_the_check_sum_covers_every_part_in_its_place() -> None:
    sums = {
        row_crc(VECTOR, 0.5, "a", "b", "c"),
        row_crc(VECTOR[:-1], 0.5, "a", "b", "c"),
        row_crc(VECTOR, -0.5, "a", "b", "c"),
        row_crc(VECTOR, 0.5, "b", "a", "c"),
        row_crc(VECTOR, 0.5, "ab", "", "c"),
    }
    assert len(sums) == 5
    # In files since the first version: it never changes.
    assert row_crc(b"\x01\x02\xff", 0.25, "ab", "c") == zlib.crc32(
        b"\x01\x02\xff" + b"\x00\x00\x00\x00\x00\x00\xd0\x3f" + b"ab\nc"
    )


def test_a_vector_and_a_thumbnail_are_told_by_themselves() -> None:
    assert has_vector(VECTOR, 0.5, WIDTH)
    assert not has_vector(VECTOR, 0.5, WIDTH + 1)
    assert not has_vector(bytearray(VECTOR), 0.5, WIDTH)
    assert is_thumbnail(b"", 0)
    assert is_thumbnail(b"jpeg", zlib.crc32(b"jpeg"))
    assert not is_thumbnail(b"jpeg", None)
    assert not is_thumbnail(None, None)


def test_packed_examples_hold_their_vectors() -> None:
    rows = vectors("a", "b")
    packed = pack(rows, [source("a"), source("b", b"jpeg")], WIDTH)
    assert [p.source for p in packed] == [source("a"), source("b", b"jpeg")]
    for one, row in zip(packed, rows, strict=True):
        assert np.abs(np.frombuffer(one.vector, np.int8) * one.scale - row).max() <= 0.5001 * one.scale


@pytest.mark.parametrize(
    ("rows", "sha256", "message"),
    [
        (np.ones((1, WIDTH + 1), np.float32), SHA256, r"shape \(1, 9\), expected \(1, 8\)"),
        (np.ones((2, WIDTH), np.float32), SHA256, r"shape \(2, 8\), expected \(1, 8\)"),
        (np.ones((1, WIDTH), np.float32), SHA256.upper(), "is not a SHA-256 in lower-case hex digits"),
        (np.ones((1, WIDTH), np.float32), SHA256 + "a", "is not a SHA-256"),
        (np.ones((1, WIDTH), np.float32), SHA256[1:], "is not a SHA-256"),
    ],
)
def test_a_callers_mistakes(rows: np.ndarray, sha256: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack(rows, [ExampleSource(sha256, "a.jpg", None)], WIDTH)


def test_a_vector_without_direction_is_refused_by_its_file() -> None:
    with pytest.raises(GalleryError, match=r"^b\.jpg: an embedding must be finite and not all zero; nothing was"):
        pack(np.stack([vectors("a")[0], np.zeros(WIDTH, np.float32)]), [source("a"), source("b")], WIDTH)


def test_a_name_that_is_no_text_can_be_stored() -> None:
    assert storable("Tasse ☕.jpg") == "Tasse ☕.jpg"
    assert storable("a\udcff.jpg") == "a?.jpg"
