"""What each kind of input may cost: every row of the table in docs/security.md is held by a test, those below too."""

from __future__ import annotations

import ast
import hashlib
import io
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_targets import small_bundle
from made_docs.costs import COSTS

from tlc_edge.compiler.data.forms import address, npz
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.errors import BundleError, DataError, DeviceError
from tlc_edge.runtime.signing.minisign import LONGEST, PublicKey, Signature, read_public, read_signature
from tlc_edge.runtime.watch import snapshots

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("row", COSTS, ids=lambda row: row[0])
def test_every_row_has_a_test(row: tuple[str, ...]) -> None:
    file, name = row[4].split(":")
    (path,) = TESTS.rglob(f"{file}.py")
    found = {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}
    assert name in found


def test_members_that_lie_over_each_other_are_no_bundle(tmp_path: Path) -> None:
    """A hundred names for the same bytes: each no longer than the file, together a hundred times as long."""
    data = bytes(100_000)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("x0", data)
        first = archive.infolist()[0]
        for i in range(1, 100):
            again = zipfile.ZipInfo(f"x{i}")
            again.header_offset, again.file_size, again.compress_size = first.header_offset, len(data), len(data)
            again.CRC = first.CRC
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
    (tmp_path / "b.tlc").write_bytes(out.getvalue())
    assert (tmp_path / "b.tlc").stat().st_size < 120_000
    with pytest.raises(BundleError, match="compressed or damaged"):
        Bundle.open(tmp_path / "b.tlc")
    assert Bundle.open(small_bundle(tmp_path)).manifest.labels == ("a", "b")


def test_an_npz_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = np.zeros((40, 100, 100), np.uint8), np.array(["a", "b"] * 20)
    np.savez_compressed(tmp_path / "d.npz", images=images, labels=labels)
    assert len(load_dataset(str(tmp_path / "d.npz")).samples) == 40
    monkeypatch.setattr(npz, "MAX_UNPACKED", 300_000)
    with pytest.raises(DataError, match=r"d.npz: unpacks to [0-9,]+ bytes, more than 300,000; give a folder of images"):
        load_dataset(str(tmp_path / "d.npz"))


def test_a_download_that_is_too_long_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "MAX_BYTES", 1 << 30)
    meter: Any = address._Meter("http://u:secret@host/a.zip", lambda *_: None)
    for _ in range(1024):
        meter.update(1 << 20)
    with pytest.raises(DataError, match="more than 1 GiB") as error:
        meter.update(1)
    assert "secret" not in str(error.value)


class Endless:
    """An answer that always has more."""

    def __init__(self) -> None:
        self.headers = Message()
        self.headers["Content-Type"] = "image/jpeg"
        self.given = 0

    def read(self, count: int) -> bytes:
        self.given += count
        return b"\xff" * count

    def __enter__(self) -> Endless:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_photo_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_LARGEST", 1_000_000)
    camera: Any = snapshots.Snapshots("http://127.0.0.1/photo")
    answer = Endless()
    camera._open = lambda *_, timeout: answer
    with pytest.raises(DeviceError, match="gives a picture of more than 1000000 bytes"):
        camera.fetch()
    assert answer.given < 1_001_000


def test_a_key_is_not_longer_than_a_key() -> None:
    public = PublicKey(bytes(8), hashlib.sha256(b"").digest())
    signature = Signature(bytes(8), bytes(64), "serial 1", bytes(64))
    assert read_public(public.file) == public
    assert read_signature(signature.file) == signature
    for read, data in ((read_public, public.file), (read_signature, signature.file)):
        with pytest.raises(ValueError, match=r"too long|no signature"):
            read(data + b"x" * LONGEST)  # type: ignore[operator]
