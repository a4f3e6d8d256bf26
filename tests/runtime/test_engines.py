"""Engines: the same answers whichever runs, and one sentence where one cannot."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.runtime.bundle.bundle import MANIFEST, Bundle
from tlc_edge.runtime.bundle.manifest import Manifest, ModelFile, Preprocessing
from tlc_edge.runtime.engines.open import (
    KINDS,
    MAX_THREADS,
    Engine,
    EngineKind,
    choose,
    open_engine,
    open_model,
    threads_for,
)
from tlc_edge.runtime.engines.tiny_models import MODELS
from tlc_edge.runtime.errors import BundleError, EngineError, UsageError
from tlc_edge.runtime.images.load import load_image

LITERT, TFLITE_RUNTIME, ONNX = KINDS
TFLITE_FILE = ModelFile("model.tflite", "tflite", "int8", 1)
ONNX_FILE = ModelFile("model.onnx", "onnx", "float32", 1)


def installed(*kinds: EngineKind) -> None:
    for kind in kinds:
        if not kind.installed:
            pytest.skip(f"{kind.name} is not installed")


@pytest.fixture(scope="module")
def images(bundle: Bundle, photos: Path) -> list[np.ndarray]:
    return [load_image(photos / d / f"{i}.png", bundle.manifest.preprocessing) for d in "0123" for i in range(3)]


def run(engine: Engine, images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    outputs = [engine.run(image) for image in images]
    return np.stack([p for p, _ in outputs]), np.stack([e for _, e in outputs])


def test_the_engines_agree(bundle: Bundle, images: list[np.ndarray]) -> None:
    """One runs the int8 file and the other the float file, so they agree as int8 agrees with float."""
    installed(LITERT, ONNX)
    int8, file = open_engine(bundle, LITERT.name)
    other, onnx = open_engine(bundle, ONNX.name)
    assert (file.file, onnx.file) == ("model.tflite", "model.onnx")
    (p, e), (q, f) = run(int8, images), run(other, images)
    cosine = (e * f).sum(axis=1) / np.linalg.norm(e, axis=1) / np.linalg.norm(f, axis=1)
    mixed = (e[:-1] * f[1:]).sum(axis=1) / np.linalg.norm(e[:-1], axis=1) / np.linalg.norm(f[1:], axis=1)
    assert cosine.min() > 0.8
    assert cosine.min() > mixed.mean()  # each embedding is that of its own image
    assert np.abs(p - q).mean() < 0.1
    clear = np.sort(q, axis=1)[:, -1] - np.sort(q, axis=1)[:, -2] > 0.7
    assert clear.any()
    assert np.array_equal(p.argmax(axis=1)[clear], q.argmax(axis=1)[clear])


@pytest.mark.parametrize("kind", [LITERT, ONNX], ids=lambda kind: kind.name)
def test_an_engine_says_what_it_takes_and_gives(bundle: Bundle, images: list[np.ndarray], kind: EngineKind) -> None:
    installed(kind)
    engine, _ = open_engine(bundle, kind.name)
    assert (engine.name, engine.version.count(".")) == (kind.name, 2)
    assert engine.shape == (224, 224, 3)
    assert engine.widths == (4, bundle.manifest.embedding_width)
    p, e = engine.run(images[0])
    assert (p.shape, e.shape) == ((4,), (engine.widths[1],))
    assert p.dtype == e.dtype == np.float32
    assert p.sum() == pytest.approx(1, abs=0.05)
    (only,) = open_model(kind, bundle.read(f"model.{kind.format}"), 1, ("embedding",)).run(images[0])
    assert np.array_equal(only, e)


@pytest.mark.parametrize("kind", [LITERT, ONNX], ids=lambda kind: kind.name)
def test_an_answer_is_the_callers_own(bundle: Bundle, images: list[np.ndarray], kind: EngineKind) -> None:
    """A second image must not overwrite what the first gave, nor the first be seen in the second."""
    installed(kind)
    engine, _ = open_engine(bundle, kind.name)
    first = engine.run(images[0])
    kept = [output.copy() for output in first]
    second = engine.run(images[5])
    assert all(np.array_equal(a, b) for a, b in zip(first, kept, strict=True))
    assert not np.array_equal(first[1], second[1])
    assert all(np.array_equal(a, b) for a, b in zip(engine.run(images[0]), kept, strict=True))


@pytest.mark.parametrize("kind", [LITERT, ONNX], ids=lambda kind: kind.name)
def test_threads_change_nothing_but_the_time(bundle: Bundle, images: list[np.ndarray], kind: EngineKind) -> None:
    installed(kind)
    answers = [run(open_engine(bundle, kind.name, threads)[0], images[:3])[1] for threads in (1, 2, 0, None)]
    for answer in answers[1:]:
        assert np.allclose(answer, answers[0], atol=1e-3)


@pytest.mark.parametrize("threads", [-1, MAX_THREADS + 1, 1 << 31])
def test_threads_out_of_range_are_refused(bundle: Bundle, threads: int) -> None:
    """An engine would hang or crash."""
    with pytest.raises(UsageError, match=rf"threads is {threads}, expected 0 \(every core\) to 128"):
        open_engine(bundle, threads=threads)


def test_a_model_alone_runs_with_every_core_and_with_the_most_threads() -> None:
    installed(ONNX)
    for threads in (0, MAX_THREADS):
        (half,) = open_model(ONNX, MODELS["onnx"], threads, ("embedding",)).run(np.array([[[1, 8, 255]]], np.uint8))
        assert half.ravel().tolist() == [0.5, 4.0, 127.5]
    for threads in (-1, MAX_THREADS + 1):
        with pytest.raises(UsageError, match=rf"threads is {threads}, expected 0 "):
            open_model(ONNX, MODELS["onnx"], threads, ("embedding",))


def meant_for(target: dict[str, object]) -> Bundle:
    """A bundle of nothing but a target's numbers."""
    return Bundle(Path("none"), Manifest("f", ("a",), Preprocessing(1, 1), (TFLITE_FILE,), 4, target=target), {})


