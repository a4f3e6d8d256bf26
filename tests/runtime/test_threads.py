"""One Classifier in many threads and in the children of a fork: the answers of one, and nothing lost."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_samples import PRINT, WIDTH, add

from tlc_edge.runtime import Bundle, Classifier, Gallery
from tlc_edge.runtime.engines.engine import Engine
from tlc_edge.runtime.engines.open import KINDS, EngineKind
from tlc_edge.runtime.engines.pool import EnginePool
from tlc_edge.runtime.errors import EngineError, GalleryError
from tlc_edge.runtime.forks import Forks
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.knn.sharing import Sharing

LITERT, _, ONNX = KINDS
PATIENCE = 120.0
"""Seconds after which a test that waits for what must come gives up."""
FORKS = pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def _take_turns() -> Iterator[None]:
    """Let threads change places far more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(scope="module")
def images(bundle: Bundle, photos: Path) -> list[np.ndarray]:
    return [load_image(photos / d / f"{i}.png", bundle.manifest.preprocessing) for d in "0123" for i in range(4)]


def said(classifier: Classifier, image: np.ndarray) -> tuple[Any, ...]:
    found = classifier.predict(image)
    return found.label, found.ranked, found.neighbours, found.knownness, found.unknown


@pytest.mark.parametrize("kind", [LITERT, ONNX], ids=lambda kind: kind.name)
@pytest.mark.parametrize("threads", [1, 3])
def test_eight_threads_get_the_answers_of_one(
    bundle: Bundle, images: list[np.ndarray], kind: EngineKind, threads: int, tmp_path: Path
) -> None:
    if not kind.installed:
        pytest.skip(f"{kind.name} is not installed")
    with Classifier.open(bundle, tmp_path / "g", kind.name, threads) as classifier, ThreadPoolExecutor(8) as pool:
        classifier.enroll("mine", images[:2])
        alone = [said(classifier, image) for image in images]
        assert list(pool.map(lambda i: said(classifier, images[i % 16]), range(96))) == alone * 6


def test_what_is_taught_meanwhile_is_whole_and_seen_at_once(
    bundle: Bundle, images: list[np.ndarray], tmp_path: Path
) -> None:
    """Threads teach, undo and ask at once; each sees what it was told is stored, and none meets half a change."""
    with Classifier.open(bundle, tmp_path / "g", threads=2) as classifier:

        def teach(number: int) -> None:
            for i in range(4):
                classifier.enroll(f"class {number}", images[4 * number + i])
                assert f"class {number}" in {r.label for r in classifier.predict(images[0]).ranked}

        def ask(number: int) -> None:
            for i in range(24):
                found = classifier.predict(images[(i + number) % 16])
                assert sum(r.score for r in found.ranked) == pytest.approx(1, abs=1e-4)
                assert len({r.label for r in found.ranked}) == len(found.ranked)
                assert len(found.neighbours) == bundle.manifest.decision.k

        with ThreadPoolExecutor(7) as pool:
            for done in [pool.submit(teach, n) for n in range(4)] + [pool.submit(ask, n) for n in range(3)]:
                done.result()
        exemplars = len(bundle.exemplars().labels)
        assert classifier.rows == exemplars + 16
        assert {c: n for c, n in classifier.classes().items() if n} == {f"class {n}": 4 for n in range(4)}
    with Gallery.open_any(tmp_path / "g") as gallery:
        assert gallery.check() == []


# Forks


