"""Every command: what it prints for people, what it prints for machines, and the files it leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from command_runs import Done, apart, at_a_terminal, here, without
from PIL import Image
from test_migrate import OLD, teach
from test_selftest import EXPECTED, expected, tampered

from tlc_edge.cli.commands import cli
from tlc_edge.runtime import Bundle
from tlc_edge.targets import all_targets

Tlc = Callable[..., Done]
# DESIGN §10: frozen from the first release on. More keys may come.
RESULT = {"image", "label", "score", "source", "unknown", "ranked"}
MODEL = {"file", "engine", "scheme", "bytes", "accuracy", "agreement", "embedding_cosine"}


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


@pytest.fixture
def mugs(tmp_path: Path) -> list[Path]:
    """Pictures of a thing that is no digit."""
    paths = [tmp_path / f"mug{i}.jpg" for i in range(4)]
    for i, path in enumerate(paths):
        pixels = np.full((60, 80, 3), (200, 180, 160), np.uint8)
        pixels[10 + i : 50 + i, 20 : 55 + 2 * i] = (190, 30, 30)
        Image.fromarray(pixels).save(path, quality=92)
    return paths


# --- predict


def test_predict_says_a_line_an_image(tlc: Tlc, bundle_path: Path, photos: Path) -> None:
    images = [photos / "0" / "0.png", photos / "1" / "0.png"]
    done = tlc("predict", bundle_path, *images)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert len(lines) == 2
    for line, image, label in zip(lines, images, "01", strict=True):
        assert re.fullmatch(rf"{re.escape(str(image))}: {label} [01]\.\d\d(, [0-3] 0\.\d\d){{2}}", line)
    assert tlc("predict", bundle_path, images[0], "--top", 1).out.count(",") == 0


def test_predict_for_machines(tlc: Tlc, bundle_path: Path, photos: Path) -> None:
    image = photos / "2" / "0.png"
    done = tlc("predict", bundle_path, image, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json().keys() == {"results"}
    (result,) = done.json()["results"]
    assert result.keys() >= RESULT
    assert (result["image"], result["label"], result["source"], result["unknown"]) == (str(image), "2", "head", False)
    assert 0.25 < result["score"] <= 1
    assert [r.keys() for r in result["ranked"]] == [{"label", "score"}] * 4
    assert {r["label"] for r in result["ranked"]} == set("0123")
    assert result["ranked"][0] == {"label": "2", "score": result["score"]}


def test_predict_goes_on_after_a_bad_image(tlc: Tlc, bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    images = [photos / "0" / "0.png", bad, photos / "1" / "0.png", tmp_path / "missing.png"]
    done = tlc("predict", bundle_path, *images)
    assert [line.split(": ")[1][0] for line in done.out.splitlines()] == ["0", "1"]
    said = done.failed().splitlines()
    assert said == [
        f"Error: {bad}: not an image in a format known here; convert it to JPEG or PNG",
        f"Error: {images[3]}: no such file",
    ]
    done = tlc("predict", bundle_path, *images, "--json")
    assert done.failed().splitlines() == said
    assert [r["label"] for r in done.json()["results"]] == ["0", "1"]
    assert [e["image"] for e in done.json()["errors"]] == [str(bad), str(images[3])]


def test_predict_marks_what_is_unknown_unless_told_not_to(tlc: Tlc, bundle_path: Path, mugs: list[Path]) -> None:
    assert ": unknown (nearest: " in tlc("predict", bundle_path, mugs[0]).out
    found = tlc("predict", bundle_path, mugs[0], "--json").json()["results"][0]
    assert found["unknown"] is True
    assert found["knownness"] < found["threshold"]
    assert tlc("predict", bundle_path, mugs[0], "--unknown", "off", "--json").json()["results"][0]["threshold"] is None
    assert "unknown" not in tlc("predict", bundle_path, mugs[0], "--unknown", "off").out
    assert tlc("predict", bundle_path, mugs[0], "--unknown", "0", "--json").json()["results"][0]["unknown"] is False


def test_predict_reads_standard_input(bundle_path: Path, photos: Path) -> None:
    image = photos / "0" / "0.png"
    done = apart("predict", bundle_path, "-", "--json", stdin=image.read_bytes())
    assert (done.code, done.err) == (0, "")
    assert (done.json()["results"][0]["image"], done.json()["results"][0]["label"]) == ("-", "0")
    assert "<stdin>: empty (0 bytes), expected an image" in apart("predict", bundle_path, "-").failed()


@pytest.mark.parametrize("engine", ["ai-edge-litert", "onnxruntime"])
def test_predict_with_the_engine_asked_for(tlc: Tlc, bundle_path: Path, photos: Path, engine: str) -> None:
    pytest.importorskip(engine.replace("-", "_"))
    done = tlc("predict", bundle_path, photos / "0" / "0.png", "--engine", engine, "--threads", 1)
    assert (done.code, done.err) == (0, "")
    assert ": 0 " in done.out


# --- enroll, forget, undo, gallery


def test_a_class_is_taught_forgotten_and_brought_back(tlc: Tlc, bundle_path: Path, mugs: list[Path]) -> None:
    def answer() -> str:
        return tlc("predict", bundle_path, mugs[3], "--json", "--unknown", "off").json()["results"][0]["label"]

    assert answer() in "0123"
    done = tlc("enroll", bundle_path, "mug", *mugs[:3], "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json().items() >= {"label": "mug", "added": 3, "classes": {"mug": 3}}.items()
    assert "removed" not in done.json()
    assert answer() == "mug"

    done = tlc("forget", bundle_path, "mug", "--json")
    assert done.json().items() >= {"label": "mug", "removed": 3, "classes": {}}.items()
    assert "added" not in done.json()
    assert answer() != "mug"

    done = tlc("undo", bundle_path, "--json")
    assert done.json().items() >= {"label": "mug", "added": 3, "classes": {"mug": 3}}.items()
    assert answer() == "mug"
    done = tlc("undo", bundle_path, "--json")
    assert done.json().items() >= {"label": "mug", "removed": 3, "classes": {}}.items()
    assert "nothing to undo" in tlc("undo", bundle_path).failed()


def test_what_the_gallery_commands_tell_a_person(tlc: Tlc, bundle_path: Path, mugs: list[Path]) -> None:
    done = tlc("enroll", bundle_path, "mug", *mugs[:2], mugs[0])
    base = r"base classes: \d of 28 exemplars would now be taken for something enrolled \(\d before\)\n"
    assert re.fullmatch(r"mug: 2 examples added, 1 known already\nenrolled: mug 2\n" + base, done.out)
    cup = tlc("enroll", bundle_path, "cup", mugs[2], "--no-thumbnails").out
    assert re.fullmatch(r"cup: 1 example added\nenrolled: cup 1, mug 2\n" + base, cup)
    assert tlc("gallery", "list", bundle_path).out.split() == ["class", "examples", "cup", "1", "mug", "2"]
    rows = tlc("gallery", "list", bundle_path, "cup").out.splitlines()
    assert len(rows) == 2
    assert rows[1].endswith(f"{mugs[2]}  no")
    assert tlc("gallery", "rename", bundle_path, "cup", "glass").out == "cup is now glass (1 example)\n"
    assert tlc("gallery", "check", bundle_path).out == f"{bundle_path}.gallery: clean\n"
    assert tlc("forget", bundle_path, "mug").out == "mug: 2 examples removed\nenrolled: glass 1\n"
    assert tlc("undo", bundle_path).out == "mug: 2 examples added (took back: forget)\nenrolled: glass 1, mug 2\n"
    assert "enrolled     glass 1, mug 2\n" in tlc("inspect", bundle_path).out


def test_the_gallery_for_machines(tlc: Tlc, bundle_path: Path, mugs: list[Path]) -> None:
    assert tlc("gallery", "list", bundle_path, "--json").json() == {"classes": {}, "taught": {}, "examples": []}
    tlc("enroll", bundle_path, "mug", *mugs[:2])
    assert tlc("gallery", "list", bundle_path, "--json").json() == {
        "classes": {"mug": 2},
        "taught": {"mug": 2},
        "examples": [],
    }
    examples = tlc("gallery", "list", bundle_path, "mug", "--json").json()["examples"]
    assert [(e["id"], e["label"], e["source_name"], e["has_thumbnail"]) for e in examples] == [
        (1, "mug", str(mugs[0]), True),
        (2, "mug", str(mugs[1]), True),
    ]
    renamed = tlc("gallery", "rename", bundle_path, "mug", "cup", "--json").json()
    assert renamed == {"label": "cup", "added": 2, "gone": 0, "classes": {"cup": 2}}
    assert tlc("gallery", "check", bundle_path, "--json").json() == {"path": f"{bundle_path}.gallery", "problems": []}


def test_the_gallery_goes_where_it_is_told(tlc: Tlc, bundle_path: Path, mugs: list[Path], tmp_path: Path) -> None:
    own = tmp_path / "own.db"
    assert tlc("enroll", bundle_path, "mug", *mugs[:2], "--gallery", own).code == 0
    assert own.exists()
    assert not Path(f"{bundle_path}.gallery").exists()
    found = [tlc("predict", bundle_path, mugs[0], "--json", *where).json() for where in ([], ["--gallery", own])]
    assert [f["results"][0]["label"] == "mug" for f in found] == [False, True]
    assert tlc("gallery", "list", bundle_path, "--json", "--gallery", own).json()["classes"] == {"mug": 2}


def test_commands_that_only_look_leave_no_file(tlc: Tlc, bundle_path: Path, photos: Path) -> None:
    before = sorted(bundle_path.parent.iterdir())
    for command in ("predict", "inspect", "selftest", "gallery list"):
        extra = [photos / "0" / "0.png"] if command == "predict" else []
        assert tlc(*command.split(), bundle_path, *extra).code == 0
    for command in (["forget", bundle_path, "mug"], ["undo", bundle_path], ["gallery", "check", bundle_path]):
        assert tlc(*command).code in (1, 2)
    assert sorted(bundle_path.parent.iterdir()) == before


def test_a_gallery_of_another_model_is_migrated(tlc: Tlc, bundle_path: Path, mugs: list[Path]) -> None:
    where = Path(f"{bundle_path}.gallery")
    teach(where, "mug", *(m.read_bytes() for m in mugs[:2]), None)
    refused = tlc("predict", bundle_path, mugs[0]).failed()
    assert refused.startswith(f"Error: {where}: the gallery belongs to the model {OLD[:12]}")
    assert "tlc gallery migrate" in refused
    done = tlc("gallery", "migrate", bundle_path, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json() == {
        "path": str(where),
        "kept": f"{where}.{OLD[:12]}",
        "moved": 2,
        "lost": 1,
        "classes": {"mug": 2},
    }
    assert tlc("predict", bundle_path, mugs[0], "--json").json()["results"][0]["label"] == "mug"
    assert "nothing to migrate" in tlc("gallery", "migrate", bundle_path).failed()


# --- inspect, selftest, verify


def test_inspect(tlc: Tlc, bundle_path: Path) -> None:
    done = tlc("inspect", bundle_path)
    assert (done.code, done.err) == (0, "")
    for text in ("rpi", "0, 1, 2, 3", "efficientnet-lite0", "nothing", "model.tflite", "model.onnx", "224x224x3"):
        assert text in done.out
    found = tlc("inspect", bundle_path, "--json").json()
    assert found.keys() == {"path", "bytes", "manifest", "enrolled", "signed"}
    assert found["manifest"] == json.loads(Bundle.open(bundle_path).read("manifest.json"))
    assert found["bytes"] == Bundle.open(bundle_path).bytes


def test_inspect_shows_a_bundle_without_figures(tlc: Tlc, bundle_path: Path, tmp_path: Path) -> None:
    """Metrics are for people: those of another tlc may be others."""
    bundle = Bundle.open(bundle_path)
    for metrics in ({}, {"models": [], "float": 7}, {"models": {"model.tflite": {"accuracy": "good", "interval": 3}}}):
        folder = tmp_path / "folder"
        for name, data in bundle.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        manifest = json.loads(bundle.read("manifest.json")) | {"metrics": metrics}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        done = tlc("inspect", folder)
        assert (done.code, done.err) == (0, "")
        assert "- to -" in done.out


def test_selftest(tlc: Tlc, bundle_path: Path) -> None:
    done = tlc("selftest", bundle_path)
    assert (done.code, done.err) == (0, "")
    head, *samples, blank, images, verdict = done.out.splitlines()
    assert head.split() == [
        "sample",
        "embedding",
        "cosine",
        "largest",
        "probability",
        "difference",
        "expected",
        "answer",
    ]
    assert [line.split()[0] for line in samples] == [*(f"golden/0{i}.png" for i in range(6)), "card/card.png"]
    assert {line.split()[1] for line in samples} == {"1.0000"}
    assert (blank, images) == (
        "",
        "images: the test card's pixels differ by 0.0 of 255 in the mean (at most 0.5): passed",
    )
    assert verdict.startswith("model.tflite on ai-edge-litert ")
    assert verdict.endswith("passed")
    found = tlc("selftest", bundle_path, "--json", "--engine", "onnxruntime").json()
    assert found.items() >= {"file": "model.onnx", "images": 6, "wrong_labels": 0, "passed": True}.items()


def test_a_failed_selftest_prints_its_figures_too(tlc: Tlc, bundle: Bundle, tmp_path: Path) -> None:
    name = "model.tflite:embedding"
    path = tampered(bundle, tmp_path / "t.tlc", EXPECTED, expected(bundle, lambda a: a.update({name: -a[name]})))
    done = tlc("selftest", path, "--json")
    assert "gives other answers on this device than where it was built" in done.failed()
    assert (done.json()["passed"], done.json()["lowest_cosine"] < -0.99) == (False, True)
    assert "FAILED" in tlc("selftest", path).out
    assert "try another --engine" in tlc("predict", path, "x.png").failed()


def test_verify(tlc: Tlc, bundle_path: Path, photos: Path) -> None:
    done = tlc("verify", bundle_path, "--data", photos, "--limit", 8, "--json")
    assert (done.code, done.err) == (0, "")
    found = done.json()
    assert found.keys() >= {"images", "models"}
    assert found["images"] == 8
    assert [m["file"] for m in found["models"]] == ["model.tflite", "model.onnx"]
    for model in found["models"]:
        assert model.keys() >= MODEL
        assert 0.5 <= model["accuracy"] <= 1
    done = tlc("verify", bundle_path, "--data", photos, "--limit", 8)
    assert (done.code, done.out.splitlines()[0]) == (0, f"{photos}: a folder per class; 8 images of 4 classes")


# --- targets, backbones, layers, build


def test_targets(tlc: Tlc) -> None:
    names = [t["name"] for t in tlc("targets", "--json").json()["targets"]]
    assert names == [t.name for t in all_targets()]
    lines = tlc("targets").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == names


def test_backbones(tlc: Tlc) -> None:
    found = tlc("backbones", "--json").json()["backbones"]
    assert "efficientnet-lite0" in [b["name"] for b in found]
    assert tlc("backbones").out.splitlines()[1].startswith(found[0]["name"])


def test_layers(tlc: Tlc) -> None:
    done = tlc("layers", "efficientnet-lite0", "--json")
    assert (done.code, done.err) == (0, "")
    rows = done.json()["layers"]
    assert [r["index"] for r in rows] == list(range(len(rows)))
    assert sum(r["default"] for r in rows) == 1
    assert all(r["shave"] for r in rows if r["default"])


def test_inspect_tells_how_often_unknown_was_wrong(tlc: Tlc, bundle_path: Path) -> None:
    line = next(line for line in tlc("inspect", bundle_path).out.splitlines() if line.startswith("unknown"))
    said = r"unknown +5 % of known images may be called so; \d of \d test images were; \d of \d foreign images "
    assert re.fullmatch(said + r"\(each class in turn\) passed for known", line)
    found = tlc("inspect", bundle_path, "--json").json()["manifest"]["metrics"]["unknown"]
    counts = {"rate", "test_images", "false_alarms", "foreign", "foreign_images", "false_accepts", "looks"}
    assert found.keys() == counts
    assert found["looks"].keys() == {"small", "compressed", "blurred", "darker"}
    assert all(0 <= look["false_alarms"] <= look["images"] <= found["test_images"] for look in found["looks"].values())


def test_enroll_tells_machines_what_it_costs_the_base_classes(tlc: Tlc, bundle_path: Path, mugs: list[Path]) -> None:
    found = tlc("enroll", bundle_path, "mug", *mugs[:2], "--json").json()
    assert found["base"].keys() == {"exemplars", "before", "after"}
    assert (found["base"]["exemplars"], found["base"]["before"]) == (28, 0)
    assert "base" not in tlc("undo", bundle_path, "--json").json()


def test_the_cache_is_emptied_by_whoever_says_yes(tlc: Tlc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "features" / "x"
    kept.parent.mkdir()
    kept.write_bytes(bytes(5000))
    for words in ([], ["--json"]):
        said = tlc("cache", "clear", "--cache", tmp_path, *words).failed(2)
        assert f"Remove 5 kB from {tmp_path}? There is no terminal to ask at; say --yes" in said
    for answer in ("n\n", "\n", "y\n"):
        assert kept.exists()
        done = at_a_terminal(answer, "cache", "clear", "--cache", tmp_path)
        assert ("nothing removed" in done) == (answer != "y\n")
        assert ("5 kB freed" in done) == (answer == "y\n")
    assert not kept.exists()
    kept.parent.mkdir()
    kept.write_bytes(bytes(5000))
    assert tlc("cache", "clear", "--yes", "--cache", tmp_path, "--json").json() == {"freed": 5000}
    assert tlc("cache", "clear", "--cache", tmp_path).out == "0 B freed\n"  # nothing to ask about


@pytest.mark.slow
def test_build(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "photos.tlc"
    args = ["build", "--target", "rpi", "--data", photos, "-o", out, "--max-drop", 50]
    done = apart(*args, "--json")
    assert (done.code, done.err) == (0, "")
    found = done.json()
    assert found.keys() >= {"bundles", "accuracy", "seconds"}
    (bundle,) = found["bundles"]
    assert bundle.keys() >= {"path", "target", "scheme", "bytes", "unknown"}
    assert (bundle["path"], bundle["target"], bundle["scheme"]) == (str(out), "rpi", "int8")
    assert found["accuracy"].keys() == {"float", "model.tflite", "model.onnx"}
    assert all(0 <= a <= 1 for a in found["accuracy"].values())
    assert next(iter(found["seconds"])) == "load data"
    assert list(found["seconds"])[-1] == "write"
    assert Bundle.open(out).bytes == pytest.approx(bundle["bytes"], rel=0.01)
    assert [p.name for p in tmp_path.iterdir()] == ["photos.tlc"]
    # Again, for a person: the bundle stands in the way, and no work is done for nothing.
    assert f"{out} exists already" in apart(*args).failed(2)


# --- help


def commands(group: click.Group = cli, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of every group, `tlc` alone the first, and of every command."""
    found = [before]
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        words = (*before, name)
        found += commands(command, words) if isinstance(command, click.Group) else [words]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_help_and_all_but_groups_have_json(tlc: Tlc, words: tuple[str, ...]) -> None:
    done = tlc(*words, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: {' '.join(['tlc', *words])} ")
    assert ("--json" in done.out) == ("COMMAND" not in done.out.splitlines()[0])
    assert tlc(*words, "-h").out == done.out


def test_the_version(tlc: Tlc) -> None:
    assert tlc("--version").out.startswith("tlc, version ")


@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["gallery", "--help"]], ids=" ".join)
def test_help_needs_nothing_of_the_workstation(words: list[str], tmp_path: Path) -> None:
    heavy = ("tensorflow", "keras", "sklearn", "onnx", "onnxruntime", "ai_edge_litert", "tlc_edge.compiler")
    done = apart(*words, **without(tmp_path, *heavy))
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: tlc")


def test_none_of_these_is_enrolled_without_a_label(tlc: Tlc, bundle_path: Path, mugs: list[Path]) -> None:
    done = tlc("enroll", bundle_path, "--not", *mugs[:3])
    first, second, third = done.out.splitlines()
    assert (first, second) == ("none of these: 3 examples added", "enrolled: none of these 3")
    assert re.fullmatch(r"false alarms: 0 of \d+ exemplars and .* would now be unknown for these \(0 before\)", third)
    found = tlc("predict", bundle_path, mugs[0], "--json").json()["results"][0]
    assert (found["unknown"], found["none_of_these"]) == (True, True)
    assert tlc("gallery", "list", bundle_path, "--json").json()["classes"] == {"none of these": 3}
    assert tlc("enroll", bundle_path, "--not", mugs[3], "--json").json()["turned_away"].keys() == {
        "exemplars",
        "before",
        "after",
    }
    assert tlc("forget", bundle_path, "none of these").out.startswith("none of these: 4 examples removed")
    assert "Missing argument 'LABEL'" in tlc("enroll", bundle_path).failed(2)
    assert "nothing to enroll" in tlc("enroll", bundle_path, "--not").failed(2)
