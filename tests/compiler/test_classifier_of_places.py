"""Classifiers that are a convolution, an average and a softmax are left off; what is averaged alone is features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow

ENDS: dict[str, Callable[[Any], list[Any]]] = {
    "mini-Xception": lambda k: [k.Conv2D(7, 3, padding="same", name="top"), k.GlobalAveragePooling2D(), k.Softmax()],
    "SqueezeNet": lambda k: [
        k.Dropout(0.5), k.Conv2D(5, 1, name="top"), k.ReLU(), k.GlobalAveragePooling2D(), k.Activation("softmax")
    ],
    "NiN": lambda k: [k.Conv2D(5, 1, name="top"), k.AveragePooling2D(5), k.Flatten(), k.Activation("softmax")],
    "softmax at every place": lambda k: [k.Conv2D(5, 1, activation="softmax", name="top"), k.GlobalAveragePooling2D()],
    "separable": lambda k: [k.SeparableConv2D(5, 3, name="top"), k.GlobalAveragePooling2D(), k.Softmax()],
}  # fmt: skip
NO_CLASSIFIER: dict[str, Callable[[Any], list[Any]]] = {
    "averaged": lambda k: [k.Conv2D(5, 1, name="top"), k.GlobalAveragePooling2D()],
    "with a rectifier": lambda k: [k.Conv2D(5, 1, activation="relu", name="top"), k.GlobalAveragePooling2D()],
    "maps alone": lambda k: [k.Conv2D(5, 1, activation="relu", name="top")],
}


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def saved(path: Path, end: Callable[[Any], list[Any]]) -> Any:
    from keras import Sequential, layers

    begin = [layers.Input((12, 12, 3)), layers.Conv2D(6, 3, 2, activation="relu", name="maps")]
    model = Sequential([*begin, *end(layers)])
    model.save(path)
    return model


@pytest.mark.parametrize("name", ENDS)
def test_the_cut_comes_before_the_classifier(tmp_path: Path, name: str) -> None:
    from keras import Model

    model = saved(tmp_path / "net.keras", ENDS[name])
    backbone = load_backbone(str(tmp_path / "net.keras"), Asked(pixels="0..1"))
    assert backbone.default_shave == "maps"
    assert "top" in backbone.removed
    images = np.random.default_rng(0).uniform(0, 1, (2, 12, 12, 3)).astype(np.float32)
    want = np.asarray(Model(model.inputs[0], model.get_layer("maps").output)(images)).mean((1, 2))
    np.testing.assert_allclose(np.asarray(shave(backbone).model(images)), want, atol=1e-6)


@pytest.mark.parametrize("name", NO_CLASSIFIER)
def test_without_probabilities_it_is_none(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "net.keras", NO_CLASSIFIER[name])
    backbone = load_backbone(str(tmp_path / "net.keras"), Asked(pixels="0..1"))
    assert (backbone.default_shave, backbone.removed) == ("top", ())
