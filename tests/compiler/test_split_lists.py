"""Lists beside class folders that say which images are for what: taken as they mean it, or passed over and told."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlc_edge.compiler.data.load import Dataset, load_dataset

LABELS = ("cat", "fête")
PARTS = ["train"] * 5 + ["test"] * 2 + ["validation"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label in LABELS:
        for i in range(len(PARTS)):
            path = tmp_path / "photos" / "images" / label / f"{label} {i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((9, 9, 3), 20 * i, np.uint8)).save(path)
    return tmp_path / "photos"


def write(root: Path, names: dict[str, str], line: Callable[[str, int], str] = "{0}/{0} {1}.png".format) -> None:
    """Write a list for each part in `names`."""
    for part, name in names.items():
        lines = [line(label, i) for label in LABELS for i, of in enumerate(PARTS) if of == part]
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("\n".join(lines) + "\n", "utf-8")


def parts_of(found: Dataset) -> Counter[str | None]:
    return Counter(sample.split for sample in found.samples)


AS_MEANT = Counter({"train": 10, "test": 4, "validation": 2})


PATHS = "{0}/{0} {1}.png".format


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("", PATHS),
        ("splits/", PATHS),
        ("meta/", "{0}/{0} {1}".format),  # Food-101
        ("", "images/{0}/{0} {1}.png".format),
        ("", "./images/{0}/{0} {1}.png 1".format),
        ("", "{0}/{0} {1}.png,3".format),
        ("", "{0}/{0} {1}.png\t1.0".format),
        ("", r"D:\data\images\{0}\{0} {1}.png".format),
        ("", '"/home/me/photos/images/{0}/{0} {1}.png"'.format),
        ("", lambda label, i: unicodedata.normalize("NFD", f"{label}/{label} {i}.png")),
    ],
)
def test_each_image_is_for_what_its_list_says(photos: Path, place: str, line: Callable[[str, int], str]) -> None:
    write(photos, {"train": f"{place}train.txt", "test": f"{place}test.txt", "validation": f"{place}val.txt"}, line)
    found = load_dataset(str(photos))
    assert parts_of(found) == AS_MEANT
    assert all(sample.split == PARTS[int(sample.name.removesuffix(".png")[-1])] for sample in found.samples)
    assert f"split by {place}test.txt and {place}train.txt and {place}val.txt" in found.recognised
    assert not found.notes


def test_what_no_list_names_is_undecided(photos: Path) -> None:
    write(photos, {"test": "test.txt"})
    assert parts_of(load_dataset(str(photos))) == Counter({None: 12, "test": 4})


@pytest.mark.parametrize(
    "text", ["", "cat\nfête\n", "# the photos of last summer\n", "0\n1\n", "data/nc_1.jpg\ndata/nc_2.jpg\n"]
)
def test_what_names_no_image_is_no_such_list(photos: Path, text: str) -> None:
    (photos / "train.txt").write_text(text, "utf-8")
    found = load_dataset(str(photos))
    assert parts_of(found) == Counter({None: 16})
    assert "split" not in found.recognised
    assert not found.notes


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("cat/cat 99.png", "train.txt is not taken for a split: its line 'cat/cat 99.png' names no one image"),
        ("cat/cat 5.png", "train.txt is not taken for a split: images/cat/cat 5.png is in test.txt, too"),
    ],
)
def test_lists_that_cannot_be_right_are_passed_over_with_the_reason(photos: Path, more: str, said: str) -> None:
    write(photos, {"train": "train.txt", "test": "test.txt"})
    with (photos / "train.txt").open("a") as file:
        file.write(f"{more}\n")
    found = load_dataset(str(photos))
    assert parts_of(found) == Counter({None: 16})
    assert found.notes == (said,)


def test_a_long_line_is_not_told_whole(photos: Path) -> None:
    write(photos, {"train": "train.txt"})
    with (photos / "train.txt").open("a") as file:
        file.write("x" * 100_000)
    (said,) = load_dataset(str(photos)).notes
    assert len(said) < 250


def test_a_name_that_two_images_have_names_neither(photos: Path) -> None:
    write(photos, {"train": "train.txt"}, "{0}/{0} {1}".format)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(photos / "images" / "cat" / "cat 0.jpg")
    found = load_dataset(str(photos))
    assert parts_of(found) == Counter({None: 17})
    assert "names no one image" in found.notes[0]


def test_folders_of_a_split_go_before_lists(photos: Path) -> None:
    for part in ("train", "test"):
        for label in LABELS:
            for i in range(6):
                path = photos / part / label / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((9, 9, 3), 40 * i, np.uint8)).save(path)
    (photos / "images").rename(photos.parent / "images")
    (photos / "test.txt").write_text("train/cat/0.png\n")
    found = load_dataset(str(photos))
    assert parts_of(found) == Counter({"train": 12, "test": 12})
