"""Commands that are stopped: by Ctrl-C with one line and nothing half-written, by a power cut with nothing lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_runs import COMMAND, apart, here

from tlc_edge.runtime import Classifier, Gallery

LINE = "Interrupted; nothing was left half-written."


@contextmanager
def running(*args: object) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([*COMMAND, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with child:
        try:
            yield child
        finally:
            child.kill()


def wait_for_libraries(child: subprocess.Popen[bytes]) -> None:
    """Return when the command has begun to load numpy: Python's own start, before any of our lines, is not ours."""
    maps = Path(f"/proc/{child.pid}/maps")
    while child.poll() is None and b"numpy" not in maps.read_bytes():
        time.sleep(0.002)


def let_work(child: subprocess.Popen[bytes], seconds: float) -> None:
    """Return when the command has worked for so long: on a busy machine that takes longer, and it is as far then."""
    clock = (~child.pid << 3) | 2  # the processor time of another process, see clock_getcpuclockid(3)
    start = time.clock_gettime(clock)
    while child.poll() is None and time.clock_gettime(clock) - start < seconds:
        time.sleep(0.0005)


def feed(pipe: Path, data: bytes) -> None:
    """Give an image through a named pipe; returns when the command has opened it and taken the bytes."""
    with pipe.open("wb") as out:
        out.write(data)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """An image that the command waits for: when someone opens it to write, the command is at that place."""
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    return path


@pytest.fixture
def images(photos: Path) -> list[Path]:
    return [photos / "3" / f"{i}.png" for i in range(4)]


@pytest.mark.parametrize("words", [["predict", []], ["enroll", ["mug"]]], ids=lambda words: words[0])
def test_ctrl_c_while_it_waits_for_an_image(
    bundle_path: Path, images: list[Path], pipe: Path, words: tuple[str, list[str]]
) -> None:
    command, label = words
    with running(command, bundle_path, *label, *images, pipe) as child, pipe.open("wb"):
        child.send_signal(signal.SIGINT)
        out, err = child.communicate()
    assert child.returncode == 1
    assert err.decode().split("\n") == ["", LINE, ""]
    assert out.count(b"\n") == (len(images) if command == "predict" else 0)
    assert sorted(p.name for p in bundle_path.parent.iterdir() if p != pipe) == ["photos.tlc"]


@pytest.mark.parametrize("command", ["predict", "enroll"])
def test_ctrl_c_at_random_moments(bundle_path: Path, images: list[Path], command: str) -> None:
    """From the first library that loads to the last line: a message or the work done, never a traceback."""
    rng = random.Random(command)
    for number in range(8):
        label = [f"class {number}"] if command == "enroll" else []
        with running(command, bundle_path, *label, *images) as child:
            wait_for_libraries(child)
            let_work(child, rng.uniform(0, 0.6))
            child.send_signal(signal.SIGINT)
            out, err = child.communicate()
        said = err.decode()
        assert child.returncode in (0, 1), said
        assert "Traceback" not in said
        if child.returncode == 0:
            # A third line of enroll's tells of base classes, where the new one takes some of their examples.
            assert out.count(b"\n") in ([len(images)] if command == "predict" else [2, 3])
        else:
            # Between enrolling and its last line, `enroll` tells its warnings.
            *warnings, last = said.strip().split("\n")
            assert last == LINE
            assert all(not line or (command == "enroll" and line.startswith("Warning: ")) for line in warnings)
        done = whole(bundle_path)
        assert set(done.values()) <= {len(images)}
        assert child.returncode or command == "predict" or f"class {number}" in done


def whole(bundle_path: Path) -> dict[str, int]:
    """Return what the gallery holds after checking every page of it; nothing where there is none."""
    where = Path(f"{bundle_path}.gallery")
    gallery = Gallery.open_any_if_exists(where)
    if gallery is None:
        return {}
    with gallery:
        assert gallery.check() == []
        return gallery.classes()


def test_what_enroll_said_is_done_survives_a_kill_at_that_moment(bundle_path: Path, images: list[Path]) -> None:
    for number, image in enumerate(images):
        with running("enroll", bundle_path, f"class {number}", image) as child:
            assert child.stdout is not None
            said = child.stdout.readline()
            child.kill()
        assert said == f"class {number}: 1 example added\n".encode()
    found = apart("predict", bundle_path, *images, "--json").json()["results"]
    for number, result in enumerate(found):
        near = {n["label"]: n["similarity"] for n in reversed(result["neighbours"])}
        assert near[f"class {number}"] > 0.999


def test_what_the_library_enrolled_survives_a_kill_too(bundle_path: Path, images: list[Path]) -> None:
    script = (
        "import os, sys\nfrom tlc_edge.runtime import Classifier\n"
        "Classifier.open(sys.argv[1]).enroll('mug', sys.argv[2:])\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(bundle_path), *map(str, images[:3])], check=False)
    assert done.returncode == -signal.SIGKILL
    found = apart("predict", bundle_path, images[0], "--json").json()["results"]
    assert found[0]["label"] == "mug"
    assert apart("gallery", "list", bundle_path, "--json").json()["classes"] == {"mug": 3}


def test_killed_while_it_enrols_the_gallery_holds_all_of_it_or_nothing(
    bundle_path: Path, images: list[Path], pipe: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(1)
    outcomes = set()
    for number in range(10):
        before = whole(bundle_path)
        with running("enroll", bundle_path, f"class {number}", *images[:2], pipe) as child:
            feed(pipe, images[2].read_bytes())
            let_work(child, rng.uniform(0, 0.05))  # inference, the gallery's making, the transaction, the closing
            child.kill()
        after = whole(bundle_path)
        outcomes.add(f"class {number}" in after)
        assert after in (before, before | {f"class {number}": 3})
        # The commands that look at it take an unfinished file for one that nobody has taught yet.
        for command in (["gallery", "list"], ["inspect"]):
            assert here(capfd, *command, bundle_path).code == 0
    with Classifier.open(bundle_path) as classifier:
        classifier.enroll("last", images)
        assert classifier.classes()["last"] == len(images)
    assert outcomes
