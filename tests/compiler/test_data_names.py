"""Names of files and labels, as other systems write them."""

from __future__ import annotations

import io
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.data.records import Dataset
from tlc_edge.runtime.errors import DataError, UsageError

PNG = io.BytesIO()
Image.new("RGB", (8, 8), (9, 90, 40)).save(PNG, "PNG")


def zip_of(path: Path, names: list[bytes], system: int = 3) -> Path:
    """Write an archive whose names are these bytes, without the flag for UTF-8.

    zipfile writes that flag for what is not ASCII: so letters stand in the place of the bytes, and are changed then.
    """
    written = io.BytesIO()
    stand_ins: dict[bytes, bytes] = {}
    with zipfile.ZipFile(written, "w") as archive:
        for i, name in enumerate(names):
            stand_in = f"{i:04d}".rjust(len(name), "x")
            stand_ins[stand_in.encode()] = name
            info = zipfile.ZipInfo(stand_in)
            info.create_system = system
            archive.writestr(info, PNG.getvalue())
    data = written.getvalue()
    for stand_in, name in stand_ins.items():
        data = data.replace(stand_in, name)
    path.write_bytes(data)
    return path


def tar_of(path: Path, names: list[bytes], _system: int = 3) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        for name in names:
            info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            info.size = len(PNG.getvalue())
            archive.addfile(info, io.BytesIO(PNG.getvalue()))
    return path


def load(path: Path, encoding: str | None = None) -> Dataset:
    return load_dataset(Origin(str(path), cache="off", encoding=encoding))


def names(labels: tuple[str, ...], encoding: str) -> list[bytes]:
    return [f"{label}/{i}.png".encode(encoding) for label in labels for i in range(2)]


MAKERS = [pytest.param(zip_of, "a.zip", id="zip"), pytest.param(tar_of, "a.tar", id="tar")]
Make = Callable[[Path, list[bytes]], Path]
LABELS = [
    ("国王棋子", "王后棋子"),
    ("ビショップ", "表示能力"),
    ("fou-évêque", "roi-à-côté"),
    ("ладья", "ферзь"),
]
CODES = ["gbk", "cp932", "cp850", "cp866"]
"""In Japanese bytes, the second of a character may be that of a backslash, as it is in both labels of that list."""


