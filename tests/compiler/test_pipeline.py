"""The build as a whole: what it makes of good and bad images, that it makes the same again, and how it stops."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from signed_samples import make_secret, trusting

from tlc_edge.compiler import Options, Result, build
from tlc_edge.compiler.options import Asked, FineTune
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.errors import BuildError, BundleError, DataError, GalleryError, TlcError, UsageError
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.knn.unknown import read_knownness

# A device that takes a float TFLite file only: the lowering that takes the least time.
QUICK = """\
title = "A board of one's own"
description = "For tests."
expect = []
notes = []

[model]
formats = ["tflite"]
scheme = "float32"
onnx_scheme = "float32"
input_dtype = "uint8"
output_dtype = "float32"
operations = []
full_int8 = false
extras = []

[limits]
model_bytes = 0
peak_memory_bytes = 0

[engine]
preferred = ["ai-edge-litert"]
threads = 1

[sources]
"limits.model_bytes" = "none"
"limits.peak_memory_bytes" = "none"
"engine.threads" = "one core"
"""
STEPS = ("load data", "load TensorFlow", "load backbone", "shave", "featurize", "split", "calibrate", "lower", "decode")
STEPS += ("featurize again", "train head", "fuse", "check limits", "verify", "choose exemplars", "calibrate unknown")
STEPS += ("study", "write")


@pytest.fixture(scope="module")
def folder(digits: dict[str, list[NDArray[np.uint8]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of six good images, and four that cannot be used."""
    root = tmp_path_factory.mktemp("pipeline") / "photos"
    for label in "01":
        (root / label).mkdir(parents=True)
        for i, image in enumerate(digits[label][:6]):
            Image.fromarray(image).save(root / label / f"{i}.png")
    (root / "0" / "empty.png").touch()
    (root / "0" / "text.jpg").write_text("no image at all\n")
    (root / "1" / "short.png").write_bytes((root / "1" / "0.png").read_bytes()[:150])
    (root / "loose.png").write_bytes((root / "1" / "0.png").read_bytes())
    return root


@pytest.fixture(scope="module")
def options(folder: Path) -> Options:
    # Twelve digits are no fair test of int8: what is tested is the machinery.
    return Options(str(folder), ("rpi",), folder.parent / "b.tlc", max_drop=100.0, calibration=4)


@pytest.fixture(scope="module")
def both(options: Options, folder: Path) -> Result:
    """One build for two targets, without a feature cache."""
    return build(replace(options, targets=("rpi", "desktop"), output=folder.parent / "two.tlc", cache="off"))


@pytest.fixture
def quick(options: Options, tmp_path: Path) -> Options:
    """Options for a build that takes about two seconds; the output's folder is empty."""
    target = tmp_path / "quick.toml"
    target.write_text(QUICK)
    (tmp_path / "out").mkdir()
    return replace(options, targets=(str(target),), output=tmp_path / "out" / "b.tlc")


def contents(path: Path) -> dict[str, object]:
    """Return all files of a bundle, without what may differ: the time, and the name that the page says."""
    bundle = Bundle.open(path)
    manifest = json.loads((path / "manifest.json").read_bytes() if path.is_dir() else bundle.read("manifest.json"))
    assert manifest.pop("created")
    assert manifest["files"].pop("report.html")
    page = bundle.read("report.html").replace(f"<title>{path.name} for ".encode(), b"<title>")
    page = page.replace(f"<h1><bdi>{path.name}</bdi>".encode(), b"<h1>")
    return {**bundle.files, "manifest.json": manifest, "report.html": page}


def test_a_build_signs_what_it_writes(quick: Options, tmp_path: Path) -> None:
    key = make_secret()
    result = build(replace(quick, sign=key, force=True))
    with trusting(tmp_path / "trust", key):
        signed = Bundle.open(result.bundles[0].path).signed
        assert signed is not None
        assert signed.verified
        assert signed.key == key.public.id
    assert Bundle.open(build(replace(quick, force=True)).bundles[0].path).signed is None


