"""The examples do what they say, on the handwritten digits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

EXAMPLES = ROOT / "examples"


def run(name: str, *words: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_teach(bundle_path: Path, tmp_path: Path) -> None:
    images = [tmp_path / f"{i}.png" for i in range(3)]
    for i, image in enumerate(images):
        pixels = np.full((60, 80, 3), (200, 180, 160), np.uint8)
        pixels[10 + i : 50 + i, 20 : 55 + 2 * i] = (190, 30, 30)
        Image.fromarray(pixels).save(image)
    said = run("teach.py", bundle_path, "mug", *images, cwd=bundle_path.parent).splitlines()
    assert all(line.startswith(f"{image}: ") for line, image in zip(said[-4:-1], images, strict=True))
    assert all(": mug " in line for line in said[-4:-1]), said
    assert said[-1] == "taken back: 3 examples of mug"


def test_serve_http(bundle_path: Path, photos: Path) -> None:
    command = [sys.executable, EXAMPLES / "serve_http.py", str(bundle_path), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+/", server.stdout.readline())
            assert found is not None
            assert asked(found[0], (photos / "1" / "0.png").read_bytes()).keys() == {"label", "score", "unknown"}
            for body, status in ((b"no picture", 415), (b"", 411)):
                with pytest.raises(urllib.error.HTTPError) as raised:
                    asked(found[0], body)
                assert raised.value.code == status
                raised.value.close()
        finally:
            server.terminate()


def asked(address: str, body: bytes) -> dict[str, Any]:
    with urllib.request.urlopen(urllib.request.Request(address, body), timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.mark.slow
def test_build_and_check(tmp_path: Path) -> None:
    said = run("build_and_check.py", cwd=tmp_path).splitlines()
    assert said[0] == "sample:digits: handwritten digits of MNIST; 300 images of 10 classes"
    assert re.fullmatch(r"model\.\w+: \d+ % right, \d+ to \d+ %", said[1])
    assert (tmp_path / "example.tlc").is_file()


@pytest.mark.slow
def test_the_notebook(tmp_path: Path) -> None:
    pytest.importorskip("nbmake")
    shutil.copy(EXAMPLES / "first_build.ipynb", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbmake", "-p", "no:cacheprovider", "--overwrite", "first_build.ipynb"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    cells = json.loads((tmp_path / "first_build.ipynb").read_text("utf-8"))["cells"]
    shown = "".join("".join(o["data"]["text/plain"]) for o in cells[1]["outputs"] if o["output_type"] == "display_data")
    assert re.search(r"  write +\d+\.\d s  1/1", shown)


def test_the_notebook_is_kept_without_what_it_printed() -> None:
    for cell in json.loads((EXAMPLES / "first_build.ipynb").read_text("utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_a_notebook_shows_progress_in_one_place(built_bundle: Path, photos: Path, tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    code = f"import tlc_edge\ntlc_edge.verify({str(built_bundle)!r}, {str(photos)!r}).found.images"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = book.cells[0].outputs
    assert [o.output_type for o in outputs] == ["display_data", "execute_result"]
    assert re.search(r"  verify +\d+\.\d s  \d+/\d+", outputs[0].data["text/plain"])
    assert outputs[1].data["text/plain"] == "40"
