"""The finished TFLite file: its contract on the built bundle, its metadata slot by slot, its frozen bytes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter
from typing import Any

import numpy as np
import pytest
from flat_tables import Flat
from small_networks import LABELS, feature_map, small_fused, small_images

from tlc_edge.compiler.lower.tflite_finish import finish_tflite
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite, tflite_model
from tlc_edge.runtime import Bundle

# Slots of the TFLite schema: Model, SubGraph, Tensor, Buffer, Metadata, SignatureDef.
BUFFERS, METADATA = 4, 6


@pytest.fixture(scope="module")
def built(bundle: Bundle) -> bytes:
    """The int8 file of the session's bundle."""
    return bundle.read("model.tflite")


@pytest.fixture(scope="module")
def small() -> bytes:
    """A float32 file of the small network."""
    fused = small_fused()
    features = feature_map(fused.trunk.model, small_images(8)).astype(np.float32)
    return tflite_model(lower_trunk_tflite(fused.trunk, "float32"), fused, features).data


def interpreter(data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    opened = Interpreter(model_content=data)
    opened.allocate_tensors()
    return opened


def metadata(data: bytes) -> Flat:
    return Flat.root(metadata_bytes(data), b"M001")


def metadata_bytes(data: bytes) -> bytes:
    model = Flat.root(data, b"TFL3")
    (entry,) = [m for m in model.tables(METADATA) if m.text(0) == "TFLITE_METADATA"]
    return model.tables(BUFFERS)[entry.number(1, "<I")].raw(0)


def run(data: bytes, images: np.ndarray) -> list[np.ndarray]:
    opened = interpreter(data)
    rows = []
    for image in images:
        opened.set_tensor(opened.get_input_details()[0]["index"], image[None])
        opened.invoke()
        rows.append([opened.get_tensor(o["index"])[0] for o in opened.get_output_details()])
    return [np.stack(column) for column in zip(*rows, strict=True)]


class TestContract:
    def test_the_input_is_raw_pixels(self, built: bytes) -> None:
        (image,) = interpreter(built).get_input_details()
        assert (image["name"], image["shape"].tolist(), image["dtype"]) == ("image", [1, 224, 224, 3], np.uint8)
        # (pixel - 127) / 128, exactly: the normalisation costs no operation.
        assert image["quantization"] == (1 / 128, 127)

    def test_the_outputs_are_probabilities_and_embedding_in_float32(self, built: bytes) -> None:
        outputs = interpreter(built).get_output_details()
        assert [(o["name"], o["shape"].tolist(), o["dtype"]) for o in outputs] == [
            ("probabilities", [1, 4], np.float32),
            ("embedding", [1, 512], np.float32),
        ]

    def test_the_signature(self, built: bytes) -> None:
        opened = interpreter(built)
        assert opened.get_signature_list() == {
            "serving_default": {"inputs": ["image"], "outputs": ["embedding", "probabilities"]}
        }
        runner = opened.get_signature_runner("serving_default")
        image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
        named = runner(image=image)
        probabilities, embedding = run(built, image)
        np.testing.assert_array_equal(named["probabilities"], probabilities)
        np.testing.assert_array_equal(named["embedding"], embedding)
        np.testing.assert_allclose(probabilities.sum(), 1, atol=0.02)

    def test_everything_inside_is_int8_but_the_neck_s_square_roots(self, built: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        graph = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(built), 0))
        tensors, outer = graph.subgraphs[0].tensors, graph.subgraphs[0]
        kinds = schema.TensorType
        float_tensors = {i for i, t in enumerate(tensors) if t.type == kinds.FLOAT32}
        named = {tensors[i].name.decode() for i in float_tensors}
        assert named == {"probabilities", "embedding", "neck_root_of", "neck_root_float"}
        assert [i for i, t in enumerate(tensors) if t.type == kinds.UINT8] == list(map(int, outer.inputs))
        assert {t.type for t in tensors} == {kinds.INT8, kinds.INT32, kinds.UINT8, kinds.FLOAT32}

        def touches_float(operation: Any) -> bool:
            return bool({*map(int, operation.inputs), *map(int, operation.outputs)} & float_tensors)

        codes = [graph.operatorCodes[o.opcodeIndex].builtinCode for o in outer.operators]
        codes_of = schema.BuiltinOperator
        assert [c for c, o in zip(codes, outer.operators, strict=True) if touches_float(o)] == [
            *(codes_of.DEQUANTIZE, codes_of.DEQUANTIZE, codes_of.SQRT, codes_of.QUANTIZE, codes_of.DEQUANTIZE)
        ]
        names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
        assert Counter(names[code] for code in codes) == {
            **{"QUANTIZE": 2, "CONV_2D": 33, "DEPTHWISE_CONV_2D": 16, "ADD": 9, "MEAN": 1},
            **{"FULLY_CONNECTED": 2, "SOFTMAX": 1, "DEQUANTIZE": 3, "SQRT": 1},
        }

    def test_its_size(self, built: bytes, bundle: Bundle) -> None:
        assert len(built) <= 4_400_000
        (model,) = [m for m in bundle.manifest.models if m.format == "tflite"]
        assert (model.scheme, model.bytes) == ("int8", len(built))

    @pytest.mark.parametrize("which", ["built", "small"])
    def test_the_numbers_lie_on_16_byte_boundaries(self, which: str, request: pytest.FixtureRequest) -> None:
        data: bytes = request.getfixturevalue(which)
        places = [b.follow(0) for b in Flat.root(data, b"TFL3").tables(BUFFERS)]
        starts = [place + 4 for place in places if place is not None]
        assert len(starts) > 5
        assert [start % 16 for start in starts] == [0] * len(starts)

    def test_labels_are_in_the_appended_archive(self, built: bytes, bundle: Bundle) -> None:
        with zipfile.ZipFile(io.BytesIO(built)) as archive:
            assert archive.namelist() == ["labels.txt"]
            assert archive.read("labels.txt").decode().splitlines() == list(bundle.manifest.labels)
            assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED

    def test_metadata(self, built: bytes) -> None:
        found = metadata(built)
        (graph,) = found.tables(3)
        assert (found.text(0), found.text(7)) == ("efficientnet-lite0", "1.0.0")
        assert [[t.text(0) for t in graph.tables(slot)] for slot in (2, 3)] == [
            ["image"],
            ["probabilities", "embedding"],
        ]