class TestBadImages:
    def test_they_are_skipped_named_and_counted(self, both: Result) -> None:
        assert {s.name: s.reason for s in both.skipped}.keys() == {
            *("loose.png", "0/empty.png", "0/text.jpg", "1/short.png"),
        }
        assert all(s.reason for s in both.skipped)
        assert both.images == {"train": 8, "validation": 2, "test": 2}
        assert both.held_out == 4
        manifest = Bundle.open(both.bundles[0].path).manifest
        assert manifest.metrics["skipped"] == 4
        report = Bundle.open(both.bundles[0].path).read("report.html").decode()
        assert all(s.name in report for s in both.skipped)
        document = json.loads(Bundle.open(both.bundles[0].path).read("report.json"))
        assert {s["image"] for s in document["skipped"]} == {s.name for s in both.skipped}

    def test_strict_stops_at_the_first(self, quick: Options, folder: Path) -> None:
        with pytest.raises(DataError, match="lies outside the class folders"):
            build(replace(quick, strict=True))
        # Nothing is wrong with the files' names here; so it is found when they are decoded.
        inner = replace(quick, data=csv_of(folder, quick.output.with_name("all.csv")), strict=True)
        with pytest.raises(DataError, match=r"0/empty\.png: .* 3 unreadable in all \(--strict\)") as told:
            build(inner)
        assert told.value.__notes__[0].startswith("in step 'featurize', after load data, load TensorFlow")
        assert not quick.output.exists()

    def test_a_class_that_is_too_small_without_them(self, quick: Options, folder: Path) -> None:
        few = csv_of(folder, quick.output.with_name("few.csv"), leave_out=("0/0.png", "0/1.png"))
        with pytest.raises(DataError, match=r"class '0' has 4 images \(2 more were skipped\), expected at least 5"):
            build(replace(quick, data=few))
        assert not quick.output.exists()


def csv_of(folder: Path, path: Path, leave_out: tuple[str, ...] = ()) -> str:
    """Write a CSV of the folder's images, good and bad."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.glob("?/*"))
    rows = [f"{folder / name},{name[0]}" for name in names if name not in leave_out]
    path.write_text("path,label\n" + "".join(f"{row}\n" for row in rows))
    return str(path)


class TestSeveralTargets:
    def test_one_build_makes_a_bundle_for_each(self, both: Result, folder: Path) -> None:
        assert [(b.target, b.path.name) for b in both.bundles] == [
            ("rpi", "two.rpi.tlc"),
            ("desktop", "two.desktop.tlc"),
        ]
        assert all(b.path.parent == folder.parent for b in both.bundles)
        assert list(both.seconds) == list(STEPS)
        first, second = (Bundle.open(b.path) for b in both.bundles)
        assert (first.manifest.target["name"], second.manifest.target["name"]) == ("rpi", "desktop")
        # From one state: the same model, and an embedding that means the same.
        assert first.manifest.fingerprint == second.manifest.fingerprint
        for name in ("model.tflite", "model.onnx", "exemplars.npz", "golden/expected.npz"):
            assert first.read(name) == second.read(name)

    def test_both_predict(self, both: Result, folder: Path) -> None:
        for built in both.bundles:
            with Classifier.open(built.path) as classifier:
                assert {classifier.predict(folder / d / "1.png").label for d in "01"} == {"0", "1"}

    def test_one_named_twice(self, options: Options) -> None:
        with pytest.raises(UsageError, match="a target is named twice in rpi, rpi"):
            build(replace(options, targets=("rpi", "rpi")))
        with pytest.raises(UsageError, match="no target given"):
            build(replace(options, targets=()))


class TestDeterministic:
    def test_the_same_again_from_the_cache_into_a_folder(self, both: Result, options: Options, folder: Path) -> None:
        again = build(replace(options, output=folder.parent / "again"))
        assert (folder.parent / "again").is_dir()
        assert contents(again.bundles[0].path) == contents(both.bundles[0].path)

    @pytest.mark.slow
    def test_the_same_in_a_process_of_its_own(self, both: Result, options: Options, folder: Path) -> None:
        alone = replace(options, output=folder.parent / "alone.tlc", cache="off")
        script = "import pickle, sys\nfrom tlc_edge.compiler import build\nbuild(pickle.load(sys.stdin.buffer))"
        environment = {**os.environ, "PYTHONHASHSEED": "7"}
        subprocess.run([sys.executable, "-c", script], input=pickle.dumps(alone), check=True, env=environment)
        assert contents(alone.output) == contents(both.bundles[0].path)

    def test_another_seed_is_another_bundle(self, both: Result, options: Options, folder: Path) -> None:
        other = build(replace(options, output=folder.parent / "other.tlc", seed=1))
        assert other.cached == 12  # it finds the features of the last build
        first, second = contents(both.bundles[0].path), contents(other.bundles[0].path)
        assert first.keys() == second.keys()
        assert {name for name in first if first[name] == second[name]} <= {"labels.txt", *golden(first)}
        assert {first[name] for name in golden(first)} != {second[name] for name in golden(second)}
        manifest = Bundle.open(other.bundles[0].path).manifest
        assert manifest.metrics["settings"]["seed"] == 1
        assert manifest.labels == ("0", "1")


def golden(files: dict[str, object]) -> set[str]:
    """Return the names of the samples' images."""
    return {name for name in files if name.startswith(("golden/", "card/")) and name.endswith(".png")}


