"""Every form of naming images, with the commands that take them."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_runs import Done, apart, here
from PIL import Image

Tlc = Callable[..., Done]


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


@pytest.fixture
def folder(bundle_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle `photos.tlc` and the folder `some`, three digits of each class; this is where commands run."""
    monkeypatch.chdir(bundle_path.parent)
    for label in "0123":
        Path("some", label).mkdir(parents=True)
        for i in range(3):
            shutil.copy(photos / label / f"{i}.png", f"some/{label}/{i}.png")
    with zipfile.ZipFile("some.zip", "w") as archive:
        for path in sorted(Path("some").rglob("*.png")):
            archive.write(path)
    Path("list.txt").write_text("".join(f"{p}\n" for p in sorted(Path("some").rglob("*.png"))))
    return bundle_path.parent


FORMS = ["some", "some/*", "some/**/*.png", "some.zip", "@list.txt"]


@pytest.mark.parametrize("form", FORMS)
def test_predict(form: str, tlc: Tlc, folder: Path) -> None:
    done = tlc("predict", "photos.tlc", form, "--json", "--unknown", "off")
    assert (done.code, done.err) == (0, "")
    results = done.json()["results"]
    way = "some.zip/" if form == "some.zip" else ""
    names = [f"{way}some/{label}/{i}.png" for label in "0123" for i in range(3)]
    assert [r["image"] for r in results] == names
    by_name = tlc("predict", "photos.tlc", *(n.removeprefix(way) for n in names), "--json", "--unknown", "off").json()
    assert [r["label"] for r in results] == [r["label"] for r in by_name["results"]]
    text = tlc("predict", "photos.tlc", form, "--unknown", "off").out.splitlines()
    assert [line.partition(": ")[0] for line in text] == names


def test_predict_goes_on_behind_what_cannot_be_read(tlc: Tlc, folder: Path) -> None:
    with zipfile.ZipFile("some.zip", "a") as archive:
        archive.writestr("z.png", b"no picture")
    Path("some/0/1.png").write_bytes(b"no picture")
    done = tlc("predict", "photos.tlc", "some.zip", "gone/*", "some", "--json")
    assert done.code == 1
    assert len(done.json()["results"]) == 12 + 11
    bad = ["some.zip/z.png", "gone/*", "some/0/1.png"]
    assert [e["image"] for e in done.json()["errors"]] == bad
    assert [e["error"].partition(": ")[0] for e in done.json()["errors"]] == bad


def test_predict_reads_a_list_from_a_pipe(folder: Path) -> None:
    done = apart("predict", "photos.tlc", "@-", "--json", stdin=b"some/1\nsome/0/0.png\n", cwd=folder)
    assert [r["image"] for r in done.json()["results"]] == [*(f"some/1/{i}.png" for i in range(3)), "some/0/0.png"]


def test_names_in_an_archive_do_not_reach_the_terminal_as_they_are(tlc: Tlc, folder: Path) -> None:
    with zipfile.ZipFile("evil.zip", "w") as archive:
        archive.write("some/0/0.png", "a\x1b[31m.png")
        archive.writestr("b\x1b[31m.png", b"no picture")
    done = tlc("predict", "photos.tlc", "evil.zip")
    assert "\x1b" not in done.out + done.err
    assert "a\\x1b[31m.png: " in done.out


@pytest.mark.parametrize("form", ["some/1", "some/1/*", "@one.txt", "one.zip"])
def test_enroll(form: str, tlc: Tlc, folder: Path) -> None:
    Path("one.txt").write_text("some/1/0.png\nsome/1/1.png\nsome/1/2.png\n")
    with zipfile.ZipFile("one.zip", "w") as archive:
        for i in range(3):
            archive.write(f"some/1/{i}.png", f"{i}.png")
    done = tlc("enroll", "photos.tlc", "one", form)
    assert done.out.startswith("one: 3 examples added\n")
    # The same files again are known by their bytes, however they are named.
    again = tlc("enroll", "photos.tlc", "one", "some/1")
    assert again.err.count("is enrolled already") == 3
    assert "0.png" in again.err


