"""A person's mistakes: one clear sentence on standard error, the right exit code, and no file touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import Done, apart, here, shell, without

from tlc_edge.runtime import Bundle
from tlc_edge.runtime.install import pip_line

Tlc = Callable[..., Done]


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> Path:
    """A copy of the photos to spoil."""
    return Path(shutil.copytree(photos, tmp_path / "data"))


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    """The bundle as a folder, to spoil."""
    with zipfile.ZipFile(bundle.path) as archive:
        archive.extractall(tmp_path / "bundle")
    return tmp_path / "bundle"


def rewrite(folder: Path, **fields: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    path.with_name("manifest.sha256").unlink(missing_ok=True)  # as bundles of before: there was none


# --- wrong usage: exit code 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "Usage: tlc"),
        ("predcit", "No such command 'predcit'"),
        ("predict", "Missing argument 'BUNDLE'"),
        ("predict x.tlc", "Missing argument 'IMAGE…'"),
        ("predict x.tlc a.png --top 0", "--top"),
        ("predict x.tlc a.png --colour", "No such option"),
        ("predict x.tlc a.png --unknown often", "'often' is neither a rate from 0 to 1 nor 'off'"),
        ("predict x.tlc a.png --threads -1", "--threads"),
        ("enroll x.tlc mug", "nothing to enroll; give one IMAGE or more, or --camera"),
        ("gallery rename x.tlc mug", "Missing argument 'NEW'"),
        ("build --target rpi", "Missing option '--data'"),
        ("build --target rpi --data . --scheme int3", "int3"),
        ("build --target rpi --data . --seed -1", "-1 is not in the range 0<=x<=4294967295"),
        ("build --target rpi --data . --max-drop nan", "'nan' is not a finite number"),
        ("build --target rpi --data . --fine-tune 1 --learning-rate nan", "'nan' is not a finite number"),
        ("build --target rpi --data . --fine-tune 1 --learning-rate inf", "'inf' is not a finite number"),
        (
            "build --target rpi --data . --fine-tune 0",
            "--fine-tune 0: trains no layer; give 1 or more, or leave it out",
        ),
        ("build --target rpi --data . --epochs 3", "are for --fine-tune"),
        ("build --target rpi --data . --learning-rate 0.1", "are for --fine-tune"),
        ("build --target rpi --data . --resume", "are for --fine-tune"),
        ("build --target rpi --data . --copies 3 --augment none", "--copies is for --augment"),
        ("sweep --target rpi --data . --seed -1", "-1 is not in the range"),
        ("sweep --target rpi --data . --alpha nan", "'nan' is not a finite number"),
        ("watch x.tlc --camera 0 --every nan", "'nan' is not a finite number"),
        ("layers efficientnet-lite9", "unknown backbone 'efficientnet-lite9'; known: efficientnet-lite"),
    ],
)
def test_wrong_usage(tlc: Tlc, words: str, said: str) -> None:
    done = tlc(*words.split())
    assert said in done.failed(2)


@pytest.mark.parametrize("words", ["--augment none", "--copies 0 --augment none", "--fine-tune 1 --epochs 3"])
def test_options_that_go_together_are_taken(tlc: Tlc, words: str) -> None:
    assert "gone: no such file or folder" in tlc(*f"build --target rpi --data gone {words}".split()).failed(1)


def test_names_that_are_unknown_list_the_known_ones_nearest_first(tlc: Tlc, data: Path, tmp_path: Path) -> None:
    def build(*args: object) -> str:
        return tlc("build", "--data", data, "-o", tmp_path / "x.tlc", *args).failed(2)

    assert re.match(r"Error: unknown target 'rpii'; known: rpi, ", build("--target", "rpii"))
    assert re.match(r"Error: unknown target 'x9'; known: ", build("--target", "rpi,x9"))
    lite = build("--target", "rpi", "--backbone", "eficientnet-lite0")
    assert lite.startswith("Error: unknown backbone 'eficientnet-lite0'; known: efficientnet-lite0")
    layer = build("--target", "rpi", "--shave", "no_such_layer")
    assert "\nError: unknown layer of efficientnet-lite0 'no_such_layer'; known: " in layer
    rows = tlc("layers", "--json").json()["layers"]
    default = next(r["name"] for r in rows if r["default"])
    misspelt = build("--target", "rpi", "--shave", default + "x")
    assert f"'{default}x'; known: {default}, " in misspelt
    assert "in step 'shave', after load data, load TensorFlow, load backbone" in misspelt
    assert not (tmp_path / "x.tlc").exists()


def test_the_unknown_engine_and_a_rate_or_threads_out_of_range(tlc: Tlc, bundle_path: Path, photos: Path) -> None:
    image = photos / "0" / "0.png"
    for option, value, said in (
        ("--engine", "edge-litert", "unknown engine 'edge-litert'; known: ai-edge-litert, "),
        ("--threads", 1000, "threads is 1000, expected 0 (every core) to 128"),
        ("--unknown", "1.5", "the false-alarm rate is 1.5, expected 0 (off) up to, not including, 1"),
    ):
        assert tlc("predict", bundle_path, image, option, value).failed(2).startswith(f"Error: {said}")


def test_no_class_of_that_name(tlc: Tlc, bundle_path: Path, photos: Path) -> None:
    for command in (["forget", bundle_path, "mgu"], ["gallery", "list", bundle_path, "mgu"]):
        assert "class 'mgu'; known: none" in tlc(*command).failed(2)
    tlc("enroll", bundle_path, "mug", photos / "0" / "0.png")
    for command in (
        ["forget", bundle_path, "mgu"],
        ["gallery", "list", bundle_path, "mgu"],
        ["gallery", "rename", bundle_path, "mgu", "cup"],
    ):
        assert tlc(*command).failed(2) == "Error: unknown class 'mgu'; known: mug\n"
    assert (
        tlc("enroll", bundle_path, " ", photos / "0" / "0.png").failed(2).startswith("Error: ' ' cannot name a class")
    )


# --- data


def test_data_that_cannot_be_used(tlc: Tlc, data: Path, tmp_path: Path) -> None:
    def build() -> str:
        said = tlc("build", "--target", "rpi", "--data", data, "-o", tmp_path / "x.tlc").failed()
        assert not (tmp_path / "x.tlc").exists()
        return said

    for path in sorted((data / "3").iterdir())[1:]:
        path.unlink()
    assert re.search(r"'?3'?.*\b1\b", build().splitlines()[0])  # a class with one image
    for label in "123":
        shutil.rmtree(data / label)
    assert "only one class, '0'; at least two are needed" in build()
    shutil.rmtree(data / "0")
    assert str(data) in build()
    data.rmdir()
    assert f"{data}" in build()


def test_strict_stops_at_an_image_that_would_be_skipped(tlc: Tlc, data: Path, tmp_path: Path) -> None:
    (data / "0" / "empty.png").touch()
    (data / "1" / "renamed.jpg").write_text("notes")
    done = tlc("build", "--target", "rpi", "--data", data, "-o", tmp_path / "x.tlc", "--strict")
    said = done.failed()
    assert "empty.png" in said
    assert "--strict" in said or "strict" in said
    assert not (tmp_path / "x.tlc").exists()


def test_images_that_cannot_be_read_are_named_skipped_and_counted(tlc: Tlc, bundle_path: Path, data: Path) -> None:
    (data / "0" / "empty.png").touch()
    (data / "1" / "renamed.jpg").write_text("notes")
    whole = (data / "2" / "0.png").read_bytes()
    (data / "2" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    done = tlc("verify", bundle_path, "--data", data, "--json")
    assert done.code == 0
    assert done.json()["images"] == 40
    assert len(done.json()["skipped"]) == 3
    for name in ("empty.png", "renamed.jpg", "truncated.png"):
        assert any(name in line and line.startswith("skipped ") for line in done.err.splitlines())
    said = tlc("verify", bundle_path, "--data", data, "--strict").failed()
    assert "empty.png" in said or "renamed.jpg" in said


# --- the output


def test_an_output_that_exists_or_cannot_be_written_is_named_before_the_work(
    tlc: Tlc, data: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken.tlc"
    taken.write_bytes(b"mine")
    photos = ["build", "--target", "rpi", "--data", data, "-o"]
    assert f"{taken} exists already; choose another -o or replace it with --force" in tlc(*photos, taken).failed(2)
    assert "is a folder but not a bundle" in tlc(*photos, data, "--force").failed(2)
    assert "no such folder to write x.tlc into" in tlc(*photos, tmp_path / "no" / "x.tlc").failed()
    assert "cannot be written" in tlc(*photos, "/proc/x.tlc").failed()
    assert taken.read_bytes() == b"mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "taken.tlc"]


# --- the bundle


def test_no_such_bundle(tlc: Tlc, tmp_path: Path, photos: Path) -> None:
    missing, image = tmp_path / "x.tlc", photos / "0" / "0.png"
    for command in (
        ["predict", missing, image],
        ["enroll", missing, "mug", image],
        ["forget", missing, "mug"],
        ["undo", missing],
        ["inspect", missing],
        ["selftest", missing],
        ["verify", missing, "--data", photos],
        ["gallery", "list", missing],
        ["gallery", "rename", missing, "a", "b"],
        ["gallery", "migrate", missing],
    ):
        done = tlc(*command, "--json")
        assert done.failed() == f"Error: {missing}: no such bundle; make one with `tlc build`\n"
        assert done.json()["error"]["what"] == f"{missing}: no such bundle; make one with `tlc build`"
    assert f"{missing}.gallery: no such gallery" in tlc("gallery", "check", missing).failed()
    assert list(tmp_path.iterdir()) == []


def test_a_photo_or_a_folder_of_photos_is_no_bundle(tlc: Tlc, photos: Path) -> None:
    image = photos / "0" / "0.png"
    assert f"{image}: not a tlc bundle" in tlc("predict", image, image).failed()
    assert f"{photos}: no manifest.json in it" in tlc("predict", photos, image).failed()


def test_a_damaged_bundle(tlc: Tlc, bundle_path: Path, folder: Path, photos: Path) -> None:
    image = photos / "0" / "0.png"
    data = bytearray(bundle_path.read_bytes())
    data[len(data) // 2] ^= 1
    bundle_path.write_bytes(data)
    assert "damaged" in tlc("predict", bundle_path, image).failed()
    model = bytearray((folder / "model.tflite").read_bytes())
    model[len(model) // 2] ^= 1
    (folder / "model.tflite").write_bytes(model)
    assert "model.tflite is damaged (SHA-256 " in tlc("predict", folder, image).failed()
    (folder / "model.tflite").unlink()
    assert "model.tflite is missing; copy or build the bundle again" in tlc("predict", folder, image).failed()
    for command in (["inspect", folder], ["selftest", folder], ["enroll", folder, "mug", image]):
        assert "model.tflite is missing" in tlc(*command).failed()
    assert not folder.with_name("bundle.gallery").exists()


def test_a_bundle_of_a_future_schema(tlc: Tlc, folder: Path, photos: Path) -> None:
    assert tlc("inspect", folder).code == 0
    rewrite(folder, schema=7)
    for command in (["predict", folder, photos / "0" / "0.png"], ["inspect", folder]):
        assert "bundle has schema 7, this tlc reads up to 1; upgrade tlc on this device" in tlc(*command).failed()


def test_a_bundle_whose_manifest_is_another_models(tlc: Tlc, folder: Path, photos: Path) -> None:
    rewrite(folder, labels=["only", "two"])
    said = tlc("predict", folder, photos / "0" / "0.png").failed()
    assert "the labels in manifest.json are not those of labels.txt" in said


# --- the gallery


def test_a_gallery_that_is_none(tlc: Tlc, bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    notes, image = tmp_path / "notes.txt", photos / "0" / "0.png"
    notes.write_text("mine" * 1000)
    for command in (["predict", bundle_path, image], ["enroll", bundle_path, "mug", image], ["undo", bundle_path]):
        assert f"{notes}: not a tlc gallery" in tlc(*command, "--gallery", notes).failed()
    assert "no such folder" in tlc("enroll", bundle_path, "mug", image, "--gallery", tmp_path / "no" / "g").failed()
    assert "no such gallery" in tlc("gallery", "list", bundle_path, "--gallery", tmp_path / "g").failed()
    assert notes.read_text() == "mine" * 1000


def test_one_bad_image_and_nothing_is_enrolled(tlc: Tlc, bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 cut off")
    done = tlc("enroll", bundle_path, "mug", photos / "0" / "0.png", bad, "--json")
    assert f"{bad}: " in done.failed()
    assert done.json().keys() == {"error"}
    assert not Path(f"{bundle_path}.gallery").exists()


# --- what is not installed


_NOT_ON_A_DEVICE = ("tensorflow", "keras", "sklearn", "onnx", "tf2onnx", "onnxruntime", "flatbuffers")


@pytest.mark.parametrize("command", ["build --target rpi --data x", "sweep --target rpi --data x", "layers"])
def test_without_tensorflow_the_pip_line_is_told(tmp_path: Path, command: str) -> None:
    done = apart(*command.split(), **without(tmp_path, "tensorflow"))
    first = done.failed().splitlines()[0]
    pip = f"run: {pip_line('compiler')}"
    assert first == f"Error: a build needs tensorflow, which this install does not have; {pip}"
    device = without(tmp_path, *_NOT_ON_A_DEVICE)
    first = apart(*command.split(), **device).failed().splitlines()[0]
    missing = "tensorflow, tf2onnx, onnx, onnxruntime, scikit-learn, flatbuffers"
    assert first == f"Error: a build needs {missing}, which this install does not have; {pip}"
    base = device | without(tmp_path, *_NOT_ON_A_DEVICE, "jinja2", "markupsafe", "rich", "h5py", "pooch")
    first = apart(*command.split(), **base).failed().splitlines()[0]
    assert first.startswith(f"Error: a build needs {missing}, Jinja2, which this install does not have; {pip}")


def test_a_tensorflow_that_is_half_installed_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("import tensorflow.python\n")
    for name in ("keras.py", "tf_keras.py"):
        (tmp_path / name).write_text("import tensorflow\n")
    said = apart("layers", PYTHONPATH=str(tmp_path), TLC_CACHE="off").failed()
    assert "TensorFlow is installed and does not load (No module named 'tensorflow.python'); install it again" in said
    assert "defect" not in said


def test_without_the_compilers_libraries_the_device_does_all_it_must(
    bundle_path: Path, photos: Path, tmp_path: Path
) -> None:
    env = without(tmp_path, "tensorflow", "keras", "sklearn", "scipy", "onnx", "tf2onnx", "onnxruntime", "flatbuffers")
    image = photos / "0" / "0.png"
    commands = (
        *(["predict", bundle_path, image], ["bench", bundle_path, image, "--runs", "1"], ["doctor", bundle_path]),
        *(["enroll", bundle_path, "x", image], ["targets"], ["backbones"]),
    )
    for command in commands:
        done = apart(*command, "--json", **env)
        warned = f"Warning: {image} looks like '0'\n" if command[0] == "enroll" else ""
        assert (done.code, done.err) == (0, warned)
        assert done.json()


def test_without_an_engine_the_pip_line_is_told(bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    env = without(tmp_path, "ai_edge_litert", "tflite_runtime", "onnxruntime")
    said = apart("predict", bundle_path, photos / "0" / "0.png", **env).failed()
    assert said == (
        "Error: no engine for this bundle is installed; "
        "run: pip install ai-edge-litert (or: tflite-runtime, onnxruntime)\n"
    )


# --- the terminal


def test_a_reader_that_has_had_enough_gets_no_traceback(bundle_path: Path, photos: Path) -> None:
    image = photos / "0" / "0.png"
    done = shell("tlc | head -1", "predict", bundle_path, *[image] * 40)
    assert done.err == ""
    assert done.out.count("\n") == 1
    assert done.out.startswith(f"{image}: 0 ")


@pytest.mark.parametrize(
    ("redirect", "code", "said"),
    [
        (">/dev/full", 1, "Error: the output: No space left on device\n"),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("<&- 2>&-", 0, None),
        ("2>&-", 0, None),
    ],
)
def test_output_that_is_full_or_closed(bundle_path: Path, redirect: str, code: int, said: str | None) -> None:
    for command in ("inspect", "selftest"):
        done = shell(f"tlc {redirect}", command, bundle_path, "--json")
        assert done.code == code
        assert done.err == (said or "")
        assert bool(done.out) == (said is None)


def test_standard_input_that_is_closed(bundle_path: Path) -> None:
    done = shell("tlc <&-", "predict", bundle_path, "-")
    assert (done.code, done.err) == (1, "Error: -: standard input is closed, expected an image there\n")


def test_names_that_are_no_text_are_printed_all_the_same(bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    shutil.copy(photos / "0" / "0.png", name)
    done = apart("predict", bundle_path, name)
    assert (done.code, done.err) == (0, "")
    assert "/caf\\udce9.png: 0 " in done.out
    done = apart("predict", bundle_path, name, "--json")
    assert os.fsencode(done.json()["results"][0]["image"]) == name
    done = apart("enroll", bundle_path, "mug", name, name + b"x")
    assert "caf" in done.failed()
    assert apart("enroll", bundle_path, "mug", name).code == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_a_character(bundle_path: Path, photos: Path, encoding: str) -> None:
    image = photos / "0" / "0.png"
    done = apart("enroll", bundle_path, "🚪", image, "--json", PYTHONIOENCODING=encoding)
    assert (done.code, done.err) == (0, f"Warning: {image} looks like '0'\n")
    assert done.json()["label"] == "🚪"
    assert done.out.isascii() == (encoding != "utf-8")
    done = apart("predict", bundle_path, image, PYTHONIOENCODING=encoding)
    assert (done.code, done.err) == (0, "")
    assert "🚪 0.8" in done.out or "\\U0001f6aa 0.8" in done.out
