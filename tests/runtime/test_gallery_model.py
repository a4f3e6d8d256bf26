"""A gallery against lists that do the same in a few lines: every operation in any order, and every number it tells."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from gallery_samples import PRINT, WIDTH, add, source, vectors

from tlc_edge.runtime.errors import GalleryError
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.records import START, Change, ExampleSource

LABELS = ("cup", "pen", "mug", "hat")
IMAGES = "abcdefghij"

Rows = list[tuple[int, str, str]]
"""Of each example its number, its class and its image, in the order of enrolment."""


class Model:
    """A gallery without limits, as lists; what an operation has to tell is worked out before it is done."""

    def __init__(self) -> None:
        self.rows: Rows = []
        self.last = 0
        self.past: list[tuple[str, str, Rows]] = []

    def holds(self, label: str) -> list[str]:
        return [image for _, of, image in self.rows if of == label]

    def counts(self) -> dict[str, int]:
        return {label: len(self.holds(label)) for label in sorted(LABELS) if self.holds(label)}

    def keep(self, kind: str, label: str, before: Rows) -> None:
        self.past.append((kind, label, before))

    def add(self, label: str, images: str) -> Change:
        before, there = list(self.rows), self.holds(label)
        fresh = [image for image in dict.fromkeys(images) if image not in there]
        for image in fresh:
            self.last += 1
            self.rows.append((self.last, label, image))
        if fresh:
            self.keep("add", label, before)
        return Change("add", label, len(fresh), 0, len(images) - len(fresh), self.counts())

    def forget(self, label: str) -> Change:
        before, count = list(self.rows), len(self.holds(label))
        self.rows = [row for row in self.rows if row[1] != label]
        self.keep("forget", label, before)
        return Change("forget", label, 0, count, 0, self.counts())

    def remove(self, ids: list[int]) -> Change:
        before, labels = list(self.rows), {row[1] for row in self.rows if row[0] in ids}
        self.rows = [row for row in self.rows if row[0] not in ids]
        label = labels.pop() if len(labels) == 1 else ""
        self.keep("remove", label, before)
        return Change("remove", label, 0, len(set(ids)), 0, self.counts())

    def _relabel(self, ids: list[int], label: str) -> int:
        moved = 0
        for number in ids:
            at = next(i for i, row in enumerate(self.rows) if row[0] == number)
            _, _, image = self.rows[at]
            if image in self.holds(label):
                del self.rows[at]
            else:
                self.rows[at] = (number, label, image)
                moved += 1
        return moved

    def move(self, ids: list[int], label: str) -> Change:
        before, once = list(self.rows), list(dict.fromkeys(ids))
        elsewhere = [number for number in once if (number, label) not in [row[:2] for row in self.rows]]
        moved = self._relabel(elsewhere, label)
        self.keep("move", label, before)
        return Change("move", label, moved, 0, len(once) - moved, self.counts())

    def rename(self, old: str, new: str) -> Change:
        before, ids = list(self.rows), [row[0] for row in self.rows if row[1] == old]
        moved = self._relabel(ids, new)
        self.keep("rename", old, before)
        return Change("rename", new, moved, 0, len(ids) - moved, self.counts())

    def undo(self) -> Change:
        kind, label, before = self.past.pop()
        back = [row for row in before if row not in self.rows]  # gone, or of another class
        removed = [row for row in self.rows if row[0] not in [one[0] for one in before]]
        self.rows = before
        return Change("undo", label, len(back), len(removed), 0, self.counts(), undone=kind)


def numbers(change: Change) -> tuple[object, ...]:
    """What a change tells of what came of it; the number of the operation is the gallery's own."""
    return (change.kind, change.label, change.added, change.removed, change.skipped, change.gone, change.classes)


