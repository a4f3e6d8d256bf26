"""Limits of a target: what just fits passes, what just does not is told by how much, and what would fit does."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from small_networks import small_fused, small_images

from tlc_edge.compiler.limits.check import check_limits, check_target
from tlc_edge.compiler.limits.peak_memory import measure_arena, measure_process
from tlc_edge.compiler.lower.file_kinds import FileKind
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx, onnx_model
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite, tflite_model
from tlc_edge.compiler.records import Fused, Lowered
from tlc_edge.runtime.engines.open import KINDS, open_model
from tlc_edge.runtime.errors import BuildError, UsageError
from tlc_edge.runtime.install import pip_line
from tlc_edge.targets import Target, load_target

IMAGES = small_images(8)
FREE = replace(load_target("rpi"), name="free", model_bytes=0, peak_memory_bytes=0)


def lowered(fused: Fused, scheme: str = "int8", source: str = "uint8", outputs: str = "float32") -> Lowered:
    trunk = lower_trunk_tflite(fused.trunk, scheme, IMAGES)
    engine = open_model(KINDS[0], trunk.data, 1, ("features",))
    features = np.stack([engine.run(image)[0] for image in IMAGES])
    return tflite_model(trunk, fused, features, FileKind("tflite", scheme, source, outputs))


@pytest.fixture(scope="module")
def fused() -> Fused:
    return small_fused()


@pytest.fixture(scope="module")
def int8(fused: Fused) -> Lowered:
    return lowered(fused)


@pytest.fixture(scope="module")
def micro(fused: Fused) -> Lowered:
    return lowered(fused, source="int8", outputs="int8")


def refused(target: Target, file: Lowered, fused: Fused) -> str:
    with pytest.raises(BuildError) as caught:
        check_limits(target, [file], fused)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_target_without_limits_takes_all_and_measures_nothing(int8: Lowered, fused: Fused) -> None:
    (fit,) = check_limits(FREE, [int8], fused)
    assert (fit.file, fit.bytes, fit.bytes_limit, fit.memory, fit.arena) == (
        "model.tflite",
        len(int8.data),
        0,
        None,
        None,
    )
    assert {"CONV_2D", "FULLY_CONNECTED", "SOFTMAX"} <= set(fit.operations)


def test_bytes_to_the_byte(int8: Lowered, fused: Fused) -> None:
    size = len(int8.data)
    assert check_limits(replace(FREE, model_bytes=size), [int8], fused)
    said = refused(replace(FREE, model_bytes=size - 1), int8, fused)
    assert said.startswith(f"model.tflite has {size:,} bytes, 1 more than the {size - 1:,} of free: ")


def test_an_onnx_file_has_bytes_and_memory_but_no_tflite_operations(fused: Fused) -> None:
    file = onnx_model(lower_trunk_onnx(fused.trunk), fused)
    target = replace(FREE, operations=("CONV_2D",), peak_memory_bytes=1 << 30)
    (fit,) = check_limits(target, [file], fused)
    assert fit.operations == ()
    assert fit.memory is not None
    assert fit.memory.engine == "onnxruntime"
    assert refused(replace(target, model_bytes=1), file, fused).startswith("model.onnx has ")


def test_operations_are_those_of_the_file(int8: Lowered, micro: Lowered, fused: Fused) -> None:
    coral = replace(load_target("coral"), peak_memory_bytes=0)
    all_but_one = tuple(name for name in coral.operations if name != "SOFTMAX")
    said = refused(replace(coral, operations=all_but_one), micro, fused)
    assert said.startswith("model.tflite has 1 operations that coral cannot run: SOFTMAX (1); ")
    # Floats at the end come from DEQUANTIZE, which the Edge TPU has not.
    assert "DEQUANTIZE (2)" in refused(coral, int8, fused)
    assert check_limits(coral, [micro], fused)


def test_int8_all_through(micro: Lowered, fused: Fused) -> None:
    strict = replace(FREE, full_int8=True)
    assert check_limits(strict, [micro], fused)
    said = refused(strict, lowered(fused, "float32"), fused)
    assert "operations in float32, and free can do none so: " in said
    assert "CONV_2D (2)" in said
    assert "what would fit: --scheme int8, " in said


def test_memory_of_a_process_is_measured(int8: Lowered, fused: Fused) -> None:
    peak = measure_process(int8, fused.labels, 1)
    # Python, numpy and an engine: more than 10 MB, and for so small a model less than 300.
    assert 10e6 < peak.bytes < 300e6
    assert 0 <= peak.activations < peak.bytes
    said = refused(replace(FREE, peak_memory_bytes=1 << 20), int8, fused)
    assert re.match(
        r"model\.tflite needs a process of [\d,]+ bytes \(measured with .+\), [\d,]+ more than the 1,048,576 ", said
    )
    (fit,) = check_limits(replace(FREE, peak_memory_bytes=1 << 30), [int8], fused)
    assert fit.memory is not None
    assert fit.arena is None


def test_both_limits_are_told_at_once(int8: Lowered, fused: Fused) -> None:
    said = refused(replace(FREE, model_bytes=100, peak_memory_bytes=1 << 20), int8, fused)
    assert "more than the 100 of free" in said
    assert "; and it needs a process of" in said


def test_an_operation_that_tflite_has_not_is_a_mistake_in_the_target() -> None:
    with pytest.raises(UsageError, match="target free: unknown operation 'CONV2D'; known: CONV_2D"):
        check_target(replace(FREE, operations=("CONV2D",)))
    check_target(replace(FREE, operations=("CONV_2D",)))


class TestArena:
    pytest.importorskip("tflite_micro")
    MCU = load_target("mcu")

    def test_it_is_enough_and_half_of_it_is_not_and_it_is_the_same_each_time(self, micro: Lowered) -> None:
        from tflite_micro.python.tflite_micro import runtime  # type: ignore[import-untyped]

        peak = measure_arena(micro)
        assert measure_arena(micro) == peak
        assert peak.engine == "tflite-micro"
        assert 0 < peak.activations < peak.bytes
        interpreter = runtime.Interpreter.from_bytes(micro.data, arena_size=peak.bytes)
        interpreter.set_input(np.zeros((1, 8, 8, 3), np.int8), 0)
        interpreter.invoke()
        # In a smaller one it fails or crashes.
        script = (
            "import sys; from tflite_micro.python.tflite_micro import runtime; "
            f"runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size={peak.bytes // 2})"
        )
        assert subprocess.run([sys.executable, "-c", script], input=micro.data, capture_output=True).returncode

    def test_its_interpreter_agrees_with_the_runtime(self, micro: Lowered) -> None:
        from tflite_micro.python.tflite_micro import runtime

        interpreter = runtime.Interpreter.from_bytes(micro.data, arena_size=1 << 20)
        engine = open_model(KINDS[0], micro.data, 1)
        for image in IMAGES:
            interpreter.set_input((image.astype(np.int16) - 128).astype(np.int8)[None], 0)
            interpreter.invoke()
            for i, expected in enumerate(engine.run(image)):
                given = interpreter.get_output_details(i)["quantization_parameters"]
                scale, zero_point = float(given["scales"][0]), int(given["zero_points"][0])
                found = scale * (interpreter.get_output(i)[0].astype(np.float32) - zero_point)
                np.testing.assert_allclose(found, expected, atol=2 * scale)  # kernels may round differently

    def test_to_the_byte(self, micro: Lowered, fused: Fused) -> None:
        arena = measure_arena(micro).bytes
        (fit,) = check_limits(replace(self.MCU, peak_memory_bytes=arena), [micro], fused)
        assert fit.arena == arena
        said = refused(replace(self.MCU, peak_memory_bytes=arena - 1), micro, fused)
        assert f"needs an arena of {arena:,} bytes (measured with tflite-micro), 1 more than the" in said

    def test_what_it_cannot_run_is_said_in_its_words(self, fused: Fused) -> None:
        with pytest.raises(
            BuildError, match=r"model\.tflite: TensorFlow Lite Micro cannot run it \(.{10,}\); "
        ) as told:
            measure_arena(lowered(fused, "float16"))
        print(told.value)
        assert "Traceback" not in str(told.value)

    def test_without_its_package_the_build_says_so_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        check_target(self.MCU)
        monkeypatch.setitem(sys.modules, "tflite_micro", None)
        with pytest.raises(BuildError, match=re.escape(f"run: {pip_line('mcu')}")):
            check_target(self.MCU)
        check_target(replace(self.MCU, peak_memory_bytes=0))
