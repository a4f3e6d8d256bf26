"""`tlc bench`: every step is measured, in figures that hold together, and nothing is left behind."""

from __future__ import annotations

import mmap
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from command_runs import apart, here
from test_classifier import beside

from tlc_edge.runtime import Bundle, Classifier, ImageError, UsageError
from tlc_edge.runtime.bundle.bundle import MANIFEST
from tlc_edge.runtime.bundle.manifest import to_json
from tlc_edge.runtime.doctor.bench import STEPS, bench, published
from tlc_edge.runtime.doctor.memory import peak, resident
from tlc_edge.targets import load_target


def test_every_step_is_measured(bundle_path: Path, photos: Path) -> None:
    images = [photos / "0" / "0.png", photos / "1" / "0.png"]
    counted: list[tuple[int, int]] = []
    found = bench(bundle_path, images, runs=6, threads=1, progress=lambda done, total: counted.append((done, total)))
    assert found.engine.startswith(Classifier.open(bundle_path).engine)
    assert (found.file, found.scheme, found.threads, found.runs) == ("model.tflite", "int8", 1, 6)
    assert found.images == tuple(map(str, images))
    assert counted == [(i, 6) for i in range(1, 7)]
    assert tuple(found.milliseconds) == STEPS
    for spread in found.milliseconds.values():
        assert 0 < spread.p50 <= spread.p95
    assert found.milliseconds["total"].p95 >= max(s.p50 for s in found.milliseconds.values())
    start = found.startup
    assert min(start.imports, start.opening, start.first_prediction) > 0
    assert start.total == start.imports + start.opening + start.first_prediction
    if resident() is not None:
        assert start.resident is not None
        assert start.peak is not None
        assert 10e6 < start.resident <= start.peak < 1e9
    assert beside(bundle_path) == {"photos.tlc"}


def test_enrolled_examples_are_searched_too(bundle_path: Path, photos: Path) -> None:
    image = photos / "0" / "0.png"
    before = bench(bundle_path, [image], runs=1).rows
    with Classifier.open(bundle_path) as classifier:
        classifier.enroll("mug", [image])
    assert bench(bundle_path, [image], runs=1).rows == before + 1
    assert bench(bundle_path, [image], runs=1, gallery=bundle_path.parent / "none").rows == before


def test_mistakes_are_told_before_anything_is_measured(bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    image = photos / "0" / "0.png"
    with pytest.raises(UsageError, match="runs is 0, expected at least 1"):
        bench(bundle_path, [image], runs=0)
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        bench(bundle_path, [image, tmp_path / "gone.png"])
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        bench(bundle_path, str(tmp_path / "gone.png"))  # one image alone is one
    with pytest.raises(ImageError, match=r"image of 4 bytes: not an image"):
        bench(bundle_path, [b"text"], runs=1)
    cut = tmp_path / "cut.png"
    cut.write_bytes(image.read_bytes()[:60])
    measured: list[int] = []
    with pytest.raises(ImageError, match=r"cut\.png: damaged"):
        bench(bundle_path, [image, cut], runs=1, progress=lambda done, _: measured.append(done))
    assert measured == []


def test_what_was_published_for_the_target_travels_in_the_bundle(bundle: Bundle, bundle_path: Path) -> None:
    expected = load_target("rpi").expect
    assert expected
    assert [asdict(f) for f in published(bundle.manifest.target)] == [asdict(f) for f in expected]


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        ({}, 0),
        ({"expect": "fast"}, 0),
        ({"expect": [{"what": "x", "milliseconds": 3, "source": "y"}, {"what": "x"}, 7, None]}, 1),
        ({"expect": [{"what": "x", "milliseconds": "soon", "source": "y"}]}, 0),
        ({"expect": [{"what": "x", "milliseconds": None, "source": "y"}]}, 0),
    ],
)
def test_a_manifests_record_may_hold_anything(record: dict[str, Any], kept: int) -> None:
    assert len(published(record)) == kept


def test_a_file_that_python_would_import_by_mistake_is_not(
    bundle_path: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "json.py").write_text("raise SystemExit('imported from the wrong place')")
    monkeypatch.chdir(folder)
    assert bench(bundle_path, [photos / "0" / "0.png"], runs=1).startup.total > 0


def test_the_command_for_people_and_for_machines(
    bundle_path: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = here(capfd, "bench", bundle_path, photos / "0" / "0.png", "--runs", 5, "--threads", 1)
    assert done.code == 0, done
    lines = done.out.splitlines()
    assert lines[0].startswith("model.tflite (int8) on ")
    assert lines[1] == f"5 predictions of {photos / '0' / '0.png'}"
    assert [line.split()[0] for line in lines[3:10]] == ["step", *STEPS]
    assert "in a fresh process: import" in done.out
    assert "published for Raspberry Pi 4 and 5, 64-bit, of other models and programs:" in lines
    assert sum(line.startswith("      https://") for line in lines) == len(load_target("rpi").expect)

    done = here(capfd, "bench", bundle_path, "--runs", 2, "--json")
    assert (done.code, done.err) == (0, "")
    document = done.json()
    assert tuple(document["milliseconds"]) == STEPS
    assert all(step.keys() == {"p50", "p95"} for step in document["milliseconds"].values())
    assert document["startup"].keys() == {"imports", "opening", "first_prediction", "total", "resident", "peak"}
    assert document["images"] == ["4000x3000 JPEG of a golden sample"]
    assert len(document["published"]) == len(load_target("rpi").expect)


def test_a_damaged_file_is_told_by_its_name(
    bundle_path: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes((photos / "0" / "0.png").read_bytes()[:60])
    done = here(capfd, "bench", bundle_path, photos / "1" / "0.png", cut, "--runs", 1)
    assert done.failed().startswith(f"Error: {cut}: ")
    assert done.out == ""


def test_a_bundle_without_published_figures_shows_none(
    bundle: Bundle, tmp_path: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As bundles of the first builds are."""
    folder = tmp_path / "old"
    old = replace(bundle.manifest, target={"name": "rpi", "title": "A Pi", "threads": 1})
    for name, data in {**bundle.files, MANIFEST: to_json(old)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    done = here(capfd, "bench", folder, photos / "0" / "0.png", "--runs", 1)
    assert done.code == 0, done
    assert "published" not in done.out


def test_an_image_from_standard_input(bundle_path: Path, photos: Path) -> None:
    done = apart("bench", bundle_path, "-", "--runs", 1, stdin=(photos / "0" / "0.png").read_bytes())
    assert done.code == 0, done
    assert "1 prediction of <stdin>" in done.out


def test_memory_is_that_of_this_process() -> None:
    now = resident()
    if now is None:
        pytest.skip("this system does not tell how much memory a process holds")
    with mmap.mmap(-1, 1 << 25) as block:  # not what was let go of before and is held still
        block.write(bytes(1 << 25))
        more, most = resident(), peak()
    assert more is not None
    assert most is not None
    assert more > now + (1 << 24)
    assert most >= more