def test_enroll_takes_all_or_none(tlc: Tlc, folder: Path) -> None:
    Path("some/1/3.png").write_bytes(b"no picture")
    assert "some/1/3.png: not an image" in tlc("enroll", "photos.tlc", "one", "some/1").failed()
    assert "nothing.zip: no such file" in tlc("enroll", "photos.tlc", "one", "nothing.zip").failed()
    assert not Path("photos.tlc.gallery").exists()


@pytest.mark.parametrize("form", FORMS)
def test_verify_compares_models_on_images_without_labels(form: str, tlc: Tlc, folder: Path) -> None:
    found = tlc("verify", "photos.tlc", form, "--json").json()
    labelled = tlc("verify", "photos.tlc", "--data", "some", "--json").json()
    assert (found["images"], found["judged"], found["recognised"]) == (12, 0, "")
    assert [m["accuracy"] for m in found["models"]] == [None, None]
    assert [m["agreement"] for m in found["models"]] == [m["agreement"] for m in labelled["models"]]
    assert found["notes"] == [
        "12 images without labels: they compare the models; for an accuracy give labelled ones: --data SRC"
    ]


def test_images_without_and_with_labels_are_not_mixed(tlc: Tlc, folder: Path) -> None:
    assert "some and --data some: one or the other" in tlc("verify", "photos.tlc", "some", "--data", "some").failed(2)
    assert "Missing option '--data'" in tlc("verify", "photos.tlc").failed(2)


def test_one_model_has_none_to_be_compared_with(tlc: Tlc, folder: Path) -> None:
    done = tlc("verify", "photos.tlc", "some", "--engine", "onnxruntime")
    assert "images without labels can only compare models" in done.failed()


@pytest.mark.parametrize("form", ["some/*/*.png", "some/**", "@list.txt"])
def test_verify_takes_the_class_from_the_folder_of_each_file(form: str, tlc: Tlc, folder: Path) -> None:
    found = tlc("verify", "photos.tlc", "--data", form, "--json").json()
    labelled = tlc("verify", "photos.tlc", "--data", "some", "--json").json()
    assert [m["accuracy"] for m in found["models"]] == [m["accuracy"] for m in labelled["models"]]
    assert found["recognised"] == f"{form}: files, each of the class that its folder is called; 12 images of 4 classes"


def test_files_whose_folder_says_no_class(tlc: Tlc, folder: Path) -> None:
    Path("some").rename("train")
    found = tlc("verify", "photos.tlc", "--data", "train/*/*.png", "--json").json()
    assert found["judged"] == 12
    shutil.copytree("train/1", "flat/train")
    done = tlc("verify", "photos.tlc", "--data", "flat/train/*.png")
    assert "lies in no folder of a class ('train')" in done.failed()
    assert "matches no image" in tlc("verify", "photos.tlc", "--data", "gone/*.png").failed()
    assert "no such list" in tlc("verify", "photos.tlc", "--data", "@gone.txt").failed()


def test_verify_skips_what_has_nothing_on_it(tlc: Tlc, folder: Path) -> None:
    before = tlc("verify", "photos.tlc", "--data", "some", "--json").json()
    for i, colour in enumerate(("black", "white", (9, 99, 200))):
        Image.new("RGB", (40, 30), colour).save(f"some/{i}/blank.png")
    dim = np.full((28, 28), 100, np.uint8)
    dim[8:20, 8:20] = 104
    Image.fromarray(dim).save("some/3/dim.png")
    done = tlc("verify", "photos.tlc", "--data", "some", "--json")
    assert done.json()["skipped"] == ["0/blank.png", "1/blank.png", "2/blank.png"]
    assert done.json()["images"] == before["images"] + 1
    assert done.err.count("one colour and nothing on it") == 3
    shutil.rmtree("some")
    for label in "01":
        Path("some", label).mkdir(parents=True)
        Image.new("RGB", (40, 30), "red").save(f"some/{label}/blank.png")
    assert "one colour and nothing on it" in tlc("verify", "photos.tlc", "--data", "some").failed()


def test_watch_takes_its_source_by_either_name(tlc: Tlc, folder: Path) -> None:
    for option in ("--source", "--camera"):
        assert "nowhere: no such file or folder" in tlc("watch", "photos.tlc", option, "nowhere").failed()