class TestMetadata:
    """Slots of `metadata_schema.fbs`: TensorMetadata has name, description, …, content (3), units (4), …, files (6)."""

    def test_the_image(self, small: bytes) -> None:
        ((image,),) = [graph.tables(2) for graph in metadata(small).tables(3)]
        content = image.table(3)
        assert content.number(0) == 2  # ContentProperties.ImageProperties
        assert content.table(1).number(0) == 1  # ColorSpaceType.RGB
        assert (image.tables(4), image.tables(6)) == ([], [])

    def test_the_outputs_and_whose_the_labels_are(self, small: bytes) -> None:
        (graph,) = metadata(small).tables(3)
        probabilities, embedding = graph.tables(3)
        assert [o.table(3).number(0) for o in (probabilities, embedding)] == [1, 1]  # FeatureProperties
        (file,) = probabilities.tables(6)
        assert (file.text(0), file.number(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
        assert embedding.tables(6) == []

    def test_labels_of_any_script(self, small: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(small)) as archive:
            assert archive.read("labels.txt").decode().splitlines() == list(LABELS)

    def test_without_labels_there_is_no_archive(self, small: bytes) -> None:
        finished = finish_tflite(small, ("probabilities", "embedding"))
        assert not zipfile.is_zipfile(io.BytesIO(finished))
        (graph,) = metadata(finished).tables(3)
        assert graph.tables(3)[0].tables(6) == []

    def test_frozen(self, small: bytes) -> None:
        # What clients parse: a change of these bytes is a change of the format, and wants to be one.
        packed = metadata_bytes(small)
        assert (len(packed), hashlib.sha256(packed).hexdigest()[:16]) == (368, "01f11de1327f9d01")


class TestFinish:
    def test_the_model_inside_stays_the_same(self) -> None:
        # What the converter gave, before names, signature and shared vectors.
        raw = converted()
        images = small_images(5)
        before = run(raw, images)
        once = finish_tflite(raw, ("first", "second"), LABELS)
        twice = finish_tflite(once, ("first", "second"), LABELS)
        for data in (once, twice):
            for a, b in zip(before, run(data, images), strict=True):
                np.testing.assert_array_equal(a, b)
        assert len(twice) <= len(once) + 64
        assert [o["name"] for o in interpreter(twice).get_output_details()] == ["first", "second"]

    def test_equal_vectors_are_stored_once(self, bundle: Bundle) -> None:
        (graph,) = Flat.root(bundle.read("model.tflite"), b"TFL3").tables(2)
        # Tensor.quantization.zero_point: zeros, 8 bytes per channel.
        vectors = [t.table(4).follow(3) for t in graph.tables(0) if t.place(4) is not None]
        lengths = {v: int.from_bytes(graph.data[v : v + 4], "little") for v in vectors if v is not None}
        per_channel = [lengths[v] for v in vectors if v is not None and lengths[v] > 1]
        assert sum(8 * length for length in per_channel) > 300_000  # what they took, had each tensor its own
        assert len([v for v in lengths if lengths[v] > 1]) == len(set(per_channel))

    def test_the_number_of_outputs_must_fit(self, small: bytes) -> None:
        with pytest.raises(ValueError, match="1 inputs and 2 outputs, expected 1 and 1"):
            finish_tflite(small, ("probabilities",))

    def test_equal_input_gives_equal_bytes(self, small: bytes) -> None:
        names = ("probabilities", "embedding")
        assert finish_tflite(small, names, LABELS) == finish_tflite(small, names, LABELS)
        assert finish_tflite(small, names, LABELS) != finish_tflite(small, names, ("a", "b", "c"))


def converted() -> bytes:
    """Return a file as the converter leaves it, int8 inside, with two outputs."""
    import tensorflow as tf
    from keras import Model, layers

    from tlc_edge.compiler.network.freeze import freeze
    from tlc_edge.runtime.quiet import quiet

    trunk = small_fused().trunk
    with quiet():
        model = Model(trunk.model.input, [layers.Dense(3)(trunk.model.output), trunk.model.output])
        function = freeze(model, trunk.backbone.input, from_pixels=False).function
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [((i.astype(np.float32) - 127) / 128)[None]] for i in small_images(8)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        return bytes(converter.convert())
