"""What head and neck become in a trunk's TFLite file: the operations, their versions, and every number of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import LABELS, feature_map, small_fused, small_images

from tlc_edge.compiler.lower.tflite_attach import _range, attach_tflite
from tlc_edge.compiler.lower.tflite_content import read_content
from tlc_edge.compiler.lower.tflite_file import operation_names, read_tflite, tensor_name
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.records import Dense, Fused, LoweredTrunk
from tlc_edge.runtime.engines.open import KINDS, open_model, outputs_for

IMAGES = small_images(8)
DEQUANTIZE, FULLY_CONNECTED, SOFTMAX = 6, 9, 25
FLOAT32, INT32, INT8 = 0, 2, 9


@pytest.fixture(scope="module", params=["int8", "float32"])
def trunk(request: pytest.FixtureRequest) -> LoweredTrunk:
    return lower_trunk_tflite(small_fused().trunk, request.param, IMAGES)


def features_of(trunk: LoweredTrunk) -> NDArray[np.float32]:
    engine = open_model(KINDS[0], trunk.data, 1, ("features",))
    return np.stack([engine.run(image)[0] for image in IMAGES])


class Attached:
    """The file's graph, by the names of its tensors."""

    def __init__(self, trunk: LoweredTrunk, hidden: int = 0, labels: tuple[str, ...] = LABELS) -> None:
        self.fused = small_fused(labels, hidden)
        self.features = features_of(trunk)
        self.data = attach_tflite(trunk.data, self.fused.head, self.fused.neck, self.features)
        self.model: Any = read_tflite(self.data)
        self.graph: Any = self.model.subgraphs[0]
        self.tensors = {t.name.decode(): t for t in self.graph.tensors}
        self.operators = [
            (int(self.model.operatorCodes[o.opcodeIndex].builtinCode), [self._name(i) for i in o.outputs], o)
            for o in self.graph.operators
        ]

    def _name(self, index: int) -> str:
        return str(self.graph.tensors[index].name.decode())

    def code(self, operator: Any) -> Any:
        return self.model.operatorCodes[operator.opcodeIndex]

    def constant(self, name: str, dtype: type) -> NDArray[Any]:
        tensor = self.tensors[name]
        data = self.model.buffers[tensor.buffer].data
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtype).reshape(tensor.shape)

    def layers(self) -> dict[str, Dense]:
        neck = self.fused.neck
        assert neck.kernel is not None
        assert neck.bias is not None
        return {
            **{f"head_{i}": layer for i, layer in enumerate(self.fused.head.layers)},
            "neck_0": Dense(neck.kernel, neck.bias, "linear"),
        }


def is_int8(trunk: LoweredTrunk) -> bool:
    return trunk.scheme == "int8"


@pytest.mark.parametrize("hidden", [0, 4])
def test_the_operations_and_their_versions(trunk: LoweredTrunk, hidden: int) -> None:
    attached = Attached(trunk, hidden)
    before = read_tflite(trunk.data).subgraphs[0].operators
    kept = len(before) - is_int8(trunk)  # an int8 trunk's last step to float32 is taken off
    new = attached.operators[kept:]
    head = [(FULLY_CONNECTED, [f"head_{i}"]) for i in range(2 if hidden else 1)]
    name = head[-1][1][0]
    expected = [*head, (SOFTMAX, [f"{name}_softmax"]), (DEQUANTIZE, ["probabilities"])]
    expected += [(FULLY_CONNECTED, ["neck_0"]), (DEQUANTIZE, ["embedding"])]
    if not is_int8(trunk):
        expected = [*head, (SOFTMAX, ["probabilities"]), (FULLY_CONNECTED, ["embedding"])]
    assert [(code, outputs) for code, outputs, _ in new] == expected
    assert [attached._name(i) for i in attached.graph.outputs] == ["probabilities", "embedding"]
    # What tflite-runtime 2.14 has, and no more than per-channel int8 weights need.
    least = {DEQUANTIZE: 2, FULLY_CONNECTED: 4, SOFTMAX: 2}
    given = {(int(c.builtinCode), int(c.version)) for c in read_tflite(trunk.data).operatorCodes}
    for code, _, operator in new:
        assert int(attached.code(operator).deprecatedBuiltinCode) == code
        assert (code, int(attached.code(operator).version)) in {(code, least[code]), *given}
        assert int(attached.code(operator).version) >= least[code]
    codes = [(int(c.builtinCode), int(c.version)) for c in attached.model.operatorCodes]
    assert len(set(codes)) == len(codes)  # each is listed once, however often it is used
    assert [o.builtinOptions.beta for code, _, o in new if code == SOFTMAX] == [1.0]
    fused_relu = [o.builtinOptions.fusedActivationFunction for code, _, o in new if code == FULLY_CONNECTED]
    assert fused_relu == ([1, 0, 0] if hidden else [0, 0])


