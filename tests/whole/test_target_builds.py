"""Builds for every kind of device: from one trained state, complete, and opened by the runtime on this machine."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from numpy.typing import NDArray

from tlc_edge.compiler import Options, Result, build
from tlc_edge.compiler.backbones.rows import rows
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.engines.open import open_engine
from tlc_edge.runtime.engines.selftest import selftest
from tlc_edge.runtime.errors import BuildError, UsageError
from tlc_edge.runtime.install import pip_line
from tlc_edge.targets import load_target

SKETCH = Path(__file__).parents[1] / "data" / "tfjs_sketch"
MOBILENET = SHARED / "mobilenet_v1_025_224_tfjs"
TOGETHER = ("rpi", "rpi-32", "rpi-zero", "jetson", "web", "android", "coral", "mcu")
pytest.importorskip("tflite_micro")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of three convolutions as a Keras file: what every device can run, and quick to lower."""
    load_tensorflow()
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            layers.Input((28, 28, 3)),
            layers.Conv2D(8, 3, 2, "same", activation="relu", name="conv1"),
            layers.DepthwiseConv2D(3, 2, "same", activation="relu", name="conv2"),
            layers.Conv2D(16, 1, activation="relu", name="conv3"),
        ]
    )
    path = tmp_path_factory.mktemp("network") / "three.keras"
    model.save(path)
    return str(path)


@pytest.fixture(scope="module")
def options(photos: Path, network: str, tmp_path_factory: pytest.TempPathFactory) -> Options:
    # Forty small digits: what is tested is the machinery.
    return Options(
        data=str(photos),
        targets=TOGETHER,
        output=tmp_path_factory.mktemp("targets") / "all",
        backbone=network,
        asked=Asked(pixels="-1..1"),
        max_drop=90,
        calibration=8,
    )


@pytest.fixture(scope="module")
def built(options: Options) -> Result:
    return build(options)


@pytest.fixture(scope="module")
def bundles(built: Result) -> dict[str, Bundle]:
    return {b.target: Bundle.open(b.path) for b in built.bundles}


def test_each_target_gets_its_bundle(built: Result, bundles: dict[str, Bundle]) -> None:
    assert tuple(bundles) == TOGETHER
    for name, bundle in bundles.items():
        target = load_target(name)
        assert [m.format for m in bundle.manifest.models] == list(target.formats)
        assert bundle.manifest.scheme == target.scheme
        assert bundle.files.get("notes.txt", b"").decode().splitlines() == list(target.notes)
        assert tuple(bundle.manifest.target.get("notes", ())) == target.notes


@pytest.mark.parametrize("name", TOGETHER)
def test_the_runtime_opens_it_here(
    name: str, bundles: dict[str, Bundle], digits: dict[str, list[NDArray[np.uint8]]], tmp_path: Path
) -> None:
    bundle = bundles[name]
    engine, model = open_engine(bundle)
    assert selftest(bundle, engine, model).passed
    with Classifier.open(bundle, tmp_path / "taught.gallery") as classifier:
        assert classifier.predict(digits["1"][0]).label in bundle.manifest.labels
        classifier.enroll("seven", digits["7"][:3])
        assert "seven" in [r.label for r in classifier.predict(digits["7"][1]).ranked]


