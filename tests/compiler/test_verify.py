from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_networks import LABELS, feature_map, small_fused, small_images

from tlc_edge.compiler.data import decode
from tlc_edge.compiler.data.decode import Undecoded, bounded_images, images_of
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.data.prepared import HeldOut
from tlc_edge.compiler.features.reference import run_keras
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx, onnx_model
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite, tflite_model
from tlc_edge.compiler.records import Fused, Lowered, Outputs, Score
from tlc_edge.compiler.verify.bundle import verify_bundle
from tlc_edge.compiler.verify.judge import Answers, Judged, Reference, check_drop, check_embeddings, judge, score
from tlc_edge.compiler.verify.statistics import cosines, top_class, wilson
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.bundle.manifest import ModelFile, Preprocessing
from tlc_edge.runtime.engines.open import KINDS
from tlc_edge.runtime.errors import BuildError, DataError, EngineError, UsageError


def scored(accuracy: float, file: str = "model.tflite", scheme: str = "int8") -> Score:
    return Score(file, "ai-edge-litert", scheme, 1, accuracy, 1.0, 1.0)


def outputs(*answers: int, classes: int = 3) -> Outputs:
    """Return what a model gives that is sure of these answers."""
    return Outputs(np.eye(classes, dtype=np.float32)[list(answers)], np.ones((len(answers), 2), np.float32))


class TestCheckDrop:
    @pytest.mark.parametrize(
        ("images", "max_drop", "lost", "passes"),
        [
            (20, 2.0, 1, True),  # one image is 5 points, but it could be chance
            (20, 2.0, 2, False),
            (100, 2.0, 2, True),
            (100, 2.0, 3, False),
            (130, 2.0, 2, True),  # 2.6 images: a part of one is none
            (130, 2.0, 3, False),
            (1000, 2.0, 20, True),
            (1000, 2.0, 21, False),
            (1000, 0.1, 1, True),
            (1000, 0.1, 2, False),
            (20, 0.0, 0, True),
            (20, 0.0, 1, False),  # none allowed is none allowed
            (20, 100.0, 20, True),
            (3, 33.4, 1, True),
            (3, 33.4, 2, False),
        ],
    )
    def test_what_passes(self, images: int, max_drop: float, lost: int, passes: bool) -> None:
        reference = 1.0
        scores = [scored((images - lost) / images)]
        if passes:
            check_drop(scores, reference, images, max_drop)
        else:
            with pytest.raises(BuildError):
                check_drop(scores, reference, images, max_drop)

    def test_a_file_better_than_the_float_graph_passes(self) -> None:
        check_drop([scored(0.9)], 0.8, 10, 0.0)

    def test_one_bad_file_is_enough_and_is_named(self) -> None:
        scores = [scored(0.95, "model.onnx", "float32"), scored(0.9)]
        with pytest.raises(BuildError) as told:
            check_drop(scores, 0.95, 100, 2.0)
        assert str(told.value) == (
            "model.tflite (int8): accuracy 0.900 is 5.0 points below the float graph's 0.950 on 100 held-out images, "
            "more than the 2 allowed; try --scheme float32, more images, or a larger --max-drop"
        )
        check_drop(scores, 0.95, 100, 5.0)

    @given(st.integers(1, 5000), st.data())
    def test_rounding_never_decides(self, images: int, data: st.DataObject) -> None:
        right = data.draw(st.integers(0, images))
        kept = data.draw(st.integers(0, right))
        lost, max_drop = right - kept, 100 * (right - kept) / images
        check_drop([scored(kept / images)], right / images, images, max_drop)
        if lost > 1:
            with pytest.raises(BuildError):
                check_drop([scored(kept / images)], right / images, images, 100 * (lost - 1) / images)


