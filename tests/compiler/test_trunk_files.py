"""The trunk's files: lowered once, kept in the cache, and never taken for another's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import small_images
from test_featurize import tiny_trunk

from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.records import LoweredTrunk
from tlc_edge.runtime.errors import BuildError

IMAGES: NDArray[np.uint8] = np.stack([np.resize(image, (32, 32, 3)) for image in small_images(4)]).astype(np.uint8)


class Counting(TrunkFiles):
    """Remembers what was really lowered."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.lowered: list[tuple[str, str]] = []

    def _lower(
        self, form: str, scheme: str, calibration: NDArray[np.uint8] | None, exclude: tuple[str, ...]
    ) -> LoweredTrunk:
        self.lowered.append((form, scheme))
        return super()._lower(form, scheme, calibration, exclude)


def test_a_second_build_lowers_nothing_and_gets_the_same_bytes(tmp_path: Path) -> None:
    wanted = [("tflite", "float32"), ("tflite", "int8"), ("onnx", "float32"), ("tflite", "int8")]
    first, again = Counting(tiny_trunk(), str(tmp_path)), Counting(tiny_trunk(), str(tmp_path))
    made = [first.get(form, scheme, IMAGES).data for form, scheme in wanted]
    assert first.lowered == wanted[:3]
    assert [again.get(form, scheme, IMAGES).data for form, scheme in wanted] == made
    assert again.lowered == []
    assert len(set(made)) == 3
    said = [files.get("tflite", "int8", IMAGES).correction for files in (first, again)]
    assert said[0] is not None
    assert said[0] == said[1]
    assert again.get("onnx", "float32", IMAGES).correction is None


@pytest.mark.parametrize("change", ["weights", "pixels", "calibration", "pooling"])
def test_another_trunk_or_other_images_are_lowered_anew(tmp_path: Path, change: str) -> None:
    Counting(tiny_trunk(), str(tmp_path)).get("tflite", "int8", IMAGES)
    trunk = tiny_trunk("max" if change == "pooling" else "avg", **({"mean": 0.0} if change == "pixels" else {}))
    if change == "weights":
        trunk.model.set_weights([w * 1.5 for w in trunk.model.get_weights()])
    files = Counting(trunk, str(tmp_path))
    files.get("tflite", "int8", IMAGES[::-1] if change == "calibration" else IMAGES)
    assert files.lowered == [("tflite", "int8")]


def test_calibration_decides_nothing_about_a_float_file(tmp_path: Path) -> None:
    Counting(tiny_trunk(), str(tmp_path)).get("tflite", "float32", IMAGES)
    files = Counting(tiny_trunk(), str(tmp_path))
    files.get("tflite", "float32")
    assert files.lowered == []


def test_without_a_cache_each_is_lowered_once_and_what_cannot_be_is_told(tmp_path: Path) -> None:
    files = Counting(tiny_trunk(), "off")
    assert files.get("tflite", "float32") is files.as_float().load()
    with pytest.raises(BuildError, match="scheme 'int3' has no ONNX lowering"):
        files.get("onnx", "int3")
    assert files.lowered == [("tflite", "float32"), ("onnx", "int3")]


class Beside:
    """Remembers what was begun, and lowers here what it is asked for."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str, bool]] = []

    def begin(self, form: str, scheme: str, calibration: NDArray[np.uint8] | None = None) -> None:
        self.begun.append((form, scheme, calibration is not None))

    def begin_compare(self) -> None:
        pass

    def lower(
        self, form: str, scheme: str, calibration: NDArray[np.uint8] | None, exclude: tuple[str, ...]
    ) -> LoweredTrunk:
        return LoweredTrunk(form, scheme, b"file")

    def compare(self) -> bool:
        return True


def test_what_takes_calibration_images_is_begun_with_them_unless_it_is_kept(tmp_path: Path) -> None:
    kinds = [("tflite", "int8"), ("onnx", "float32"), ("tflite", "dynamic"), ("onnx", "int8")]
    beside = Beside()
    files = TrunkFiles(tiny_trunk(), str(tmp_path), beside)
    files.begin(kinds)
    assert beside.begun == [("tflite", "float32", False), ("onnx", "float32", False)]
    files.get("tflite", "dynamic", IMAGES)
    beside.begun.clear()
    files.begin_calibrated(kinds, IMAGES)
    assert beside.begun == [("tflite", "int8", True), ("onnx", "int8", True)]
    TrunkFiles(tiny_trunk(), str(tmp_path)).begin_calibrated(kinds, IMAGES)  # with no place for it: nothing


def test_both_formats_get_the_weights_of_one_pass_and_float_files_the_trunk_s_own() -> None:
    files = Counting(tiny_trunk(), "off")
    given = [
        files.trunk_for(scheme, IMAGES)[0] for scheme in ("int8", "mixed", "int8", "int16x8", "dynamic", "float16")
    ]
    assert given[0] is given[1] is given[2]
    assert given[3] is given[4]
    assert given[5] is files.trunk
    assert files.trunk_for("int8", None)[0] is files.trunk_for("float32", IMAGES)[0] is files.trunk
