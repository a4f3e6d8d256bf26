"""Migrating: what people taught the old model, the new one learns from the thumbnails; nothing is lost on the way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlc_edge.runtime import Bundle, Classifier, Gallery, GalleryError
from tlc_edge.runtime.gallery.migrate import migrate
from tlc_edge.runtime.gallery.records import ExampleSource

OLD = "0123456789ab" + "c" * 52
WIDTH = 8


@pytest.fixture
def images(photos: Path, tmp_path: Path) -> list[bytes]:
    """Thumbnails as an old model kept them: JPEGs of its own input size."""
    found = []
    for i in range(6):
        path = tmp_path / f"{i}.jpg"
        Image.open(photos / "3" / f"{i}.png").convert("RGB").resize((96, 96)).save(path, quality=90)
        found.append(path.read_bytes())
        path.unlink()
    return found


def teach(path: Path, label: str, *thumbnails: bytes | None, fingerprint: str = OLD) -> None:
    """Enroll as the old model did, with vectors that mean nothing to the new one."""
    keys = [hashlib.sha256(t if t is not None else label.encode()).hexdigest() for t in thumbnails]
    vectors = np.random.default_rng(0).normal(size=(len(keys), WIDTH)).astype(np.float32)
    with Gallery.open(path, fingerprint, WIDTH, create=True) as gallery:
        gallery.add(
            label, vectors, [ExampleSource(k, f"{k[:4]}.jpg", t) for k, t in zip(keys, thumbnails, strict=True)]
        )


def held(path: Path) -> list[tuple[str, str]]:
    with Gallery.open_any(path) as gallery:
        assert gallery.check() == []
        return [(e.label, e.sha256) for e in gallery.examples()]


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_classes_are_kept_and_known_to_the_new_model(bundle: Bundle, bundle_path: Path, images: list[bytes]) -> None:
    path = bundle_path.with_name("photos.tlc.gallery")
    teach(path, "mug", *images[:2])
    teach(path, "cup", *images[2:4])
    teach(path, "mug", images[4])
    before = held(path)
    seen: list[tuple[int, int]] = []
    done = migrate(replace(bundle, path=bundle_path), progress=lambda d, t: seen.append((d, t)))
    assert (done.path, done.kept) == (path, bundle_path.with_name(f"photos.tlc.gallery.{OLD[:12]}"))
    assert (done.moved, done.lost, done.classes) == (5, 0, {"cup": 2, "mug": 3})
    assert seen[-1] == (5, 5)
    assert held(path) == held(done.kept) == before
    assert names(path.parent) == {"photos.tlc", "photos.tlc.gallery", done.kept.name}
    with Classifier.open(bundle_path) as classifier:
        for image, label in zip(images, ["mug", "mug", "cup", "cup", "mug"], strict=False):
            prediction = classifier.predict(image)
            assert (prediction.label, prediction.source) == (label, "gallery")
            assert prediction.neighbours[0].similarity > 0.99
    with Gallery.open(done.kept, OLD, WIDTH) as gallery:
        assert gallery.classes() == {"cup": 2, "mug": 3}


def test_what_has_no_thumbnail_is_counted_and_stays_in_the_old_file(
    bundle: Bundle, tmp_path: Path, images: list[bytes]
) -> None:
    path = tmp_path / "g"
    teach(path, "mug", images[0], None, b"no longer a JPEG")
    teach(path, "cup", None)
    done = migrate(bundle, path)
    assert (done.moved, done.lost, done.classes) == (1, 3, {"mug": 1})
    assert len(held(done.kept)) == 4


def test_what_was_forgotten_is_not_brought_back(bundle: Bundle, tmp_path: Path, images: list[bytes]) -> None:
    path = tmp_path / "g"
    teach(path, "mug", images[0])
    teach(path, "cup", images[1])
    with Gallery.open(path, OLD, WIDTH) as gallery:
        gallery.forget("cup")
    assert migrate(bundle, path).classes == {"mug": 1}


def test_there_must_be_something_to_migrate(bundle: Bundle, tmp_path: Path, images: list[bytes]) -> None:
    with pytest.raises(GalleryError, match="no such gallery"):
        migrate(bundle, tmp_path / "g")
    with Classifier.open(bundle, gallery=tmp_path / "g") as classifier:
        classifier.enroll("mug", images[:1])
    before = (tmp_path / "g").read_bytes()
    with pytest.raises(GalleryError, match="belongs to this bundle's model already, nothing to migrate"):
        migrate(bundle, tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == before
    assert names(tmp_path) == {"g"}


class Killed(BaseException):
    """Stands for the end of the process."""


def stopped_after(count: int) -> object:
    def progress(done: int, _total: int) -> None:
        if done > count:
            raise Killed

    return progress


def test_stopped_on_the_way_nothing_has_changed_and_the_next_run_ends_it(
    bundle: Bundle, tmp_path: Path, images: list[bytes]
) -> None:
    path = tmp_path / "g"
    for i, image in enumerate(images):
        teach(path, "mug" if i % 2 else "cup", image)
    before = held(path)
    for count in (0, 3, 5):
        with pytest.raises(Killed):
            migrate(bundle, path, progress=stopped_after(count))
        assert held(path) == before
        assert names(tmp_path) == {"g", f"g.{bundle.manifest.fingerprint[:12]}.migrating"}
    done = migrate(bundle, path)
    assert (done.moved, done.lost, done.classes) == (6, 0, {"cup": 3, "mug": 3})
    assert sorted(held(path)) == sorted(before)
    assert names(tmp_path) == {"g", done.kept.name}


def test_what_changed_between_two_runs_counts(bundle: Bundle, tmp_path: Path, images: list[bytes]) -> None:
    path = tmp_path / "g"
    teach(path, "mug", images[0])
    teach(path, "cup", images[1])
    teach(path, "mug", images[2])
    with pytest.raises(Killed):
        migrate(bundle, path, progress=stopped_after(2))
    with Gallery.open(path, OLD, WIDTH) as gallery:
        gallery.forget("cup")
    teach(path, "bowl", images[3])
    assert migrate(bundle, path).classes == {"bowl": 1, "mug": 2}


# Ends the process for good at the moment before the new file takes the old one's place.
KILLED_BEFORE_THE_SWAP = """
import os, sys
from pathlib import Path
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.gallery import migrate
sys.addaudithook(lambda event, args: os._exit(9) if event == "os.rename" and args[0].endswith(".migrating") else None)
migrate.migrate(Bundle.open(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_before_the_swap_it_can_be_run_again(
    bundle: Bundle, built_bundle: Path, tmp_path: Path, images: list[bytes]
) -> None:
    path = tmp_path / "g"
    teach(path, "mug", *images[:2])
    before = held(path)
    for _ in range(2):
        script = [sys.executable, "-c", KILLED_BEFORE_THE_SWAP, str(built_bundle), str(path)]
        assert subprocess.run(script, check=False).returncode == 9
        assert held(path) == before  # the old gallery, still whole and in its place
        with Gallery.open(path, OLD, WIDTH) as gallery:
            assert gallery.fingerprint == OLD
    done = migrate(bundle, path)
    assert (done.moved, done.classes) == (2, {"mug": 2})
    assert held(path) == held(done.kept) == before
    assert names(tmp_path) == {"g", f"g.{OLD[:12]}"}


def test_a_file_kept_earlier_is_never_replaced(bundle: Bundle, tmp_path: Path, images: list[bytes]) -> None:
    path = tmp_path / "g"
    kept = []
    for i, image in enumerate(images[:3]):
        path.unlink(missing_ok=True)
        teach(path, f"mug{i}", image)
        kept.append(migrate(bundle, path).kept)
    assert [k.name for k in kept] == [f"g.{OLD[:12]}", f"g.{OLD[:12]}.2", f"g.{OLD[:12]}.3"]
    assert [held(k)[0][0] for k in kept] == ["mug0", "mug1", "mug2"]


def test_examples_that_are_still_in_the_log_come_along(
    bundle: Bundle, built_bundle: Path, tmp_path: Path, images: list[bytes]
) -> None:
    path = tmp_path / "g"
    teach(path, "mug", images[0])
    (tmp_path / "cup.jpg").write_bytes(images[1])
    script = (
        "import os, sys\nsys.path.insert(0, sys.argv[2])\nfrom pathlib import Path\nfrom test_migrate import *\n"
        "gallery = Gallery.open(sys.argv[1], OLD, WIDTH)\nimage = Path(sys.argv[3]).read_bytes()\n"
        "gallery.add('cup', np.ones((1, WIDTH), np.float32), [ExampleSource('a' * 64, 'x', image)])\n"
        "os.kill(os.getpid(), 9)"
    )
    args = [str(path), str(Path(__file__).parent), str(tmp_path / "cup.jpg")]
    subprocess.run([sys.executable, "-c", script, *args], check=False)
    assert (tmp_path / "g-wal").stat().st_size > 0
    done = migrate(bundle, path)
    assert done.classes == {"cup": 1, "mug": 1}
    assert len(held(done.kept)) == 2
    assert names(tmp_path) == {"g", done.kept.name, "cup.jpg"}


def test_without_hard_links_the_old_file_is_copied(
    bundle: Bundle, tmp_path: Path, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory card's FAT knows none."""
    path = tmp_path / "g"
    teach(path, "mug", images[0])

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    done = migrate(bundle, path)
    assert held(done.kept) == held(path)
    assert names(tmp_path) == {"g", done.kept.name}


def test_where_nothing_can_be_written_the_gallery_stays(bundle: Bundle, tmp_path: Path, images: list[bytes]) -> None:
    path = tmp_path / "g"
    teach(path, "mug", images[0])
    (tmp_path / f"g.{bundle.manifest.fingerprint[:12]}.migrating").mkdir()
    with pytest.raises(GalleryError, match=r"\.migrating: not a file"):
        migrate(bundle, path)
    assert held(path)[0][0] == "mug"
    with Gallery.open(path, OLD, WIDTH) as gallery:
        assert gallery.classes() == {"mug": 1}
