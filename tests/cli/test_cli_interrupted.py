"""Commands that are stopped: by Ctrl-C with one line and nothing half-written, by a power cut with nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_runs import COMMAND, apart, here
from pressing import script

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


def pressed(call: int, *words: object) -> tuple[int, str, list[str], int]:
    """Run `tlc` and press Ctrl-C at a call of a function; returns exit code, output, errors and how many calls came."""
    done = script(f"from tlc_edge.cli import main\nsent_at_call({call})\nmain()", *words)
    *said, calls = done.stderr.splitlines()
    return done.returncode, done.stdout, [line for line in said if line], int(calls)


@pytest.mark.parametrize("command", ["predict", "enroll"])
def test_ctrl_c_at_any_moment(bundle_path: Path, images: list[Path], command: str) -> None:
    """From the first library that loads to the last line: a message or the work done, never a traceback."""
    *_, calls = pressed(0, command, bundle_path, *(["first"] if command == "enroll" else []), *images)
    codes: list[int] = []
    for number in range(12):
        label = [f"class {number}"] if command == "enroll" else []
        code, out, said, _ = pressed(1 + calls * number // 11, command, bundle_path, *label, *images)
        codes.append(code)
        if code == 0:
            # A third line of enroll's tells of base classes, where the new one takes some of their examples.
            assert out.count("\n") in ([len(images)] if command == "predict" else [2, 3])
        else:
            assert (code, said.pop()) == (1, LINE)
        # Between enrolling and its last line, `enroll` tells its warnings.
        assert all(command == "enroll" and line.startswith("Warning: ") for line in said)
        done = whole(bundle_path)
        assert set(done.values()) <= {len(images)}
        assert code or command == "predict" or f"class {number}" in done
    assert codes[:8] == [1] * 8  # the work is done near the end only


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
    bundle_path: Path, images: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    text = "from tlc_edge.cli import main\nsent_at_call({}, signal.SIGKILL, 'Gallery.add')\nmain()"
    calls = int(script(text.format(0), "enroll", bundle_path, "first", *images[:3]).stderr.splitlines()[-1])
    outcomes: list[bool] = []
    for number in range(10):
        before = whole(bundle_path)
        at = 1 + calls * number // 10  # the transaction, the search beside it, the closing
        done = script(text.format(at), "enroll", bundle_path, f"class {number}", *images[:3])
        assert done.returncode == -signal.SIGKILL
        after = whole(bundle_path)
        outcomes.append(f"class {number}" in after)
        assert after in (before, before | {f"class {number}": 3})
        assert outcomes[-1] or f"class {number}" not in done.stdout
        # The commands that look at it take an unfinished file for one that nobody has taught yet.
        for command in (["gallery", "list"], ["inspect"]):
            assert here(capfd, *command, bundle_path).code == 0
    assert set(outcomes) == {False, True}, outcomes
    with Classifier.open(bundle_path) as classifier:
        classifier.enroll("last", images)
        assert classifier.classes()["last"] == len(images)