class TestWilson:
    @pytest.mark.parametrize(
        ("correct", "total", "low", "high"),
        [
            (8, 10, 0.4902, 0.9433),
            (0, 10, 0.0, 0.2775),
            (10, 10, 0.7225, 1.0),
            (50, 100, 0.4038, 0.5962),
            (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
            (15, 148, 0.0624, 0.1605),
            (1, 29, 0.0061, 0.1718),
        ],
    )
    def test_known_values(self, correct: int, total: int, low: float, high: float) -> None:
        found = wilson(correct, total)
        assert (round(found[0], 4), round(found[1], 4)) == (low, high)

    def test_nothing_measured_says_nothing(self) -> None:
        assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("rows", "useless"),
    [
        ([[1.0, 0.0], [0.0, -1e-30]], 0),
        ([[1.0, 0.0], [0.0, 0.0]], 1),
        ([[math.nan, 1.0], [1.0, 1.0]], 1),
        ([[math.inf, 1.0], [0.0, 0.0], [1.0, -math.inf]], 3),
    ],
)
def test_embeddings_that_tell_nothing_apart_are_refused(rows: list[list[float]], useless: int) -> None:
    embeddings = np.array(rows, np.float32)
    info = ModelFile("model.tflite", "tflite", "int8", 1)
    gave = Outputs(np.full((len(rows), 2), 0.5, np.float32), embeddings)
    fine = Outputs(gave.probabilities, np.ones_like(embeddings))
    told = Score("model.tflite", "e", "int8", 1, 1.0, 1.0, 1.0)
    judged = [Judged(Lowered(info, b""), (), of, np.zeros(len(rows), np.int64), told) for of in (fine, gave)]
    check_embeddings(judged[:1])
    if not useless:
        check_embeddings(judged)
        return
    said = rf"^model\.tflite \(int8\): the embedding is zero or not finite for {useless} of {len(rows)} held-out images"
    with pytest.raises(BuildError, match=said):
        check_embeddings(judged)


class TestScore:
    def test_against_truth_and_reference(self) -> None:
        given, reference = outputs(0, 1, 2, 2), outputs(0, 1, 1, 2)
        truth = np.array([0, 1, 1, 1])
        found = score(
            ModelFile("m", "tflite", "int8", 7), "e", top_class(given), truth, given, (top_class(reference), reference)
        )
        assert (found.accuracy, found.agreement, found.bytes) == (0.5, 0.75, 7)
        assert math.isclose(found.embedding_cosine or 0, 1.0, abs_tol=1e-6)

    def test_without_a_reference_nothing_is_compared(self) -> None:
        given = outputs(0, 1)
        found = score(ModelFile("m", "tflite", "int8", 7), "e", top_class(given), np.array([0, 0]), given, None)
        assert (found.accuracy, found.agreement, found.embedding_cosine) == (0.5, None, None)

    def test_cosines(self) -> None:
        a = np.array([[1, 0], [1, 0], [3, 4], [0, 0]], np.float32)
        b = np.array([[5, 0], [0, 2], [-3, -4], [1, 0]], np.float32)
        np.testing.assert_allclose(cosines(a, b), [1, 0, -1, 0], atol=1e-6)


class TestAnswers:
    def test_a_head_answers_by_itself(self) -> None:
        answers = Answers(np.eye(2, dtype=np.float32), np.array([5, 6]))
        assert answers(outputs(2, 0)).tolist() == [2, 0]

    def test_without_a_head_the_nearest_training_image_does(self) -> None:
        train = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
        given = Outputs(np.zeros((3, 0), np.float32), np.array([[0.1, 5], [9, 1], [-1, -0.9]], np.float32))
        assert Answers(train, np.array([7, 8, 9]))(given).tolist() == [8, 7, 9]


class TestJudge:
    @pytest.fixture(scope="class")
    @staticmethod
    def files() -> tuple[Fused, dict[str, Lowered]]:
        fused = small_fused()
        features = feature_map(fused.trunk.model, small_images(16)).astype(np.float32)
        trunk = lower_trunk_tflite(fused.trunk, "int8", small_images(16))
        return fused, {
            "tflite": tflite_model(trunk, fused, features),
            "onnx": onnx_model(lower_trunk_onnx(fused.trunk), fused),
        }

    @pytest.mark.parametrize(("form", "engine"), [("tflite", "ai-edge-litert"), ("onnx", "onnxruntime")])
    def test_a_file_by_the_engine_of_its_format(
        self, files: tuple[Fused, dict[str, Lowered]], form: str, engine: str
    ) -> None:
        fused, images = files[0], small_images(20, seed=4)
        given = run_keras(fused, images)
        truth = top_class(given).copy()
        truth[:5] = (truth[:5] + 1) % len(LABELS)  # five labels that the float graph does not agree with
        held_out = HeldOut((), images, truth, np.zeros(len(images), np.bool_))
        reference = Reference(fused, held_out, given, Answers(given.embeddings, truth))
        found = judge(files[1][form], reference)
        assert (found.score.engine, found.score.file) == (engine, files[1][form].info.file)
        assert found.outputs.probabilities.shape == (20, 3)
        np.testing.assert_array_equal(found.answers, found.outputs.probabilities.argmax(axis=1))
        assert reference.accuracy == 0.75
        assert (found.score.embedding_cosine or 0) > 0.99
        if form == "onnx":  # float32: the same answers
            assert (found.score.accuracy, found.score.agreement) == (0.75, 1.0)


