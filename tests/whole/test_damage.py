"""Would the self-test notice? A model or a loader is damaged in ways that happen, and must be refused; untouched, it
must pass."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_selftest import tampered

from tlc_edge.compiler.lower.tflite_finish import PackedBuilder
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.engines.open import KINDS, open_engine, open_model
from tlc_edge.runtime.engines.selftest import Selftest, selftest
from tlc_edge.runtime.errors import SelftestError
from tlc_edge.runtime.images.load import load_image

MODEL = "model.tflite"


class Weights:
    """The constants of a TFLite file, to be changed in place."""

    def __init__(self, data: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(data), 0))
        (self.graph,) = self.model.subgraphs

    def __call__(self, tensor: Any) -> NDArray[Any]:
        kind = {0: np.float32, 2: np.int32, 9: np.int8}[int(tensor.type)]
        buffer = self.model.buffers[tensor.buffer]
        buffer.data = np.array(buffer.data, np.uint8)
        return buffer.data.view(kind).reshape(tensor.shape)

    def constants(self, dimensions: int) -> list[Any]:
        """Return the constant tensors of so many dimensions, in the order in which they are read."""
        tensors = self.graph.tensors
        read = [tensors[int(i)] for operator in self.graph.operators for i in operator.inputs]
        constant = [t for t in read if self.model.buffers[t.buffer].data is not None]
        return [t for t in constant if len(t.shape) == dimensions]

    def named(self, name: str) -> Any:
        (tensor,) = (t for t in self.graph.tensors if t.name in (name, name.encode()))
        return tensor

    def pack(self) -> bytes:
        builder: flatbuffers.Builder = PackedBuilder()
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def run(bundle: Bundle, change: Callable[[Weights], object]) -> Selftest:
    """Run the self-test on the model with one thing changed."""
    weights = Weights(bundle.read(MODEL))
    change(weights)
    (model,) = (m for m in bundle.manifest.models if m.file == MODEL)
    return selftest(bundle, open_model(KINDS[0], weights.pack(), 1), model)


def red_for_blue(w: Weights) -> None:
    first = w(w.constants(4)[0])
    first[:] = first[..., ::-1].copy()


def pixels_from_0_to_1(w: Weights) -> None:
    """Normalise as for a network of another kind: x / 255 in place of (x - 127) / 128."""
    image = w.graph.tensors[int(w.graph.inputs[0])].quantization
    image.zeroPoint, image.scale = np.array([0]), np.array([1 / 255], np.float32)


def no_bias(w: Weights) -> None:
    biases = w.constants(1)
    w(biases[len(biases) // 2])[:] = 0


def channels_gone(w: Weights) -> None:
    """A quarter of a layer's channels; a single one is within what engines round differently."""
    kernels = w.constants(4)
    w(kernels[len(kernels) // 2])[..., ::4] = 0


def flipped_bits(w: Weights) -> None:
    """One byte in a hundred of a layer with its top bit turned."""
    kernel = w(w.constants(4)[10]).reshape(-1)
    kernel[::100] ^= np.int8(-128)


def a_scale_lost(w: Weights) -> None:
    quantization = w.constants(4)[20].quantization
    quantization.scale = np.full_like(quantization.scale, np.mean(quantization.scale))


def labels_shifted(w: Weights) -> None:
    kernel = w(w.named("head_0_kernel"))
    kernel[:] = np.roll(kernel, 1, axis=0)


def neck_cut_short(w: Weights) -> None:
    kernel = w(w.named("neck_0_kernel"))
    kernel[len(kernel) // 2 :] = 0


DAMAGES = (
    red_for_blue,
    pixels_from_0_to_1,
    no_bias,
    channels_gone,
    flipped_bits,
    a_scale_lost,
    labels_shifted,
    neck_cut_short,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_model_fails(bundle: Bundle, damage: Callable[[Weights], object]) -> None:
    result = run(bundle, damage)
    assert not result.passed
    assert result.prepared  # it is the model, not the images
    assert any(not s.passed for s in result.samples)


def test_a_model_that_is_only_packed_anew_passes(bundle: Bundle) -> None:
    result = run(bundle, lambda w: None)
    assert result.passed
    assert all(s.passed for s in result.samples)
    assert result.lowest_cosine > 0.9999


def test_the_card_shows_what_grey_images_cannot(bundle: Bundle) -> None:
    *greys, card = run(bundle, red_for_blue).samples  # the session's images are grey digits
    assert all(s.passed for s in greys)
    assert (card.name, card.passed) == ("card/card.png", False)


def test_in_a_float_file_a_single_channel_is_noticed(bundle: Bundle) -> None:
    import onnx
    from onnx import numpy_helper

    (info,) = (m for m in bundle.manifest.models if m.scheme == "float32")
    model: Any = onnx.load_from_string(bundle.read(info.file))
    (kind,) = (k for k in KINDS if k.format == "onnx")
    for channels, passes in ((0, True), (1, False)):
        kernel = [i for i in model.graph.initializer if len(i.dims) == 4][24]
        values = numpy_helper.to_array(kernel).copy()
        values[:channels] = 0
        kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
        result = selftest(bundle, open_model(kind, model.SerializeToString(), 1), info)
        assert result.passed is passes


# --- how images are prepared


def resized(filter_: Image.Resampling) -> Callable[[Image.Image, tuple[int, int]], Image.Image]:
    return lambda image, size: image.resize(size, filter_)


def not_anti_aliased(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    across, down = image.width / size[0], image.height / size[1]
    return image.transform(size, Image.Transform.AFFINE, (across, 0, 0, 0, down, 0), Image.Resampling.BILINEAR)


def cropped(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize(size, Image.Resampling.BILINEAR)


def turned(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.transpose(Image.Transpose.TRANSPOSE).resize(size, Image.Resampling.BILINEAR)


def blue_first(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.asarray(image.resize(size, Image.Resampling.BILINEAR))[..., ::-1].copy())


def darker(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR).point(lambda value: value * 0.98)


WRONG = {
    "nearest": resized(Image.Resampling.NEAREST),
    "box": resized(Image.Resampling.BOX),
    "bicubic": resized(Image.Resampling.BICUBIC),
    "no anti-alias": not_anti_aliased,
    "cropped": cropped,
    "turned": turned,
    "blue first": blue_first,
    "darker": darker,
}


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Any], None]:
    """Put another way to resize in the place of the runtime's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def put(way: Callable[[Image.Image, tuple[int, int]], Image.Image]) -> None:
        def load(source: Any, spec: Preprocessing, name: str = "") -> NDArray[np.uint8]:
            image = Image.fromarray(load_image(source, Preprocessing(*_size(source), spec.channels), name=name))
            size = (spec.width, spec.height)
            return np.asarray(image if image.size == size else way(image, size))

        monkeypatch.setattr("tlc_edge.runtime.engines.golden.load_image", load)

    return put


def _size(source: bytes) -> tuple[int, int]:
    width, height = Image.open(io.BytesIO(source)).size
    return height, width


@pytest.mark.parametrize("way", WRONG)
def test_images_prepared_in_another_way_are_refused(bundle: Bundle, prepare: Callable[[Any], None], way: str) -> None:
    prepare(WRONG[way])
    result = selftest(bundle, *open_engine(bundle))
    assert not result.prepared
    assert not result.passed
    assert all(s.passed for s in result.samples)  # it is the images, not the model
    with pytest.raises(SelftestError, match=r"images are prepared otherwise .*test card's pixels differ by \d+\.\d "):
        Classifier.open(bundle)


def test_images_prepared_the_same_way_pass(bundle: Bundle, prepare: Callable[[Any], None]) -> None:
    prepare(resized(Image.Resampling.BILINEAR))
    result = selftest(bundle, *open_engine(bundle))
    assert (result.image_difference, result.passed) == (0.0, True)
    with Classifier.open(bundle):
        pass


def test_a_bundle_without_a_card_is_judged_by_its_samples(bundle: Bundle, tmp_path: Path) -> None:
    files = {name: data for name, data in bundle.files.items() if not name.startswith("card/")}
    hashes = {name: digest for name, digest in bundle.manifest.files.items() if not name.startswith("card/")}
    old = replace(bundle, files=files, manifest=replace(bundle.manifest, files=hashes))
    result = selftest(old, *open_engine(old))
    assert (result.passed, result.image_difference, len(result.samples)) == (True, None, 6)


def test_a_damaged_model_is_refused_at_the_first_load_and_by_the_command(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tlc_edge.cli.run import run as tlc

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = Weights(bundle.read(MODEL))
    red_for_blue(weights)
    path = tampered(bundle, tmp_path / "t.tlc", MODEL, weights.pack())
    with pytest.raises(SelftestError, match=r"embedding cosine 0\.8\d+, expected at least 0\.95"):
        Classifier.open(path)
    assert tlc(["selftest", str(path)]) == 1
    out, err = capsys.readouterr()
    (card,) = (line for line in out.splitlines() if line.startswith("card/card.png"))
    assert card.endswith("FAILED")
    assert "gives other answers on this device" in err