class TestOwnTarget:
    def test_a_target_file_of_ones_own(self, quick: Options, folder: Path) -> None:
        (built,) = build(quick).bundles
        bundle = Bundle.open(built.path)
        assert (built.target, built.scheme) == ("quick", "float32")
        assert (bundle.manifest.target["title"], bundle.manifest.target["threads"]) == ("A board of one's own", 1)
        assert [m.file for m in bundle.manifest.models] == ["model.tflite"]
        (score,) = built.scores
        assert (score.agreement, score.scheme) == (1.0, "float32")
        assert score.embedding_cosine is not None
        assert score.embedding_cosine > 0.9999
        assert built.bytes == bundle.bytes
        with Classifier.open(built.path) as classifier:
            assert classifier.predict(folder / "1" / "1.png").label == "1"

    def test_another_head_on_another_cut(self, quick: Options, folder: Path) -> None:
        (built,) = build(replace(quick, head="mlp", shave="block4c_add")).bundles
        manifest = Bundle.open(built.path).manifest
        assert (manifest.head["kind"], manifest.shave["layer"]) == ("mlp", "block4c_add")
        # These are narrow enough as they are.
        assert (manifest.neck["kind"], manifest.embedding_width) == ("none", 80)
        with Classifier.open(built.path) as classifier:
            assert classifier.embed(folder / "0" / "0.png").shape == (80,)
            assert classifier.predict(folder / "1" / "1.png").label in ("0", "1")

    @pytest.mark.slow
    def test_fine_tuned_with_copies_and_then_a_head_of_ones_own(self, quick: Options, folder: Path) -> None:
        import keras

        tuned = replace(quick, fine_tune=FineTune("1", epochs=1), augment=("mirror",), copies=2)
        result = build(tuned)
        (built,) = result.bundles
        manifest = Bundle.open(built.path).manifest
        settings: Any = manifest.metrics["settings"]
        assert (settings["augment"], settings["copies"]) == ("mirror", 2)
        (note,) = [n for n in result.notes if n.startswith("fine-tuning")]
        assert note.startswith("fine-tuning trained the last 1 of 49 layers, as asked; epochs: 1")
        assert settings["fine_tuned"] == ("the trunk stays as it was" not in note)
        assert not built.path.with_name(f"{built.path.name}.checkpoints").exists()
        assert ("fine-tune" in result.seconds, "featurize tuned" in result.seconds) == (True, True)
        kept = folder.parent / "kept"
        unchanged = replace(quick, force=True, fine_tune=FineTune("auto", checkpoints=kept))
        result = build(unchanged)
        (note,) = [n for n in result.notes if n.startswith("fine-tuning")]
        assert "no layer, for there are 8 training images" in note
        settings = Bundle.open(result.bundles[0].path).manifest.metrics["settings"]
        assert (settings["fine_tune"], settings["fine_tuned"]) == ("auto", False)
        assert not kept.exists()

        head = folder.parent / "head.keras"
        keras.Sequential([keras.layers.Input((1280,)), keras.layers.Dense(2, "softmax")]).save(head)
        (built,) = build(replace(quick, force=True, head=str(head))).bundles
        assert Bundle.open(built.path).manifest.head["kind"] == "file"

    def test_without_a_head_every_class_is_taught_on_the_device(self, quick: Options, folder: Path) -> None:
        (built,) = build(replace(quick, head="none")).bundles
        manifest = Bundle.open(built.path).manifest
        assert (manifest.head["kind"], manifest.labels) == ("none", ())
        # Unknown is calibrated all the same, for classes with few examples; the training images stand for them.
        assert len(Bundle.open(built.path).exemplars().labels) == len(manifest.unknown.scores) == 0
        assert len(read_knownness(Bundle.open(built.path)).examples) == 3
        assert built.unknown["test_images"] == built.unknown["foreign_images"] == 2
        with Classifier.open(built.path) as classifier:
            with pytest.raises(GalleryError, match="nothing is enrolled; enroll a class first"):
                classifier.predict(folder / "0" / "5.png")
            classifier.enroll("zero", sorted(folder.glob("0/[0-3].png")))
            alone = classifier.predict(folder / "0" / "5.png")
            assert (alone.label, alone.score, alone.source) == ("zero", 1, "gallery")
            classifier.enroll("one", sorted(folder.glob("1/[0-3].png")))
            assert [classifier.predict(folder / d / "5.png").label for d in "01"] == ["zero", "one"]


