"""MediaPipe Tasks takes the very file that the target `android` gets, and agrees with the runtime."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clients import client, run
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.verify.statistics import cosines
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.engines.open import open_engine

pytestmark = pytest.mark.slow

# What both need of what they ask for.
COMMON = ["absl-py", "flatbuffers", "matplotlib", "contourpy", "cycler", "fonttools", "kiwisolver", "packaging"]
COMMON += ["pillow", "pyparsing", "python-dateutil", "six"]
VERSIONS = {
    "0.10.21": ["attrs", "numpy<2", "opencv-python-headless<4.12", "protobuf<5"],
    "1.2.2": ["certifi", "numpy", "opencv-python-headless"],
}
SCRIPT = """
import json, sys
import mediapipe, numpy
from mediapipe.tasks.python import BaseOptions, vision

model, *images = sys.argv[1:]
base = BaseOptions(model_asset_path=model)
found = []
with (
    vision.ImageClassifier.create_from_options(vision.ImageClassifierOptions(base_options=base)) as classifier,
    vision.ImageEmbedder.create_from_options(vision.ImageEmbedderOptions(base_options=base)) as embedder,
):
    for path in images:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=numpy.load(path))
        heads = classifier.classify(image).classifications
        embeddings = {e.head_name: e.embedding for e in embedder.embed(image).embeddings}
        found.append({
            "heads": [head.head_name for head in heads],
            "probabilities": {c.category_name: float(c.score) for c in heads[0].categories},
            "embeddings": {name: [float(v) for v in values] for name, values in embeddings.items()},
        })
print(json.dumps({"version": mediapipe.__version__, "found": found}))
"""


@pytest.fixture(scope="module")
def android(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("android") / "photos.tlc"
    build(Options(data=str(photos), targets=("android",), output=path, max_drop=50.0, calibration=12))
    return Bundle.open(path)


def at_the_input_size(bundle: Bundle) -> list[NDArray[np.uint8]]:
    """The bundle's own sample images."""
    names = sorted(name for name in bundle.files if name.startswith("golden/") and name.endswith(".png"))
    return [np.asarray(Image.open(io.BytesIO(bundle.read(name))).convert("RGB")) for name in names]


def environment(config: pytest.Config, version: str) -> Path:
    requirements = [f"mediapipe=={version}", *COMMON, *VERSIONS[version]]
    return client(config, f"mediapipe-{version}", requirements, "mediapipe.tasks.python.vision")


def ask(python: Path, model: bytes, images: Sequence[NDArray[np.uint8]], folder: Path) -> Any:
    (folder / "model.tflite").write_bytes(model)
    paths = [folder / f"{i}.npy" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        np.save(path, image)
    return run(python, SCRIPT, str(folder / "model.tflite"), *map(str, paths))


@pytest.mark.parametrize("version", list(VERSIONS))
def test_it_loads_the_file_as_classifier_and_embedder_and_agrees(
    version: str, android: Bundle, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    python = environment(pytestconfig, version)
    images = at_the_input_size(android)
    asked = ask(python, android.read("model.tflite"), images, tmp_path)
    assert asked.returncode == 0, asked.stderr[-2000:]
    answer = json.loads(asked.stdout)
    assert answer["version"] == version
    engine, _ = open_engine(android)
    labels = android.manifest.labels
    for image, found in zip(images, answer["found"], strict=True):
        probabilities, embedding = engine.run(image)
        assert found["heads"] == ["probabilities", "embedding"]
        assert set(found["probabilities"]) == set(labels)
        theirs = np.array([found["probabilities"][label] for label in labels])
        other = np.array(found["embeddings"]["embedding"], np.float32)
        # The same int8 network; on the machine where it was first run, both were the same to the bit.
        assert np.abs(theirs - probabilities).max() < 0.02
        assert cosines(other[None], embedding[None])[0] > 0.99


def test_the_labels_are_those_inside_the_file(android: Bundle, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The client does read the metadata: without the labels that it names, the file is refused."""
    model = android.read("model.tflite")
    cut = model[: model.rindex(b"PK\x03\x04")]
    asked = ask(environment(pytestconfig, "1.2.2"), cut, at_the_input_size(android)[:1], tmp_path)
    assert asked.returncode != 0
    assert "labels.txt" in asked.stderr
