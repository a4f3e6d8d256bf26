"""Verify where something is missing: a class, the head, a float model. The rest is told all the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_runs import here
from PIL import Image
from small_networks import feature_map, small_fused, small_images

from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx, onnx_model
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite, tflite_model
from tlc_edge.compiler.verify.bundle import verify_bundle
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.bundle.bundle import MANIFEST, write_bundle
from tlc_edge.runtime.bundle.manifest import Manifest, Preprocessing
from tlc_edge.runtime.errors import DataError

Capture = pytest.CaptureFixture[str]


def written(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    """Write a bundle with all hashes right."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    write_bundle(path, replace(manifest, files=hashes), files)
    return path


@pytest.fixture(scope="module")
def int8_only(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's bundle as a target without ONNX gets it."""
    models = tuple(m for m in bundle.manifest.models if m.format == "tflite")
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, "model.onnx")}
    return written(tmp_path_factory.mktemp("int8") / "int8.tlc", replace(bundle.manifest, models=models), files)


@pytest.fixture(scope="module")
def headless(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network without a head: an int8 TFLite file and a float32 ONNX file, which give embeddings only."""
    fused = small_fused(labels=())
    images = small_images(16)
    features = feature_map(fused.trunk.model, images).astype(np.float32)
    made = (
        tflite_model(lower_trunk_tflite(fused.trunk, "int8", images), fused, features),
        onnx_model(lower_trunk_onnx(fused.trunk), fused),
    )
    models, size = tuple(m.info for m in made), Preprocessing(8, 8)
    manifest = replace(bundle.manifest, labels=(), models=models, preprocessing=size, embedding_width=5)
    path = tmp_path_factory.mktemp("headless") / "headless.tlc"
    return written(path, manifest, {m.info.file: m.data for m in made})


@pytest.fixture
def some_foreign(photos: Path, tmp_path: Path) -> Path:
    """Four images of a class that the bundle knows, six of two others."""
    for label, source, count in (("0", "0", 4), ("seven", "1", 5), ("eight", "2", 1)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(count):
            Image.open(photos / source / f"{i}.png").save(tmp_path / "data" / label / f"{i}.png")
    return tmp_path / "data"


@pytest.fixture
def all_foreign(some_foreign: Path) -> Path:
    (some_foreign / "0").rename(some_foreign / "zero")
    return some_foreign


class TestWithoutLayersToCompare:
    SHOWN = "accuracy  95 % interval   as float  cosine"

    def test_the_verification_is_told_and_the_reason(self, int8_only: Path, photos: Path, capfd: Capture) -> None:
        words = ["verify", int8_only, "--data", photos, "--limit", "8"]
        plain, done = here(capfd, *words), here(capfd, *words, "--layers")
        assert (done.code, done.out) == (0, plain.out)
        assert self.SHOWN in done.out
        (note,) = (line for line in done.err.splitlines() if line.startswith("no layers: "))
        assert "no model in it is float32" in note
        assert f"tlc inspect {int8_only} --report" in note
        assert "--onnx-scheme" not in note  # its target has no ONNX
        assert "no layers" not in plain.err
        assert json.loads(Bundle.open(int8_only).read("report.json"))["layers"]["model.tflite"]  # as the note says

    def test_in_json_too(self, int8_only: Path, photos: Path, capfd: Capture) -> None:
        words = ["verify", int8_only, "--data", photos, "--limit", "8", "--json"]
        done = here(capfd, *words, "--layers")
        found = done.json()
        assert (done.code, found["layers"], found["images"]) == (0, None, 8)
        assert 0.5 <= found["models"][0]["accuracy"] <= 1
        assert any("no model in it is float32" in note for note in found["notes"])
        plain = here(capfd, *words).json()
        assert "layers" not in plain
        assert plain["notes"] == []

    def test_nothing_but_float(self, bundle: Bundle, photos: Path, tmp_path: Path, capfd: Capture) -> None:
        models = tuple(m for m in bundle.manifest.models if m.scheme == "float32")
        files = {"model.onnx": bundle.read("model.onnx")}
        path = written(tmp_path / "float.tlc", replace(bundle.manifest, models=models), files)
        done = here(capfd, "verify", path, "--data", photos, "--limit", "8", "--layers")
        assert done.code == 0
        assert self.SHOWN in done.out
        assert "every model in it is float32" in done.err

    def test_a_failed_verification_fails_as_before(self, int8_only: Path, tmp_path: Path, capfd: Capture) -> None:
        done = here(capfd, "verify", int8_only, "--data", tmp_path / "none", "--layers")
        assert "none" in done.failed()


class TestWithoutAHead:
    def test_parity_and_cosine_are_told(self, headless: Path, photos: Path) -> None:
        found = verify_bundle(Bundle.open(headless), load_dataset(str(photos)))
        assert (found.images, found.judged, len(found.scores)) == (40, 0, 2)
        assert [(s.accuracy, s.agreement) for s in found.scores] == [(None, None)] * 2
        quantized, floating = found.scores
        assert 0.9 < (quantized.embedding_cosine or 0) < 1
        assert floating.embedding_cosine == pytest.approx(1)
        (pair,) = found.parity.pairs
        assert (pair.mean_cosine, pair.agreement) == (quantized.embedding_cosine, None)

    def test_on_the_command_line(self, headless: Path, photos: Path, capfd: Capture) -> None:
        done = here(capfd, "verify", headless, "--data", photos)
        assert done.code == 0
        assert "no classes of its own" in done.err
        assert "each model beside the others" in done.out
        found = here(capfd, "verify", headless, "--data", photos, "--json", "--layers").json()
        assert {m["accuracy"] for m in found["models"]} == {None}
        assert len(found["parity"]) == 1
        assert found["layers"].keys() == {"model.tflite"}

    def test_one_model_in_one_engine_has_nothing_to_tell(self, headless: Path, photos: Path, capfd: Capture) -> None:
        done = here(capfd, "verify", headless, "--data", photos, "--engine", "onnxruntime")
        assert "no classes of its own" in done.failed(1)
        assert f"tlc selftest {headless}" in done.err


class TestClassesThatTheBundleDoesNotKnow:
    def test_they_count_for_parity_and_not_for_accuracy(self, bundle: Bundle, some_foreign: Path) -> None:
        found = verify_bundle(bundle, load_dataset(str(some_foreign)))
        assert (found.images, found.judged, found.parity.images) == (10, 4, 10)
        known = {s.file: s.accuracy for s in found.scores}
        assert known["model.onnx"] in (0.75, 1)  # of four images that trained it; of all ten it could be 0.4 at most
        (note,) = found.notes
        assert note.startswith("6 of 10 images are of classes that the bundle does not know (eight, seven)")
        assert note.endswith("it knows 0, 1, 2, 3")

    def test_the_command_says_so(self, bundle: Bundle, some_foreign: Path, capfd: Capture) -> None:
        done = here(capfd, "verify", bundle.path, "--data", some_foreign, "--json")
        assert done.code == 0
        assert "6 of 10 images are of classes that the bundle does not know" in done.err
        assert (done.json()["images"], done.json()["judged"]) == (10, 4)

    def test_without_one_that_it_knows_parity_is_left(self, bundle: Bundle, all_foreign: Path) -> None:
        found = verify_bundle(bundle, load_dataset(str(all_foreign)))
        assert (found.judged, {s.accuracy for s in found.scores}, len(found.parity.pairs)) == (0, {None}, 1)
        assert all(0.9 <= (s.agreement or 0) <= 1 for s in found.scores)

    def test_and_without_parity_nothing(self, int8_only: Path, all_foreign: Path) -> None:
        with pytest.raises(DataError, match=r"image is of a class that the bundle knows \(0, 1, 2, 3\), and"):
            verify_bundle(Bundle.open(int8_only), load_dataset(str(all_foreign)))

    def test_nor_when_those_that_it_knows_cannot_be_read(self, int8_only: Path, some_foreign: Path) -> None:
        data = load_dataset(str(some_foreign))
        for path in (some_foreign / "0").iterdir():
            path.write_bytes(b"no longer an image")
        with pytest.raises(DataError, match="no readable image is of a class that the bundle knows"):
            verify_bundle(Bundle.open(int8_only), data)
        for path in (some_foreign / "0").iterdir():
            path.write_bytes((some_foreign / "seven" / "0.png").read_bytes())
        assert verify_bundle(Bundle.open(int8_only), data).judged == 4