class TestBundle:
    def test_every_model_is_run_over_the_images(self, bundle: Bundle, photos: Path) -> None:
        seen: list[tuple[int, int]] = []
        found = verify_bundle(
            bundle, load_dataset(str(photos)), progress=lambda done, total: seen.append((done, total))
        )
        scores = found.scores
        assert (found.images, found.skipped, found.problems) == (40, (), ())
        assert [s.file for s in scores] == [m.file for m in bundle.manifest.models] == ["model.tflite", "model.onnx"]
        quantized, floating = scores
        assert (quantized.scheme, floating.scheme) == ("int8", "float32")
        # The float file is the reference: it agrees with itself.
        assert (floating.agreement, round(floating.embedding_cosine or 0, 5)) == (1.0, 1.0)
        assert 0.9 <= (quantized.agreement or 0) <= 1.0
        assert 0.9 < (quantized.embedding_cosine or 0) < 1.0
        assert (floating.accuracy or 0) >= 0.9  # most of these images trained it
        assert seen[-1] == (40, 40)
        (pair,) = found.parity.pairs
        assert (pair.one, pair.other) == ("model.onnx on onnxruntime", "model.tflite on ai-edge-litert")
        assert (pair.agreement, pair.mean_cosine) == (quantized.agreement, quantized.embedding_cosine)
        assert pair.lowest_cosine < pair.mean_cosine
        assert 0 < (pair.largest_difference or 0) < 1

    def test_the_engine_asked_for(self, bundle: Bundle, photos: Path) -> None:
        data = load_dataset(str(photos), limit=8)
        (only,) = verify_bundle(bundle, data, "ai-edge-litert").scores
        assert (only.engine, only.agreement, only.embedding_cosine) == ("ai-edge-litert", None, None)
        (only,) = verify_bundle(bundle, data, "onnxruntime").scores
        assert (only.engine, only.agreement) == ("onnxruntime", 1.0)
        with pytest.raises(EngineError, match="run: pip install tflite-runtime"):
            verify_bundle(bundle, data, "tflite-runtime")
        with pytest.raises(UsageError, match="unknown engine 'tensorrt'"):
            verify_bundle(bundle, data, "tensorrt")

    def test_every_engine_that_is_installed(self, bundle: Bundle, photos: Path) -> None:
        data = load_dataset(str(photos), limit=8)
        found = verify_bundle(bundle, data, "all")
        read = [(m.file, k.name) for m in bundle.manifest.models for k in KINDS if k.format == m.format and k.installed]
        assert sorted((s.file, s.engine) for s in found.scores) == sorted(read)
        assert len(found.parity.pairs) == len(read) * (len(read) - 1) // 2

    def test_an_engine_that_cannot_is_told_and_the_others_go_on(
        self, bundle: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "tflite_runtime").mkdir()  # installed, and broken
        (tmp_path / "tflite_runtime" / "__init__.py").touch()
        (tmp_path / "tflite_runtime" / "interpreter.py").write_text("raise ImportError('no such symbol')\n")
        for name in ("tflite_runtime", "tflite_runtime.interpreter"):
            # So that afterwards it is as before: a broken one that stays imported would be found by later tests.
            monkeypatch.setitem(sys.modules, name, None)
            del sys.modules[name]
        monkeypatch.syspath_prepend(str(tmp_path))
        found = verify_bundle(bundle, load_dataset(str(photos), limit=8), "all")
        assert [s.engine for s in found.scores] == ["ai-edge-litert", "onnxruntime"]
        (problem,) = found.problems
        assert problem.startswith("tflite-runtime ")

    def test_an_engine_that_fails_as_it_runs_too(self, bundle: Bundle, photos: Path) -> None:
        import onnx

        model: Any = onnx.load_from_string(bundle.read("model.onnx"))
        (last,) = (node for node in model.graph.node if "embedding" in node.output)
        last.output[0] = "whole"
        nowhere = onnx.numpy_helper.from_array(np.array(9999), "nowhere")
        model.graph.initializer.append(nowhere)
        model.graph.node.append(onnx.helper.make_node("Gather", ["whole", "nowhere"], ["one"], axis=1))
        model.graph.node.append(onnx.helper.make_node("Expand", ["one", "shape"], ["embedding"]))
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array([1, bundle.manifest.embedding_width]), "shape")
        )
        bad = replace(bundle, files={**bundle.files, "model.onnx": model.SerializeToString()})
        data = load_dataset(str(photos), limit=8)
        found = verify_bundle(bad, data, "all")
        assert "ai-edge-litert" in [s.engine for s in found.scores]
        assert any(p.startswith("onnxruntime failed while it ran model.onnx (") for p in found.problems)
        with pytest.raises(EngineError, match="onnxruntime failed while it ran"):
            verify_bundle(bad, data, "onnxruntime")

    def test_images_that_cannot_be_read_are_named(self, bundle: Bundle, photos: Path, tmp_path: Path) -> None:
        for label in ("1", "2"):
            (tmp_path / label).mkdir()
            Image.open(photos / label / "0.png").save(tmp_path / label / "a.png")
        (tmp_path / "2" / "empty.png").touch()
        found = verify_bundle(bundle, load_dataset(str(tmp_path)), "ai-edge-litert")
        assert (found.images, [s.name for s in found.skipped]) == (2, ["2/empty.png"])
        assert len(found.scores) == 1
        assert found.parity.pairs == ()

    def test_fewer_classes_than_the_bundle_keep_their_own_numbers(
        self, bundle: Bundle, photos: Path, tmp_path: Path
    ) -> None:
        for label in ("2", "3"):
            (tmp_path / label).mkdir()
            for i in range(10):
                Image.open(photos / label / f"{i}.png").save(tmp_path / label / f"{i}.png")
        found = verify_bundle(bundle, load_dataset(str(tmp_path)))
        assert found.images == 20
        assert min(s.accuracy or 0 for s in found.scores) >= 0.8


