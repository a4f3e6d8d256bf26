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
        ("images", "images in images have no class"),
        ("images annotations/trimaps", "images in images have no class"),
        ("JPEGImages SegmentationClass", "images in JPEGImages have no class"),
        ("whole/images/cat whole/images/dog", "only one class, 'whole', with 2 folders.*give .*whole/images"),
        ("a/b/c/cat a/b/c/dog", "with 2 folders.*give .*a/b/c"),
    ],
)
def test_refused(folders: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=named):
        load_dataset(lay(tmp_path, *folders.split()))


@pytest.mark.parametrize(
    ("folders", "warned"),
    [
        ("fold1/cat fold1/dog fold2/cat fold2/dog", True),
        ("entrenamiento/cat entrenamiento/dog prueba/cat prueba/dog", True),
        ("cat/2023 cat/2024 dog/2024 dog/2025", False),
        ("cat/photos dog/photos", False),
        ("cat cat/a cat/b dog/a dog/b", False),
    ],
)
def test_folders_that_hold_the_same_ones_are_told(folders: str, warned: bool, tmp_path: Path) -> None:
    notes = load_dataset(lay(tmp_path, *folders.split())).notes
    assert ["each holds the same folders" in note for note in notes] == [True] * warned


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("a/1", "a/2", "b/1"), "3 files without a suffix, such as a/1; images are known by theirs"),
        (("train/x.arrow", "train/state.json", "info.json", "d.json"), r"1 \.arrow file, such as train/x\.arrow"),
        (("cat.zip", "dog.zip"), r"2 \.zip files, such as cat\.zip; give one of them, or unpack them"),
        (("train.tfrecord", "sub/.DS_Store"), r"1 \.tfrecord file"),
        (("LOST.DIR/x.png", "cat/x.txt"), r"1 \.txt file"),
    ],
)
def test_what_a_folder_without_images_holds_is_told(files: tuple[str, ...], said: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match=f"no images in it, but {said}"):
        load_dataset(str(tmp_path))


def test_a_class_whose_images_have_no_suffix_is_told(tmp_path: Path) -> None:
    root = Path(lay(tmp_path, "cat", "dog", "fox"))
    for file in (root / "fox").iterdir():
        file.rename(file.with_suffix(""))
    data = load_dataset(str(root))
    assert (data.labels, len(data.skipped)) == (("cat", "dog"), 1)
    assert data.skipped[0].reason.startswith("a class folder without images (2 files without a suffix, such as 20;")


@pytest.mark.parametrize("junk", ["lost+found", "#recycle", "LOST.DIR", "@Recycle", "System Volume Information"])
def test_what_systems_leave_is_no_class(junk: str, tmp_path: Path) -> None:
    data = load_dataset(lay(tmp_path, "cat", "dog", junk))
    assert (data.labels, data.skipped, data.notes) == (("cat", "dog"), (), ())


def test_an_empty_split_is_no_matter(tmp_path: Path) -> None:
    lay(tmp_path, "cat", "dog")
    (tmp_path / "train").mkdir()
    data = load_dataset(str(tmp_path))
    assert (data.labels, data.skipped) == (("cat", "dog"), ())


def test_a_list_may_call_its_class_like_a_split(tmp_path: Path) -> None:
    lay(tmp_path, "train", "bus")
    (tmp_path / "vehicles.csv").write_text("path,label\ntrain/00.png,train\nbus/10.png,bus\n")
    assert load_dataset(str(tmp_path / "vehicles.csv")).labels == ("bus", "train")
