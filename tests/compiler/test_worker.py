"""The worker: calls in a second process, whose results, errors and end are as if there was none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tlc_edge.compiler import worker as worker_module
from tlc_edge.compiler.worker import ROOM, Worker
from tlc_edge.runtime.errors import BuildError, UsageError

HERE = os.getpid()


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "cores", lambda: 2)
    monkeypatch.setattr(worker_module, "free_memory", lambda: 2.0 * ROOM)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the functions below


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as made:
        yield made


def where(home: int) -> str:
    """Return where a call is made."""
    return "here" if os.getpid() == home else "apart"


def note(path: Path, word: str) -> None:
    with path.open("a") as file:
        file.write(f"{word} ")


def end_apart(home: int) -> str:
    if os.getpid() != home:
        os._exit(7)
    return "here"


def refuse(kind: type[Exception], said: str) -> None:
    raise kind(said)


class TwoPartsError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def fail_in_two_parts() -> None:
    raise TwoPartsError("this", "that")


def speak(said: str) -> str:
    print(said)
    os.write(1, said.encode())
    return said


def gone(pid: int) -> bool:
    """Return whether a process has ended: nobody may have asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_calls_are_made_in_another_process_in_their_order(worker: Worker) -> None:
    image = np.arange(300_000, dtype=np.uint8)  # more than a pipe holds
    sums = [worker.start(np.add, image, np.uint8(i)) for i in range(3)]
    assert worker.start(where, HERE).result() == "apart"
    assert worker.running
    for i, pending in enumerate(sums):
        np.testing.assert_array_equal(pending.result(), image + np.uint8(i))


def test_what_is_next_goes_before_all_that_waits(worker: Worker, tmp_path: Path) -> None:
    said = tmp_path / "said"
    worker.start(where, HERE).result()
    begun = worker.start(time.sleep, 1)  # so that the others wait
    calls = [worker.start(note, said, "second"), worker.start_next(note, said, "first")]
    calls += [worker.start(note, said, "third")]
    for pending in (begun, *calls):
        pending.result()
    assert said.read_text() == "first second third "


def test_an_error_comes_as_it_was_raised_and_the_next_call_is_made(worker: Worker) -> None:
    calls = [worker.start(refuse, kind, f"{kind.__name__} said so") for kind in (BuildError, UsageError, MemoryError)]
    after = worker.start(where, HERE)
    for pending, kind in zip(calls, (BuildError, UsageError, MemoryError), strict=True):
        with pytest.raises(kind, match=f"^{kind.__name__} said so$"):
            pending.result()
    assert after.result() == "apart"


def test_an_error_that_cannot_be_sent_keeps_its_name_and_its_words(worker: Worker) -> None:
    with pytest.raises(Exception, match=r"^this and that$") as caught:
        worker.start(fail_in_two_parts).result()
    assert type(caught.value).__name__ == "TwoPartsError"


def test_what_a_call_prints_is_not_taken_for_its_answer(worker: Worker, capfd: pytest.CaptureFixture[str]) -> None:
    assert worker.start(speak, "hello").result() == "hello"
    assert capfd.readouterr().out == ""


def test_a_lost_worker_makes_each_call_again_here_and_takes_no_more(worker: Worker) -> None:
    calls = [worker.start(end_apart, HERE), worker.start(where, HERE)]
    assert [pending.result() for pending in calls] == ["here", "here"]
    assert not worker.apart
    assert worker.start(where, HERE).result() == "here"


def test_what_cannot_be_sent_or_found_is_called_here_and_the_worker_goes_on(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worker.start(lambda: os.getpid()).result() == HERE
    monkeypatch.setitem(sys.modules, "only_here", sys.modules[__name__])
    monkeypatch.setattr(where, "__module__", "only_here")
    assert worker.start(where, HERE).result() == "here"
    monkeypatch.undo()
    assert worker.start(where, HERE).result() == "apart"


def test_a_worker_that_cannot_be_started_is_done_without(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert worker.start(where, HERE).result() == "here"
    assert not worker.running


@pytest.mark.parametrize(("cores", "threads", "free"), [(1, 0, ROOM * 2.0), (2, 1, ROOM * 2.0), (2, 0, ROOM / 2)])
def test_one_after_the_other_on_one_core_or_thread_or_with_little_memory(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, free: float
) -> None:
    monkeypatch.setattr(worker_module, "cores", lambda: cores)
    monkeypatch.setattr(worker_module, "free_memory", lambda: free)
    made: list[int] = []
    with Worker(threads) as alone:
        pending = alone.start(made.append, 1)
        assert not alone.apart
        assert made == []  # only when it is asked for
        pending.result()
        pending.result()
    assert made == [1]
    assert not alone.running


def test_leaving_its_block_ends_it_in_the_middle_of_a_call() -> None:
    with Worker() as worker:
        pid = worker.start(os.getpid).result()
        waiting = worker.start(time.sleep, 600), worker.start(where, HERE)
        assert worker.running
    assert not worker.running
    assert all(pending.running for pending in waiting)
    assert gone(pid)


def test_it_ends_with_a_build_that_is_killed() -> None:
    code = (
        "import os, signal, sys, time\n"
        "from tlc_edge.compiler import worker\n"
        "worker.cores, worker.free_memory = lambda: 2, lambda: 1e12\n"
        "made = worker.Worker()\n"
        "print(made.start(os.getpid).result(), flush=True)\n"
        "made.start(time.sleep, 600)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    for _ in range(3000):
        if gone(pid):
            break
        time.sleep(0.1)
    assert gone(pid)
