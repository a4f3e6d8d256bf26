"""Ctrl-C at a real `tlc build`, in each kind of work it does: native imports, inference, the converter."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import COMMAND

# A shell that runs the tests in the background has Ctrl-C ignored, and its children inherit that.
_HEED = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


def maps(name: str) -> Callable[[subprocess.Popen[bytes], Path], bool]:
    """Return whether a shared library of that name has been loaded: TensorFlow's import takes seconds from there."""
    return lambda child, _log: name in Path(f"/proc/{child.pid}/maps").read_text()


def says(step: str) -> Callable[[subprocess.Popen[bytes], Path], bool]:
    """Return whether the command has said that it is done with a step."""
    return lambda _child, log: f"  {step} " in log.read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc to choose the moment")
@pytest.mark.parametrize(
    ("moment", "rest"),
    [
        pytest.param(maps("tensorflow"), 0.3, id="TensorFlow is being imported"),
        pytest.param(says("load TensorFlow"), 1.5, id="the trunk is lowered and run"),
        pytest.param(says("featurize"), 2.0, id="the int8 trunk is calibrated and converted"),
    ],
)
def test_ctrl_c(
    photos: Path, tmp_path: Path, moment: Callable[[subprocess.Popen[bytes], Path], bool], rest: float
) -> None:
    out, log = tmp_path / "out", tmp_path / "stderr"
    out.mkdir()
    command = ["build", "--data", str(photos), "--target", "rpi", "-o", str(out / "b.tlc"), "--cache", "off"]
    with log.open("wb") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-c", _HEED, *COMMAND, *command], stdout=subprocess.PIPE, stderr=stderr
        )
    with child:
        try:
            while child.poll() is None and not moment(child, log):
                time.sleep(0.02)
            time.sleep(rest)
            child.send_signal(signal.SIGINT)
            stdout, _ = child.communicate(timeout=120)  # not for ever, should it be stuck
        finally:
            child.kill()
    said = log.read_text()
    assert (child.returncode, stdout) == (1, b""), said
    assert said.endswith("Interrupted; nothing was left half-written.\n")
    assert "Traceback" not in said
    assert "ignored" not in said
    assert list(out.iterdir()) == []
