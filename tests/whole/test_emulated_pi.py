"""A bundle on a Raspberry Pi's own software, emulated: what it says there, and that it says where it cannot run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import ROOT

CANNOT = 75


def emulate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, **environment}
    command = ["bash", str(ROOT / "benchmarks" / "emulated_pi.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_the_bundle_works_with_the_software_of_a_pi(built_bundle: Path, tmp_path: Path) -> None:
    done = emulate(str(built_bundle), str(tmp_path / "cache"))
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    systems = re.split(r"^── (\w+)\n", done.stdout, flags=re.MULTILINE)[1:]
    said: Mapping[str, str] = dict(zip(systems[::2], systems[1::2], strict=True))
    assert list(said) == ["arm64", "armhf"]
    for system, machine in (("arm64", "aarch64"), ("armhf", "armv7l")):
        lines = said[system].splitlines()
        assert re.fullmatch(
            rf"Python 3\.11\.\d+ on {machine}, numpy 1\.24\.\d+, Pillow 9\.4\.\d+, click 8\.1\.\d+", lines[0]
        )
        assert any(re.match(r"model\.tflite on tflite-runtime 2\.14\.0: .*: passed$", line) for line in lines)
        assert "enrolled: thing 1" in lines
        assert any(line.startswith("00.png: thing ") for line in lines)
    assert done.stdout.endswith("all passed: arm64 armhf\n")


@pytest.mark.parametrize(
    ("arguments", "systems", "said"),
    [
        ((), "arm64", "usage: benchmarks/emulated_pi.sh BUNDLE [CACHE]"),
        (("none.tlc",), "arm64", "none.tlc: no such bundle"),
        ((__file__,), "arm64 mips", "there is no system mips; choose arm64 or armhf"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], systems: str, said: str) -> None:
    done = emulate(*arguments, SYSTEMS=systems)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"emulated_pi: {said}\n")


def test_where_there_is_no_debian_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "realpath"):
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    done = emulate(__file__, str(tmp_path / "cache"), PATH=str(tmp_path))
    assert done.returncode == CANNOT
    assert done.stderr == "emulated_pi: apt-get is not here; this needs a Debian machine\n"
    assert not (tmp_path / "cache").exists()
