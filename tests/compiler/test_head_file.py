"""A head from a file: attached as it is, or refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.train.head_file import load_head
from tlc_edge.compiler.train.heads import HEADS, check_head
from tlc_edge.runtime.errors import BuildError, UsageError

LABELS = ("cup", "jug", "mug")


def saved(folder: Path, layers: list[Any], width: int = 12, name: str = "head.keras") -> str:
    import keras

    path = folder / name
    keras.Sequential([keras.layers.Input((width,)), *layers]).save(path)
    return str(path)


@pytest.fixture(autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


@pytest.mark.parametrize("name", ["head.keras", "head.h5"])
def test_it_gives_what_keras_gives(tmp_path: Path, name: str) -> None:
    import keras
    from keras import layers

    rows = [layers.Dropout(0.5), layers.Dense(7), layers.ReLU(), layers.Dense(3, use_bias=False, activation="softmax")]
    head = load_head(saved(tmp_path, rows, name=name), 12, LABELS)
    x = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
    expected = np.asarray(keras.models.load_model(tmp_path / name)(x, training=False))
    np.testing.assert_allclose(head.probabilities(x), expected, atol=1e-6)
    assert (head.kind, [d.activation for d in head.layers]) == ("file", ["relu", "softmax"])
    assert (head.notes["file"], len(head.notes["sha256"])) == (name, 64)


@pytest.mark.parametrize("own", [False, True])
def test_one_sigmoid_unit_is_the_probability_of_the_second_of_two(tmp_path: Path, own: bool) -> None:
    import keras
    from keras import layers

    last = [layers.Dense(1), layers.Activation("sigmoid")] if own else [layers.Dense(1, "sigmoid")]
    head = load_head(saved(tmp_path, [layers.Dense(4, "relu"), *last]), 12, LABELS[:2])
    x = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
    second = np.asarray(keras.models.load_model(tmp_path / "head.keras")(x, training=False))[:, 0]
    np.testing.assert_allclose(head.probabilities(x), np.stack([1 - second, second], 1), atol=1e-6)
    assert [d.activation for d in head.layers] == ["relu", "softmax"]
    with pytest.raises(BuildError, match="tells 2 classes apart, and the data has 3"):
        load_head(str(tmp_path / "head.keras"), 12, LABELS)


def test_what_is_not_such_a_head_is_refused(tmp_path: Path) -> None:
    from keras import layers

    def softmax() -> Any:
        return layers.Dense(3, "softmax")

    for rows, labels, reason in (
        ([softmax()], ("cup", "jug"), "tells 3 classes apart, and the data has 2 (cup, jug)"),
        ([layers.Dense(3)], LABELS, "ends in linear, expected a softmax"),
        ([layers.Dense(3, "sigmoid")], LABELS, "the activation sigmoid"),
        ([layers.Dense(5), layers.BatchNormalization(), softmax()], LABELS, "is BatchNormalization, expected Dense"),
        ([layers.Dense(5), layers.ReLU(6.0), softmax()], LABELS, "is ReLU, expected Dense"),
        ([layers.Dense(5, "softmax"), softmax()], LABELS, "a softmax before its last layer"),
        ([layers.Dropout(0.1)], LABELS, "has no Dense layer"),
        ([layers.Dense(5, activation=layers.LeakyReLU(0.1)), softmax()], LABELS, "the activation LeakyReLU"),
    ):
        with pytest.raises(BuildError) as error:
            load_head(saved(tmp_path, rows), 12, labels)
        assert reason in str(error.value)
        assert str(tmp_path / "head.keras") in str(error.value)
    with pytest.raises(BuildError, match="takes 12 features, and the trunk gives 1280; choose the --backbone"):
        load_head(saved(tmp_path, [softmax()]), 1280, LABELS)


def test_only_layers_in_one_row_are_a_head(tmp_path: Path) -> None:
    import keras
    from keras import layers

    path = str(tmp_path / "head.keras")
    x = keras.Input((12,), name="features")

    def refused(inputs: Any, outputs: Any, reason: str) -> None:
        keras.Model(inputs, outputs).save(path)
        with pytest.raises(BuildError, match=reason):
            load_head(path, 12, LABELS)

    shared = layers.Dense(12, "relu", name="shared")
    refused(x, layers.Dense(3, "softmax")(shared(shared(x))), "layer shared is used 2 times, expected each layer once")
    y = layers.Dense(5, "relu", name="middle")(x)
    answer = layers.Dense(3, "softmax")(y)
    refused(x, [answer, layers.Dense(12)(y)], "has 2 outputs, expected one")
    refused(x, [answer, y], "has 2 outputs, expected one")
    refused([x, keras.Input((2,))], answer, "has 2 inputs, expected one")
    branches = layers.Concatenate()([y, layers.Dense(4)(x)])
    refused(x, layers.Dense(3, "softmax")(branches), "layer features reads none and is read by .*, expected layers in")
    rows = keras.Input((4, 12))
    refused(rows, layers.Dense(3, "softmax")(rows), r"reads \[4, 12\], expected one vector")
    keras.Model(x, answer).save(path)  # built the same way, and a row
    assert [d.activation for d in load_head(path, 12, LABELS).layers] == ["relu", "softmax"]


def test_a_file_with_code_is_refused(tmp_path: Path) -> None:
    from keras import layers

    path = saved(tmp_path, [layers.Dense(3), layers.Lambda(lambda x: x)])
    with pytest.raises(BuildError, match="Lambda"):
        load_head(path, 12, LABELS)


def test_names(tmp_path: Path) -> None:
    file = HEADS[-1]
    assert [file.claims(n) for n in ("x.keras", "a/b.H5", "linear", "none", "keras")] == [True, True, *[False] * 3]
    with pytest.raises(UsageError, match=r"--head gone\.keras: no such file"):
        check_head("gone.keras")
    (tmp_path / "there.keras").touch()
    check_head(str(tmp_path / "there.keras"))
