"""Examples on their way between galleries: export, import, merge, compaction, and what stays when it fails."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gallery_samples import PRINT, WIDTH, add, held, source, vectors
from PIL import Image

from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.errors import FingerprintError, GalleryError, UsageError
from tlc_edge.runtime.gallery import merge as merging
from tlc_edge.runtime.gallery.compact import compact
from tlc_edge.runtime.gallery.contact_sheet import write_sheet, write_thumbnails
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.merge import import_file, merge
from tlc_edge.runtime.gallery.migrate import migrate
from tlc_edge.runtime.gallery.receiver import StoredExample
from tlc_edge.runtime.gallery.transfer import export, new_file, stored, take_in

OTHER = "f" * 64


def opened(path: Path, create: bool = False) -> Gallery:
    return Gallery.open(path, PRINT, WIDTH, create=create)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Gallery]:
    """Return an open gallery of the given name and classes."""

    def made(name: str, **classes: str) -> Gallery:
        gallery = opened(tmp_path / name, create=True)
        for label, keys in classes.items():
            add(gallery, label, *keys)
        return gallery

    return made


def whole(gallery: Gallery) -> list[StoredExample]:
    return [e._replace(id=0) for e in stored(gallery)]


def alone(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if p.name.startswith(path.name))


# Export


def test_an_export_is_one_file_with_the_same_examples_and_no_history(
    make: Callable[..., Gallery], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with make("g", cup="abc", pen="bd") as gallery:
        gallery.add("mug", vectors("e"), [source("e", b"\xff\xd8picture")])
        gallery.forget("pen")
        gallery.rename("cup", "bowl")
        before = held(gallery)
        assert export(gallery, out) == {"bowl": 3, "mug": 1}
        assert held(gallery) == before
        assert gallery.undo().undone == "rename"
        gallery.rename("cup", "bowl")
        assert alone(out) == ["out"]
        with opened(out) as copy:
            assert whole(copy) == whole(gallery)
            assert (copy.check(), copy.limits(), held(copy)) == ([], Limits(), before)
            assert copy.thumbnail(4) == b"\xff\xd8picture"
            with pytest.raises(GalleryError, match="nothing to undo"):
                copy.undo()


def test_an_export_of_some_classes(make: Callable[..., Gallery], tmp_path: Path) -> None:
    with make("g", cup="ab", pen="c", mug="d") as gallery:
        assert export(gallery, tmp_path / "out", ["pen", " mug "]) == {"mug": 1, "pen": 1}
        with pytest.raises(UsageError, match="unknown class 'pan'; known: pen"):
            export(gallery, tmp_path / "more", ["pan"])
    assert not (tmp_path / "more").exists()


def test_an_export_overwrites_nothing_and_takes_over_from_a_killed_one(
    make: Callable[..., Gallery], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    (tmp_path / "fresh.part").write_text("rubbish of a killed export")
    with make("g", cup="ab") as gallery:
        with pytest.raises(GalleryError, match="out: exists already"):
            export(gallery, out)
        assert out.read_text() == "mine"
        export(gallery, tmp_path / "fresh")
    assert alone(tmp_path / "fresh") == ["fresh"]


def test_what_fails_half_way_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with new_file(tmp_path / "out", PRINT, WIDTH) as gallery:
            add(gallery, "cup", "a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with pytest.raises(GalleryError, match="no such folder"), new_file(tmp_path / "absent" / "out", PRINT, WIDTH):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_example_is_not_passed_on(make: Callable[..., Gallery], tmp_path: Path) -> None:
    with make("g", cup="ab") as gallery:
        gallery.close()
    with sqlite3.connect(tmp_path / "g") as db:
        db.execute("UPDATE examples SET scale = 7.5 WHERE id = 2")
    db.close()
    with opened(tmp_path / "g") as gallery, pytest.raises(GalleryError, match="example 2 is not as it was written"):
        export(gallery, tmp_path / "out")
    assert alone(tmp_path / "out") == []


# Taking in


def test_what_comes_is_one_operation_that_undo_takes_back(make: Callable[..., Gallery]) -> None:
    with make("mine", cup="ab") as mine, make("theirs", cup="bc", pen="d") as theirs:
        before = held(mine)
        intake = take_in(mine, stored(theirs), "import", "theirs")
        assert (intake.change.added, intake.change.skipped, intake.conflicts) == (2, 1, [])
        assert held(mine) == [*before, ("cup", "c"), ("pen", "d")]
        assert whole(mine)[2:] == [e for e in whole(theirs) if e.name != "b.jpg"]
        change = mine.undo()
        assert (change.undone, change.label, change.removed) == ("import", "theirs", 2)
        assert held(mine) == before
        assert held(theirs) == [("cup", "b"), ("cup", "c"), ("pen", "d")]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("first", [("cup", "a"), ("cup", "b"), ("pen", "c")]),
        ("last", [("cup", "a"), ("mug", "b"), ("pen", "c")]),
        ("both", [("cup", "a"), ("cup", "b"), ("mug", "b"), ("pen", "c")]),
    ],
)
def test_one_image_under_two_labels(make: Callable[..., Gallery], rule: str, expected: list[tuple[str, str]]) -> None:
    with make("mine", cup="ab") as mine, make("theirs", mug="b", pen="c") as theirs:
        before, loaded = held(mine), mine.load()
        intake = take_in(mine, stored(theirs), "import", "theirs", rule)
        assert [(c.name, c.held, c.incoming) for c in intake.conflicts] == [("b.jpg", ("cup",), "mug")]
        assert held(mine) == expected
        rows = mine.rows_since(loaded.cursor())
        assert rows.continues(loaded.cursor()) == (rule != "last")
        mine.undo()
        assert held(mine) == before


def test_an_import_that_replaced_a_label_is_undone_where_the_new_one_was_the_old_one_of_another(
    make: Callable[..., Gallery],
) -> None:
    """What came must go before what went comes back: no image has one label twice meanwhile."""
    with make("mine", bell="a") as mine, make("theirs", gong="a", bell="a") as theirs:
        before = held(mine)
        take_in(mine, stored(theirs), "import", "theirs", "last")
        assert held(mine) == [("gong", "a"), ("bell", "a")]
        assert mine.undo().undone == "import"
        assert (held(mine), mine.check()) == (before, [])
        assert mine.undo().undone == "add"


@pytest.mark.parametrize(("rule", "chimes"), [("first", True), ("last", False), ("both", True)])
@pytest.mark.parametrize("order", ["bell gong", "gong bell"])
def test_a_file_is_in_no_conflict_with_itself(
    make: Callable[..., Gallery], rule: str, chimes: bool, order: str
) -> None:
    both = dict.fromkeys(order.split(), "a")
    with make("empty") as empty, make("mine", bell="b", chime="a") as mine, make("theirs", **both) as theirs:
        assert take_in(empty, stored(theirs), "import", "theirs", rule).conflicts == []
        assert sorted(held(empty)) == [("bell", "a"), ("gong", "a")]
        intake = take_in(mine, stored(theirs), "import", "theirs", rule)
        assert [c.held for c in intake.conflicts] == ([("chime",)] if rule == "last" else [("chime",)] * 2)
        new = [("bell", "a"), ("gong", "a")] if rule != "first" else []
        assert sorted(held(mine)) == sorted([("bell", "b"), *new, *([("chime", "a")] if chimes else [])])
        # A label that both have stays, whatever else comes for the image.
        assert take_in(empty, stored(theirs), "import", "theirs", rule).change.skipped == 2


def test_an_unknown_rule_and_nothing_new_change_nothing(make: Callable[..., Gallery]) -> None:
    with make("mine", cup="ab") as mine, make("theirs", cup="a") as theirs:
        with pytest.raises(UsageError, match="'newest', expected one of first, last, both"):
            take_in(mine, stored(theirs), "import", "theirs", "newest")
        assert take_in(mine, stored(theirs), "import", "theirs").change.skipped == 1
        assert mine.undo().undone == "add"


def test_a_limit_holds_for_what_comes_and_keeps_what_it_stands_for(make: Callable[..., Gallery]) -> None:
    with make("mine") as mine, make("theirs", cup="abcdefgh") as theirs:
        theirs.limit(Limits(4, 0))
        mine.limit(Limits(3, 0))
        change = take_in(mine, stored(theirs), "import", "theirs").change
        assert (change.added, change.gone, change.classes) == (4, 1, {"cup": 3})
        assert sum(e.stands_for for e in stored(mine)) == 8


# Compaction


def test_compaction_keeps_the_examples_and_gives_the_space_back(tmp_path: Path) -> None:
    path = tmp_path / "g"
    with opened(path, create=True) as gallery:
        gallery.limit(Limits(30, 0))
        for i in range(40):
            gallery.add("cup", vectors(f"{i}"), [source(f"{i}", bytes([i]) * 9000)])
        gallery.add("pen", vectors("p"), [source("p", bytes(500_000))])
        gallery.forget("pen")
        before, loaded = whole(gallery), gallery.load()
        with opened(path) as reader:
            done = compact(gallery)
            assert whole(reader) == before
        assert done.after < 400_000 < 800_000 < done.before
        assert path.stat().st_size == done.after
        assert (whole(gallery), gallery.check(), gallery.limits()) == (before, [], Limits(30, 0))
        assert not gallery.rows_since(loaded.cursor()).continues(loaded.cursor())
        with pytest.raises(GalleryError, match="nothing to undo"):
            gallery.undo()
        add(gallery, "cup", "new")
        assert int(gallery.load().ids[-1]) > int(loaded.ids[-1])  # no number is used twice
        assert gallery.undo().undone == "add"
    with Gallery.open(path, PRINT, WIDTH, read_only=True) as reader, pytest.raises(GalleryError, match="reading only"):
        compact(reader)


# With a bundle


@pytest.fixture
def taught(bundle_path: Path, photos: Path) -> Bundle:
    """A bundle with a gallery of three images in two classes."""
    with Classifier.open(bundle_path) as classifier:
        classifier.enroll("seven", [photos / "0" / "0.png", photos / "0" / "1.png"])
        classifier.enroll("eight", [photos / "1" / "0.png"])
    return Bundle.open(bundle_path)


def foreign(bundle: Bundle) -> Bundle:
    """The same bundle as one of another model."""
    return replace(bundle, manifest=replace(bundle.manifest, fingerprint=OTHER))


def of(bundle: Bundle, path: Path) -> Gallery:
    return Gallery.open(path, bundle.manifest.fingerprint, bundle.manifest.embedding_width)


def test_an_import_of_the_same_model_brings_the_vectors_as_they_are(taught: Bundle, tmp_path: Path) -> None:
    mine = tmp_path / "photos.tlc.gallery"
    out = tmp_path / "export"
    with of(taught, mine) as gallery:
        export(gallery, out)
        before = whole(gallery)
    mine.unlink()
    done = import_file(taught, out)
    assert (done.path, done.added, done.embedded, done.classes) == (mine, 3, 0, {"eight": 1, "seven": 2})
    assert (done.conflicts, done.more_conflicts) == ((), 0)
    assert import_file(taught, out).duplicates == 3
    with of(taught, mine) as gallery:
        assert whole(gallery) == before
    with pytest.raises(GalleryError, match="this is the gallery itself"):
        import_file(taught, mine)
    with pytest.raises(GalleryError, match="no such gallery"):
        import_file(taught, tmp_path / "absent")


def test_an_import_of_another_model_embeds_the_thumbnails_again(taught: Bundle, tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "photos.tlc.gallery"
    width = taught.manifest.embedding_width
    with of(taught, theirs) as gallery:
        before = whole(gallery)
        rng = np.random.default_rng(0)
        gallery.add("bare", rng.normal(size=(1, width)).astype(np.float32), [source("no picture")])
    other = foreign(taught)
    done = import_file(other, theirs, mine)
    assert (done.added, done.embedded, done.lost, done.classes) == (3, 3, 1, {"eight": 1, "seven": 2})
    with of(other, mine) as gallery:
        after = whole(gallery)
    assert [e._replace(vector=b"", scale=0.0) for e in after] == [e._replace(vector=b"", scale=0.0) for e in before]
    for old, new in zip(before, after, strict=True):
        a, b = (np.frombuffer(e.vector, np.int8).astype(float) * e.scale for e in (old, new))
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.9  # a JPEG lies between
    assert alone(mine) == ["mine"]


def test_a_merge_ranks_the_files_as_they_are_named(taught: Bundle, tmp_path: Path) -> None:
    width, print_ = taught.manifest.embedding_width, taught.manifest.fingerprint
    files = [tmp_path / name for name in "abc"]
    for file, (label, keys) in zip(files, [("cup", "xy"), ("mug", "yz"), ("mug", "zw")], strict=True):
        with Gallery.open(file, print_, width, create=True) as gallery:
            gallery.add(label, vectors(*keys, width=width), [source(k) for k in keys])
    before = [file.read_bytes() for file in files]
    done = merge(taught, files, tmp_path / "out")
    assert (done.added, done.duplicates, done.classes) == (4, 1, {"cup": 2, "mug": 2})
    assert [(c.name, c.held, c.incoming) for c in done.conflicts] == [("y.jpg", ("cup",), "mug")]
    last = merge(taught, files, tmp_path / "last", "last")
    assert (last.removed, last.classes) == (1, {"cup": 1, "mug": 3})
    with of(taught, tmp_path / "last") as gallery:
        assert gallery.check() == []
    assert [file.read_bytes() for file in files] == before
    with pytest.raises(GalleryError, match="out: exists already"):
        merge(taught, files, tmp_path / "out")
    with pytest.raises(GalleryError, match="no such gallery"):
        merge(taught, [files[0], tmp_path / "absent"], tmp_path / "new")
    assert alone(tmp_path / "out") + alone(tmp_path / "new") == ["out"]


def test_a_folder_of_many_files_is_merged_one_after_the_other(
    taught: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    width, print_ = taught.manifest.embedding_width, taught.manifest.fingerprint
    folder = tmp_path / "fleet"
    folder.mkdir()
    with pytest.raises(GalleryError, match="no file in this folder ends with"):
        merge(taught, [folder], tmp_path / "none")
    for i in range(7):
        with Gallery.open(folder / f"{6 - i}.gallery", print_, width, create=True) as gallery:
            keys = ("all", f"{i}", f"{i + 1}")  # each shares two with others, one under another label
            gallery.add(f"c{i % 2}", vectors(*keys, width=width), [source(k) for k in keys])
    (folder / "notes.txt").write_text("no gallery")
    done: list[tuple[int, int]] = []
    whole_ = merge(taught, [folder], tmp_path / "whole", each=lambda d, t: done.append((d, t)))
    assert done == [(i, 7) for i in range(1, 8)]
    assert (whole_.added, whole_.duplicates, whole_.classes) == (9, 3, {"c0": 6, "c1": 3})
    monkeypatch.setattr(merging, "_FILES", 2)
    monkeypatch.setattr(merging, "MOST_CONFLICTS", 3)
    parts = merge(taught, sorted(folder.glob("*.gallery")), tmp_path / "parts")
    with of(taught, tmp_path / "whole") as one, of(taught, tmp_path / "parts") as other:
        assert [e[1:] for e in whole(one)] == [e[1:] for e in whole(other)]
        assert other.limits() == Limits()
    assert (parts.conflicts, parts.more_conflicts) == (whole_.conflicts[:3], len(whole_.conflicts) - 3)


def test_a_merge_of_galleries_of_several_models(taught: Bundle, tmp_path: Path, photos: Path) -> None:
    one, two, out = tmp_path / "photos.tlc.gallery", tmp_path / "two", tmp_path / "out"
    other = foreign(taught)
    with Classifier.open(other, two, selftest=False) as classifier:
        classifier.enroll("nine", [photos / "2" / "0.png"])
    done = merge(taught, [one, two], out)
    assert (done.added, done.embedded, done.classes) == (4, 1, {"eight": 1, "nine": 1, "seven": 2})
    assert alone(out) == ["out"]
    with of(taught, out) as gallery:
        assert gallery.check() == []


# Migration


def body(path: Path) -> bytes:
    """Return a gallery's bytes but for SQLite's own header, which says how it was opened last."""
    return path.read_bytes()[100:]


def test_a_migration_brings_everything_but_the_history(taught: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "photos.tlc.gallery"
    with of(taught, path) as gallery:
        gallery.limit(Limits(7, 8))
        before = whole(gallery)
    raw = body(path)
    other = foreign(taught)
    with pytest.raises(FingerprintError, match="tlc gallery migrate"):
        of(other, path)
    with pytest.raises(GalleryError, match="nothing to migrate"):
        migrate(taught, path)
    done = migrate(other, path)
    assert (done.path, done.moved, done.lost, done.classes) == (path, 3, 0, {"eight": 1, "seven": 2})
    assert body(done.kept) == raw
    with of(other, path) as gallery:
        assert [e._replace(vector=b"", scale=0.0) for e in whole(gallery)] == [
            e._replace(vector=b"", scale=0.0) for e in before
        ]
        assert (gallery.limits(), gallery.check()) == (Limits(7, 8), [])
        with pytest.raises(GalleryError, match="nothing to undo"):
            gallery.undo()
    assert alone(path) == [path.name, done.kept.name]


def test_a_migration_goes_on_where_one_was_stopped(taught: Bundle, tmp_path: Path) -> None:
    path, other = tmp_path / "photos.tlc.gallery", foreign(taught)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        migrate(other, path, progress=stop)
    assert path.read_bytes() == before
    growing = path.with_name(f"{path.name}.{OTHER[:12]}.migrating")
    with of(other, growing) as gallery:
        there = gallery.load()
        assert len(there.ids) == 3
    with sqlite3.connect(growing) as db:  # marked, to see that it is not embedded again
        db.execute("UPDATE examples SET stands_for = 9 WHERE id = 1")
    db.close()
    assert migrate(other, path).moved == 3
    with of(other, path) as gallery:
        assert [e.stands_for for e in stored(gallery)] == [9, 1, 1]


def test_a_migration_forgets_what_was_forgotten_since_it_was_stopped(taught: Bundle, tmp_path: Path) -> None:
    path, other = tmp_path / "photos.tlc.gallery", foreign(taught)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(other, path, progress=stop)
    with of(taught, path) as gallery:
        gallery.forget("eight")
    assert migrate(other, path).classes == {"seven": 2}


def test_a_migration_waits_for_no_one_who_has_the_gallery_open(taught: Bundle, tmp_path: Path) -> None:
    path, other = tmp_path / "photos.tlc.gallery", foreign(taught)
    with of(taught, path) as user:
        user.forget("eight")
        with pytest.raises(GalleryError, match="in use by another process; stop it"):
            migrate(other, path)
        assert user.undo().undone == "forget"
    assert migrate(other, path).classes == {"eight": 1, "seven": 2}


def test_migrating_there_and_back_keeps_every_old_gallery(taught: Bundle, tmp_path: Path) -> None:
    path, other = tmp_path / "photos.tlc.gallery", foreign(taught)
    replaced = []
    for bundle in (other, taught, other, taught):
        replaced.append(body(path))
        assert body(migrate(bundle, path).kept) == replaced[-1]
    kept = [body(p) for p in tmp_path.glob("*.gallery.*")]
    assert all(raw in kept for raw in replaced)
    assert len(kept) == len(set(replaced))


# Pictures


def test_thumbnails_are_written_into_a_folder_per_class(make: Callable[..., Gallery], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with make("g", cup="a") as gallery:
        for label in ("pen", "../up/and away", ".."):
            gallery.add(label, vectors(label), [source(label, b"\xff\xd8" + label.encode())])
        assert write_thumbnails(gallery, out) == 3
    files = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert files == {
        "pen/2.jpg": b"\xff\xd8pen",
        "..%2Fup%2Fand away/3.jpg": b"\xff\xd8../up/and away",
        "%2E%2E/4.jpg": b"\xff\xd8..",
    }


def test_a_sheet_shows_every_example_and_needs_no_other_file(taught: Bundle, tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    with of(taught, tmp_path / "photos.tlc.gallery") as gallery:
        gallery.rename("eight", "<script>&")
        add_width = vectors("bare", width=gallery.width)
        gallery.add("bare", add_width, [source('"quoted"')])
        assert write_sheet(gallery, page) == 3
    text = page.read_text("utf-8")
    assert len(re.findall(r'src="data:image/jpeg;base64,[A-Za-z0-9+/=]+"', text)) == 3
    assert "<h2>&lt;script&gt;&amp; <small>1 example</small></h2>" in text
    assert "<h2>seven <small>2 examples</small></h2>" in text
    assert text.count("<figure") == 4
    assert not re.search(r"<script|(src|href)=\"(?!data:)", text)
    with pytest.raises(GalleryError, match="cannot be written"), of(taught, tmp_path / "photos.tlc.gallery") as gallery:
        write_sheet(gallery, page / "below")


def test_thumbnails_are_real_pictures(taught: Bundle, tmp_path: Path) -> None:
    with of(taught, tmp_path / "photos.tlc.gallery") as gallery:
        write_thumbnails(gallery, tmp_path / "out")
    shape = taught.manifest.preprocessing
    for file in (tmp_path / "out").rglob("*.jpg"):
        with Image.open(file) as image:
            assert image.size == (shape.width, shape.height)
