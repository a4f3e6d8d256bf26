"""What the worker makes of held-out images beside the head: to the bit what is made here, and only what it began."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_networks import small_fused, small_images

from tlc_edge.compiler import worker as worker_module
from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.seen import Seen, digest_of
from tlc_edge.compiler.data.views import PLAIN
from tlc_edge.compiler.features import exact_apart, trunk_run
from tlc_edge.compiler.features.exact import exact_features
from tlc_edge.compiler.features.exact_apart import run_ahead
from tlc_edge.compiler.features.trunk_run import trunk_file
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.records import LoweredTrunk
from tlc_edge.compiler.worker import ROOM, Worker
from tlc_edge.runtime.bundle.manifest import Preprocessing

SPEC = Preprocessing(8, 8)
PIXELS = small_images(40, seed=3)
Trunks = tuple[int, dict[tuple[str, str], LoweredTrunk]]
TRUNKS = {("onnx", "float32"): lower_trunk_onnx, ("tflite", "int8"): lower_trunk_tflite}


@pytest.fixture(scope="module")
def trunks() -> Trunks:
    trunk, calibration = small_fused().trunk, small_images(8)
    return trunk.width, {kind: lower(trunk, kind[1], calibration) for kind, lower in TRUNKS.items()}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(worker_module, "cores", lambda: 2)
    monkeypatch.setattr(worker_module, "free_memory", lambda: 2.0 * ROOM)
    monkeypatch.setattr(exact_apart, "_FEWEST", 10)
    with Worker() as made:
        yield made


@pytest.fixture
def samples() -> list[Sample]:
    return [Sample(image, "a", None, f"image {i}") for i, image in enumerate(PIXELS)]


def seen_of(samples: list[Sample], kept: int) -> Seen:
    """Return what was seen: all were read, and the first `kept` are decoded."""
    seen = Seen(PIXELS.nbytes)
    for i, sample in enumerate(samples):
        seen.note(sample, digest_of(PIXELS[i]))
        if i < kept:
            seen.keep(sample, PLAIN, PIXELS[i])
    return seen


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each image that this process runs a trunk over."""
    runs: list[int] = []
    computed = trunk_run.TrunkRun._computed

    def counted(self: trunk_run.TrunkRun, engine: trunk_run.Engine, missed: trunk_run.Missed) -> trunk_run.Computed:
        runs.append(1)
        return computed(self, engine, missed)

    monkeypatch.setattr(trunk_run.TrunkRun, "_computed", counted)
    return runs


@pytest.mark.parametrize("kept", [0, 25, 40])
def test_what_the_worker_made_is_found_to_the_bit_and_the_rest_is_made_here(
    kept: int,
    worker: Worker,
    samples: list[Sample],
    trunks: Trunks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    width, files = trunks
    worker.start(int).result()
    seen, cache = seen_of(samples, kept), str(tmp_path)
    ahead = run_ahead(worker, files.items(), width, samples, SPEC, cache, seen)
    for parts in ahead.parts.values():
        for part in parts:
            part.result()
    runs = count_runs(monkeypatch)
    for kind, file in files.items():
        ahead.settle(kind)
        with caching(cache) as found:
            (given,) = exact_features(trunk_file(file, width), samples, (PLAIN,), SPEC, 1, cache=found, seen=seen) or ()
        assert len(runs) == 40 - kept
        (alone,) = exact_features(trunk_file(file, width), samples, (PLAIN,), SPEC, 1) or ()
        assert np.array_equal(given, alone)
        runs.clear()


def test_what_is_not_begun_is_taken_back(
    worker: Worker,
    samples: list[Sample],
    trunks: Trunks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    width, files = trunks
    os.mkfifo(tmp_path / "go")
    busy = worker.start(Path.read_bytes, tmp_path / "go")  # waits for a writer
    ahead = run_ahead(worker, files.items(), width, samples, SPEC, str(tmp_path / "cache"), seen_of(samples, 40))
    parts = [part for parts in ahead.parts.values() for part in parts]
    assert len(parts) == 8
    for kind in files:
        ahead.settle(kind)  # with the worker at something else nothing is begun, and nothing waited for
    (tmp_path / "go").write_bytes(b"now")
    assert busy.result() == b"now"
    assert worker.start(int).result() == 0  # it goes on after calls that were taken back
    runs = count_runs(monkeypatch)
    (file, *_) = files.values()
    with caching(str(tmp_path / "cache")) as found:
        exact_features(trunk_file(file, width), samples, (PLAIN,), SPEC, 1, cache=found)
    assert len(runs) == 40


def test_nothing_is_begun_without_a_worker_or_a_cache(
    worker: Worker, samples: list[Sample], trunks: Trunks, tmp_path: Path
) -> None:
    width, files = trunks
    seen, before = seen_of(samples, 40), threading.active_count()
    for place, cache in ((None, str(tmp_path)), (worker, str(tmp_path))):  # the second is not running yet
        assert not run_ahead(place, files.items(), width, samples, SPEC, cache, seen).parts
    assert not worker.running
    assert threading.active_count() == before
    worker.start(int).result()
    assert not run_ahead(worker, files.items(), width, samples, SPEC, "off", seen).parts


def test_a_trunk_that_no_engine_takes_is_left_to_whoever_wants_it(
    worker: Worker, samples: list[Sample], tmp_path: Path
) -> None:
    worker.start(int).result()
    bad = LoweredTrunk("tflite", "float32", b"no file of a network")
    ahead = run_ahead(worker, [(("tflite", "float32"), bad)], 4, samples, SPEC, str(tmp_path), seen_of(samples, 40))
    assert ahead.parts
    ahead.settle(("tflite", "float32"))
