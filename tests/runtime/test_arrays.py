"""Arrays of a bundle: plain numbers come back as they were written, and anything else is refused unread."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tlc_edge.runtime.bundle.arrays import read_arrays

NUMBERS = st.sampled_from(
    [np.dtype(kind) for kind in ("?", "i1", "u1", "<i2", ">u2", "<i4", "<i8", "<f2", "<f4", ">f8")]
)
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def npz(**members: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **members)
    return out.getvalue()


def zipped(method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


def npy(header: str, content: bytes = bytes(8), version: tuple[int, int] = (1, 0)) -> bytes:
    """An array's file with any header, whatever it says."""
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header) + 1)
    return b"\x93NUMPY" + bytes(version) + length + header.encode() + b"\n" + content


def described(shape: str = "(2,)", kind: str = "'<f4'", fortran: bool = False) -> str:
    return f"{{'descr': {kind}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


@given(st.dictionaries(st.sampled_from(["a", "b.c", "few"]), arrays_of.arrays(NUMBERS, SHAPES), max_size=3))
def test_numbers_come_back_to_the_bit_and_cannot_be_written_to(members: dict[str, np.ndarray[Any, Any]]) -> None:
    found = read_arrays(npz(**members))
    assert set(found) == set(members)
    for name, array in members.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
        assert not found[name].flags.writeable


def test_both_versions_of_a_header_are_read_and_a_line_runs_both_ways() -> None:
    content = np.array([1.5, -2], "<f4").tobytes()
    for version in ((1, 0), (2, 0)):
        for fortran in (False, True):
            data = zipped(x=npy(described(fortran=fortran), content, version))
            assert read_arrays(data)["x"].tolist() == [1.5, -2]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (npz(x=np.array([{"code": 1}], dtype=object)), "holds object"),
        (npz(x=np.array(["a"])), "holds <U1"),
        (npz(x=np.array([1j])), "holds complex128"),
        (npz(x=np.array(["2020"], "M8[s]")), "holds datetime64"),
        (npz(x=np.zeros(2, [("a", "f4")])), "holds"),
        (npz(x=np.asfortranarray(np.arange(6).reshape(2, 3))), "in rows"),
        (zipped(zipfile.ZIP_DEFLATED, x=npy(described())), "'x.npy' is compressed"),
        (zipped(x=npy(described(), bytes(7))), r"shape \[2\], which does not fit"),
        (zipped(x=npy(described(), bytes(9))), r"shape \[2\], which does not fit"),
        (zipped(x=npy(described("(-2, -1)"))), r"shape \[-2, -1\], which does not fit"),
        (zipped(x=npy(described("(-1,)"), b"")), "shape"),
        (zipped(x=npy(described(f"({2**62}, 4)"), b"")), "does not fit"),  # as many as 2**64, and so none
        (zipped(x=npy(described(), version=(3, 0))), r"version \(3, 0\)"),
        (zipped(x=b"no array"), "magic"),
        (b"no archive", "zip"),
        (b"", "zip"),
    ],
    ids=range(16),
)
def test_what_is_no_stored_array_of_numbers_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_arrays(data)


def test_members_that_share_their_bytes_are_refused() -> None:
    """Each of them would be as long as the archive: a few kilobytes become as much as memory holds."""
    whole = zipped(x=npy(described("(512,)"), bytes(2048)))
    at = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    entry = whole[at:end]
    twice = whole[:at] + entry + entry.replace(b"x.npy", b"y.npy")
    last = bytearray(whole[end:])
    struct.pack_into("<HHI", last, 8, 2, 2, 2 * len(entry))
    with pytest.raises(ValueError, match="longer than itself"):
        read_arrays(twice + bytes(last))
    assert read_arrays(whole)["x"].shape == (512,)


def test_a_member_with_a_password_is_refused() -> None:
    data = bytearray(zipped(x=npy(described())))
    for start, flags in ((data.index(b"PK\x03\x04"), 6), (data.index(b"PK\x01\x02"), 8)):
        data[start + flags] |= 1
    with pytest.raises(ValueError, match="password"):
        read_arrays(bytes(data))
