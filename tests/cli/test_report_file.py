"""The report out of a bundle, and what a build prints of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import Done, here
from test_report import Page

from tlc_edge.compiler import Options, build
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.bundle.bundle import write_bundle
from tlc_edge.runtime.bundle.report import write_report
from tlc_edge.runtime.errors import BundleError, UsageError

Tlc = Callable[..., Done]


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


class TestInspectReport:
    def test_the_page_beside_the_bundle(self, tlc: Tlc, bundle_path: Path) -> None:
        done = tlc("inspect", bundle_path, "--report")
        page = bundle_path.with_name("photos.tlc.report.html")
        assert (done.code, done.out) == (0, f"{page}: open it in a browser\n")
        assert page.read_bytes() == Bundle.open(bundle_path).read("report.html")
        # Once more is no mistake: it is there already.
        assert tlc("inspect", bundle_path, "--report").code == 0
        assert sorted(p.name for p in bundle_path.parent.iterdir()) == ["photos.tlc", "photos.tlc.report.html"]

    def test_where_it_was_told_and_for_machines(self, tlc: Tlc, bundle_path: Path, tmp_path: Path) -> None:
        page, data = tmp_path / "r.html", tmp_path / "r.JSON"
        assert tlc("inspect", bundle_path, "--report", "-o", page).code == 0
        assert page.read_bytes().startswith(b"<!doctype html>")
        done = tlc("inspect", bundle_path, "--report", "-o", data, "--json")
        assert done.json() == {"report": str(data), "bytes": data.stat().st_size}
        assert json.loads(data.read_bytes())["schema"] == 1

    def test_what_is_there_stays(self, tlc: Tlc, bundle_path: Path, tmp_path: Path) -> None:
        mine = tmp_path / "mine.html"
        mine.write_text("mine")
        said = tlc("inspect", bundle_path, "--report", "-o", mine).failed(2)
        assert said == f"Error: {mine} exists already; choose another -o or replace it with --force\n"
        assert mine.read_text() == "mine"
        assert tlc("inspect", bundle_path, "--report", "-o", mine, "--force").code == 0
        assert mine.read_bytes().startswith(b"<!doctype html>")

    def test_where_it_cannot_go(self, tlc: Tlc, bundle_path: Path, tmp_path: Path) -> None:
        said = tlc("inspect", bundle_path, "--report", "-o", tmp_path / "nowhere" / "r.html").failed(1)
        assert "r.html: cannot be written (No such file or directory); choose another -o" in said
        (tmp_path / "folder").mkdir()
        said = tlc("inspect", bundle_path, "--report", "-o", tmp_path / "folder", "--force").failed(1)
        assert "folder: cannot be written (Is a directory)" in said
        assert list((tmp_path / "folder").iterdir()) == []
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []

    def test_an_output_without_a_report(self, tlc: Tlc, bundle_path: Path, tmp_path: Path) -> None:
        said = tlc("inspect", bundle_path, "-o", tmp_path / "r.html").failed(2)
        assert "add --report" in said
        assert not (tmp_path / "r.html").exists()

    def test_from_a_folder_and_from_a_bundle_without_one(self, bundle: Bundle, tmp_path: Path) -> None:
        files = {name: data for name, data in bundle.files.items() if name != "manifest.json"}
        write_bundle(tmp_path / "b", bundle.manifest, files)
        assert write_report(Bundle.open(tmp_path / "b")) == tmp_path / "b.report.html"
        bare = Bundle(tmp_path / "b", bundle.manifest, {k: v for k, v in files.items() if not k.startswith("report")})
        with pytest.raises(BundleError, match=r"no file 'report\.html' in the bundle"):
            write_report(bare, tmp_path / "none.html")
        assert not (tmp_path / "none.html").exists()
        with pytest.raises(UsageError, match="exists already"):
            write_report(bundle, tmp_path / "b")


FIRST_LINES = (
    r".*: a folder per class; 40 images of 4 classes\n"
    r"\d+ % right on \d+ photos it never saw \(\d+ to \d+ %\)\nNext, on the device:"
)


class TestBuilt:
    def test_the_report_of_a_real_build(self, bundle: Bundle) -> None:
        found = json.loads(bundle.read("report.json"))
        metrics = bundle.manifest.metrics
        for file in found["files"]:
            figures = metrics["models"][file["file"]]
            assert file["accuracy"]["right"] == figures["correct"]
            assert 0 <= file["reliability"]["error"] <= 1
        assert found["held_out"] == metrics["held_out"] == sum(c["images"] for c in found["confusion"])
        assert found["images"] == metrics["images"]
        assert [c["label"] for c in found["classes"]] == list(bundle.manifest.labels)
        assert sum(c["train"] for c in found["classes"]) == metrics["images"]["train"]
        assert found["macs"] > 380_000_000  # the paper's 407 million less the classifier, plus neck and head
        assert len(found["map"]["points"]) == 40
        assert found["fingerprint"] == bundle.manifest.fingerprint
        assert "few-training-images" in {w["kind"] for w in found["warnings"]}
        assert [c["what"] for c in found["choices"]][:4] == ["backbone", "input", "shave", "neck"]
        page = Page(bundle.read("report.html"))
        assert page.images()
        assert "Too little data: 4 classes have fewer than 10 training images" in page.text

    def test_no_speed_and_no_time_is_in_it(self, bundle: Bundle) -> None:
        data = json.loads(bundle.read("report.json"))
        assert all("milliseconds" not in file for file in data["files"])
        assert data["target"]["expect"]  # what others measured, from the target's profile
        page = Page(bundle.read("report.html")).text
        assert "that others measured on such a device" in page
        assert all(bundle.manifest.created[:10] not in text for text in (page, json.dumps(data)))

    def test_the_build_prints_it(self, tlc: Tlc, photos: Path, tmp_path: Path) -> None:
        command = ["build", "--data", photos, "--target", "rpi", "--scheme", "float32", "--no-thumbnails", "-o"]
        done = tlc(*command, tmp_path / "a.tlc")
        assert done.code == 0
        for said in ("95 % interval", "ms here", "\n! Too little data: 4 classes have"):
            assert said in done.out
        assert re.match(
            FIRST_LINES,
            done.out,
        )
        assert max(len(line) for line in done.out.splitlines() if line.startswith("model")) <= 80
        assert "calibration error" not in done.out
        full = tlc(*command, tmp_path / "a.tlc", "--force", "-v").out
        for said in ("calibration error", "same answer as float", "embedding cosine", "limits: model.tflite takes"):
            assert said in full
        assert "biases: " not in full  # a float32 file has nothing to correct
        assert f"tlc inspect {tmp_path / 'a.tlc'} --report" in done.out
        page = Page(Bundle.open(tmp_path / "a.tlc").read("report.html"))
        assert page.images() == []
        done = tlc(*command, tmp_path / "b.tlc", "--json")
        (built,) = done.json()["bundles"]
        assert {w["kind"] for w in built["warnings"]} >= {"few-training-images", "uncertain"}
        for model in built["models"]:
            assert model["interval"][0] <= model["accuracy"] <= model["interval"][1]
            assert model["milliseconds"] > 0
            assert model["bias_correction"] is None
            assert 0 <= model["calibration_error"] <= 1

    def test_without_a_head_from_python(self, photos: Path, tmp_path: Path) -> None:
        options = Options(data=str(photos), targets=("rpi",), output=tmp_path / "n.tlc", head="none", scheme="float32")
        (built,) = build(options).bundles
        assert built.findings.labels == ("0", "1", "2", "3")
        assert built.findings.first.reliability is None
        assert len(built.milliseconds) == len(built.scores)
        page = Page(Bundle.open(built.path).read("report.html"))
        assert "The bundle has no classes of its own" in page.text
        assert json.loads(Bundle.open(built.path).read("report.json"))["labels"] == ["0", "1", "2", "3"]
