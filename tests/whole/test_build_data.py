"""What a build says of its data: copies of one picture, what it assumed, what it did not compute again."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from command_runs import here
from PIL import Image

from tlc_edge.compiler.data.bundle_name import bundle_name
from tlc_edge.runtime import Bundle


def write_table(photos: Path, folder: Path) -> list[str]:
    """Write the photos as a table of pixels, two of them twice: once in its class, once in another."""
    rows: list[tuple[np.ndarray, str]] = []  # type: ignore[type-arg]
    for path in sorted(photos.rglob("*.png")):
        rows.append((np.asarray(Image.open(path)), path.parent.name))
    rows += [(np.rint(rows[3][0] * 0.9), "0"), (rows[12][0], "3")]
    (folder / "images.csv").write_text("".join(",".join(map(str, image.ravel().tolist())) + "\n" for image, _ in rows))
    (folder / "labels.csv").write_text("digit\n" + "".join(f"{label}\n" for _, label in rows))
    return ["--data", str(folder / "images.csv"), "--labels", str(folder / "labels.csv"), "--shape", "28,28,1"]


def test_duplicates_notes_and_cache(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"
    words = ["build", "--target", "desktop", "--scheme", "float32", "--cache", cache, *write_table(photos, tmp_path)]
    first = here(capfd, *words, "-o", tmp_path / "a.tlc", "--json")
    assert first.code == 0, first.err
    document = json.loads(first.out)
    assert [g["images"] for g in document["duplicates"]] == [
        ["images[12]", "images[41]"],
        ["images[3]", "images[40]"],
    ]
    assert [g["labels"] for g in document["duplicates"]] == [["1", "3"], ["0"]]
    assert [len(g["parts"]) for g in document["duplicates"]] == [1, 1]
    assert document["cached"] <= 1  # the second of the equal ones, where the first was written in time
    assert any("taken as pixels from 0 to 255" in note for note in document["notes"])
    figures = {"groups": 2, "images": 4, "in_several_classes": 1, "in_several_parts": 0}
    assert Bundle.open(tmp_path / "a.tlc").manifest.metrics["duplicates"] == figures

    again = here(capfd, *words, "-o", tmp_path / "b.tlc", "--head", "prototype")
    assert again.code == 0, again.err
    assert "42 images were seen before: their features come from the cache" in again.err
    assert "near-duplicates: 4 images show 2 pictures" in again.err
    assert "images[12], images[41]: one picture in the classes 1 and 3; a label is wrong" in again.err

    kept = json.loads(here(capfd, "cache", "info", "--cache", cache, "--json").out)
    with contextlib.closing(sqlite3.connect(next(cache.rglob("features-1.sqlite")))) as held:
        entries = held.execute("SELECT count(*) FROM entries").fetchone()[0]
    # Of 41 pictures, and of those 29 that train a copy and four looks at each; what is kept of the trunk, of held-out
    # images and of what no head changes comes on top.
    assert entries > 41 + 29 * 5
    assert (kept["folder"], kept["entries"]) == (str(cache), entries)
    assert f"{entries} entries" in here(capfd, "cache", "info", "--cache", cache).out
    assert json.loads(here(capfd, "cache", "clear", "--yes", "--cache", cache, "--json").out)["freed"] > 41 * 5000
    assert json.loads(here(capfd, "cache", "info", "--cache", cache, "--json").out)["entries"] == 0
    assert here(capfd, "cache", "info", "--cache", "off").out == "the cache is off\n"


def test_a_cache_that_cannot_be_used_only_makes_it_slower(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TLC_CACHE", str(tmp_path / "file"))
    words = ["build", "--target", "desktop", "--scheme", "float32", "--head", "prototype", "--data", photos]
    done = here(capfd, *words, "-o", tmp_path / "a.tlc")
    assert done.code == 0, done.err
    assert "the feature cache cannot be used" in done.err
    assert (tmp_path / "file").read_text() == "in the way"
    done = here(capfd, "cache", "info")
    assert (done.code, done.out) == (
        0,
        f"folder    {tmp_path / 'file'}\nfeatures  0 entries, 0 B of at most 2000.0 MB\n"
        "data      0 B of downloads and unpacked archives\n",
    )


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("photos", "photos.tlc"),
        ("some/pets.v2.tar.gz", "pets.v2.tlc"),
        ("https://example.org/a/pets.zip?x=1", "pets.tlc"),
        ("pixels.csv", "pixels.tlc"),
        ("sample:digits", "digits.tlc"),
        ("birds.2024", "birds.2024.tlc"),
    ],
)
def test_a_bundle_is_named_after_its_data(data: str, name: str) -> None:
    assert bundle_name(data) == name
