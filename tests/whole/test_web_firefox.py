"""A site in Firefox, for all that needs no camera: engine, resize, self-test, teaching by files, the gallery's file."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sites import in_node, write_mugs
from test_web_pixels import pictures

from tlc_edge.runtime import Bundle, Classifier

pytestmark = pytest.mark.slow

COUNT = 3  # pictures of each class
PICTURES = 24
LEVELS = 1e-5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of a mug, and the same in other colours upside down, which is a book for all that is known."""
    root = tmp_path_factory.mktemp("pictures")
    for name in ("mug", "book"):
        (root / name).mkdir()
    for path in write_mugs(root / "mug", COUNT):
        with Image.open(path) as image:
            turned = Image.merge("RGB", image.split()[::-1]).rotate(180)
        turned.save(root / "book" / path.name)
    (root / "doubtful").mkdir()
    shutil.copy(path, root / "doubtful")
    Image.new("RGB", (320, 240), (3, 2, 2)).save(root / "doubtful" / "dark.png")
    return [root / "mug", root / "book"]


@pytest.fixture(scope="module")
def seen(site: Path, folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox is None:
        pytest.skip("firefox is not here")
    if shutil.which("node") is None:
        pytest.skip("node is not here")
    asked = tmp_path_factory.mktemp("asked") / "asked.json"
    asked.write_text(json.dumps(pictures(PICTURES)[1]), encoding="utf-8")
    found: dict[str, Any] = in_node("firefox.mjs", firefox, site, asked, folders[0].parent / "doubtful", *folders)
    assert "Firefox" in found["browser"]
    return found


def test_it_is_taught_by_files_and_keeps_it(seen: dict[str, Any]) -> None:
    assert [page.split()[0] for page in seen["pages"]] == ["mug", "book"]
    assert (seen["taught"]["mug"], seen["taught"]["book"]) == (COUNT, COUNT)
    assert seen["offline"] == f"mug{COUNT}"
    assert seen["selftest"].startswith("Passed")


def test_it_says_what_looks_wrong_about_a_picture(seen: dict[str, Any]) -> None:
    assert seen["doubts"].startswith("mug: 1 pictures learned. There already: 1. Of one colour, or too dark")


def test_the_pixels_are_those_of_python(seen: dict[str, Any]) -> None:
    for wanted, said in zip(pictures(PICTURES)[0], seen["pixels"], strict=True):
        assert [base64.b64decode(one) for one in said] == [wanted, wanted]


def test_its_gallery_gives_tlc_the_same_answers(
    seen: dict[str, Any], folders: list[Path], web_bundle: Bundle, tmp_path: Path
) -> None:
    gallery = tmp_path / "taught.gallery"
    gallery.write_bytes(base64.b64decode(seen["gallery"]))
    with Classifier.open(web_bundle, gallery) as classifier:
        for folder, said in zip(folders, seen["answers"], strict=True):
            picture = min(folder.iterdir())
            answer = classifier.predict(picture)
            assert (said["label"], said["unknown"]) == (answer.label, answer.unknown) == (folder.name, False)
            assert said["score"] == pytest.approx(answer.score, abs=1e-4)
            assert said["embedding"] == pytest.approx(classifier.embed(picture).tolist(), abs=LEVELS)