@pytest.mark.parametrize(
    ("wanted", "asked", "used"),
    [
        (1, None, 1),
        (2, None, 2),
        (4, None, 4),
        (8, None, 4),  # more than there are cores only wait for each other
        (0, None, 4),
        (-1, None, 4),
        ("two", None, 4),
        (None, None, 4),
        (2, 1, 1),
        (2, 3, 3),
        (2, 0, 4),
        (2, 8, 8),  # who asks for more gets them
    ],
)
def test_how_many_threads_a_bundle_runs_with(
    monkeypatch: pytest.MonkeyPatch, wanted: object, asked: int | None, used: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert threads_for(meant_for({} if wanted is None else {"threads": wanted}), asked) == used


def test_where_the_cores_cannot_be_counted_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert [threads_for(meant_for({"threads": 3}), asked) for asked in (None, 0, 2)] == [1, 1, 2]


def test_a_target_that_asks_for_nonsense_gets_every_core(bundle: Bundle) -> None:
    odd = replace(bundle, manifest=replace(bundle.manifest, target={"threads": "four"}))
    assert open_engine(odd)[0].widths[0] == 4


# --- which engine


def test_an_unknown_engine_lists_the_known_ones_nearest_first(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match=r"unknown engine 'onnx-runtime'; known: onnxruntime, "):
        open_engine(bundle, "onnx-runtime")


def test_an_engine_that_cannot_run_the_bundle_says_what_it_holds() -> None:
    with pytest.raises(UsageError, match=r"engine onnxruntime cannot run this bundle, which holds tflite;"):
        choose([TFLITE_FILE], "onnxruntime")
    with pytest.raises(UsageError, match=r"engine ai-edge-litert cannot run this bundle, which holds onnx;"):
        choose([ONNX_FILE], "ai-edge-litert")
    with pytest.raises(EngineError, match=r"no engine known here runs circle; upgrade tlc"):
        choose([replace(ONNX_FILE, format="circle")])


def test_the_engine_asked_for_is_taken_before_the_preferred_one() -> None:
    installed(LITERT, ONNX)
    assert choose([TFLITE_FILE, ONNX_FILE]) == (LITERT, TFLITE_FILE)
    assert choose([ONNX_FILE, TFLITE_FILE]) == (LITERT, TFLITE_FILE)
    assert choose([TFLITE_FILE, ONNX_FILE], ONNX.name) == (ONNX, ONNX_FILE)
    assert choose([ONNX_FILE]) == (ONNX, ONNX_FILE)


# A fresh interpreter in which some modules cannot be imported, as if they were not installed.
CHOOSE = """
import sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None
from tlc_edge.runtime.engines.open import open_engine
from tlc_edge.runtime import Bundle, EngineError
try:
    engine, model = open_engine(Bundle.open(sys.argv[1]), sys.argv[3] or None)
    print(engine.name, model.file)
except EngineError as e:
    print(e)
"""


@pytest.mark.parametrize(
    ("missing", "asked", "said"),
    [
        ("ai_edge_litert,tflite_runtime", "", "onnxruntime model.onnx"),
        ("onnxruntime,tflite_runtime", "", "ai-edge-litert model.tflite"),
        (
            "ai_edge_litert,tflite_runtime,onnxruntime",
            "",
            "no engine for this bundle is installed; run: pip install ai-edge-litert (or: tflite-runtime, onnxruntime)",
        ),
        ("onnxruntime", "onnxruntime", "the engine onnxruntime is not installed; run: pip install onnxruntime"),
    ],
)
def test_what_is_installed_decides(built_bundle: Path, missing: str, asked: str, said: str) -> None:
    installed(LITERT, ONNX)
    done = subprocess.run(
        [sys.executable, "-c", CHOOSE, str(built_bundle), missing, asked], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == (said, 0), done.stderr


# --- models that are not what they should be


@pytest.mark.parametrize("kind", [LITERT, ONNX], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"not a model" * 100,
        lambda data: data[: len(data) // 2],
        lambda data: bytes(len(data)),
        lambda data: data[:8] + bytes(400) + data[408:],
    ],
    ids=["empty", "text", "half", "zeros", "hole"],
)
def test_damaged_model_bytes_are_an_engine_error(
    bundle: Bundle, capfd: pytest.CaptureFixture[str], kind: EngineKind, damage: Callable[[bytes], bytes]
) -> None:
    installed(kind)
    data = damage(bundle.read(f"model.{kind.format}"))
    with pytest.raises(EngineError, match=rf"^{kind.name} cannot run m\.x \([^\n]+\); try another --engine$"):
        open_model(kind, data, 1, file="m.x")
    assert capfd.readouterr() == ("", "")


def failing(error: BaseException, *, old_numpy: bool = False) -> EngineKind:
    """An engine that cannot be made."""

    def make(*_: object) -> Engine:
        raise error

    return EngineKind("broken", "onnx", "broken", make, old_numpy=old_numpy)


@pytest.mark.parametrize(
    ("numpy", "old_numpy", "said"),
    [
        ("1.26.4", True, r"broken cannot run m\.x \(compiled for another\); try another --engine"),
        ("2.0.0", True, r"broken needs numpy below 2, and 2\.0\.0 is installed; run: pip install 'numpy<2'"),
        ("10.1.2", True, r"broken needs numpy below 2, and 10\.1\.2 is installed; run: pip install 'numpy<2'"),
        ("2.0.0", False, r"broken cannot run m\.x \(compiled for another\); try another --engine"),
    ],
)
def test_an_engine_that_fails_is_told_to_need_an_older_numpy_only_where_it_does(
    monkeypatch: pytest.MonkeyPatch, numpy: str, old_numpy: bool, said: str
) -> None:
    monkeypatch.setattr(np, "__version__", numpy)
    kind = failing(ImportError("compiled for another\nand more"), old_numpy=old_numpy)
    with pytest.raises(EngineError, match=f"^{said}$"):
        open_model(kind, b"", 1, file="m.x")


def test_what_an_engine_raises_is_its_own_sentence_and_what_tlc_does_wrong_is_not() -> None:
    own = type("Fail", (Exception,), {"__module__": "onnxruntime.capi"})
    for error in (own("bad graph"), ValueError("bad graph"), SystemError("bad graph")):
        with pytest.raises(EngineError, match=r"^broken cannot run m\.x \(bad graph\); try another --engine$"):
            open_model(failing(error), b"", 1, file="m.x")
    for mistake in (ZeroDivisionError(), MemoryError()):
        with pytest.raises(type(mistake)):
            open_model(failing(mistake), b"", 1)


@pytest.mark.parametrize(("cores", "asked", "given"), [(4, 0, 4), (4, 2, 2), (4, 8, 8), (None, 0, 1), (None, 2, 2)])
def test_an_engine_is_given_the_threads_asked_for_or_every_core(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, asked: int, given: int
) -> None:
    seen: list[int] = []

    def make(name: str, module: str, model: bytes, threads: int, outputs: Sequence[str]) -> Engine:
        seen.append(threads)
        return ONNX.make(ONNX.name, ONNX.module, model, 1, outputs)

    installed(ONNX)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    open_model(EngineKind("counting", "onnx", "onnxruntime", make), MODELS["onnx"], asked, ("embedding",))
    assert seen == [given]


@pytest.mark.parametrize("what", ["input", "output"])
def test_a_model_that_leaves_its_sizes_open_is_an_engine_error(what: str) -> None:
    installed(ONNX)
    onnx: Any = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    steps = [("Cast", "image", "floats", {"to": floats}), ("NonZero", "floats", "places", {})]
    last = ("Cast", "places" if what == "output" else "floats", "embedding", {"to": floats})
    nodes = [helper.make_node(kind, [given], [made], **more) for kind, given, made, more in (*steps, last)]
    sizes = [1, 1, 1, 3] if what == "output" else [1, "height", "width", 3]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, sizes)
    gives = helper.make_tensor_value_info("embedding", floats, None)
    graph = helper.make_graph(nodes, "g", [image], [gives])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(EngineError, match=rf"^onnxruntime cannot run the model \(its {what} .*, expected \[images, "):
        open_model(ONNX, model.SerializeToString(), 1, ("embedding",))


@pytest.mark.parametrize("kind", [LITERT, ONNX], ids=lambda kind: kind.name)
def test_an_output_that_the_model_lacks_is_named_with_those_it_has(bundle: Bundle, kind: EngineKind) -> None:
    installed(kind)
    with pytest.raises(EngineError, match=r"no output 'colour', only embedding, probabilities"):
        open_model(kind, bundle.read(f"model.{kind.format}"), 1, ("colour",))


@pytest.mark.parametrize(
    "changed",
    [
        lambda m: replace(m, embedding_width=7),
        lambda m: replace(m, labels=("only",)),
        lambda m: replace(m, preprocessing=replace(m.preprocessing, height=96)),
    ],
    ids=["width", "labels", "input"],
)
def test_a_model_that_is_not_the_manifests_is_refused_at_once(
    bundle: Bundle, changed: Callable[[Manifest], Manifest]
) -> None:
    assert open_engine(bundle)
    with pytest.raises(BundleError, match=r"takes \[224, 224, 3\] and gives \[4, \d+\], but the manifest says"):
        open_engine(replace(bundle, manifest=changed(bundle.manifest)))


def test_an_engine_of_another_installer_has_no_version_but_works(bundle: Bundle) -> None:
    installed(LITERT)
    unpacked = replace(LITERT, name="no-such-distribution")
    assert open_model(unpacked, bundle.read("model.tflite"), 1).version == "of unknown version"


def test_the_bundles_hashes_cover_what_the_engine_gets(bundle: Bundle) -> None:
    for model in bundle.manifest.models:
        assert hashlib.sha256(bundle.read(model.file)).hexdigest() == bundle.manifest.files[model.file]
        assert model.bytes == len(bundle.read(model.file))
    assert MANIFEST not in bundle.manifest.files