class TestUnknown:
    def test_false_accepts_are_counted_on_images_of_anything_else(
        self, quick: Options, digits: dict[str, list[NDArray[np.uint8]]], tmp_path: Path
    ) -> None:
        other = tmp_path / "other"
        other.mkdir()
        for i, image in enumerate(digits["7"][:5]):
            Image.fromarray(image).save(other / f"{i}.png")
        (other / "broken.png").write_bytes(b"no image")
        (built,) = build(replace(quick, unknown_data=str(other), unknown_rate=0.1)).bundles
        manifest = Bundle.open(built.path).manifest
        assert built.unknown == manifest.metrics["unknown"]
        figures = ("--unknown-data", 5, 0.1, 2)
        assert tuple(built.unknown[k] for k in ("foreign", "foreign_images", "rate", "test_images")) == figures
        with Classifier.open(built.path) as classifier:
            known = [not classifier.predict(image).unknown for image in digits["7"][:5]]
        if "none_of_these" not in built.unknown:
            assert built.unknown["false_accepts"] == sum(known)  # counted as the device judges

    def test_those_that_pass_for_known_ship_as_none_of_these(
        self, quick: Options, digits: dict[str, list[NDArray[np.uint8]]], tmp_path: Path
    ) -> None:
        for label in "479":
            (tmp_path / label).mkdir()
            for i, image in enumerate(digits[label][:20]):
                Image.fromarray(image).save(tmp_path / label / f"{i:02}.png")
        listed = [f"{label}/{i:02}.png,{label}" for label in "47" for i in range(10)]
        (tmp_path / "data.csv").write_text("\n".join(["path,label", *listed]))
        asked = replace(quick, data=str(tmp_path / "data.csv"), unknown_data=str(tmp_path / "9"), unknown_rate=0.02)
        (built,) = build(asked).bundles
        found, shown = built.unknown, built.unknown["none_of_these"]
        assert 0 < shown["images"] <= shown["false_accepts_without"]
        assert found["false_accepts"] < shown["false_accepts_without"] <= found["foreign_images"] == 20
        brought = read_knownness(Bundle.open(built.path)).unwanted
        assert brought is not None
        assert brought.shape == (shown["images"], Bundle.open(built.path).manifest.embedding_width)
        with Classifier.open(built.path) as classifier:
            said = [classifier.predict(tmp_path / "9" / f"{i:02}.png") for i in range(20)]
        assert sum(p.none_of_these for p in said) >= shown["images"]
        assert all(p.unknown for p in said if p.none_of_these)

    def test_switched_off(self, quick: Options) -> None:
        (built,) = build(replace(quick, unknown_rate=0.0)).bundles
        assert (built.unknown["rate"], built.unknown["false_alarms"]) == (0, 0)
        assert built.unknown["false_accepts"] == built.unknown["foreign_images"] == 2


