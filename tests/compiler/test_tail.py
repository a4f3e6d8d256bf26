"""Head and neck run alone give to the bit what the whole file gives; where they do not, the whole file is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import LABELS, small_fused, small_images

from tlc_edge.compiler.data.decode import images_of
from tlc_edge.compiler.data.prepared import HeldOut
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.views import PLAIN, View, as_the_device
from tlc_edge.compiler.features import trunk_run
from tlc_edge.compiler.features.exact import exact_features
from tlc_edge.compiler.features.trunk_run import trunk_file
from tlc_edge.compiler.lower.file_kinds import FileKind
from tlc_edge.compiler.lower.formats import make_model
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.records import Fused, Lowered, LoweredTrunk, Outputs
from tlc_edge.compiler.verify.judge import Answers, Judged, Reference, judge, output_names
from tlc_edge.compiler.verify.tail import Tail, open_tail
from tlc_edge.runtime.bundle.manifest import Preprocessing

CALIBRATION = small_images(8)
SPEC = Preprocessing(8, 8)
PIXELS = small_images(40, seed=3)
SAMPLES = [Sample(image, "a", None, f"image {i}") for i, image in enumerate(PIXELS)]
TOP = ("top_activation",)
"""The last layer before pooling."""


@pytest.fixture(scope="module")
def fused() -> Fused:
    return small_fused()


def lowered(fused: Fused, form: str, scheme: str) -> LoweredTrunk:
    if form == "onnx":
        return lower_trunk_onnx(fused.trunk, scheme, CALIBRATION)
    return lower_trunk_tflite(fused.trunk, scheme, CALIBRATION, TOP if scheme == "mixed" else ())


def model(trunk: LoweredTrunk, fused: Fused, ends: str = "float32") -> Lowered:
    kind = FileKind(trunk.format, trunk.scheme, "int8" if ends == "int8" else "uint8", ends)
    (features,) = exact_features(trunk_file(trunk, fused.trunk.width), SAMPLES, (PLAIN,), SPEC, 1) or ()
    return make_model(trunk, fused, features, kind)


def tail_of(file: Lowered, trunk: LoweredTrunk, fused: Fused, cache: Path | str) -> Tail | None:
    outputs = output_names(Outputs(np.zeros((1, len(fused.labels)), np.float32), np.zeros((1, 1), np.float32)))
    return open_tail(file, trunk, fused.trunk.width, SPEC, outputs, 1, str(cache))


def judged(file: Lowered, fused: Fused, tail: Tail | None) -> Judged:
    """Judge a file on all images, by answers of no matter what: what counts is what it gives."""
    given = Outputs(
        np.random.default_rng(0).random((len(SAMPLES), len(fused.labels)), np.float32),
        np.ones((len(SAMPLES), fused.neck.width), np.float32),
    )
    truth = np.zeros(len(SAMPLES), np.int64)
    held_out = HeldOut(tuple(SAMPLES), images_of(SAMPLES, SPEC), truth, truth == 0)
    return judge(file, Reference(fused, held_out, given, Answers(given.embeddings, truth)), 1, tail)


def bits(outputs: Outputs) -> tuple[bytes, bytes]:
    return outputs.probabilities.tobytes(), outputs.embeddings.tobytes()


def heads(fused: Fused) -> dict[str, Fused]:
    """Return the graph with each kind of head and neck that is attached in another way."""
    return {
        "linear": fused,
        "mlp": small_fused(LABELS, 16),
        "none": small_fused(()),
        "roots": replace(fused, neck=replace(fused.neck, root=True)),
        "roots, none": replace(small_fused(()), neck=replace(fused.neck, root=True)),
        "no neck": small_fused(LABELS, neck=False),
    }


@pytest.mark.parametrize(
    ("form", "scheme"),
    [
        *(("tflite", scheme) for scheme in ("float32", "float16", "dynamic", "int8", "int16x8", "mixed")),
        *(("onnx", scheme) for scheme in ("float32", "float16", "int8")),
    ],
)
def test_the_tail_gives_what_the_whole_file_gives(fused: Fused, form: str, scheme: str, tmp_path: Path) -> None:
    trunk = lowered(fused, form, scheme)
    for name, graph in heads(fused).items():
        file = model(trunk, graph)
        whole = judged(file, graph, None)
        tail = tail_of(file, trunk, graph, tmp_path)
        assert tail is not None, name
        found = judged(file, graph, tail)
        assert found.tail is tail, name  # seen to be the same, and taken
        assert bits(found.outputs) == bits(whole.outputs), name
        assert np.array_equal(found.embed(SAMPLES, SPEC), whole.embed(SAMPLES, SPEC), equal_nan=True), name


def test_the_tail_of_a_file_with_int8_at_its_ends(fused: Fused, tmp_path: Path) -> None:
    trunk = lowered(fused, "tflite", "int8")
    file = model(trunk, fused, "int8")
    tail = tail_of(file, trunk, fused, tmp_path)
    found = judged(file, fused, tail)
    assert found.tail is tail is not None
    assert bits(found.outputs) == bits(judged(file, fused, None).outputs)


def test_features_alone_have_no_tail(fused: Fused, tmp_path: Path) -> None:
    bare = small_fused((), neck=False)
    trunk = lowered(fused, "tflite", "int8")
    assert tail_of(model(trunk, bare), trunk, bare, tmp_path) is None


def test_a_file_of_another_trunk_has_no_tail(fused: Fused, tmp_path: Path) -> None:
    one, other = (lowered(fused, "tflite", scheme) for scheme in ("int8", "float32"))
    assert tail_of(model(one, fused), other, fused, tmp_path) is None


def test_without_a_cache_the_whole_file_is_run(fused: Fused) -> None:
    trunk = lowered(fused, "tflite", "int8")
    assert tail_of(model(trunk, fused), trunk, fused, "off") is None


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_another_head_runs_no_trunk_but_for_some_images(
    fused: Fused, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk, other = lowered(fused, form, "float32"), small_fused(LABELS, 16)
    first, file = model(trunk, fused), model(trunk, other)
    assert judged(first, fused, tail_of(first, trunk, fused, tmp_path)).tail is not None
    whole = judged(file, other, None)
    monkeypatch.setattr(trunk_run, "open_model", None)  # no trunk is opened again
    found = judged(file, other, tail_of(file, trunk, other, tmp_path))
    assert found.tail is not None
    assert bits(found.outputs) == bits(whole.outputs)


class Wrong:
    """Features that are not the trunk's in some rows."""

    def __init__(self, tail: Tail, rows: Sequence[int]) -> None:
        self._tail, self._rows = tail, list(rows)

    def __call__(self, samples: Sequence[Sample], views: Sequence[View]) -> list[NDArray[np.float32]] | None:
        found = self._tail.features(samples, views)
        assert found is not None
        for features in found:
            features[[i for i in self._rows if i < len(features)]] += 1
        return found


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_features_that_are_not_the_trunks_are_noticed(fused: Fused, form: str, tmp_path: Path) -> None:
    trunk = lowered(fused, form, "float32")
    file = model(trunk, fused)
    tail = tail_of(file, trunk, fused, tmp_path)
    assert tail is not None
    whole = judged(file, fused, None)
    found = judged(file, fused, replace(tail, features=Wrong(tail, range(len(SAMPLES)))))
    assert found.tail is None
    assert bits(found.outputs) == bits(whole.outputs)
    later = replace(judged(file, fused, tail), tail=replace(tail, features=Wrong(tail, [0])))
    np.testing.assert_array_equal(later.embed(SAMPLES[:9], SPEC), whole.outputs.embeddings[:9])


def test_an_image_that_cannot_be_read_any_more_is_no_tails(fused: Fused, tmp_path: Path) -> None:
    trunk = lowered(fused, "tflite", "int8")
    file = model(trunk, fused)
    tail = tail_of(file, trunk, fused, tmp_path)
    assert tail is not None
    gone = Sample(tmp_path / "gone.png", "a", None, "gone")
    assert tail.features([*SAMPLES, gone], [PLAIN]) is None
    assert tail.features(SAMPLES, [PLAIN]) is not None


def test_views_are_told_apart(fused: Fused, tmp_path: Path) -> None:
    trunk = lowered(fused, "tflite", "int8")
    file = model(trunk, fused)
    tail = tail_of(file, trunk, fused, tmp_path)
    whole, found = judged(file, fused, None), judged(file, fused, tail)
    dark = View("dark", lambda image, spec: as_the_device(image, spec) // 2)
    for views in ((dark,), (PLAIN,), (dark, PLAIN), (PLAIN, dark)):
        for ours, theirs in zip(
            found.embed_views(SAMPLES, SPEC, views), whole.embed_views(SAMPLES, SPEC, views), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(found.embed_views(SAMPLES, SPEC, (dark,))[0], found.embed(SAMPLES, SPEC))