@pytest.mark.parametrize(("make", "name"), MAKERS)
@pytest.mark.parametrize("labels", LABELS)
def test_utf8_without_its_flag_is_utf8(make: Make, name: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    data = load(make(tmp_path / name, names(labels, "utf-8")))
    assert (set(data.labels), data.notes) == (set(labels), ())


@pytest.mark.parametrize(("make", "name"), MAKERS)
@pytest.mark.parametrize(("labels", "code"), list(zip(LABELS, CODES, strict=True)))
def test_other_code_pages(make: Make, name: str, labels: tuple[str, ...], code: str, tmp_path: Path) -> None:
    path = make(tmp_path / name, names(labels, code))
    data = load(path, code)
    assert (set(data.labels), data.notes) == (set(labels), ())
    if code != "cp932":  # whose backslashes would be folders
        assert "4 names are not UTF-8" in load(path).notes[0]
        assert "--encoding" in load(path).notes[0]


def test_a_name_in_unicode_beside_the_plain_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i, label in enumerate(("ладья", "ферзь")):
            info = zipfile.ZipInfo(f"{i}/1.png")
            right, wrong = (zip_extra(info.filename.encode() + mark, f"{label}/1.png") for mark in (b"", b"!"))
            info.extra = b"\x99\x99\x01\x00x" + (right if i else wrong)
            archive.writestr(info, PNG.getvalue())
    assert set(load(tmp_path / "a.zip").labels) == {"0", "ферзь"}  # what was renamed since no longer belongs to it


def zip_extra(raw: bytes, name: str) -> bytes:
    import struct
    import zlib

    value = struct.pack("<BI", 1, zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(value)) + value


def test_backslashes_part_folders_after_decoding(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", [f"国王\\{i}.png".encode("gbk") for i in range(2)] + names(("王",), "gbk"), 0)
    assert set(load(path, "gbk").labels) == {"国王", "王"}
    out = zip_of(tmp_path / "b.zip", [b"..\\evil.png", *names(("a", "b"), "ascii")])
    with pytest.raises(DataError, match="outside the folder"):
        load(out)


def test_an_encoding_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--encoding 'klingon' is not known"):
        load(zip_of(tmp_path / "a.zip", names(("a", "b"), "ascii")), "klingon")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("img/Bishop/1.png", "img/café/2.PNG"):
        path = tmp_path / unicodedata.normalize("NFD", name)
        path.parent.mkdir(parents=True)
        path.write_bytes(PNG.getvalue())
    return tmp_path


def listed(
    photos: Path, *rows: str, encoding: str = "utf-8", asked: str | None = None, delimiter: str = ","
) -> Dataset:
    text = "\r\n".join(("path,label", *rows)).replace(",", delimiter)
    (photos / "list.csv").write_bytes(text.encode(encoding))
    return load(photos / "list.csv", asked)


def test_paths_of_windows(photos: Path) -> None:
    data = listed(photos, "img\\Bishop\\1.png,a", "img\\café\\2.PNG,b")
    assert [s.name for s in data.samples] == ["img/Bishop/1.png", "img/café/2.PNG"]
    assert data.notes[0].endswith(
        "list.csv: 2 paths with backslashes, as Windows writes them, such as img\\Bishop\\1.png; read as folders"
    )
    assert listed(photos, "img/Bishop/1.png,a", "img/café/2.PNG,b").notes == ()


def test_a_file_with_a_backslash_in_its_name_is_that_file(photos: Path) -> None:
    (photos / "img\\1.png").write_bytes(PNG.getvalue())
    data = listed(photos, "img\\1.png,a", "img/café/2.PNG,b")
    assert (data.samples[0].source, data.notes) == (photos / "img\\1.png", ())


@pytest.mark.parametrize("path", ["C:\\photos\\1.png", "c:/photos/1.png", "\\\\server\\photos\\1.png"])
def test_absolute_paths_of_windows_are_named_as_such(path: str, photos: Path) -> None:
    with pytest.raises(DataError, match=r"a path of a Windows machine; make it relative"):
        listed(photos, f"{path},a")


def test_case_and_composition(photos: Path) -> None:
    data = listed(photos, "IMG/bishop/1.PNG,a", f"img/{unicodedata.normalize('NFC', 'café')}/2.png,b")
    assert (len(data.samples), data.skipped) == (2, ())
    (photos / "img" / "BISHOP").mkdir()
    assert [s.name for s in listed(photos, "img/bishop/1.png,a", "img/Bishop/1.png,b", "img/café/2.PNG,c").skipped] == [
        "img/bishop/1.png"
    ]


@pytest.mark.parametrize(("encoding", "asked"), [("utf-16", None), ("utf-8-sig", None), ("cp1252", "cp1252")])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_lists_as_spreadsheets_write_them(encoding: str, asked: str | None, delimiter: str, photos: Path) -> None:
    rows = ("img/Bishop/1.png,évêque", "img/café/2.PNG,tour")
    assert listed(photos, *rows, encoding=encoding, asked=asked, delimiter=delimiter).labels == ("tour", "évêque")


@pytest.mark.parametrize(
    ("labels", "warned"),
    [
        (("Cat", "cat"), True),
        (("cat", "c at"), True),
        (("cat", "cats"), False),
        (("1", "1.0"), True),
        (("1", "10"), False),
    ],
)
def test_labels_that_hardly_differ(labels: tuple[str, str], warned: bool, photos: Path) -> None:
    data = listed(photos, f"img/Bishop/1.png,{labels[0]}", f"img/café/2.PNG,{labels[1]}")
    assert data.labels == tuple(sorted(labels))
    assert [("differ only in case, spaces or a decimal" in note) for note in data.notes] == [True] * warned


@pytest.mark.parametrize(
    ("labels", "warned"),
    [
        (("cat", "dog", "Unknown"), True),
        (("cat", "dog", "other"), True),
        (("cat", "dog", "otter"), False),
        (("cat", "other"), False),  # without it there would be one class
    ],
)
def test_a_class_of_whatever_is_none_of_the_others(labels: tuple[str, ...], warned: bool, tmp_path: Path) -> None:
    for label in labels:
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(PNG.getvalue())
    data = load(tmp_path)
    assert data.labels == tuple(sorted(labels))
    assert ["is learned as a class" in n for n in data.notes if "--unknown-data" in n] == [True] * warned


def whole_list(photos: Path, text: str) -> Dataset:
    (photos / "list.csv").write_text(text)
    return load(photos / "list.csv", None)


@pytest.mark.parametrize(
    ("header", "one", "other", "splits"),
    [
        ("path,label,is_valid", "a,True", "b,False", {"validation", "train"}),
        ("path,label,is_test", "a,1", "b,0", {"test", "train"}),
        ("path,is_training,label", "1,a", "0,b", {"train", "test"}),
        ("path,label,split", "a,dev", "b,Train ", {"validation", "train"}),
        ("path,label,split", "a,TRAINING_SET", "b,eval", {"train", "test"}),
        ("path,a,b,is_valid", "1,0,true", "0,1,false", {"validation", "train"}),
        ("path,a,b,split", "1,0,train", "0,1,test", {"train", "test"}),
    ],
)
def test_splits_however_a_list_says_them(header: str, one: str, other: str, splits: set[str], photos: Path) -> None:
    data = whole_list(photos, f"{header}\nimg/Bishop/1.png,{one}\nimg/café/2.PNG,{other}\n")
    assert (data.labels, {s.split for s in data.samples}) == (("a", "b"), splits)


def test_a_column_of_true_and_false_that_says_something_else_is_named(photos: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: is_valid is 'maybe', expected true or false"):
        whole_list(photos, "path,label,is_valid\nimg/Bishop/1.png,a,maybe\n")


@pytest.mark.parametrize(
    ("header", "rows", "labels"),
    [
        ("image,label,label_name", ("0,cat", "1,dog"), ("cat", "dog")),
        ("image,class_name,label", ("cat,0", "dog,1"), ("cat", "dog")),
        ("image,label,category", ("0,animal", "1,animal"), ("0", "1")),
        ("image,label,class_name", ("cat,1", "dog,2"), ("cat", "dog")),
        ("id_code,diagnosis", ("0", "4"), ("0", "4")),
        ("filepaths,labels", ("cat", "dog"), ("cat", "dog")),
        ("Path,ClassId,Width", ("7,30", "8,31"), ("7", "8")),
    ],
)
def test_columns_of_labels(header: str, rows: tuple[str, str], labels: tuple[str, str], photos: Path) -> None:
    names = ("img/Bishop/1.png", "img/café/2.PNG")
    lines = "\n".join(f"{name},{row}" for name, row in zip(names, rows, strict=True))
    assert whole_list(photos, f"{header}\n{lines}\n").labels == labels


def test_the_line_that_excel_puts_first(photos: Path) -> None:
    text = "sep=;\r\npath;label\r\nimg/Bishop/1.png;a, b\r\nimg/café/2.PNG;c\r\n"
    assert whole_list(photos, text).labels == ("a, b", "c")
    with pytest.raises(DataError, match="line 4: 3 cells, expected 2"):
        whole_list(photos, f"{text.replace('PNG;c', 'PNG;c;d')}")


def test_why_a_file_of_a_list_is_not_there(photos: Path) -> None:
    (photos / "img" / "Bishop" / "2.png").write_bytes(PNG.getvalue())
    rows = ("img/Bishop/1.png,a", "img/Bishop/2.png,e", "2.png,b", "https://host/7.png,c", "9.png,d")
    reasons = [s.reason for s in whole_list(photos, "\n".join(("image,label", *rows))).skipped]
    assert reasons[0].startswith("2 files are called so, such as img/Bishop/2.png; name their folder, too (line 4)")
    assert reasons[1].startswith("an address: a list names files here")
    assert reasons[2] == "no such file (line 6)"
