"""Which files a target gets, and which of them several targets share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tlc_edge.compiler.lower.file_kinds import FileKind, file_kinds, trunk_kinds
from tlc_edge.runtime.errors import UsageError
from tlc_edge.targets import load_target, target_names


def test_formats_schemes_and_ends_are_the_targets() -> None:
    assert file_kinds(load_target("rpi")) == (FileKind("tflite", "int8"), FileKind("onnx", "float32"))
    assert file_kinds(load_target("mcu")) == (FileKind("tflite", "int8", "int8", "int8"),)
    assert file_kinds(load_target("coral")) == (FileKind("tflite", "int8", "uint8", "int8"),)


def test_another_scheme_is_for_the_tflite_file_alone() -> None:
    assert file_kinds(load_target("web"), "float16") == (FileKind("tflite", "float16"), FileKind("onnx", "float32"))


def test_targets_that_agree_share_a_file_and_all_share_the_trunk() -> None:
    kinds = [kind for name in ("rpi", "web", "android", "mcu", "coral") for kind in file_kinds(load_target(name))]
    assert len(set(kinds)) == 4
    assert trunk_kinds(kinds) == (("tflite", "int8"), ("onnx", "float32"))


@pytest.mark.parametrize("name", target_names())
def test_every_shipped_target_has_kinds(name: str) -> None:
    assert [kind.format for kind in file_kinds(load_target(name))] == list(load_target(name).formats)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mcu", "target mcu wants input int8 and outputs int8, which scheme float16 does not have"),
        ("coral", "target coral wants outputs int8, which scheme float16 does not have"),
    ],
)
def test_int8_at_an_end_needs_int8_inside(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        file_kinds(load_target(name), "float16")
    assert file_kinds(load_target(name), "int8") == file_kinds(load_target(name))


def test_int8_all_through_needs_the_scheme() -> None:
    target = replace(load_target("rpi"), full_int8=True)
    with pytest.raises(UsageError, match="wants int8 all through, which scheme dynamic does not have"):
        file_kinds(target, "dynamic")
    assert file_kinds(replace(target, full_int8=False), "dynamic")