def test_every_tensor_is_made_or_given(trunk: LoweredTrunk) -> None:
    """No operation reads what none writes, and none of the new tensors is left over."""
    attached = Attached(trunk)
    made = {name for _, outputs, _ in attached.operators for name in outputs}
    read = {attached._name(i) for _, _, o in attached.operators for i in o.inputs if i >= 0}
    constants = {n for n, t in attached.tensors.items() if attached.model.buffers[t.buffer].data is not None}
    inputs = {attached._name(i) for i in attached.graph.inputs}
    assert read <= made | constants | inputs
    assert set(attached.tensors) == made | constants | inputs
    assert not made & constants
    # The first is empty, and that of all that is made as it runs.
    assert attached.model.buffers[0].data is None
    new = [t for name, t in attached.tensors.items() if name.startswith(("head", "neck")) and name in made]
    assert [t.buffer for t in new] == [0] * len(new)


@pytest.mark.parametrize("hidden", [0, 4])
def test_the_numbers_of_an_int8_layer(hidden: int) -> None:
    """Of the TFLite int8 specification: weights symmetric per output, sums in the scale of inputs times weights."""
    attached = Attached(lower_trunk_tflite(small_fused().trunk, "int8", IMAGES), hidden)
    sources = {outputs[0]: o.inputs[0] for _, outputs, o in attached.operators}
    for name, layer in attached.layers().items():
        kernel, bias = attached.tensors[f"{name}_kernel"], attached.tensors[f"{name}_bias"]
        rows, sums = attached.constant(f"{name}_kernel", np.int8), attached.constant(f"{name}_bias", np.int32)
        assert (int(kernel.type), int(bias.type)) == (INT8, INT32)
        scales = np.asarray(kernel.quantization.scale)
        assert scales == pytest.approx(np.abs(layer.kernel).max(axis=0) / 127, rel=1e-6)
        assert (np.abs(rows).max(axis=1) == 127).all()
        assert np.abs(rows * scales[:, None] - layer.kernel.T).max() <= scales.max() / 2 * 1.001
        source = attached.graph.tensors[sources[name]].quantization
        assert np.asarray(bias.quantization.scale) == pytest.approx(scales * float(source.scale[0]), rel=1e-6)
        assert np.abs(sums * np.asarray(bias.quantization.scale) - layer.bias).max() <= bias.quantization.scale.max()
        for tensor in (kernel, bias):
            assert not np.asarray(tensor.quantization.zeroPoint).any()
            assert len(tensor.quantization.zeroPoint) == layer.kernel.shape[1]
            assert tensor.quantization.quantizedDimension == 0
        assert attached.tensors[name].shape.tolist() == [1, layer.kernel.shape[1]]
    last = "head_1_softmax" if hidden else "head_0_softmax"
    softmax = attached.tensors[last].quantization
    assert (softmax.scale.tolist(), softmax.zeroPoint.tolist()) == ([1 / 256], [-128])
    assert [int(attached.tensors[n].type) for n in (last, "neck_0", "probabilities", "embedding")] == [9, 9, 0, 0]


def test_the_ranges_are_those_of_what_the_layers_give() -> None:
    attached = Attached(lower_trunk_tflite(small_fused().trunk, "int8", IMAGES), hidden=4)
    layers = attached.layers()
    values = {
        "neck_0": layers["neck_0"].linear(attached.features),
        "head_0": layers["head_0"].linear(attached.features),
    }
    values["head_1"] = layers["head_1"].linear(np.maximum(values["head_0"], 0))
    for name, given in values.items():
        found = attached.tensors[name].quantization
        step = float(np.asarray(attached.tensors[f"{name}_bias"].quantization.scale, np.float64).max())
        expected = _range(given, layers[name].activation, step)
        assert found.scale[0] == pytest.approx(expected.scale, rel=1e-5)
        assert abs(found.zeroPoint[0] - expected.zero_point) <= 1


def test_the_numbers_of_a_float_layer() -> None:
    attached = Attached(lower_trunk_tflite(small_fused().trunk, "float32", None))
    for name, layer in attached.layers().items():
        assert (attached.constant(f"{name}_kernel", np.float32) == layer.kernel.T).all()
        assert (attached.constant(f"{name}_bias", np.float32) == layer.bias).all()
        assert attached.tensors[f"{name}_kernel"].quantization is None
    assert [t.type for n, t in attached.tensors.items() if n.startswith(("head", "neck"))] == [FLOAT32] * 5


