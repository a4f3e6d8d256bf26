"""A site in Chromium, used as a person would: taught by holding a button, offline, exported to and from `tlc`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sites import in_node

from tlc_edge.cli.run import run
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits

pytestmark = pytest.mark.slow

WIDTH, HEIGHT, FRAMES = 320, 240, 40


def scenes() -> dict[str, list[Image.Image]]:
    """Three things that move a little, each before a wall of its own colour."""
    rng = np.random.default_rng(0)
    found: dict[str, list[Image.Image]] = {"red": [], "blue": [], "green": []}
    walls = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 160, 30)}
    for name, wall in walls.items():
        for _ in range(FRAMES):
            image = Image.new("RGB", (WIDTH, HEIGHT), wall)
            pen, (x, y) = ImageDraw.Draw(image), rng.integers(60, 100, 2).tolist()
            if name == "red":  # a mug
                pen.rectangle([x, y, x + 90, y + 110], fill="white")
                pen.ellipse([x + 70, y + 20, x + 130, y + 80], outline="white", width=14)
            elif name == "blue":  # a book
                pen.rectangle([x, y, x + 150, y + 100], fill=(240, 200, 80))
                pen.line([x + 75, y, x + 75, y + 100], fill="black", width=6)
            else:  # something that nobody taught
                for _ in range(60):
                    a, b = rng.integers(0, 300, 2).tolist()
                    pen.line([a, b, a + 20, b - 20], fill=tuple(rng.integers(0, 256, 3).tolist()), width=3)
            found[name].append(image)
    return found


def write_film(path: Path) -> None:
    """Write the scenes as a film that Chromium's fake camera shows again and again: YUV4MPEG2, 10 frames per second."""
    with path.open("wb") as out:
        out.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F10:1 Ip A1:1 C420jpeg\n".encode())
        for frames in scenes().values():
            for image in frames:
                y, cb, cr = image.convert("YCbCr").split()
                half = (WIDTH // 2, HEIGHT // 2)
                out.write(b"FRAME\n" + y.tobytes() + cb.resize(half).tobytes() + cr.resize(half).tobytes())


@pytest.fixture(scope="module")
def seen(
    chromium: str, site: Path, web_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("seen")
    film, gallery = out / "film.y4m", out / "taught.gallery"
    write_film(film)
    with Classifier.open(web_bundle, gallery) as classifier:
        classifier.enroll("lamp", [np.asarray(image) for image in scenes()["green"][:3]])
    with Gallery.open_any(gallery, read_only=False) as opened:
        opened.limit(Limits(2, 0))  # two of the three are one merged row
    return in_node("page.mjs", chromium, site, film, gallery, out), out


def learned(found: dict[str, Any]) -> None:
    """Check that a page learned two of the scenes, and knows that the third is neither."""
    assert int(found["taught"]["mug"]) >= 3
    assert int(found["taught"]["book"]) >= 3
    assert found["answers"]["red"].startswith("mug ")
    assert found["answers"]["blue"].startswith("book ")
    assert found["answers"]["green"].startswith("Unknown ")


def test_it_learns_by_holding_a_button_and_says_unknown(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    learned(found)
    assert found["errors"] == []


def test_a_frame_has_the_pixels_that_a_canvas_shows(seen: tuple[dict[str, Any], Path]) -> None:
    frames = seen[0]["frames"]
    assert (frames["kind"], frames["equal"]) == ("VideoFrame", True)
    assert frames["spread"] > 20


def test_pictures_can_be_removed_and_brought_back(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert int(found["removed"]["mug"]) == int(found["taught"]["mug"]) - 1
    assert found["reloaded"]["mug"] == found["taught"]["mug"]  # undone, and kept


def test_it_works_offline_and_in_one_tab(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert found["offline"] == found["reloaded"]
    assert found["offlineAnswer"].startswith("mug ")
    assert "another tab" in found["secondTab"]


def test_what_it_exports_tlc_opens_with_the_same_answers(seen: tuple[dict[str, Any], Path], web_bundle: Bundle) -> None:
    found, out = seen
    with Classifier.open(web_bundle, out / "exported.gallery") as classifier:
        assert classifier.classes()["mug"] == int(found["taught"]["mug"])
        for name in ("red.png", "blue.png"):
            answer = classifier.predict(out / name)
            assert found[name] == f"{answer.label} {round(answer.score * 100)} %"
    assert run(["gallery", "check", str(web_bundle.path), "--gallery", str(out / "exported.gallery")]) == 0


def test_it_opens_what_tlc_taught_and_refuses_what_is_none(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert found["imported"]["lamp"] == "2"
    assert "mug" not in found["imported"]
    assert found["afterBadImport"] == found["imported"]


def test_it_asks_nobody_else_fits_a_phone_and_can_be_read_out(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert found["foreign"] == []
    assert found["wide"].keys() == {"why", "about", "de", "ar", "class", "page"}
    assert all(wide <= 390 for wide in found["wide"].values()), found["wide"]
    assert found["serious"] == []


def test_it_speaks_three_languages_one_of_them_from_right_to_left(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert found["de"] == ["ltr", "Beibringen"]
    assert found["ar"] == ["rtl", "علّم"]


def test_why_shows_what_is_nearest(seen: tuple[dict[str, Any], Path]) -> None:
    assert seen[0]["why"]


def test_a_killed_browser_loses_nothing_that_was_acknowledged(chromium: str, site: Path) -> None:
    kills = 8
    found = in_node("kills.mjs", chromium, site, str(kills), "1")
    assert (found["kills"], found["lost"], found["damaged"]) == (kills, 0, 0)
    assert found["acknowledged"] > kills
