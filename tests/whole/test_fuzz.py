"""The fuzz run of the loaders, where atheris is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is missing")
def test_the_loaders_refuse_whatever_they_are_given(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "fuzz_bundle.py"
    done = subprocess.run(
        [sys.executable, str(script), "-runs=50000", "-max_total_time=60", f"-artifact_prefix={tmp_path}/"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done" in done.stderr
