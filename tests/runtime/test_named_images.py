"""What people name as images: each form gives its images in order, and what cannot be read stands in its place."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.images import named
from tlc_edge.runtime.images.load import read_bytes, source_name
from tlc_edge.runtime.images.named import named_images


def picture(shade: int = 90) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (9, 9), (shade, 80, 70)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of two pictures each, with notes and what systems leave behind."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat/1.png", "cat/2.PNG", "dog/1.png", "dog/old/2.png", "dog/.hidden.png", "__MACOSX/1.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(len(name)))
    (tmp_path / "photos" / "cat" / "notes.txt").write_text("no picture")
    return tmp_path


def names(*words: str) -> list[str]:
    return [one.name for one in named_images(words)]


def problems(*words: str) -> list[str]:
    """What reading says of each image that cannot be read."""
    found: list[str] = []
    for one in named_images(words):
        try:
            read_bytes(one.source, source_name(one.source))
            assert one.problem is None
        except ImageError as e:
            found.append(str(e))
    return found


ALL = ["photos/cat/1.png", "photos/cat/2.PNG", "photos/dog/1.png", "photos/dog/old/2.png"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("photos", ALL),
        ("photos/cat/1.png", ALL[:1]),
        ("photos/cat/notes.txt", ["photos/cat/notes.txt"]),
        ("photos/*/*.png", [ALL[0], ALL[2]]),
        ("photos/cat/*", ALL[:2]),
        ("photos/[c]at", ALL[:2]),
        ("photos/**", ALL),
        ("photos/**/*.png", [ALL[0], ALL[2], ALL[3]]),
        ("gone.png", ["gone.png"]),
        ("http://host/a.jpg?size=1", ["http://host/a.jpg?size=1"]),
    ],
)
def test_words(here: Path, word: str, expected: list[str]) -> None:
    assert names(word) == expected


def test_several_words_keep_their_order(here: Path) -> None:
    assert names(ALL[2], "photos/cat", ALL[2]) == [ALL[2], *ALL[:2], ALL[2]]


@pytest.mark.parametrize("name", ["[1].png", "a*b.png", "@list.png"])
def test_a_file_that_is_called_like_a_pattern_or_a_list_is_that_file(here: Path, name: str) -> None:
    (here / name).write_bytes(picture())
    assert names(name) == [name]
    assert problems(name) == []


@pytest.mark.parametrize("text", ["{}", "\ufeff{}", "{}\r\n\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_list(here: Path, text: str, encoding: str) -> None:
    lines = "cat/1.png\ndog\ncat/*.PNG\ngone.png\n"
    (here / "photos" / "list.txt").write_bytes(text.format(lines).encode(encoding))
    assert names("@photos/list.txt") == [ALL[0], ALL[2], ALL[3], ALL[1], "photos/gone.png"]
    assert problems("@photos/list.txt") == ["photos/gone.png: no such file"]


def test_a_list_names_files_that_are_not_utf_8(here: Path) -> None:
    name = b"photos/caf\xe9.png"
    Path(os.fsdecode(name)).write_bytes(picture())
    (here / "list").write_bytes(name + b"\n")
    assert problems("@list") == []
    assert names("@list") == [os.fsdecode(name)]


def test_standard_input(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(picture())))
    assert problems("-") == []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"photos/cat\n")))
    assert names("@-") == ALL[:2]
    monkeypatch.setattr(sys, "stdin", None)
    assert problems("-", "@-") == [
        "-: standard input is closed, expected an image there",
        "@-: standard input is closed",
    ]


def test_an_archive(here: Path) -> None:
    with zipfile.ZipFile("photos.ZIP", "w") as archive:
        for path in ALL:
            archive.write(path)
        archive.write("photos/cat/notes.txt")
        archive.write("photos/__MACOSX/1.png")
        archive.writestr("../../evil.png", picture())
    assert names("photos.ZIP") == [f"photos.ZIP/{path}" for path in ALL]
    assert problems("photos.ZIP") == []
    (inside, *_) = named_images(["photos.ZIP"])
    assert source_name(inside.source) == inside.name
    assert sorted(p.name for p in here.iterdir()) == ["photos", "photos.ZIP"]  # nothing is unpacked


def test_an_archive_that_unpacks_to_too_much(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "MAX_MEMBER", 1000)
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.png", bytes(5000))
        archive.writestr("small.png", picture())
    assert problems("a.zip") == ["a.zip/big.png: unpacks to more than 1000 bytes"]


def test_damaged_archives(here: Path) -> None:
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("1.png", picture(1))
        archive.writestr("2.png", picture(2))
    data = bytearray(Path("a.zip").read_bytes())
    data[40] ^= 255
    Path("a.zip").write_bytes(data)
    (said,) = problems("a.zip")
    assert said.startswith("a.zip/1.png: damaged in the archive (")
    Path("b.zip").write_bytes(data[:50])
    (said,) = problems("b.zip")
    assert said.startswith("b.zip: cannot be read as a .zip (")
    with zipfile.ZipFile("c.zip", "w") as archive:
        archive.writestr("readme.txt", "no picture")
    assert problems("c.zip") == ["c.zip: no images in it"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("empty", "empty: no images in it; give a folder of images, or files"),
        ("photos/*.gif", "photos/*.gif: matches no image; ** stands for folders, * for any name"),
        ("photos/*/notes.*", "photos/*/notes.*: matches no image; ** stands for folders, * for any name"),
        ("@gone.txt", "@gone.txt: no such list; after @ stands a file that names an image per line"),
        ("@empty", "@empty: Is a directory"),
        ("@photos/cat/1.png", "@photos/cat/1.png: not a list of names; a list has the name of an image on each line"),
        ("@blank", "@blank: names nothing; a list has the name of an image on each line"),
        ("photos/cat/link.png", "photos/cat/link.png: no such file"),
    ],
)
def test_what_gives_no_image(here: Path, word: str, said: str) -> None:
    (here / "empty").mkdir()
    (here / "blank").write_text("\n  \r\n")
    (here / "photos" / "cat" / "link.png").symlink_to("gone")
    assert problems(word) == [said]


def test_a_broken_link_in_a_folder_stands_in_its_place(here: Path) -> None:
    (here / "photos" / "cat" / "0.png").symlink_to("gone")
    assert problems("photos") == ["photos/cat/0.png: a broken link, or not a regular file"]
    assert names("photos")[1:] == ALL
