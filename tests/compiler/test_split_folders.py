"""A split's folder is never a class: understood, passed over with its name, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tlc_edge.compiler.data.forms.split_folders import split_of
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.data.records import Dataset
from tlc_edge.runtime.errors import DataError


def lay(root: Path, *folders: str) -> str:
    """Put two images into each folder; return the root."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(2):
            Image.new("RGB", (8, 8), (9 * number, 60 * i, 5)).save(root / folder / f"{number}{i}.png")
    return str(root)


def splits(data: Dataset) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    for sample in data.samples:
        found.setdefault(sample.label, set()).add(sample.split)
    return found


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            ("train", "train"),
            ("Training", "train"),
            ("TRAIN", "train"),
            ("training_set", "train"),
            ("trainset", "train"),
        ),
        *(("train_images", "train"), ("train2017", "train"), ("01_train", "train"), ("TrainingData", "train")),
        *(("val", "validation"), ("Valid", "validation"), ("validation", "validation"), ("val-images", "validation")),
        *(("test", "test"), ("TESTING", "test"), ("test1", "test"), ("hold-out", "test"), ("Holdout", "test")),
        *(("held_out", "test"), ("testset", "test")),
        *(("trainer", None), ("steam train", None), ("test strip", None), ("valley", None), ("contest", None)),
        *(("images", None), ("dev", None), ("set", None), ("", None), ("cat", None), ("invalid", None)),
    ],
)
def test_names(name: str, split: str | None) -> None:
    assert split_of(name) == split


ALL = {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("folders", "expected", "named"),
    [
        ("train/cat train/dog val/cat val/dog copy/train/cat plots", {"train", "validation"}, "copy, plots"),
        ("Training/cat Training/dog TESTING/cat TESTING/dog labels", {"train", "test"}, "labels"),
        ("train/cat train/dog test", {"train"}, "test: 2 images lie directly"),
        ("train/cat train/dog valid/cat", {"train", "validation"}, None),
        ("train/cat train/dog holdout/dog", {"train", "test"}, None),
        ("train/cat train/dog", {"train"}, None),
        ("train/cat train/dog train", {"train"}, "train: 2 images lie directly"),
        ("data/train/cat data/train/dog data/test/cat", {"train", "test"}, None),
        ("data/sub/train/cat data/sub/train/dog runs", {"train"}, "runs"),
        ("training_set/training_set/cat training_set/training_set/dog test_set/test_set/cat", {"train", "test"}, None),
        ("train/train/cat train/train/dog train/val/cat test/cat", ALL, None),
        ("images/train/cat images/train/dog labels/train/cat", {"train"}, "labels"),
        ("train/images/cat train/images/dog train/labels", {"train"}, None),
        ("cat/train dog/train cat/test dog/test", {"train", "test"}, "cat, dog: folders called like a split"),
        ("cat/train dog", {"train", None}, "cat"),
        ("all/cat/train all/dog/train all/dog/val", {"train", "validation"}, "all/cat"),
        ("cat dog test/cat test/dog", {None, "test"}, None),
        ("cat dog test", {None}, "test: 2 images lie directly"),
        ("dataset/cat dataset/dog train", {None}, "Frigate"),
        ("dataset/cat dataset/dog train test", {None}, "train: 2 images lie directly"),
        ("train/cat train/dog dev/cat", {"train", "validation"}, None),
        ("cat dog __MACOSX/train/cat .cache/train", {None}, None),
    ],
)
def test_understood(folders: str, expected: set[str | None], named: str | None, tmp_path: Path) -> None:
    data = load_dataset(lay(tmp_path, *folders.split()))
    assert data.labels == ("cat", "dog")
    assert set().union(*splits(data).values()) == expected
    assert (named is None and not data.notes) or any(
        named is not None and named in note for note in (*data.notes, data.recognised)
    )


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        ("train test", "test, train have no class"),
        ("training plots testing", "testing, training.*rename it if it is a class"),
        ("train bus car", "train have no class.*beside bus, car"),
        ("a/train/cat a/train/dog b/train/cat b/train/dog", "a, b each hold.*several data sets"),
        ("train/cat train/dog test/train/cat", "test/train is the train split within the test"),
        ("train/images train/labels val/images", "train/images, val/images have no class"),
        ("train/images train/masks", "train/images have no class"),
        ("images/train images/val", "train, images/val have no class"),
        ("test", "test have no class"),
    ],
)
def test_refused(folders: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=named):
        load_dataset(lay(tmp_path, *folders.split()))


def test_an_empty_split_is_no_matter(tmp_path: Path) -> None:
    lay(tmp_path, "cat", "dog")
    (tmp_path / "train").mkdir()
    data = load_dataset(str(tmp_path))
    assert (data.labels, data.skipped) == (("cat", "dog"), ())


def test_a_list_may_call_its_class_like_a_split(tmp_path: Path) -> None:
    lay(tmp_path, "train", "bus")
    (tmp_path / "vehicles.csv").write_text("path,label\ntrain/00.png,train\nbus/10.png,bus\n")
    assert load_dataset(str(tmp_path / "vehicles.csv")).labels == ("bus", "train")
