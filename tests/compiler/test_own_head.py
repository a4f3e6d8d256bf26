"""The classifier that came with a network, as it is; and what Teachable Machine exports."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfjs_files import write_tfjs

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.backbones.adopt import adopt
from tlc_edge.compiler.backbones.find import find_backbone, load_backbone
from tlc_edge.compiler.backbones.own_labels import labels_beside, read_labels
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, Head, OwnHead, Provenance
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.errors import BuildError, UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.float32)
Layers = Callable[[], list[Any]]


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def network(top: Layers) -> Any:
    import keras
    from keras import Input, Sequential, layers

    keras.utils.set_random_seed(3)
    first = [layers.Conv2D(8, 3, 2, activation="relu", name="c1"), layers.Conv2D(6, 3, 2, name="map")]
    model = Sequential([Input((16, 16, 3)), *first, *top()])
    for v in model.weights:
        if "bias" in v.path:
            v.assign(np.random.default_rng(1).normal(0, 0.5, v.shape))
    return model


def average_and_dense() -> list[Any]:
    from keras import layers

    return [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(4, "softmax", name="top")]


def two_dense() -> list[Any]:
    from keras import layers

    hidden = [layers.Dense(10, "relu", name="hidden"), layers.Dense(7, name="plain"), layers.ReLU(name="act")]
    return [layers.GlobalMaxPooling2D(), *hidden, layers.Dense(4, name="top"), layers.Softmax()]


def flattened() -> list[Any]:
    from keras import layers

    hidden = [layers.Dense(9, "relu", name="first"), layers.Dense(7, "relu", name="second")]
    return [layers.Flatten(), *hidden, layers.Dense(4, "softmax", name="top")]


def straight_from_the_map() -> list[Any]:
    from keras import layers

    return [layers.Flatten(), layers.Dense(4, "softmax", name="top")]


def other_activation() -> list[Any]:
    from keras import layers

    hidden = layers.Dense(9, "tanh", name="hidden")
    return [layers.GlobalAveragePooling2D(), hidden, layers.Dense(4, "softmax", name="top")]


def of_places() -> list[Any]:
    from keras import layers

    last = layers.Conv2D(4, 3, padding="same", name="top")
    return [layers.ReLU(name="act"), last, layers.GlobalAveragePooling2D(), layers.Activation("softmax")]


def logits() -> list[Any]:
    from keras import layers

    return [layers.GlobalAveragePooling2D(), layers.Dense(4, name="top")]


def one_unit() -> list[Any]:
    from keras import layers

    return [layers.GlobalAveragePooling2D(), layers.Dense(1, "sigmoid", name="top")]


def adopted(top: Layers) -> tuple[Any, Backbone]:
    model = network(top)
    return model, adopt("net", model, Asked(pixels="0..1"), Provenance("made for a test", "0" * 64, "none", "nothing"))


@pytest.mark.parametrize(
    ("top", "layer", "dense"),
    [
        (average_and_dense, "map", 1),
        (two_dense, "map", 3),
        (flattened, "first", 2),
        (straight_from_the_map, "map", 1),
        (other_activation, "hidden", 1),
        (of_places, "act", 1),
        (logits, "map", 1),
        (one_unit, "map", 1),
    ],
)
def test_it_gives_what_the_network_gave(top: Layers, layer: str, dense: int) -> None:
    model, backbone = adopted(top)
    own = backbone.own
    assert isinstance(own, OwnHead), own
    assert (own.layer, len(own.layers)) == (layer, dense)
    trunk = shave(backbone, own.layer, own.pool)
    features = np.asarray(trunk.model((IMAGES - backbone.input.mean) / backbone.input.std))
    found = Head("own", own.layers).probabilities(features)
    wanted = np.asarray(model(IMAGES / 255))
    if top is one_unit:
        wanted = np.concatenate([1 - wanted, wanted], axis=1)
    if top is logits:
        wanted = np.exp(wanted) / np.exp(wanted).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def several_that_hold_together() -> list[Any]:
    from keras import layers

    return [layers.GlobalAveragePooling2D(), layers.Dense(4, "sigmoid", name="top")]


def of_places_with_relu() -> list[Any]:
    from keras import layers

    last = layers.Conv2D(4, 1, activation="relu", name="top")
    return [last, layers.GlobalAveragePooling2D(), layers.Activation("softmax")]


def features_alone() -> list[Any]:
    from keras import layers

    return [layers.ReLU()]


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        (several_that_hold_together, "4 sigmoid units, which do not exclude one another"),
        (of_places_with_relu, "no linear map of the features before it"),
        (features_alone, "it ends in no classifier that is known"),
    ],
)
def test_what_cannot_be_a_head_says_why(top: Layers, reason: str) -> None:
    own = adopted(top)[1].own
    assert isinstance(own, str)
    assert reason in own


# --- labels


@pytest.mark.parametrize(
    ("file", "text", "labels"),
    [
        ("labels.txt", "cat\ndog\n\n", ("cat", "dog")),
        ("labels.txt", "0 Class 1\n1 Class 2\n", ("Class 1", "Class 2")),
        ("labels.txt", "7 up\n8 ball\n", ("7 up", "8 ball")),
        ("metadata.json", '{"labels": ["b", "a"], "imageSize": 224}', ("b", "a")),
        ("metadata.json", '{"name": "x"}', None),
        ("labels.json", '["b", "a"]', ("b", "a")),
    ],
)
def test_labels_are_read_as_exporters_write_them(
    tmp_path: Path, file: str, text: str, labels: tuple[str, ...] | None
) -> None:
    (tmp_path / file).write_text(text)
    assert read_labels(tmp_path / file) == labels
    if file != "labels.json":
        assert labels_beside(str(tmp_path / "net.keras")) == labels


@pytest.mark.parametrize(("text", "reason"), [("a\nb\na\n", "'a' occurs twice"), ("{", "cannot be read as labels")])
def test_labels_that_are_none(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / ("labels.json" if text == "{" else "labels.txt")
    path.write_text(text)
    with pytest.raises(BuildError, match=reason):
        read_labels(path)


# --- Teachable Machine


def teachable() -> Any:
    """Return a network of its make: one model that gives features, one of dense layers."""
    import keras
    from keras import Input, Model, Sequential, layers

    keras.utils.set_random_seed(5)
    start = Input((16, 16, 3))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, 2, activation="relu", name="last")(start))
    features = Model(start, layers.GlobalAveragePooling2D()(x), name="model1")
    top = [layers.Dense(10, "relu"), layers.Dense(3, "softmax", use_bias=False)]
    return Sequential([Input((16, 16, 3)), features, Sequential([Input((8,)), *top], name="sequential_3")])


def keras_zip(folder: Path) -> Path:
    teachable().save(folder / "keras_model.h5")
    with zipfile.ZipFile(folder / "converted_keras.zip", "w") as archive:
        archive.write(folder / "keras_model.h5", "keras_model.h5")
        archive.writestr("labels.txt", "0 zero\n1 two\n2 one\n")
    return folder / "converted_keras.zip"


def tfjs_zip(folder: Path) -> Path:
    write_tfjs(teachable(), folder / "js")
    with zipfile.ZipFile(folder / "tm-my-image-model.zip", "w") as archive:
        for file in sorted((folder / "js").iterdir()):
            archive.write(file, file.name)
        archive.writestr("metadata.json", json.dumps({"labels": ["zero", "two", "one"], "imageSize": 16}))
    return folder / "tm-my-image-model.zip"


@pytest.mark.parametrize("make", [keras_zip, tfjs_zip])
def test_an_export_is_taken_as_it_is(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    backbone = load_backbone(str(path))
    assert (backbone.name, backbone.labels) == (path.stem, ("zero", "two", "one"))
    assert (backbone.input.mean, backbone.input.std) == (127.5, 127.5)
    own = backbone.own
    assert isinstance(own, OwnHead)
    assert len(own.layers) == 2
    trunk = shave(backbone, own.layer, own.pool)
    features = np.asarray(trunk.model((IMAGES - 127.5) / 127.5))
    wanted = np.asarray(teachable()(IMAGES / 127.5 - 1))
    np.testing.assert_allclose(Head("own", own.layers).probabilities(features), wanted, atol=1e-5)


def test_a_damaged_zip_is_a_sentence(tmp_path: Path) -> None:
    whole = tfjs_zip(tmp_path).read_bytes()
    path = tmp_path / "damaged.zip"
    for at in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:at])
        with pytest.raises((BuildError, UsageError)):
            load_backbone(str(path))
        # What is flipped may be an attribute that nobody reads, or the name of the file with the labels.
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        with contextlib.suppress(BuildError, UsageError):
            assert load_backbone(str(path)).labels in (("zero", "two", "one"), None)


def test_a_zip_without_a_network_is_refused_before_tensorflow(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("cat/1.png", b"")
    with pytest.raises(UsageError, match=r"a zip without keras_model\.h5 or model\.json"):
        find_backbone(str(tmp_path / "photos.zip"))
    (tmp_path / "damaged.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match="a zip without"):
        find_backbone(str(tmp_path / "damaged.zip"))


def colours(folder: Path, labels: tuple[str, ...]) -> Path:
    """Write 12 pictures for each label."""
    from PIL import Image

    generator = np.random.default_rng(2)
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for i in range(12):
            pixels = generator.integers(0, 120, (16, 16, 3)).astype(np.uint8)
            pixels[..., number % 3] += 120
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


def test_a_build_keeps_the_networks_classifier_and_its_order(tmp_path: Path) -> None:
    path, data = keras_zip(tmp_path), colours(tmp_path / "photos", ("one", "two", "zero"))
    build(Options(str(data), ("rpi",), tmp_path / "a.tlc", backbone=str(path), head="own", max_drop=60, cache="off"))
    bundle = Bundle.open(tmp_path / "a.tlc")
    assert bundle.manifest.labels == ("zero", "two", "one")
    assert bundle.manifest.head["kind"] == "own"
    model = teachable()
    with Classifier.open(bundle, tmp_path / "a.gallery") as classifier:
        pixels = (IMAGES / 127.5 - 1).astype(np.float32)
        for image, wanted in zip(IMAGES.astype(np.uint8), np.asarray(model(pixels)), strict=True):
            ranked = {r.label: r.score for r in classifier.predict(image).ranked}
            assert [ranked[label] for label in ("zero", "two", "one")] == pytest.approx(wanted, abs=0.1)
        classifier.enroll("four", [IMAGES[0].astype(np.uint8)] * 3)
        assert "four" in [r.label for r in classifier.predict(IMAGES[0].astype(np.uint8)).ranked]


@pytest.mark.parametrize(
    ("classes", "more", "reason"),
    [
        (("one", "two", "cat"), {}, "knows no cat; it knows zero, two, one"),
        (("one", "two"), {}, "the data has no images of zero"),
        (("one", "two", "zero"), {"shave": "last"}, "leave --shave and --pool out"),
        (("one", "two", "zero"), {"labels": "gone.txt"}, "--labels gone.txt: no such file"),
    ],
)
def test_what_does_not_fit_is_told_before_an_image_is_featurized(
    tmp_path: Path, classes: tuple[str, ...], more: dict[str, Any], reason: str
) -> None:
    path, data = keras_zip(tmp_path), colours(tmp_path / "photos", classes)
    seen: list[str] = []
    options = Options(str(data), ("rpi",), tmp_path / "a.tlc", backbone=str(path), head="own", cache="off", **more)
    with pytest.raises((BuildError, UsageError), match=reason):
        build(options, lambda step, _done, _total: seen.append(step))
    assert "featurize" not in seen
