"""The gallery in JavaScript beside the one in Python: one file, the same changes, the same history."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from tlc_edge.runtime.errors import TlcError
from tlc_edge.runtime.gallery import schema
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.records import ExampleSource
from tlc_edge.runtime.gallery.thinning import RUN

WIDTH, FINGERPRINT = 16, "f" * 64
Call = tuple[str, tuple[Any, ...]]


@pytest.fixture(scope="module")
def sqlite_module() -> str:
    """SQLite's WebAssembly build for Node.js."""
    done = subprocess.run([str(ROOT / "tools" / "node")], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"what the page needs of npm cannot be had: {done.stderr.strip()[-200:]}")
    return str(ROOT / "build" / "node" / "node_modules" / "@sqlite.org" / "sqlite-wasm" / "dist" / "node.mjs")


def images(seed: int, count: int) -> tuple[np.ndarray[Any, Any], list[ExampleSource]]:
    vectors = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    names = [f"Bild {seed}.{i} ü\ud83d" if i == 1 else f"{seed}.{i}.jpg" for i in range(count)]
    digests = [hashlib.sha256(f"{seed}.{i}".encode()).hexdigest() for i in range(count)]
    return vectors, [
        ExampleSource(d, n, b"jpeg" * 3 if i % 2 else None) for i, (d, n) in enumerate(zip(digests, names, strict=True))
    ]


def add(label: str, seed: int, count: int) -> Call:
    return "add", (label, *images(seed, count))


HISTORY: Sequence[Call] = (
    add("mug", 1, 5),
    add("  Tür\u0301 ", 2, 3),
    add("mug", 1, 7),  # five of them are there
    ("rename", ("mug", "cup", False)),
    add("mug", 3, 2),
    ("rename", ("mug", "cup", False)),  # exists
    ("rename", ("mug", "cup", True)),
    ("undo", ()),
    ("remove", ([2, 4],)),
    ("move", ([1, 3], "mug")),
    ("remove", ([99],)),  # not there
    ("forget", ("cup",)),
    ("undo", ()),
    ("undo", ()),
    ("undo", ()),
    ("move", ([1], "cup")),  # is there
    ("forget", ("no such",)),
    ("forget", ("Tu\u0308r\u0301",)),
    add("", 4, 1),
    add("a\nb", 4, 1),
    add("\U0001f600", 5, 2),
    add("\uffee", 6, 2),
)


def do(gallery: Gallery, calls: Sequence[Call]) -> list[Any]:
    said: list[Any] = []
    for method, args in calls:
        try:
            if method == "rename":
                said.append(gallery.rename(args[0], args[1], merge=args[2]))
            else:
                said.append(getattr(gallery, method)(*args))
        except TlcError as e:
            said.append(type(e).__name__)
    return said


def do_there(module: str, folder: Path, calls: Sequence[Call], before: Path | None) -> tuple[list[Any], Path]:
    """Do the same with JavaScript; return what it said, and the file."""
    steps, out = folder / "steps.json", folder / "out.gallery"
    document = {
        "fingerprint": FINGERPRINT,
        "width": WIDTH,
        "calls": [{"method": m, "args": _plain(m, a)} for m, a in calls],
    }
    steps.write_text(json.dumps(document), encoding="utf-8")
    command = ["node", str(ROOT / "tests" / "web" / "gallery.mjs"), module, str(steps), str(before or "-"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), out


def _plain(method: str, args: tuple[Any, ...]) -> list[Any]:
    if method != "add":
        return list(args)
    label, vectors, sources = args
    return [
        label,
        [base64.b64encode(v.tobytes()).decode() for v in vectors],
        [{"sha256": s.sha256, "name": s.name, "thumbnail": s.thumbnail and s.thumbnail.decode()} for s in sources],
    ]


def same(here: Any, there: Mapping[str, Any]) -> None:
    if isinstance(here, str):
        assert there == {"error": here}
        return
    assert (here.kind, here.label, here.added, here.removed, here.skipped, here.undone, here.gone) == (
        there["kind"],
        there["label"],
        there["added"],
        there["removed"],
        there["skipped"],
        there["undone"],
        there["gone"],
    )
    assert list(here.classes.items()) == list(there["classes"].items())


def contents(path: Path) -> dict[str, list[Any]]:
    """Return every table of a gallery but when things happened."""
    found: dict[str, list[Any]] = {}
    with sqlite3.connect(path) as db:
        for (table,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        ).fetchall():
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] not in ("at", "crc")]
            order = ", ".join(columns)
            rows = [
                dict(zip(columns, row, strict=True))
                for row in db.execute(f"SELECT {order} FROM {table} ORDER BY {order}")
            ]
            for row in rows:
                if "detail" in row:
                    row["detail"] = json.loads(row["detail"])
            found[table] = [row for row in rows if row.get("key") != "created"]
    return found


