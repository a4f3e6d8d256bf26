"""The model as a C array: what a compiler makes of it, and what the header tells firmware."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from small_networks import small_fused, small_images

from tlc_edge.compiler.extras.c_array import HEADER, SOURCE, c_array
from tlc_edge.compiler.lower.file_kinds import FileKind
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite, tflite_model
from tlc_edge.runtime.engines.open import KINDS, open_model

# What C takes for an escape, a trigraph or the end of the text.
LABELS = ("cup", 'a "quoted" one', "back\\slash", "what??/", "犬1")

PROGRAM = """
#include <stdint.h>
#include <stdio.h>
#include "model_data.h"

int main(void) {
  printf("%zu %zu\\n", sizeof model_data, (size_t)((uintptr_t)model_data % MODEL_DATA_ALIGNMENT));
  fwrite(model_data, 1, sizeof model_data, stdout);
  for (int i = 0; i < MODEL_LABELS; i++) printf("%s\\n", model_labels[i]);
  return 0;
}
"""


@pytest.fixture(scope="module")
def model() -> bytes:
    images = small_images(8)
    fused = small_fused(LABELS)
    trunk = lower_trunk_tflite(fused.trunk, "int8", images)
    engine = open_model(KINDS[0], trunk.data, 1, ("features",))
    features = np.stack([engine.run(image)[0] for image in images])
    return tflite_model(trunk, fused, features, FileKind("tflite", "int8", "int8", "int8")).data


def defined(header: bytes, name: str) -> str:
    (found,) = re.findall(rf"^#define {name} (.+)$", header.decode(), re.MULTILINE)
    return str(found)


@pytest.mark.parametrize(
    "compiler", [("gcc", "-std=c99"), ("gcc", "-std=c11", "-Wpedantic"), ("g++", "-std=c++11", "-x", "c++")]
)
def test_a_compiler_gives_back_the_file_aligned(model: bytes, compiler: tuple[str, ...], tmp_path: Path) -> None:
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not installed")
    for name, data in c_array(model, LABELS, 1234).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "main.c").write_text(PROGRAM)
    command = [*compiler, "-Wall", "-Wextra", "-Werror", SOURCE, "main.c", "-o", "program"]
    subprocess.run(command, cwd=tmp_path, check=True)
    out = subprocess.run([str(tmp_path / "program")], capture_output=True, check=True).stdout
    first, rest = out.split(b"\n", 1)
    assert first == f"{len(model)} 0".encode()
    assert rest[: len(model)] == model
    assert rest[len(model) :].decode().splitlines() == list(LABELS)


def test_the_header_has_the_numbers_of_the_file(model: bytes) -> None:
    from ai_edge_litert.interpreter import Interpreter

    header = c_array(model, LABELS, 1234)[HEADER]
    assert defined(header, "MODEL_DATA_LENGTH") == str(len(model))
    assert defined(header, "MODEL_ARENA_SIZE") == "1234"
    assert defined(header, "MODEL_LABELS") == str(len(LABELS))
    interpreter = Interpreter(model_content=model)
    (source,) = interpreter.get_input_details()
    outputs = {str(d["name"]): d for d in interpreter.get_output_details()}
    for name, details in {"INPUT": source, **{n.upper(): d for n, d in outputs.items()}}.items():
        scale, zero_point = details["quantization"]
        assert np.float32(defined(header, f"MODEL_{name}_SCALE").removesuffix("f")) == np.float32(scale)
        assert int(defined(header, f"MODEL_{name}_ZERO_POINT").strip("()")) == zero_point
    assert defined(header, "MODEL_PROBABILITIES_WIDTH") == str(len(LABELS))
    assert defined(header, "MODEL_EMBEDDING_WIDTH") == "5"
    assert (defined(header, "MODEL_INPUT_HEIGHT"), defined(header, "MODEL_INPUT_CHANNELS")) == ("8", "3")


def test_an_arena_that_was_not_measured_is_not_told(model: bytes) -> None:
    header = c_array(model, LABELS, None)[HEADER].decode()
    assert "MODEL_ARENA_SIZE" not in header
    assert "not measured" in header


def test_a_model_without_classes_has_no_labels(model: bytes) -> None:
    files = c_array(model, (), 1234)
    assert b"model_labels" not in files[HEADER] + files[SOURCE]
    assert defined(files[HEADER], "MODEL_LABELS") == "0"
