"""Archives are unpacked once, and never outside the folder made for them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tlc_edge.compiler.cache import bound as make_room
from tlc_edge.compiler.data.decode import decode_all
from tlc_edge.compiler.data.forms import archive as data_archive
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.data.records import Dataset
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError


def png(colour: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (colour, colour, colour)).save(out, "PNG")
    return out.getvalue()


FILES = {f"{label}/{i}.png": png(10 * i + len(label)) for label in ("cat", "horse") for i in range(3)}


def as_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_tar(path: Path, files: dict[str, bytes], *others: tarfile.TarInfo) -> Path:
    mode = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(path.suffix.lower(), "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in others:
            archive.addfile(member)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


Load = Callable[[Path], Dataset]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return lambda path: load_dataset(Origin(str(path), cache=str(tmp_path / "cache")))


def names(data: Dataset) -> list[str]:
    return [sample.name for sample in data.samples]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".TGZ", ".tar.xz", ".tar.bz2"])
@pytest.mark.parametrize("wrapped", ["", "pets/", "deep/er/pets/"])
def test_a_folder_per_class(suffix: str, wrapped: str, tmp_path: Path, load: Load) -> None:
    make = as_zip if suffix == ".zip" else as_tar
    data = load(make(tmp_path / f"a{suffix}", {wrapped + name: data for name, data in FILES.items()}))
    assert (names(data), data.labels, data.skipped) == (sorted(FILES), ("cat", "horse"), ())
    _, images, skipped = decode_all(data.samples, Preprocessing(8, 8))
    assert images[:, 0, 0, 0].tolist() == [3, 13, 23, 5, 15, 25]
    assert skipped == []


def test_splits_and_lists_within(tmp_path: Path, load: Load) -> None:
    splits = {f"pets/{part}/{name}": data for part in ("train", "test") for name, data in FILES.items()}
    assert {s.split for s in load(as_zip(tmp_path / "a.zip", splits)).samples} == {"train", "test"}
    rows = "path,label\n" + "".join(f"all/{i}.png,{'odd' if i % 2 else 'even'}\n" for i in range(6))
    listed = {f"pets/all/{i}.png": png(i) for i in range(6)} | {"pets/list.csv": rows.encode()}
    data = load(as_zip(tmp_path / "b.zip", listed))
    assert (data.labels, len(data.samples)) == (("even", "odd"), 6)


def test_unpacked_once_and_found_again(tmp_path: Path, load: Load) -> None:
    path = as_zip(tmp_path / "a.zip", FILES)
    first = load(path)
    stamps = {s.name: Path(str(s.source)).stat().st_mtime_ns for s in first.samples}
    again = load(path)
    assert {s.name: Path(str(s.source)).stat().st_mtime_ns for s in again.samples} == stamps
    as_zip(path, {**FILES, "cat/9.png": png(9)})
    assert names(load(path)) == sorted([*FILES, "cat/9.png"])
    assert len(list((tmp_path / "cache" / "archives").iterdir())) == 2


def test_without_a_cache_it_is_unpacked_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLC_CACHE", str(tmp_path / "cache"))
    data = load_dataset(Origin(str(as_zip(tmp_path / "a.zip", FILES)), cache="off"))
    assert names(data) == sorted(FILES)
    assert not (tmp_path / "cache").exists()


def test_only_what_is_needed_is_written(tmp_path: Path, load: Load) -> None:
    extra = {"run.sh": b"#!/bin/sh", "cat/notes.md": b"x", "__MACOSX/cat/0.png": b"x", "cat/._0.png": b"x"}
    data = load(as_zip(tmp_path / "a.zip", {**FILES, **extra}))
    assert names(data) == sorted(FILES)
    written = [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert sorted(written) == sorted(["0.png", "1.png", "2.png"] * 2 + ["names.json", "skipped.json"])


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "cat/../../evil.png", "..\\evil.png", "C:/evil.png"])
@pytest.mark.parametrize("make", [as_zip, as_tar])
def test_names_that_lead_out_are_refused(
    name: str, make: Callable[[Path, dict[str, bytes]], Path], tmp_path: Path, load: Load
) -> None:
    path = make(tmp_path / f"a.{make.__name__[3:]}", {**FILES, name: png(1)})
    with pytest.raises(DataError, match="would land outside the folder; do not trust it"):
        load(path)
    assert not list(tmp_path.rglob("evil*"))
    assert list((tmp_path / "cache" / "archives").iterdir()) == []


def test_links_and_devices_are_reported_and_not_made(tmp_path: Path, load: Load) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(200))
    links = [tarfile.TarInfo(f"cat/{kind}.png") for kind in ("sym", "hard", "fifo", "device")]
    for link, kind in zip(links, (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE), strict=True):
        link.type, link.linkname = kind, str(secret)
    folder = tarfile.TarInfo("horse")
    folder.type, folder.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
    (tmp_path / "outside").mkdir()
    data = load(as_tar(tmp_path / "a.tar", FILES, *links, folder))
    assert names(data) == sorted(FILES)
    assert [s.name for s in data.skipped] == ["cat/sym.png", "cat/hard.png", "cat/fifo.png", "cat/device.png"]
    assert list((tmp_path / "outside").iterdir()) == []
    with pytest.raises(DataError, match="a link or a special file"):
        load_dataset(Origin(str(tmp_path / "a.tar"), cache=str(tmp_path / "cache")), strict=True)


def test_a_symbolic_link_in_a_zip(tmp_path: Path, load: Load) -> None:
    path = as_zip(tmp_path / "a.zip", FILES)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("cat/link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    data = load(path)
    assert (names(data), [s.name for s in data.skipped]) == (sorted(FILES), ["cat/link.png"])


def test_a_list_may_not_name_what_is_outside(tmp_path: Path, load: Load) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))
    rows = f"path,label\n0.png,a\n{tmp_path / 'secret.png'},b\n".encode()
    with pytest.raises(DataError, match=r"a\.zip: lists .*secret\.png.*not in the archive"):
        load(as_zip(tmp_path / "a.zip", {"0.png": png(0), "list.csv": rows}))


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_zip(tmp_path / "bomb.zip", {**FILES, "cat/z.png": bytes(5_000_000)})
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(data_archive, "MAX_BYTES", 1_000_000)
    assert [(s.name, s.reason) for s in load(path).skipped] == [("cat/z.png", "unpacks to more than 1000000 bytes")]
    as_zip(path, {f"cat/{i}.png": bytes(900_000) for i in range(5)})
    monkeypatch.setattr(data_archive, "MAX_UNPACKED", 2_000_000)
    with pytest.raises(DataError, match="more than there is room for"):
        load(path)
    monkeypatch.setattr(data_archive, "MAX_FILES", 2)
    with pytest.raises(DataError, match="more than 2 files"):
        load(path)
    assert len(list((tmp_path / "cache" / "archives").iterdir())) == 1


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "cut"])
def test_damaged_archives(suffix: str, damage: str, tmp_path: Path, load: Load) -> None:
    path = (as_zip if suffix == ".zip" else as_tar)(tmp_path / f"a{suffix}", FILES)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "garbage": b"no archive" * 100, "cut": whole[: len(whole) // 3]}[damage])
    with pytest.raises(DataError, match=r"a\.[a-z.0-9]+: "):
        load(path)
    assert list((tmp_path / "cache" / "archives").iterdir()) == []


def test_a_way_of_packing_that_is_not_read_is_no_damage(tmp_path: Path, load: Load) -> None:
    file = as_zip(tmp_path / "a.zip", FILES)
    data = bytearray(file.read_bytes())
    for mark, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        place = data.find(mark)
        while place >= 0:
            data[place + at] = 9  # Deflate64, as Windows' Explorer packs large folders
            place = data.find(mark, place + 4)
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.zip: packed in a way that is not read here.*unpack it"):
        load(file)


def test_a_name_twice_and_an_archive_without_images(tmp_path: Path, load: Load) -> None:
    as_zip(tmp_path / "a.zip", FILES)
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("cat/0.png", png(99))
    data = load(tmp_path / "a.zip")
    assert [(s.name, s.reason) for s in data.skipped] == [("cat/0.png", "appears twice in the archive")]
    with pytest.raises(DataError, match=r"b\.zip: no images in it"):
        load(as_zip(tmp_path / "b.zip", {"readme.txt": b"x"}))
    with pytest.raises(DataError, match=r"c\.zip: 1 images lie directly in it"):
        load(as_zip(tmp_path / "c.zip", {"0.png": png(0)}))


def test_old_ones_make_room(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(make_room, "KEPT_BYTES", 1000)
    kept = tmp_path / "cache" / "archives"
    load(as_zip(tmp_path / "old.zip", FILES))
    load(as_zip(tmp_path / "new.zip", {**FILES, "cat/7.png": png(7)}))
    assert len(list(kept.iterdir())) == 2  # both used today
    (kept / "part-left").mkdir()
    for path in kept.iterdir():
        os.utime(path, (1e9, 1e9))
    load(tmp_path / "new.zip")
    load(as_zip(tmp_path / "newest.zip", {**FILES, "cat/8.png": png(8)}))
    assert len(list(kept.iterdir())) == 2
    assert len(load(tmp_path / "new.zip").samples) == 7