def in_child(work: Callable[[], object]) -> int:
    """Fork; return the child's exit code: 0 where `work` came back, 1 where it raised."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@FORKS
@pytest.mark.parametrize("kind", [LITERT, ONNX], ids=lambda kind: kind.name)
def test_a_child_answers_teaches_and_leaves_the_parents_gallery_alone(
    bundle: Bundle, images: list[np.ndarray], kind: EngineKind, tmp_path: Path
) -> None:
    if not kind.installed:
        pytest.skip(f"{kind.name} is not installed")
    with Classifier.open(bundle, tmp_path / "g", kind.name, 4) as classifier:
        classifier.enroll("parent", images[0])
        expected = [said(classifier, image) for image in images[:3]]

        def work() -> None:
            assert [said(classifier, image) for image in images[:3]] == expected
            classifier.enroll("child", images[1])
            assert classifier.classes()["child"] == 1
            classifier.close()

        assert in_child(work) == 0
        assert classifier.classes()["child"] == 1
        classifier.enroll("parent", images[2])
        assert in_child(work) == 1  # its first assertion: other things are taught by now
    with Gallery.open_any(tmp_path / "g") as gallery:
        assert gallery.classes() == {"child": 1, "parent": 2}


@FORKS
def test_a_fork_amid_other_threads_work_leaves_nothing_locked(
    bundle: Bundle, images: list[np.ndarray], tmp_path: Path
) -> None:
    with Classifier.open(bundle, tmp_path / "g", threads=2) as classifier:
        over = threading.Event()

        def busy(number: int) -> None:
            while not over.is_set():
                classifier.predict(images[number])
                classifier.enroll(f"class {number}", images[number:])
                classifier.forget(f"class {number}")

        def work() -> None:
            classifier.predict(images[0])
            classifier.enroll("child", images[0])

        with ThreadPoolExecutor(3) as pool:
            workers = [pool.submit(busy, n) for n in range(3)]
            try:
                codes = [in_child(work) for _ in range(8)]
            finally:
                over.set()
            for worker in workers:
                worker.result()
        assert codes == [0] * 8
        assert classifier.classes()["child"] == 1
    with Gallery.open_any(tmp_path / "g") as gallery:
        assert gallery.check() == []


@FORKS
def test_a_childs_connection_is_its_own(tmp_path: Path) -> None:
    """SQLite believes that a connection holds locks which only the parent has: the child's would not be respected."""
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery:
        add(gallery, "cup", "a")
        there, go = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            try:
                gallery.classes()
                os.write(there[1], b".")
                os.read(go[0], 1)
                add(gallery, "cup", "b")  # into the log that the parent would have deleted when it closed
            except BaseException:
                os._exit(1)
            os._exit(0)
        os.read(there[0], 1)
    os.write(go[1], b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with Gallery.open_any(tmp_path / "g") as again:
        assert again.classes() == {"cup": 2}


@FORKS
def test_a_closed_gallery_stays_closed_in_a_child(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True)
    gallery.close()
    assert in_child(gallery.classes) == 1
    with pytest.raises(GalleryError, match="is closed"):
        gallery.classes()


@FORKS
def test_a_fork_holds_what_is_on_higher_floors_first_in_whatever_order_it_was_loaded() -> None:
    done: list[str] = []

    class Thing:
        """Something that a fork must find at rest."""

        def __init__(self, name: str) -> None:
            self.name = name

    def kind(floor: int) -> Forks[Thing]:
        return Forks(
            floor,
            lambda thing: done.append(f"hold {thing.name}"),
            lambda thing: done.append(f"release {thing.name}"),
            lambda things: done.extend(f"renew {thing.name}" for thing in things),
        )

    things = [Thing("middle"), Thing("high"), Thing("low")]
    for thing, floor in zip(things, (101, 102, 100), strict=True):
        kind(floor).add(thing)
    held = ["hold high", "hold middle", "hold low"]

    def work() -> None:
        assert done == [*held, *(f"{did} {name}" for name in ("low", "middle", "high") for did in ("renew", "release"))]

    assert in_child(work) == 0
    assert done == [*held, "release low", "release middle", "release high"]


# The pool


class Counted:
    """An engine that notes how many callers it has at once."""

    name, version, shape, widths = "counted", "1", (1, 1, 1), (1,)

    def __init__(self, gate: threading.Barrier | None = None) -> None:
        self.now = self.most = 0
        self._gate = gate
        self._lock = threading.Lock()

    def run(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        if self._gate is not None:
            self._gate.wait(PATIENCE)
        with self._lock:
            self.now -= 1
        return (image,)


@pytest.mark.parametrize("shared", [False, True])
def test_as_many_run_at_once_as_there_are_places(shared: bool) -> None:
    gate = threading.Barrier(3)
    made = [Counted(gate)]

    def another() -> Engine:
        made.append(Counted(gate))
        return made[-1]

    pool = EnginePool(made[0], another, 3, "m", shared=shared)
    with ThreadPoolExecutor(9) as callers:
        list(callers.map(lambda _: pool.run(np.zeros(1, np.uint8)), range(9)))
    assert [engine.most for engine in made] == ([3] if shared else [1, 1, 1])
    assert pool.copies == len(made)


def test_one_caller_makes_no_copies() -> None:
    pool = EnginePool(Counted(), Counted, 4, "m")
    for _ in range(5):
        pool.run(np.zeros(1, np.uint8))
    assert pool.copies == 1


def test_where_no_copy_can_be_made_callers_wait_for_those_there_are() -> None:
    def another() -> Engine:
        raise EngineError("no memory")

    engine = Counted()
    pool = EnginePool(engine, another, 4, "m")
    with ThreadPoolExecutor(8) as callers:
        assert len(list(callers.map(lambda _: pool.run(np.zeros(1, np.uint8)), range(64)))) == 64
    assert engine.most == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError("std::bad_alloc"), "counted has too little memory to run m (std::bad_alloc)"),
        (RuntimeError("Failed to allocate memory for 8589934592 bytes"), "too little memory"),
        (RuntimeError("node 3 (CONV_2D) failed\nand much more"), "failed while it ran m (node 3 (CONV_2D) failed);"),
        (ValueError("x" * 10_000), "failed while it ran m (xxx"),
    ],
)
def test_a_failing_engine_is_one_sentence_and_the_next_run_works(error: Exception, sentence: str) -> None:
    class Failing(Counted):
        def run(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
            if image.any():
                raise error
            return (image,)

    pool = EnginePool(Failing(), Failing, 1, "m")
    with pytest.raises(EngineError) as found:
        pool.run(np.ones(1, np.uint8))
    assert sentence in str(found.value)
    assert len(str(found.value)) < 400
    assert "\n" not in str(found.value)
    assert pool.run(np.zeros(1, np.uint8)) is not None


# The lock


def test_readers_go_together_and_a_writer_alone() -> None:
    sharing, together = Sharing(), threading.Barrier(5)
    inside: list[str] = []

    def read() -> None:
        with sharing.reading:
            together.wait(PATIENCE)  # all four are in, or this fails
            for _ in range(200):
                assert "writer" not in inside

    def write(number: int) -> None:
        with sharing.writing:
            assert not inside
            inside.append("writer")
            for _ in range(200):
                number += 1
            inside.remove("writer")

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            running = [pool.submit(read) for _ in range(4)]
            together.wait(PATIENCE)  # a writer that came sooner would go before a reader that is not in yet
            for done in running + [pool.submit(write, n) for n in range(4)]:
                done.result()


def test_a_writer_that_waits_goes_before_later_readers() -> None:
    sharing = Sharing()
    order: list[str] = []
    reading, leave = threading.Event(), threading.Event()

    def first() -> None:
        with sharing.reading:
            reading.set()
            leave.wait(PATIENCE)
            order.append("first reader")

    def write() -> None:
        with sharing.writing:
            order.append("writer")

    def later() -> None:
        with sharing.reading:
            order.append("later reader")

    threads = [threading.Thread(target=work) for work in (first, write, later)]
    threads[0].start()
    reading.wait(PATIENCE)
    threads[1].start()
    while not sharing._waiting:
        pass
    threads[2].start()
    leave.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["first reader", "writer", "later reader"]


def test_a_block_that_fails_lets_the_others_in() -> None:
    sharing = Sharing()
    for lock in (sharing.writing, sharing.reading):
        with pytest.raises(KeyError), lock:
            raise KeyError
    with sharing.writing, pytest.raises(ValueError, match="x"):
        raise ValueError("x")
    with sharing.reading:
        pass
