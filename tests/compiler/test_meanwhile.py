"""What is made beside a step ends with it, and is never the reason why a build fails."""

from __future__ import annotations

import threading

import pytest

from tlc_edge.compiler import meanwhile as room
from tlc_edge.compiler.meanwhile import meanwhile, spare
from tlc_edge.runtime.progress import Count


@pytest.fixture(autouse=True)
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cores."""
    monkeypatch.setattr(room, "cores", lambda: 3)


def test_it_leaves_the_step_its_own_core_and_takes_no_more_than_is_allowed() -> None:
    assert [spare(threads) for threads in (0, 1, 2, 3, 8)] == [2, 0, 1, 2, 2]


def test_it_runs_beside_the_block_and_ends_at_its_next_count() -> None:
    began, done = threading.Event(), list[int]()

    def work(threads: int, count: Count) -> None:
        done.append(threads)
        while True:
            began.set()
            count(0, 0)

    with meanwhile(work, 0):
        assert began.wait(60)
        assert threading.current_thread() is threading.main_thread()
    assert done == [2]
    assert not [t for t in threading.enumerate() if t.name == "meanwhile"]


def test_without_a_thread_to_spare_nothing_is_done() -> None:
    done: list[int] = []
    with meanwhile(lambda threads, _count: done.append(threads), 1):
        pass
    assert done == []


def test_what_goes_wrong_beside_a_step_is_not_the_steps_and_its_own_errors_are() -> None:
    def work(_threads: int, _count: Count) -> None:
        raise MemoryError

    with meanwhile(work, 0):
        pass
    with pytest.raises(KeyboardInterrupt), meanwhile(work, 0):
        raise KeyboardInterrupt
    assert not [t for t in threading.enumerate() if t.name == "meanwhile"]