def step(chance: random.Random, gallery: Gallery, model: Model) -> tuple[Change, Change]:
    """Do the same to both."""
    known, ids = list(model.counts()), [row[0] for row in model.rows]
    what = chance.choice(("add", "add", "forget", "remove", "move", "rename", "undo"))
    label = chance.choice(LABELS)
    some = chance.choices(ids, k=chance.randint(1, 3)) if ids else []
    others = [row[0] for row in model.rows if row[0] in some and row[1] != label]
    if what == "forget" and known:
        gone = chance.choice(known)
        return gallery.forget(gone), model.forget(gone)
    if what == "remove" and ids:
        return gallery.remove(some), model.remove(some)
    if what == "move" and others:
        return gallery.move(some, label), model.move(some, label)
    if what == "rename" and known and label != (old := chance.choice(known)):
        return gallery.rename(old, label, merge=True), model.rename(old, label)
    if what == "undo" and model.past:
        return gallery.undo(), model.undo()
    images = "".join(chance.choices(IMAGES, k=chance.randint(1, 4)))
    return add(gallery, label, *images), model.add(label, images)


@pytest.mark.parametrize("seed", range(3))
def test_every_operation_does_and_tells_what_the_lists_do(tmp_path: Path, seed: int) -> None:
    chance, model = random.Random(seed), Model()
    with (
        Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery,
        Gallery.open(tmp_path / "g", PRINT, WIDTH) as reader,
    ):
        gallery.limit(Limits(0, 0))
        seen: dict[int, str] = {}
        cursor = START
        for _ in range(40):
            did, expected = step(chance, gallery, model)
            assert numbers(did) == numbers(expected)
            assert did.undone == expected.undone
            assert [(e.id, e.label, e.source_name[0]) for e in gallery.examples()] == model.rows
            assert gallery.classes() == gallery.taught() == model.counts()
            # Another process follows by what came and went, or is told to begin again.
            rows = reader.rows_since(cursor)
            if not rows.continues(cursor):
                seen, rows = {}, reader.load()
            for number in rows.removed.tolist():
                seen.pop(number, None)
            seen |= dict(zip(rows.ids.tolist(), rows.labels, strict=True))
            cursor = rows.cursor()
            assert seen == {number: label for number, label, _ in model.rows}
        while model.past:
            assert numbers(gallery.undo()) == numbers(model.undo())
            assert [(e.id, e.label, e.source_name[0]) for e in gallery.examples()] == model.rows
        with pytest.raises(GalleryError, match="nothing to undo in the last"):
            [gallery.undo() for _ in range(2)]  # the first takes the limits back
        assert gallery.check() == []


@pytest.mark.parametrize("seed", range(3))
def test_with_limits_nothing_that_was_taught_is_lost_or_counted_twice(tmp_path: Path, seed: int) -> None:
    """Rows become fewer; the images that they are of stay, and their number."""
    chance, taught = random.Random(seed), dict[str, dict[str, None]]()
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery:
        limits = Limits(chance.randint(1, 4), chance.randint(3, 8))
        gallery.limit(limits)
        rows = 0
        for _ in range(20):
            label = chance.choice(LABELS)
            images = "".join(chance.choices(IMAGES, k=chance.randint(1, 4)))
            did = add(gallery, label, *images)
            fresh = [i for i in dict.fromkeys(images) if i not in taught.get(label, {})]
            taught.setdefault(label, {}).update(dict.fromkeys(images))
            assert (did.added, did.skipped) == (len(fresh), len(images) - len(fresh))
            rows += did.added - did.gone
            assert sum(did.classes.values()) == rows == len(gallery.examples())
            assert max(did.classes.values()) <= limits.per_class
            assert rows <= max(limits.total, len(taught))
            assert gallery.taught() == {name: len(taught[name]) for name in sorted(taught)}
            for known in taught.values():
                assert gallery.labels_of([source(i).sha256 for i in known]) == [
                    tuple(sorted(other for other in taught if i in taught[other])) for i in known
                ]
        assert gallery.check() == []


def test_the_most_that_a_row_can_be_the_mean_of_is_what_every_runtime_can_count(tmp_path: Path) -> None:
    """Four bytes with a sign, in the file, in JavaScript and here."""
    with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery:
        gallery.limit(Limits(1, 0))
        for name, count in (("a", 2**31 - 3), ("b", 1), ("c", 1), ("d", 1)):
            example = ExampleSource(source(name).sha256, name, None)
            gallery.add("cup", vectors(name), [example])
            if name == "a":
                with gallery.writing() as db:
                    db.execute("UPDATE examples SET stands_for = ?", (count,))
        assert gallery.taught() == {"cup": 2**31 - 1}
        assert gallery.check() == []