class TestWrongOptions:
    """Found before TensorFlow is loaded, and nothing is made."""

    @pytest.mark.parametrize(
        ("change", "error", "said"),
        [
            ({"targets": ("rip",)}, UsageError, "unknown target 'rip'; known: rpi"),
            ({"unknown_rate": 1.0}, UsageError, "the false-alarm rate is 1.0, expected 0 "),
            ({"unknown_data": "nowhere"}, DataError, "nowhere: no such file or folder"),
            ({"seed": -1}, UsageError, "the seed is -1, expected a whole number from 0 to 4294967295"),
            ({"seed": 2**32}, UsageError, "the seed is 4294967296"),
            ({"max_drop": float("nan")}, UsageError, "max_drop is nan, expected 0 to 100"),
            ({"fine_tune": FineTune(learning_rate=float("nan"))}, UsageError, "learning_rate is nan, expected"),
            ({"fine_tune": FineTune(learning_rate=float("inf"))}, UsageError, "learning_rate is inf, expected"),
            ({"fine_tune": FineTune(epochs=0)}, UsageError, "epochs is 0, expected 1 or more"),
            ({"fine_tune": FineTune("0")}, UsageError, "--fine-tune 0: trains no layer; give 1 or more"),
            ({"augment": (), "copies": 3}, UsageError, "copies is 3, but augment names nothing"),
            (
                {"backbone": "keras:MobileNet", "asked": Asked(alpha=float("nan"))},
                UsageError,
                "--alpha nan: expected a number above 0",
            ),
            ({"backbone": "lite0"}, UsageError, "unknown backbone 'lite0'; known: "),
            ({"output": Path("/nowhere/at/all/b.tlc")}, BundleError, "no such folder to write b.tlc into"),
            ({"data": "/nowhere"}, DataError, "no such file or folder"),
            ({"limit": 1}, UsageError, "below the number of classes"),
            ({"head": "linaer"}, UsageError, "unknown head 'linaer'; known: linear"),
            ({"head": "gone.keras"}, UsageError, "--head gone.keras: no such file"),
        ],
    )
    def test_in_the_first_step(
        self, quick: Options, change: dict[str, object], error: type[TlcError], said: str
    ) -> None:
        seen: list[str] = []
        with pytest.raises(error, match=said) as told:
            build(replace(quick, **change), lambda step, _done, _total: seen.append(step))  # type: ignore[arg-type]
        assert told.value.__notes__ == ["in step 'load data'"]
        assert set(seen) == {"load data"}
        assert list(quick.output.parent.iterdir()) == []

    def test_a_layer_or_pooling_that_is_not_there(self, quick: Options) -> None:
        with pytest.raises(UsageError, match="unknown layer of efficientnet-lite0 'top_conf'; known: top_conv") as told:
            build(replace(quick, shave="top_conf"))
        assert told.value.__notes__ == ["in step 'shave', after load data, load TensorFlow, load backbone"]
        with pytest.raises(UsageError, match="unknown head 'tree'"):
            build(replace(quick, head="tree"))
        assert list(quick.output.parent.iterdir()) == []

    def test_layers_to_tune_that_memory_does_not_bear(self, quick: Options, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tlc_edge.compiler.fine_tune.layers.MEMORY", 1000)
        with pytest.raises(BuildError, match=r"--fine-tune 1: what top_conv reads would take .* train fewer") as told:
            build(replace(quick, fine_tune=FineTune("1")))  # before an image is featurized
        assert told.value.__notes__ == ["in step 'shave', after load data, load TensorFlow, load backbone"]
        assert list(quick.output.parent.iterdir()) == []

    def test_an_output_that_exists_is_replaced_only_by_force(self, quick: Options) -> None:
        quick.output.write_bytes(b"mine")
        with pytest.raises(UsageError, match=r"b\.tlc exists already; .* --force"):
            build(quick)
        assert quick.output.read_bytes() == b"mine"
        build(replace(quick, force=True))
        assert Bundle.open(quick.output).manifest.labels == ("0", "1")

    def test_a_scheme_that_there_is_no_lowering_for(self, quick: Options) -> None:
        with pytest.raises(BuildError, match="scheme 'int4' has no TFLite lowering; choose float32, float16, "):
            build(replace(quick, scheme="int4"))
        assert list(quick.output.parent.iterdir()) == []


class TestStopped:
    @pytest.mark.parametrize(
        ("step", "done"),
        [("load data", 0), ("featurize", 3), ("train head", 5), ("write", 0)],
    )
    def test_ctrl_c_in_a_step_leaves_nothing(self, quick: Options, step: str, done: int) -> None:
        reached: list[str] = []

        def press(at: str, units: int, _total: int) -> None:
            reached.append(at)
            if (at, units) == (step, done):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(replace(quick, cache="off"), press)
        assert reached[-1] == step
        assert list(quick.output.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("missing", "said"),
    [(["tensorflow"], "a build needs tensorflow,"), (["onnx", "sklearn"], "a build needs onnx, scikit-learn,")],
)
def test_what_is_not_installed_is_told_at_once(quick: Options, folder: Path, missing: list[str], said: str) -> None:
    script = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({missing!r}))\n"
        "from tlc_edge.cli import main\n"
        f"main(['build', '--target', 'rpi', '--data', {str(folder)!r}, '-o', {str(quick.output)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert pip_line("compiler") in done.stderr
    assert "Traceback" not in done.stderr
    assert list(quick.output.parent.iterdir()) == []