def test_the_same_history_gives_the_same_file(sqlite_module: str, tmp_path: Path) -> None:
    path = tmp_path / "here.gallery"
    with Gallery.open(path, FINGERPRINT, WIDTH, create=True) as gallery:
        here = do(gallery, HISTORY)
        examples = [(e.id, e.label, e.source_name, e.sha256, e.has_thumbnail) for e in gallery.examples()]
    (*there, last), out = do_there(sqlite_module, tmp_path, HISTORY, None)
    for one, other in zip(here, there, strict=True):
        same(one, other)
    assert examples == [(e["id"], e["label"], e["name"], e["sha256"], e["hasThumbnail"]) for e in last["examples"]]
    assert last["bad"] == []
    assert contents(path) == contents(out)


def test_what_was_taught_there_goes_on_here_and_back(sqlite_module: str, tmp_path: Path) -> None:
    for at in (0, 5, 9, len(HISTORY)):
        path, whole = tmp_path / f"{at}.gallery", tmp_path / f"{at}.whole"
        with Gallery.open(whole, FINGERPRINT, WIDTH, create=True) as gallery:
            do(gallery, HISTORY)
        if at:
            with Gallery.open(path, FINGERPRINT, WIDTH, create=True) as gallery:
                do(gallery, HISTORY[:at])
        _, out = do_there(sqlite_module, tmp_path, HISTORY[at:], path if at else None)
        assert contents(out) == contents(whole)
        with Gallery.open(out, FINGERPRINT, WIDTH) as gallery:
            assert gallery.check() == []
            undone = do(gallery, [("undo", ())] * 4)
        with Gallery.open(whole, FINGERPRINT, WIDTH) as gallery:
            assert undone == do(gallery, [("undo", ())] * 4)
            assert gallery.load().ids.tolist()


MERGING: Sequence[Call] = (
    add("a", 1, 30),
    add("b", 2, 9),
    add("a", 3, 12),
    ("undo", ()),
    add("a", 1, 30),  # all of these are there, some as part of a merged row
    *(add("c", 100 + i, 1 + i % 3) for i in range(25)),
    ("rename", ("b", "a", True)),
    add("d", 1, 30),
    ("rename", ("d", "a", True)),  # merged rows of the same images
    *(("undo", ()) for _ in range(5)),
    add("c", 200, 2),
)


def test_the_same_examples_are_merged_to_the_same_rows_and_come_back(sqlite_module: str, tmp_path: Path) -> None:
    path, calls = tmp_path / "here.gallery", MERGING
    for name in (path, tmp_path / "there.gallery"):
        with Gallery.open(name, FINGERPRINT, WIDTH, create=True) as gallery:
            gallery.limit(Limits(20, 45))
    with Gallery.open(path, FINGERPRINT, WIDTH) as gallery:
        here = do(gallery, calls)
        assert sum(e.stands_for > 1 for e in gallery.examples()) > 10
    (*there, last), out = do_there(sqlite_module, tmp_path, calls, tmp_path / "there.gallery")
    for one, other in zip(here, there, strict=True):
        same(one, other)
    assert last["bad"] == []
    assert contents(path) == contents(out)  # to the bit: vectors, scales, counts, images
    with Gallery.open(out, FINGERPRINT, WIDTH) as gallery:
        assert gallery.check() == []
        assert [(e.id, e.stands_for) for e in gallery.examples()] == [
            (e["id"], e["standsFor"]) for e in last["examples"]
        ]


def test_a_class_of_several_runs_comes_down_to_one_row_there_too(sqlite_module: str, tmp_path: Path) -> None:
    path, calls = tmp_path / "here", [add("a", 1, RUN + 30)]
    for name in (path, tmp_path / "there"):
        with Gallery.open(name, FINGERPRINT, WIDTH, create=True) as gallery:
            gallery.limit(Limits(1, 0))
    with Gallery.open(path, FINGERPRINT, WIDTH) as gallery:
        (here,) = do(gallery, calls)
        assert (here.gone, gallery.taught()) == (RUN + 29, {"a": RUN + 30})
    (there, _), out = do_there(sqlite_module, tmp_path, calls, tmp_path / "there")
    same(here, there)
    with Gallery.open(out, FINGERPRINT, WIDTH) as gallery:
        assert (gallery.classes(), gallery.taught()) == ({"a": 1}, {"a": RUN + 30})


def test_galleries_of_before_are_upgraded_there_as_here(sqlite_module: str, tmp_path: Path) -> None:
    path, old, calls = tmp_path / "here", tmp_path / "old", MERGING[:3]
    db = sqlite3.connect(old, isolation_level=None)
    meta = {"fingerprint": FINGERPRINT, "width": str(WIDTH), "rewrites": "0", "per_class": "5"}
    schema.upgrade(db, old, meta, schema.MIGRATIONS[:2])
    db.close()
    path.write_bytes(old.read_bytes())
    with Gallery.open(path, FINGERPRINT, WIDTH) as gallery:
        do(gallery, calls)
    _, out = do_there(sqlite_module, tmp_path, calls, old)
    assert contents(path) == contents(out)


