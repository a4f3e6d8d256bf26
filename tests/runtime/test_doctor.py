"""`tlc doctor`: what it says works does work, what it says is broken is, and the line it gives mends it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_runs import Done, apart, here, without
from test_selftest import EXPECTED, expected, tampered

from tlc_edge.runtime import Bundle
from tlc_edge.runtime.doctor.doctor import Part, advice, diagnose
from tlc_edge.runtime.engines.open import KINDS, EngineKind, open_model
from tlc_edge.runtime.engines.tiny_models import MODELS

BOTH = {"tflite", "onnx"}


def part(name: str, version: str | None = "1.0.0") -> Part:
    return Part(name, version, False, "")


def faulty(folder: Path, source: str, *modules: str) -> dict[str, str]:
    """Return the environment of a Python whose tflite-runtime is this source, and where `modules` are missing."""
    package = folder / "faulty" / "tflite_runtime"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(source)
    there = without(folder, *modules)
    return {"PYTHONPATH": os.pathsep.join([str(package.parent), there["PYTHONPATH"]])}


def engines(done: Done) -> dict[str, tuple[bool, str]]:
    return {e["name"]: (e["works"], e["detail"]) for e in done.json()["engines"]}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_tiny_models_run(kind: EngineKind) -> None:
    if not kind.installed:
        pytest.skip(f"{kind.name} is not installed")
    (half,) = open_model(kind, MODELS[kind.format], 1, ("embedding",)).run(np.array([[[1, 8, 255]]], np.uint8))
    assert half.ravel().tolist() == [0.5, 4.0, 127.5]


def test_what_is_installed_and_works() -> None:
    found = diagnose()
    assert found.works
    assert found.next == ()
    assert {p.name for p in found.libraries} == {"numpy", "Pillow", "SQLite"}
    assert all(p.works and p.version for p in found.libraries)
    for kind, engine in zip(KINDS, found.engines, strict=True):
        assert engine.name == kind.name
        assert (engine.works, engine.version is not None) == (kind.installed, kind.installed)
        assert engine.detail == ("runs a model of three numbers" if kind.installed else "not installed")
    assert {p.name for p in found.extras} == {
        "opencv-python-headless",
        "picamera2",
        "pillow-heif",
        "paho-mqtt",
        "cryptography",
        "starlette",
        "tensorflow",
    }
    assert all(p.install for p in found.extras)


def test_with_a_bundle_each_engine_answers_its_golden_samples(bundle_path: Path) -> None:
    found = diagnose(bundle_path)
    assert found.works
    assert any(e.works for e in found.engines)
    for engine in found.engines:
        if engine.works:
            assert "golden samples passed" in engine.detail
    assert {p.name for p in bundle_path.parent.iterdir()} == {"photos.tlc"}


def test_an_engine_without_a_model_in_the_bundle_is_not_broken(bundle: Bundle, tmp_path: Path) -> None:
    from tlc_edge.runtime.bundle.bundle import write_bundle

    files = {name: bundle.files[name] for name in bundle.manifest.files if name != "model.onnx"}
    hashes = {name: bundle.manifest.files[name] for name in files}
    write_bundle(tmp_path / "one.tlc", replace(bundle.manifest, models=bundle.manifest.models[:1], files=hashes), files)
    found = diagnose(tmp_path / "one.tlc")
    assert found.works
    assert found.engines[2].detail == "the bundle has no onnx model for it"


def test_wrong_answers_are_no_answers(bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    turned = expected(bundle, lambda arrays: arrays.update({k: -v for k, v in arrays.items() if "embedding" in k}))
    path = tampered(bundle, tmp_path / "turned.tlc", EXPECTED, turned)
    done = here(capfd, "doctor", path)
    assert "gives other answers on this device" in done.out
    assert "this device cannot predict yet" in done.failed()


@pytest.mark.parametrize("name", ["nowhere.tlc", "text.tlc"])
def test_a_bundle_that_is_none(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "text.tlc").write_text("no bundle")
    done = here(capfd, "doctor", tmp_path / name)
    assert done.failed().startswith(f"Error: {tmp_path / name}")
    assert "runs a model of three numbers" in done.out  # and what could be said is said


def test_the_command(capfd: pytest.CaptureFixture[str], bundle_path: Path) -> None:
    done = here(capfd, "doctor", bundle_path)
    assert (done.code, done.err) == (0, "")
    assert "golden samples passed" in done.out
    document = here(capfd, "doctor", "--json").json()
    assert document["works"] is True
    assert document["next"] == []
    assert {p["name"] for p in document["engines"]} == {k.name for k in KINDS}


def test_without_an_engine_the_line_to_run_is_said(tmp_path: Path) -> None:
    """Here pip holds two of them for installed, yet Python does not find them."""
    nothing = without(tmp_path, "ai_edge_litert", "tflite_runtime", "onnxruntime")
    done = apart("doctor", "--json", **nothing)
    (line,) = done.json()["next"]
    assert line.startswith("pip install ")
    assert (done.code, done.json()["works"]) == (1, False)
    assert {detail for _, detail in engines(done).values()} <= {"not installed", "its files are not there"}
    assert apart("doctor", **nothing).failed() == f"Error: this device cannot predict yet; next: {line}\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "crashes (SIGILL); its wheel may be for another"),
        ("import sys; sys.exit(3)", "does not load (exit code 3)"),
        ("raise ImportError('libfoo.so.1: cannot open shared object file')", "libfoo.so.1: cannot open shared"),
        ("Interpreter = 7", "cannot run a model of three numbers"),
    ],
)
def test_an_engine_that_takes_its_process_down_is_told(tmp_path: Path, source: str, said: str) -> None:
    environment = faulty(tmp_path, source, "ai_edge_litert", "onnxruntime")
    done = apart("doctor", "--json", **environment)
    works, detail = engines(done)["tflite-runtime"]
    assert not works
    # With numpy 2 here, every fault of this engine is put down to that.
    assert said in detail or "needs numpy below 2" in detail
    assert done.code == 1


@pytest.mark.parametrize(
    ("here_", "formats", "numpy", "machine", "system", "python", "line"),
    [
        ([], BOTH, "2.4.6", "x86_64", "linux", (3, 13), "pip install ai-edge-litert"),
        ([], BOTH, "1.26.4", "aarch64", "linux", (3, 11), "pip install ai-edge-litert"),
        ([], BOTH, "1.26.4", "arm64", "darwin", (3, 12), "pip install ai-edge-litert"),
        ([], BOTH, "2.4.6", "armv7l", "linux", (3, 11), "pip install tflite-runtime 'numpy<2'"),
        ([], BOTH, "2.4.6", "armv7l", "linux", (3, 13), "install Python 3.11 and tlc in it: no engine has a wheel"),
        ([], BOTH, "2.4.6", "AMD64", "win32", (3, 12), "pip install onnxruntime"),
        ([], {"onnx"}, "2.4.6", "x86_64", "linux", (3, 12), "pip install onnxruntime"),
        (["tflite-runtime"], BOTH, "2.4.6", "aarch64", "linux", (3, 11), "pip install 'numpy<2'"),
        (["ai-edge-litert"], BOTH, "2.4.6", "x86_64", "linux", (3, 12), "pip install --force-reinstall ai-edge-litert"),
        (["ai-edge-litert"], {"onnx"}, "2.4.6", "x86_64", "linux", (3, 12), "pip install onnxruntime"),
    ],
)
def test_the_line_to_run(
    here_: list[str], formats: set[str], numpy: str, machine: str, system: str, python: tuple[int, int], line: str
) -> None:
    (said,) = advice([part(name) for name in here_], formats, numpy, machine, system, python)
    assert said.startswith(line)
