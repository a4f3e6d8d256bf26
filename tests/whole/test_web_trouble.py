"""What a page says where something is wrong: an address without https, an old browser, a full disk, doubtful photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sites import in_node, write_mugs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def seen(chromium: str, site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = in_node("trouble.mjs", chromium, site, *write_mugs(tmp_path_factory.mktemp("mugs"), 3))
    return found


def test_it_says_what_a_browser_lacks(seen: dict[str, Any]) -> None:
    assert "https://" in seen["http"]
    assert seen["old"].startswith("This browser lacks OffscreenCanvas. Use a newer one")


def test_a_browser_that_gives_other_answers_is_refused(seen: dict[str, Any]) -> None:
    assert seen["selftest"].startswith("this browser does not give the answers that the model gave where it was built")


def test_files_are_dropped_on_a_class_or_looked_at(seen: dict[str, Any]) -> None:
    assert seen["dropped"] == "mug3"
    assert seen["opened"].startswith("mug ")
    assert seen["camera"] == "environment"  # where there is no camera, the phone's own takes a picture


def test_what_looks_like_another_class_is_told_and_learned(seen: dict[str, Any]) -> None:
    assert seen["alike"] == "cup: 2 pictures learned. Also in mug: 2. Looks like mug: 2."


def test_a_full_disk_is_told_and_changes_nothing(seen: dict[str, Any]) -> None:
    assert "its storage is full, or fails; nothing was changed" in seen["full"]
    assert seen["after"] == seen["classes"]
