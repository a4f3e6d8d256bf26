"""int8 scales are those of TensorFlow's calibrator, and made by it where the device's engine does not come to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import small_backbone

from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.lower import tflite_lower, tflite_ranges
from tlc_edge.compiler.lower.tflite_file import read_tflite
from tlc_edge.compiler.lower.tflite_ranges import quick_ranges, widened
from tlc_edge.compiler.toolchain import load_tensorflow

RNG = np.random.default_rng(0)
SHAPE = (20, 24, 3)


def images(count: int) -> NDArray[np.float32]:
    """Images that get brighter: the first alone says too little."""
    return np.stack([(RNG.normal(size=SHAPE) * (0.2 + i) + i / 3).astype(np.float32) for i in range(count)])


def convert(model: Any, given: NDArray[np.float32]) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in given)
    return bytes(converter.convert())


def scales(data: bytes) -> dict[str, tuple[list[float], list[int]]]:
    """Return scale and zero point of every tensor."""
    (graph,) = read_tflite(data).subgraphs
    found: dict[str, tuple[list[float], list[int]]] = {}
    for tensor in graph.tensors:
        q = tensor.quantization
        if q is not None and q.scale is not None:
            found[tensor.name] = (np.asarray(q.scale).tolist(), np.asarray(q.zeroPoint).tolist())
    return found


@contextlib.contextmanager
def counting() -> Iterator[list[int]]:
    """Count the images that TensorFlow's calibrator is given."""
    from tensorflow.lite.python.optimize import calibrator

    real, fed = calibrator.Calibrator._feed_tensors, list[int]()

    def feed(self: Any, samples: Callable[[], Iterator[Any]], resize_input: bool) -> None:
        given = list(samples())
        fed.append(len(given))
        real(self, lambda: iter(given), resize_input)

    calibrator.Calibrator._feed_tensors = feed
    try:
        yield fed
    finally:
        calibrator.Calibrator._feed_tensors = real


def network(kind: str) -> Any:
    load_tensorflow()
    import keras
    from keras import layers, utils

    utils.set_random_seed(len(kind))
    x = first = layers.Input(SHAPE, batch_size=1)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6")(x)
    if kind == "depthwise":
        x = layers.DepthwiseConv2D(3, padding="valid", depth_multiplier=2, activation="swish")(x)
    elif kind == "branches":
        y = layers.Conv2D(8, 1, activation="sigmoid")(x)
        x = layers.Concatenate()(
            [layers.Add()([x, y]), layers.Multiply()([x, y]), layers.MaxPooling2D(3, 1, "same")(x)]
        )
    elif kind == "up":
        x = layers.Conv2DTranspose(6, 3, strides=2, padding="same")(layers.LeakyReLU(0.1)(x))
        x = layers.UpSampling2D(2, interpolation="bilinear")(layers.ZeroPadding2D(1)(x))
    elif kind == "attention":
        x = layers.Reshape((10 * 12, 8))(x)
        x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(x, x))
    elif kind == "state":
        x = layers.GRU(5, unroll=True)(layers.Reshape((10, 12 * 8))(x))
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(first, layers.Dense(7, activation="tanh")(layers.Flatten()(x)))


@pytest.mark.parametrize("kind", ["plain", "depthwise", "branches", "up"])
def test_scales_are_those_of_the_calibrator_which_sees_one_image(kind: str) -> None:
    model, given = network(kind), images(9)
    slow, few = scales(convert(model, given)), scales(convert(model, given[:1]))
    with counting() as fed, quick_ranges():
        quick = scales(convert(model, given))
    assert fed == [1]
    assert quick.keys() == slow.keys()
    for name, (scale, zero) in slow.items():
        np.testing.assert_allclose(quick[name][0], scale, rtol=1e-5, err_msg=name)
        assert np.abs(np.subtract(quick[name][1], zero)).max(initial=0) <= 1, name
    assert quick != few  # the others count


@pytest.mark.parametrize("kind", ["plain", "depthwise", "branches", "up", "attention", "state"])
def test_ranges_are_what_every_tensor_comes_to_even_where_the_calibrator_takes_two_for_one(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model, given = network(kind), images(5)
    calls: list[tuple[bytes, bytes]] = []

    def keep(calibrated: bytearray, plain: bytes, samples: Callable[[], Iterator[Any]]) -> bytes | None:
        made = widened(calibrated, plain, samples)
        assert made is not None
        calls.append((plain, made))
        return made

    monkeypatch.setattr(tflite_ranges, "widened", keep)
    with quick_ranges():
        convert(model, given)
    ((plain, made),) = calls
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    whole = Interpreter(
        model_content=plain, experimental_op_resolver_type=kernels, experimental_preserve_all_tensors=True
    )
    whole.allocate_tensors()
    told = tflite_ranges._told(bytearray(made))
    seen: dict[int, list[float]] = {tensor: [] for tensor in told}
    for image in given:
        whole.set_tensor(whole.get_input_details()[0]["index"], image[None])
        whole.invoke()
        for tensor, values in seen.items():
            value = whole.get_tensor(tensor)
            values += [float(value.min()), float(value.max())]
    for tensor, (low, high) in told.items():
        near = 1e-4 * max(map(abs, seen[tensor])) + 1e-6
        assert abs(low[0] - min(seen[tensor])) < near
        assert abs(high[0] - max(*seen[tensor], float(np.finfo(np.float32).tiny))) < near


@pytest.mark.parametrize("wrong", ["values", "engine", "nan"])
def test_where_the_engine_does_not_come_to_the_same_the_calibrator_does_it_all(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    model, given = network("plain"), images(5)
    if wrong == "nan":
        given[3, 2] = np.nan
    slow = convert(model, given)
    real = tflite_ranges._Engine.ranges

    def ranges(self: Any, sample: Any) -> Any:
        if wrong == "engine":
            raise RuntimeError("it does not take that")
        low, high = real(self, sample)
        return low, high + (1.0 if wrong == "values" else 0)

    monkeypatch.setattr(tflite_ranges._Engine, "ranges", ranges)
    with counting() as fed, quick_ranges():
        quick = convert(model, given)
    assert fed == [1, 5]
    assert quick == slow


def test_a_build_lowers_so_and_leaves_tensorflow_as_it_was() -> None:
    from tensorflow.lite.python.optimize import calibrator

    before = calibrator.Calibrator.calibrate
    trunk = shave(small_backbone())
    spec = trunk.backbone.input
    pixels = RNG.integers(0, 256, (6, spec.height, spec.width, spec.channels), np.uint8)
    with counting() as fed:
        tflite_lower.lower_trunk_tflite(trunk, "int8", pixels)
    assert fed == [1]
    assert calibrator.Calibrator.calibrate is before


def test_a_file_without_ranges_is_none_of_these() -> None:
    import tensorflow as tf

    plain = bytes(tf.lite.TFLiteConverter.from_keras_model(network("plain")).convert())
    assert widened(bytearray(plain), plain, lambda: iter([[images(1)]])) is None