def test_files_that_agree_are_one_and_int8_ends_give_the_same_answers(
    bundles: dict[str, Bundle], digits: dict[str, list[NDArray[np.uint8]]]
) -> None:
    files = {name: bundle.read("model.tflite") for name, bundle in bundles.items()}
    assert files["rpi"] == files["rpi-32"] == files["web"] == files["android"]
    assert len({files["rpi"], files["coral"], files["mcu"]}) == 3
    assert len({bundle.manifest.fingerprint for bundle in bundles.values()}) == 1
    image = np.repeat(digits["3"][0][..., None], 3, axis=2)
    usual = open_engine(bundles["rpi"], "ai-edge-litert")[0].run(image)
    for name in ("coral", "mcu"):
        for expected, got in zip(usual, open_engine(bundles[name])[0].run(image), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_what_a_web_page_needs_is_in_one_file(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["web"]
    page = json.loads(bundle.read("labels.json"))
    assert page["labels"] == list(bundle.manifest.labels)
    assert page["input"]["shape"] == [1, 28, 28, 3]
    assert (page["input"]["fit"], page["input"]["filter"], page["input"]["channels"]) == ("stretch", "bilinear", "RGB")
    assert page["outputs"] == ["probabilities", "embedding"]
    assert set(page["models"]) == {"model.tflite", "model.onnx"}
    assert "labels.json" not in bundles["android"].files


def test_a_microcontroller_gets_its_c_array_and_a_measured_arena(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["mcu"]
    header = bundle.read("model_data.h").decode()
    arena = bundle.manifest.metrics["models"]["model.tflite"]["arena_bytes"]
    assert f"#define MODEL_ARENA_SIZE {arena}\n" in header
    assert f"#define MODEL_DATA_LENGTH {len(bundle.read('model.tflite'))}\n" in header
    assert 0 < arena <= load_target("mcu").peak_memory_bytes
    assert "model_data.c" not in bundles["coral"].files
    assert "arena_bytes" not in bundles["coral"].manifest.metrics["models"]["model.tflite"]


def test_coral_has_no_operation_that_the_edge_tpu_lacks(bundles: dict[str, Bundle]) -> None:
    from tlc_edge.compiler.lower.tflite_content import read_content

    operations = set(read_content(bundles["coral"].read("model.tflite")).operations)
    assert operations <= set(load_target("coral").operations)
    assert "DEQUANTIZE" in read_content(bundles["rpi"].read("model.tflite")).operations


def test_built_alone_it_is_the_same(options: Options, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    result = build(replace(options, targets=("mcu",), output=tmp_path / "mcu.tlc"))
    alone = Bundle.open(result.bundles[0].path)
    assert alone.files["model_data.c"] == bundles["mcu"].files["model_data.c"]
    assert alone.files["model_data.h"] == bundles["mcu"].files["model_data.h"]


Own = Callable[..., str]


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """Write a target of one's own from a shipped one, with some lines changed."""

    def write(name: str, **changes: str) -> str:
        text = (Path(__file__).parents[2] / "targets" / f"{name}.toml").read_text(encoding="utf-8")
        lines = [
            next((f"{key} = {value}" for key, value in changes.items() if line.startswith(f"{key} =")), line)
            for line in text.splitlines()
        ]
        path = tmp_path / "mine.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return str(path)

    return write


def test_a_broken_limit_stops_the_build_and_writes_nothing(options: Options, own: Own, tmp_path: Path) -> None:
    target = own("mcu", model_bytes="1000", peak_memory_bytes="4096")
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(BuildError, match=r"more than the 1,000 of mine: .*; and it needs an arena of") as told:
        build(replace(options, targets=("rpi", target), output=folder / "b"))
    assert any("in step 'check limits'" in note for note in told.value.__notes__)
    assert not list(folder.iterdir())
    generous = own("mcu", model_bytes="0", peak_memory_bytes="0")
    result = build(replace(options, targets=(generous,), output=folder / "b"))
    assert b"not measured" in Bundle.open(result.bundles[0].path).read("model_data.h")


def test_an_operation_that_the_device_lacks_stops_the_build(options: Options, tmp_path: Path) -> None:
    # The sketch network has an ELU, which TFLite computes in float32.
    sketch = replace(options, backbone=str(SKETCH), asked=Asked(), output=tmp_path / "b")
    with pytest.raises(
        BuildError, match=r"model\.tflite has 2 operations that coral cannot run: DEQUANTIZE \(1\), ELU"
    ):
        build(replace(sketch, targets=("coral",)))
    with pytest.raises(BuildError, match=r"does 1 of 12 operations in float32, and mcu can do none so: ELU \(1\)"):
        build(replace(sketch, targets=("mcu",)))
    assert not list(tmp_path.iterdir())


def test_another_scheme_than_the_targets_is_refused_at_once(options: Options, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="target mcu wants input int8 and outputs int8"):
        build(replace(options, targets=("rpi", "mcu"), scheme="float16", output=tmp_path / "b"))
    assert not list(tmp_path.iterdir())


def test_what_a_target_needs_and_is_not_here_is_said_first(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(BuildError, match=re.escape(f"run: {pip_line('coreml')}, or take the target android")):
        build(replace(options, targets=("ios",), output=tmp_path / "b"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not MOBILENET.is_dir(), reason=f"no {MOBILENET.name} beside the checkout")
class TestMobileNet:
    """MobileNet v1 0.25 with real weights."""

    def options(self, photos: Path, output: Path, size: int | None = None, **more: object) -> Options:
        asked = Asked(input_size=None if size is None else (size, size))
        return Options(str(photos), ("mcu",), output, str(MOBILENET), asked, max_drop=90, calibration=8, **more)  # type: ignore[arg-type]

    @pytest.mark.parametrize("size", [96, 128])
    def test_it_fits_a_microcontroller(self, photos: Path, tmp_path: Path, size: int) -> None:
        bundle = Bundle.open(build(self.options(photos, tmp_path / "b.tlc", size)).bundles[0].path)
        mcu = load_target("mcu")
        arena = bundle.manifest.metrics["models"]["model.tflite"]["arena_bytes"]
        assert len(bundle.read("model.tflite")) <= mcu.model_bytes
        assert arena <= mcu.peak_memory_bytes
        if size == 96:  # what the advice to others says
            said = rows()["keras:MobileNet"].narrower[0].int8
            assert (said.size, said.classes) == (size, len(bundle.manifest.labels))
            assert abs(arena - said.arena) < 0.02 * said.arena
            assert abs(len(bundle.read("model.tflite")) - said.bytes) < 0.02 * said.bytes

    def test_at_its_own_size_it_does_not_and_what_is_proposed_does(self, photos: Path, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match="needs an arena of") as told:
            build(self.options(photos, tmp_path / "b.tlc"))
        side = re.findall(r"--input-size (\d+)x\1 \(about", str(told.value))[0]
        assert build(self.options(photos, tmp_path / "b.tlc", int(side))).bundles

    def test_an_earlier_shave_that_is_proposed_fits(self, photos: Path, tmp_path: Path, own: Own) -> None:
        target = own("mcu", model_bytes="150000")
        asked = replace(self.options(photos, tmp_path / "b.tlc", 96), targets=(target,))
        with pytest.raises(BuildError, match="more than the 150,000 of mine") as told:
            build(asked)
        layer = str(told.value).split("--shave ")[1].split(" ")[0]
        assert build(replace(asked, shave=layer)).bundles
