"""Other projects' clients, each in a virtual environment of its own that a test makes once and keeps."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

_SECONDS = 300  # in which an installation must be done


def client(config: pytest.Config, name: str, requirements: list[str], module: str) -> Path:
    """Return the Python of an environment with exactly `requirements`, made under pytest's cache; skip if it cannot be.

    Requirements are installed without their dependencies: the clients ask for more than they use.
    """
    assert config.cache is not None
    home = config.cache.mkdir("clients") / name
    python = home / "bin" / "python"
    ready = home / "ready.txt"
    wanted = "\n".join(requirements)
    with (home.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest's workers ask for one client at once
        if ready.is_file() and ready.read_text() == wanted:
            return python
        venv.create(home, clear=True, with_pip=False)
        command = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--no-deps",
            *requirements,
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{name}: not installed within {_SECONDS} s")
        if done.returncode:
            pytest.skip(f"{name} cannot be installed here: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
        tried = run(python, f"import {module}")
        if tried.returncode:
            pytest.skip(f"{name} cannot be imported here: {tried.stderr.strip().splitlines()[-1]}")
        ready.write_text(wanted)
        return python


def run(python: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a client's environment, and in nothing of this one."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [str(python), "-c", script, *arguments], capture_output=True, text=True, env=clean, check=False
    )
