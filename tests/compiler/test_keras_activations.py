"""Activations in files that are layers with numbers of their own, or that became layers of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.toolchain import load_tensorflow

Array = NDArray[Any]
GRID = np.linspace(0, 1, 36, dtype=np.float32).reshape(1, 6, 6, 1)


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def network(activation: Any) -> Any:
    """Return a network whose second convolution has that activation, and gives values from -4 to 4 before it."""
    from keras import Sequential, layers

    model = Sequential(
        [
            layers.Input((6, 6, 1)),
            layers.Conv2D(1, 1, name="c1"),
            layers.Conv2D(2, 1, activation=activation, name="c2"),
            layers.Conv2D(2, 1, name="c3"),
        ]
    )
    kernel = np.array([[[[8.0, -8.0]]]])
    model.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), kernel, np.array([-4.0, 4.0]), *model.get_weights()[4:]])
    return model


def at_c2(path: Path) -> Array:
    backbone = load_backbone(str(path))
    given = shave(backbone, "c2", "flatten").model((GRID * 255 - backbone.input.mean) / backbone.input.std)
    return np.asarray(given).reshape(36, 2)


def before() -> Array:
    x = GRID.reshape(36, 1) * 8 - 4
    return np.concatenate([x, -x], axis=1)


ACTIVATIONS: list[tuple[str, dict[str, Any], Callable[[Array], Array]]] = [
    ("ReLU", {"max_value": 1.0}, lambda x: np.clip(x, 0, 1)),
    ("ReLU", {}, lambda x: np.maximum(x, 0)),
    ("LeakyReLU", {"negative_slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x)),
    ("ELU", {"alpha": 0.5}, lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
]


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize(("kind", "numbers", "expected"), ACTIVATIONS)
def test_a_layer_as_an_activation_keeps_its_numbers(
    tmp_path: Path, suffix: str, kind: str, numbers: dict[str, Any], expected: Callable[[Array], Array]
) -> None:
    from keras import layers

    path = tmp_path / f"net{suffix}"
    network(getattr(layers, kind)(**numbers)).save(path)
    np.testing.assert_allclose(at_c2(path), expected(before()), atol=1e-5)


def test_keras_2_called_the_slope_alpha(tmp_path: Path) -> None:
    import h5py
    from keras import layers

    path = tmp_path / "net.h5"
    network(layers.LeakyReLU(0.3, name="leaky")).save(path)
    with h5py.File(path, "r+") as file:
        text = str(file.attrs["model_config"])
        assert text.count('"negative_slope": 0.3') == 1
        file.attrs["model_config"] = text.replace('"negative_slope": 0.3', '"alpha": 0.3')
        file.attrs["keras_version"] = "2.12.0"
    np.testing.assert_allclose(at_c2(path), np.where(before() > 0, before(), 0.3 * before()), atol=1e-5)


def test_a_cut_at_a_layer_comes_after_its_activation(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "net.h5"
    network("hard_sigmoid").save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "2.12.0"
    np.testing.assert_allclose(at_c2(path), np.clip(0.2 * before() + 0.5, 0, 1), atol=1e-5)
    linear = shave(load_backbone(str(path)), "c2_linear")
    assert (linear.layer, linear.width) == ("c2_linear", 2)


def test_the_thresholded_relu_of_keras_2(tmp_path: Path) -> None:
    import h5py
    from keras import Sequential, layers

    path = tmp_path / "net.h5"
    model = Sequential([layers.Input((6, 6, 1)), layers.ReLU(threshold=0.5, name="cut"), layers.Conv2D(1, 1)])
    model.save(path)
    with h5py.File(path, "r+") as file:
        text = str(file.attrs["model_config"])
        for new, old in (('"ReLU"', '"ThresholdedReLU"'), ('"threshold"', '"theta"')):
            assert text.count(new) == 1
            text = text.replace(new, old)
        file.attrs["model_config"] = text
        file.attrs["keras_version"] = "2.12.0"
    backbone = load_backbone(str(path))
    given = np.asarray(shave(backbone, "cut", "flatten").model((GRID * 255 - backbone.input.mean) / backbone.input.std))
    np.testing.assert_allclose(given.reshape(-1), np.where(GRID > 0.5, GRID, 0).reshape(-1), atol=1e-6)


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    network("relu").save(path)
    np.testing.assert_allclose(at_c2(path.rename(tmp_path / "UP.H5")), np.maximum(before(), 0), atol=1e-5)
