"""Ctrl-C at a real `tlc build`, in each kind of work it does: native imports, inference, the converter."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from command_runs import COMMAND

# Python runs this before the command, and before the build's worker: it presses Ctrl-C as soon as a function of that
# module runs in one of them, and as at a keyboard it is the command that gets it.
PRESS = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background ignores it
command = int(os.environ.setdefault("THE_COMMAND", str(os.getpid())))

def running():
    for frame in sys._current_frames().values():
        while frame is not None:
            yield frame.f_globals.get("__name__")
            frame = frame.f_back

def press():
    while MODULE not in running():
        time.sleep(0.001)
    os.kill(command, signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
"""


@pytest.mark.parametrize(
    "threads", [pytest.param("0", id="beside a worker"), pytest.param("1", id="in one process", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "module",
    [
        pytest.param("tensorflow", id="TensorFlow is being imported"),
        pytest.param("tensorflow.lite.python.convert", id="the trunk is lowered"),
        pytest.param("tensorflow.lite.python.optimize.calibrator", id="the int8 trunk is calibrated"),
        pytest.param("ai_edge_litert.interpreter", id="a lowered trunk runs"),
    ],
)
def test_ctrl_c(photos: Path, tmp_path: Path, module: str, threads: str) -> None:
    out, site = tmp_path / "out", tmp_path / "site"
    out.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(PRESS.replace("MODULE", repr(module)))
    command = ["build", "--data", str(photos), "--target", "rpi", "-o", str(out / "b.tlc"), "--cache", "off"]
    command += ["--threads", threads] if threads != "0" else []
    paths = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([*COMMAND, *command], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.endswith("Interrupted; nothing was left half-written.\n")
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
    assert list(out.iterdir()) == []