def test_square_roots_are_taken_in_float32_and_the_neck_stays_what_it_is(trunk: LoweredTrunk) -> None:
    fused, features = small_fused(), features_of(trunk)
    neck = replace(fused.neck, root=True)
    data = attach_tflite(trunk.data, fused.head, neck, features)
    engine = open_model(KINDS[0], data, 1, outputs_for(LABELS))
    for image, row in zip(IMAGES, features, strict=True):
        probabilities, embedding = engine.run(image)
        expected = neck.project(row[None])[0]
        assert np.abs(embedding - expected).max() < (0.05 if is_int8(trunk) else 1e-4) * max(1, np.abs(expected).max())
        assert np.abs(probabilities - fused.head.probabilities(row[None])[0]).max() < (0.05 if is_int8(trunk) else 1e-4)
    found = read_content(data).operations
    more = found["QUANTIZE"] - read_content(trunk.data).operations["QUANTIZE"]
    assert (found["SQRT"], more) == (1, 1 if is_int8(trunk) else 0)


def test_what_it_answers_is_what_numpy_does(trunk: LoweredTrunk) -> None:
    attached = Attached(trunk)
    engine = open_model(KINDS[0], attached.data, 1, outputs_for(LABELS))
    for image, features in zip(IMAGES, attached.features, strict=True):
        probabilities, embedding = engine.run(image)
        expected = attached.fused.neck.project(features[None])[0]
        near = 0.05 * np.abs(expected).max() if is_int8(trunk) else 1e-4
        assert np.abs(embedding - expected).max() < near
        assert np.abs(probabilities - attached.fused.head.probabilities(features[None])[0]).max() < near


@pytest.mark.parametrize(
    ("values", "activation", "step", "scale", "zero_point"),
    [
        ([[-1.0, 4.1]], "linear", 0.0, 5.1 / 255, -78),
        ([[1.0, 5.1]], "linear", 0.0, 5.1 / 255, -128),  # zero is always in it
        ([[-5.1, -1.0]], "linear", 0.0, 5.1 / 255, 127),
        ([[-3.0, 5.1]], "relu", 0.0, 5.1 / 255, -128),  # what it cuts off takes no steps
        ([[-3.0, -2.0]], "relu", 1.0, 1 / 128, -128),
        ([[-90.0, 5.0], [3.0, -2.0]], "softmax", 0.0, 12 / 255, 21),  # ten below the worst image's best
        ([[-4.0, 5.0], [3.0, -2.0]], "softmax", 0.0, 9 / 255, -15),
        ([[-1.0, 4.1]], "linear", 12.8, 0.1, -118),  # the finest steps that XNNPACK takes
        ([[-1.0, 4.1]], "linear", 2.5, 5.1 / 255, -78),
    ],
)
def test_ranges(values: list[list[float]], activation: str, step: float, scale: float, zero_point: int) -> None:
    found = _range(np.array(values, np.float32), activation, step)
    assert found.scale == pytest.approx(scale, rel=1e-6)
    assert found.zero_point == zero_point


# --- the softmax


def model_of(fused: Fused, scheme: str) -> Any:
    images = small_images(32)
    features = feature_map(fused.trunk.model, images).astype(np.float32)
    lowered = lower_trunk_tflite(fused.trunk, scheme, images if scheme == "int8" else None)
    return read_tflite(attach_tflite(lowered.data, fused.head, fused.neck, features))


def softmax(model: Any) -> tuple[Any, Any, Any]:
    """The one softmax: its options, and the tensors that it reads and gives."""
    names, (graph,) = operation_names(), model.subgraphs
    (found,) = [o for o in graph.operators if names[model.operatorCodes[o.opcodeIndex].builtinCode] == "SOFTMAX"]
    return found.builtinOptions, graph.tensors[found.inputs[0]], graph.tensors[found.outputs[0]]


@pytest.mark.parametrize("labels", [LABELS, LABELS[:2]], ids=len)
@pytest.mark.parametrize("hidden", [0, 7])
@pytest.mark.parametrize("scheme", ["int8", "float32"])
def test_a_softmax_gives_as_many_probabilities_as_there_are_labels(
    labels: tuple[str, ...], hidden: int, scheme: str
) -> None:
    options, source, made = softmax(model_of(small_fused(labels, hidden), scheme))
    assert options.beta == 1.0
    assert source.shape.tolist() == made.shape.tolist() == [1, len(labels)]
    assert source.type == made.type == (INT8 if scheme == "int8" else FLOAT32)


def test_an_int8_softmax_has_the_scale_and_zero_point_of_the_specification() -> None:
    _, _, made = softmax(model_of(small_fused(), "int8"))
    assert made.quantization.scale.tolist() == [1 / 256]
    assert made.quantization.zeroPoint.tolist() == [-128]


def test_a_float_softmax_gives_the_output_itself() -> None:
    model = model_of(small_fused(), "float32")
    _, _, made = softmax(model)
    assert tensor_name(made) == "probabilities"
    assert made.quantization is None or made.quantization.scale is None