@pytest.mark.parametrize("what", ["other", "trigger", "newer", "foreign"])
def test_what_is_no_gallery_of_this_model_is_refused(what: str, sqlite_module: str, tmp_path: Path) -> None:
    path = tmp_path / "x.gallery"
    with Gallery.open(path, "e" * 64 if what == "foreign" else FINGERPRINT, WIDTH, create=True) as gallery:
        do(gallery, [add("a", 1, 2)])
    with sqlite3.connect(path) as db:
        if what == "other":
            db.execute("PRAGMA application_id = 5")
        elif what == "trigger":
            db.execute("CREATE TRIGGER t AFTER INSERT ON examples BEGIN DELETE FROM examples; END")
        elif what == "newer":
            db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(AssertionError, match="FingerprintError" if what == "foreign" else "GalleryError"):
        do_there(sqlite_module, tmp_path, [], path)


STRANGERS: Mapping[str, tuple[str, ...]] = {
    "a trigger": ("CREATE TRIGGER t AFTER INSERT ON examples BEGIN DELETE FROM examples; END",),
    "a view": ("CREATE VIEW v AS SELECT 1",),
    "a table": ("CREATE TABLE mine (a)",),
    "an empty table with a key": ("CREATE TABLE mine (a PRIMARY KEY)",),
    "a table of a module": ("CREATE VIRTUAL TABLE mine USING rtree (a, b, c)",),
    "an index": ("CREATE INDEX mine ON examples (at)",),
    "an index of an expression": ("CREATE INDEX mine ON examples (lower(label))",),
    "a column": ("ALTER TABLE examples ADD COLUMN more TEXT",),
    "a column made of others": ("ALTER TABLE thumbnails ADD COLUMN more AS (hex(jpeg))",),
    "a table less": ("DROP TABLE thumbnails",),
    "an index less": ("DROP INDEX examples_live",),
    "another name": ("ALTER TABLE meta RENAME TO mate",),
    "an index of the same name": ("DROP INDEX examples_live", "CREATE INDEX examples_live ON examples (label)"),
    "a name as of SQLite's own": (
        "CREATE TRIGGER mine AFTER INSERT ON examples BEGIN DELETE FROM examples; END",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET name = 'sqlite_mine', sql = replace(sql, 'mine', 'sqlite_mine') WHERE name = 'mine'",
    ),
}


def test_tables_that_are_not_a_gallerys_are_refused_and_what_was_there_stays(
    sqlite_module: str, tmp_path: Path
) -> None:
    ours, fresh = tmp_path / "ours", tmp_path / "fresh"
    for path, label in ((ours, "ours"), (fresh, "new")):
        with Gallery.open(path, FINGERPRINT, WIDTH, create=True) as gallery:
            do(gallery, [add(label, 1, 2)])
    whole = fresh.read_bytes()
    statements: dict[str, tuple[str, ...]] = {**STRANGERS, "ours": (), "what SQLite keeps for itself": ("ANALYZE",)}
    files = [tmp_path / f"{i}.gallery" for i in range(len(statements))]
    for file, changes in zip(files, statements.values(), strict=True):
        file.write_bytes(whole)
        db = sqlite3.connect(file, isolation_level=None)
        for statement in ("PRAGMA foreign_keys = OFF", *changes):
            db.execute(statement)
        db.close()
    old = sorted(tmp_path / f"version {n}" for n in range(1, len(schema.MIGRATIONS)))
    for n, file in enumerate(old, 1):
        db = sqlite3.connect(file, isolation_level=None)
        meta = {"fingerprint": FINGERPRINT, "width": str(WIDTH), "rewrites": "0"}
        schema.upgrade(db, file, meta, schema.MIGRATIONS[:n])
        db.close()
    script, of = str(ROOT / "tests" / "web" / "strangers.mjs"), [FINGERPRINT, str(WIDTH), ours, *files, *old]
    done = subprocess.run(
        ["node", script, sqlite_module, *map(str, of)], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for what, one in zip(statements, found, strict=False):
        if what not in STRANGERS:
            assert one["imported"] == one["kept"] == one["alone"] == one["behind"] == {"classes": {"new": 2}}, what
            continue
        for told in (one["imported"], one["alone"]):
            assert told["name"] == "GalleryError", what
            assert told["message"].endswith("so it is damaged or was made to do harm; choose another file"), what
        assert one["kept"] == one["behind"] == {"classes": {"ours": 2}}, what
        assert one["names"] == 1, what
    assert [one["imported"] for one in found[len(files) :]] == [{"classes": {}}] * len(old)
