"""The Core ML package of the target `ios`: what it says of itself. It runs on Apple's systems only, so not here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from clients import client
from small_networks import LABELS

from tlc_edge.runtime import Bundle
from tlc_edge.runtime.engines.open import open_engine
from tlc_edge.runtime.engines.selftest import selftest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# Imported beside TensorFlow, so what both need is TensorFlow's.
REQUIREMENTS = ["coremltools==9.0", "attrs", "cattrs", "mpmath", "pyaml", "sympy"]
DESCRIBE = """
import json, sys
import coremltools

model = coremltools.models.MLModel(sys.argv[1], skip_model_load=True)
spec = model.get_spec()
function = spec.mlProgram.functions["main"]
operations = function.block_specializations[function.opset].operations


def floats(operation):
    return [*operation.attributes["val"].immediateValue.tensor.floats.values]


constants = {o.outputs[0].name: floats(o) for o in operations if o.type == "const"}
image = spec.description.input[0].type.imageType
print(json.dumps({
    "input": [spec.description.input[0].name, image.height, image.width],
    "outputs": {o.name: o.type.WhichOneof("Type") for o in spec.description.output},
    "kinds": [o.type for o in operations if o.type != "const"],
    "scale": constants.get("image__scaled___y_0"),
    "bias": constants.get("image__biased___y_0"),
}))
"""
PACKAGE = """
import pickle, sys
from small_networks import small_fused
from tlc_edge.compiler.extras.core_ml import core_ml_package

sys.stdout.buffer.write(pickle.dumps(core_ml_package(small_fused(eval(sys.argv[1])))))
"""


@pytest.fixture(scope="module")
def environment(pytestconfig: pytest.Config) -> dict[str, str]:
    """This environment with coremltools added."""
    python = client(pytestconfig, "coremltools-9.0", REQUIREMENTS, "sympy")
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    paths = [str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")]), str(packages)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def python(script: str, *arguments: str, environment: dict[str, str]) -> bytes:
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout


def package(labels: tuple[str, ...], environment: dict[str, str]) -> dict[str, bytes]:
    import pickle

    out = python(PACKAGE, repr(labels), environment=environment)
    files: dict[str, bytes] = pickle.loads(out)
    return files


def described(files: dict[str, bytes], folder: Path, environment: dict[str, str]) -> Any:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return json.loads(python(DESCRIBE, str(folder / "model.mlpackage"), environment=environment))


def test_it_takes_an_image_normalises_it_and_classifies(environment: dict[str, str], tmp_path: Path) -> None:
    files = package(LABELS, environment)
    found = described(files, tmp_path, environment)
    assert found["input"] == ["image", 8, 8]
    assert found["outputs"] == {
        "classLabel": "stringType",
        "probabilities": "dictionaryType",
        "embedding": "multiArrayType",
    }
    # (pixel - 127) / 128, as the backbone wants it.
    assert found["scale"] == [1 / 128]
    assert found["bias"] == [-127 / 128] * 3
    assert [kind for kind in found["kinds"] if kind in ("conv", "linear", "softmax", "classify")] == [
        *("conv", "conv", "linear", "linear", "softmax", "classify"),
    ]
    program = files["model.mlpackage/Data/com.apple.CoreML/model.mlmodel"]
    places = [program.find(label.encode()) for label in LABELS]
    assert places == sorted(places)
    assert places[0] > 0
    # Another process gives the same bytes: no date, no identifiers drawn at random.
    assert package(LABELS, environment) == files


def test_without_classes_it_gives_the_embedding_alone(environment: dict[str, str], tmp_path: Path) -> None:
    found = described(package((), environment), tmp_path, environment)
    assert found["outputs"] == {"embedding": "multiArrayType"}
    assert "classify" not in found["kinds"]


def test_a_build_for_ios_holds_it_and_says_that_it_was_not_run(
    environment: dict[str, str], photos: Path, tmp_path: Path
) -> None:
    command = f"""
        build --data {photos} --target ios,android --backbone {ROOT}/tests/data/tfjs_sketch -o {tmp_path}/out
        --max-drop 90 --json
    """
    script = "import sys; from tlc_edge.cli import main; main(sys.argv[1:])"
    python(script, *command.split(), environment=environment)
    ios, android = (Bundle.open(tmp_path / f"out.{name}") for name in ("ios", "android"))
    assert ios.read("model.tflite") == android.read("model.tflite")
    package = [name for name in ios.files if name.startswith("model.mlpackage/")]
    assert "model.mlpackage/Manifest.json" in package
    assert sum(len(ios.read(name)) for name in package if name.endswith("weight.bin")) > 0
    assert not [name for name in android.files if name.startswith("model.mlpackage/")]
    assert "was not run and not verified" in ios.read("notes.txt").decode()
    engine, model = open_engine(ios)
    assert selftest(ios, engine, model).passed