def test_an_image_that_vanished_since_is_told(photos: Path, tmp_path: Path) -> None:
    for label in "01":
        (tmp_path / label).mkdir()
        Image.open(photos / label / "0.png").save(tmp_path / label / "a.png")
    samples = load_dataset(str(tmp_path)).samples
    assert images_of(samples, Preprocessing(8, 8)).shape == (2, 8, 8, 3)
    (tmp_path / "1" / "a.png").unlink()
    with pytest.raises(DataError, match=r"1/a\.png"):
        images_of(samples, Preprocessing(8, 8))


def test_images_that_are_too_much_for_memory_are_decoded_again_by_whoever_looks(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.open(photos / str("abc".index(name)) / f"{i}.png").save(tmp_path / name / f"{i}.png")
    samples, spec = load_dataset(str(tmp_path)).samples, Preprocessing(8, 8)
    held = bounded_images(samples, spec)
    assert isinstance(held, np.ndarray)
    monkeypatch.setattr(decode, "IN_MEMORY", held.nbytes)
    assert isinstance(bounded_images(samples, spec), np.ndarray)
    monkeypatch.setattr(decode, "IN_MEMORY", held.nbytes - 1)
    later = bounded_images(samples, spec)
    assert isinstance(later, Undecoded)
    assert (len(later), later.shape) == (12, held.shape)
    assert all((image == other).all() for image, other in zip(later, held, strict=True))
    assert (later[7] == held[7]).all()
    (tmp_path / "c" / "3.png").unlink()
    with pytest.raises(DataError, match=r"c/3\.png"):
        later[11]
    with pytest.raises(DataError, match=r"c/3\.png"):
        list(later)
