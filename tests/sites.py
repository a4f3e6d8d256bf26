"""A site, and the browsers that it is opened in; what is not here is a reason to skip."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.site.site import first_load, make_site, write_site
from tlc_edge.compiler.site.vendor import vendored
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.errors import BuildError

ROOT = Path(__file__).parent.parent
_MOST_LOADED = 7_500_000  # bytes
_SECONDS = 500


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser; its driver is brought from npm."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("chromium is not here")
    done = subprocess.run([str(ROOT / "tools" / "node")], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"what the test needs of npm cannot be had: {done.stderr.strip()[-200:]}")
    return found


@pytest.fixture(scope="session")
def web_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("web") / "digits.tlc"
    build(Options(data="sample:digits", targets=("web",), output=path, limit=600, max_drop=20))
    return Bundle.open(path)


@pytest.fixture(scope="session")
def libraries() -> dict[str, bytes]:
    """LiteRT.js and SQLite, by their names in a site."""
    try:
        return vendored(None, None)
    except BuildError as e:
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def site(web_bundle: Bundle, libraries: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    contents = make_site(web_bundle, libraries)
    # The model of a real bundle is 4 MB, and so is this one's.
    assert first_load(contents) <= _MOST_LOADED
    path = tmp_path_factory.mktemp("site") / "site"
    write_site(path, contents)
    return path


def in_node(script: str, *given: str | Path) -> Any:
    """Run a script of tests/web and return what it printed as JSON."""
    command = ["node", str(ROOT / "tests" / "web" / script), *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return json.loads(done.stdout)


def write_mugs(folder: Path, count: int) -> list[Path]:
    """Write pictures of a mug that moves a little."""
    paths: list[Path] = []
    for i in range(count):
        image, x = Image.new("RGB", (320, 240), (200, 30, 30)), 60 + 9 * i
        pen = ImageDraw.Draw(image)
        pen.rectangle([x, 70, x + 90, 180], fill="white")
        pen.ellipse([x + 70, 90, x + 130, 150], outline="white", width=14)
        paths.append(folder / f"mug{i}.png")
        image.save(paths[-1])
    return paths
