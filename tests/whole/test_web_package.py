"""The runtime in JavaScript as a package of npm: what it holds, and a page of one's own that uses it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT
from sites import in_node, write_mugs

NPM, NODE = shutil.which("npm"), shutil.which("node")
pytestmark = pytest.mark.skipif(NPM is None or NODE is None, reason="npm is not here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that the package is installed in."""
    done = subprocess.run(
        [NPM or "", "pack", str(ROOT / "web"), "--pack-destination", str(tmp_path), "--silent"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = tmp_path / "node_modules" / "tlc-edge"
    with tarfile.open(tmp_path / done.stdout.strip().splitlines()[-1]) as archive:
        archive.extractall(tmp_path, filter="data")
    installed.parent.mkdir()
    (tmp_path / "package").rename(installed)
    return tmp_path


def test_it_holds_the_runtime_alone_and_node_imports_it(folder: Path) -> None:
    installed = folder / "node_modules" / "tlc-edge"
    own = {p.relative_to(ROOT / "web").as_posix() for p in (ROOT / "web" / "runtime").rglob("*.js")}
    held = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    assert held == own | {"package.json", "README.md"}
    script = (
        'import { Classifier } from "tlc-edge"; import { resize } from "tlc-edge/runtime/images/resize.js";'
        "const size = { width: 2, height: 1 }, half = { width: 1, height: 1 };"
        "const pixels = [...resize(new Uint8Array([10, 20]), size, half, 1, '')];"
        "console.log(JSON.stringify([typeof Classifier.open, pixels]))"
    )
    (folder / "use.mjs").write_text(script, encoding="utf-8")
    done = subprocess.run([NODE or "", "use.mjs"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["function", [15]]


@pytest.mark.slow
def test_a_page_of_ones_own_learns_with_it(folder: Path, chromium: str, site: Path) -> None:
    shutil.copytree(site, folder / "site")
    found = in_node("own.mjs", chromium, folder, *write_mugs(folder, 3))
    assert found["before"] != "mug"
    assert (found["added"], found["after"]) == (3, "mug")
