"""`tlc gallery` and what enrolment says: output for people and for programs, wrong usage, and failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gallery_samples import PRINT, source, vectors

from tlc_edge.cli import main
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.gallery.gallery import Gallery

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit code, stdout and stderr."""

    def run_(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as done:
            main([str(w) for w in words])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return int(done.value.code or 0), out, err

    return run_


@pytest.fixture
def taught(bundle_path: Path, photos: Path, run: Run) -> Path:
    """A bundle with four examples in two classes."""
    for label, folder in (("seven", "0"), ("eight", "1")):
        assert run("enroll", bundle_path, label, photos / folder / "0.png", photos / folder / "1.png")[0] == 0
    return bundle_path


def document(done: tuple[int, str, str]) -> Any:
    code, out, _ = done
    assert code == 0
    return json.loads(out)


def test_list_shows_classes_examples_and_pictures(taught: Path, run: Run, tmp_path: Path) -> None:
    code, out, err = run("gallery", "list", taught)
    assert (code, err) == (0, "")
    assert out == "class  examples\neight         2\nseven         2\n"
    found = document(run("gallery", "list", taught, "eight", "--json"))
    assert found["classes"] == {"eight": 2, "seven": 2}
    assert [(e["id"], e["label"], e["has_thumbnail"]) for e in found["examples"]] == [
        (3, "eight", True),
        (4, "eight", True),
    ]
    assert "0.png" in run("gallery", "list", taught, "seven")[1]
    page, folder = tmp_path / "page.html", tmp_path / "pictures"
    assert run("gallery", "list", taught, "--thumbnails", page)[1].endswith(f"{page}: 4 thumbnails\n")
    assert "data:image/jpeg" in page.read_text()
    found = document(run("gallery", "list", taught, "--thumbnails", folder, "--json"))
    assert found["thumbnails"] == {"path": str(folder), "written": 4}
    assert sorted(p.name for p in folder.rglob("*.jpg")) == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]


def test_list_of_nothing_and_of_what_is_not_there(bundle_path: Path, run: Run, tmp_path: Path, taught: Path) -> None:
    (taught.with_name("photos.tlc.gallery")).unlink()
    assert run("gallery", "list", taught) == (0, "nothing is enrolled\n", "")
    assert document(run("gallery", "list", taught, "--json")) == {"classes": {}, "taught": {}, "examples": []}
    code, out, err = run("gallery", "list", taught, "--gallery", tmp_path / "absent")
    assert (code, out) == (1, "")
    assert "no such gallery; teach a first class with `tlc enroll`" in err


def test_list_of_an_unknown_class_is_wrong_usage(taught: Path, run: Run) -> None:
    code, out, err = run("gallery", "list", taught, "sevn")
    assert (code, out) == (2, "")
    assert err == "Error: unknown class 'sevn'; known: seven, eight\n"


def test_rename(taught: Path, run: Run) -> None:
    assert run("gallery", "rename", taught, "seven", "eight")[0] == 1
    assert run("gallery", "rename", taught, "nine", "ten")[0] == 2
    assert run("gallery", "rename", taught, "seven", "7")[1] == "seven is now 7 (2 examples)\n"
    assert document(run("gallery", "rename", taught, "7", "VII", "--json")) == {
        "label": "VII",
        "added": 2,
        "gone": 0,
        "classes": {"VII": 2, "eight": 2},
    }


def test_a_class_joins_another_under_its_limit(taught: Path, run: Run) -> None:
    assert run("gallery", "limit", taught, "--class", 3)[0] == 0
    out = run("gallery", "rename", taught, "seven", "eight", "--merge")[1]
    assert out == "seven is now eight (2 examples); 1 merged at the limit (see `tlc gallery limit`)\n"


def test_single_examples_are_moved_and_removed(taught: Path, run: Run) -> None:
    assert run("gallery", "move", taught, 1, "eight")[1] == "eight: 1 example added\nenrolled: eight 3, seven 1\n"
    assert run("gallery", "remove", taught, 3, 2)[1].splitlines() == [
        "several classes: 2 examples removed",
        "enrolled: eight 2",
    ]
    code, out, err = run("gallery", "remove", taught, 2, 4)
    assert (code, out) == (2, "")
    assert err == "Error: no example 2 in the gallery; `tlc gallery list BUNDLE LABEL` shows the numbers\n"
    assert run("gallery", "move", taught, 4, "eight")[0] == 1
    run("undo", taught)
    assert run("undo", taught)[1].endswith("enrolled: eight 2, seven 2\n")
    assert [e["id"] for e in document(run("gallery", "list", taught, "seven", "--json"))["examples"]] == [1, 2]


def test_nothing_enrolled_has_no_examples_to_remove(bundle_path: Path, run: Run) -> None:
    for words in (("remove", bundle_path, 1), ("move", bundle_path, 1, "cup")):
        code, out, err = run("gallery", *words)
        assert (code, out) == (2, "")
        assert "nothing is enrolled" in err
    assert not bundle_path.with_name("photos.tlc.gallery").exists()


def test_show_tells_what_an_answer_came_from(taught: Path, photos: Path, run: Run, tmp_path: Path) -> None:
    image, page = photos / "0" / "0.png", tmp_path / "page.html"
    code, out, err = run("gallery", "show", taught, image, "--page", page)
    assert (code, err) == (0, "")
    first, head, *near, last = out.splitlines()
    assert first.startswith(f"{image}: ")
    assert head.split() == ["id", "class", "similarity", "enrolled", "(UTC)", "from"]
    (own,) = [line for line in near if line.split()[:3] == ["1", "seven", "1.000"]]
    assert own.endswith(str(image))
    assert last == f"{page} written"
    assert page.read_text().count("data:image/jpeg") >= 2
    found = document(run("gallery", "show", taught, image, "--json"))
    (same,) = [n for n in found["neighbours"] if n["id"] == 1]
    assert same | {"at": ""} == {
        "id": 1,
        "label": "seven",
        "similarity": pytest.approx(1, abs=1e-3),
        "source_name": str(image),
        "at": "",
        "has_thumbnail": True,
    }
    assert run("gallery", "show", taught, tmp_path / "absent.png")[0] == 1


def test_export_and_import(taught: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "export"
    assert run("gallery", "export", taught, out) == (0, f"{out}: eight 2, seven 2\n", "")
    code, _, err = run("gallery", "export", taught, out)
    assert (code, err) == (1, f"Error: {out}: exists already; choose another name or move it away\n")
    some = document(run("gallery", "export", taught, tmp_path / "some", "--class", "eight", "--json"))
    assert (some["classes"], some["bytes"]) == ({"eight": 2}, (tmp_path / "some").stat().st_size)
    assert run("gallery", "export", taught, tmp_path / "more", "--class", "eigth")[0] == 2

    fresh = tmp_path / "fresh"
    assert run("gallery", "import", taught, some["path"], "--gallery", fresh)[1].splitlines() == [
        f"{fresh}: 2 examples added, 0 known already",
        "enrolled: eight 2",
    ]
    run("gallery", "rename", taught, "eight", "ate", "--gallery", fresh)
    code, text, err = run("gallery", "import", taught, out, "--gallery", fresh)
    assert text.endswith("enrolled: ate 2, seven 2\n")
    assert err.startswith("2 images came under a label they did not have; the label it had stands:\n")
    assert "0.png: ate here, eight there" in err
    assert run("undo", taught, "--gallery", fresh)[1].startswith("export: 2 examples removed (took back: import)")
    done = document(run("gallery", "import", taught, out, "--conflicts", "last", "--gallery", fresh, "--json"))
    assert (done["added"], done["removed"], done["classes"]) == (4, 2, {"eight": 2, "seven": 2})
    assert [(c["held"], c["incoming"]) for c in done["conflicts"]] == [(["ate"], "eight")] * 2
    undone = run("undo", taught, "--gallery", fresh)[1]
    assert undone.splitlines()[0] == "export: 2 examples added, 4 removed (took back: import)"
    assert run("gallery", "import", taught, tmp_path / "absent")[0] == 1
    assert run("gallery", "import", taught, out, "--conflicts", "newest")[0] == 2


def test_merge(taught: Path, run: Run, tmp_path: Path) -> None:
    one, two, out = tmp_path / "one", tmp_path / "two", tmp_path / "out"
    run("gallery", "export", taught, one, "--class", "eight")
    run("gallery", "export", taught, two)
    assert run("gallery", "merge", taught, one, two, "-o", out)[1].splitlines() == [
        f"{out}: 4 examples added, 2 known already",
        "enrolled: eight 2, seven 2",
    ]
    assert run("gallery", "merge", taught, one, two, "-o", out)[0] == 1
    done = document(run("gallery", "merge", taught, one, two, "-o", tmp_path / "more", "--json"))
    assert (done["path"], done["duplicates"], done["conflicts"]) == (str(tmp_path / "more"), 2, [])
    assert run("gallery", "merge", taught, one)[0] == 2
    assert run("gallery", "merge", taught, "-o", tmp_path / "none")[0] == 2


def test_what_is_said_of_a_file_that_is_handed_over_is_for_that_file(taught: Path, run: Run, tmp_path: Path) -> None:
    absent, text, one = tmp_path / "absent", tmp_path / "text", tmp_path / "one"
    text.write_text("no gallery at all, but long enough to be looked into\n" * 9)
    one.write_text("x")
    before = run("gallery", "list", taught)
    for file, what in (
        (absent, "no such gallery; check its name"),
        (one, "not a tlc gallery; choose another file"),
        (text, "not a tlc gallery, or its beginning is damaged; choose another file, or save what is readable"),
        (tmp_path, "cannot be a gallery; choose another file"),
    ):
        commands = [("import", taught, file)]
        if file != tmp_path:  # of which a merge takes the galleries that are in it
            commands.append(("merge", taught, file, "-o", tmp_path / "out"))
        for command in commands:
            code, out, err = run("gallery", *command)
            assert (code, out) == (1, "")
            assert err.startswith(f"Error: {file}: ")
            assert what in err
            assert "--gallery" not in err
    assert run("gallery", "list", taught) == before
    assert not (tmp_path / "out").exists()


def test_limit(taught: Path, run: Run, photos: Path) -> None:
    assert run("gallery", "limit", taught)[1] == "examples kept: 500 per class, 20000 in all\n"
    assert run("gallery", "limit", taught, "--class", 1)[1].splitlines() == [
        "examples kept: 1 per class, 20000 in all",
        "2 examples merged into others; `tlc undo` takes them apart again",
    ]
    code, out, _ = run("enroll", taught, "eight", photos / "1" / "5.png")
    assert (code, out.splitlines()[0]) == (
        0,
        "eight: 1 example added, 1 merged at the limit (see `tlc gallery limit`)",
    )
    assert run("gallery", "list", taught)[1].splitlines() == [
        "class  examples  kept as",
        "eight         3        1",
        "seven         2        1",
    ]
    head, row = run("gallery", "list", taught, "eight")[1].splitlines()
    assert head.endswith("thumbnail  mean of")
    assert row.split()[-2:] == ["yes", "3"]
    listed = document(run("gallery", "list", taught, "eight", "--json"))
    assert (listed["classes"], listed["taught"]) == ({"eight": 1, "seven": 1}, {"eight": 3, "seven": 2})
    assert [e["stands_for"] for e in listed["examples"]] == [3]
    assert document(run("gallery", "limit", taught, "--class", 0, "--total", 9, "--json")) == {
        "per_class": 0,
        "total": 9,
        "gone": 0,
        "classes": {"eight": 1, "seven": 1},
    }
    assert run("gallery", "limit", taught)[1] == "examples kept: any number per class, 9 in all\n"
    assert run("gallery", "limit", taught, "--total", "-1")[0] == 2


def test_check_compact_and_recover(taught: Path, run: Run, tmp_path: Path) -> None:
    path = taught.with_name("photos.tlc.gallery")
    assert run("gallery", "check", taught) == (0, f"{path}: clean\n", "")
    run("forget", taught, "eight")
    done = document(run("gallery", "compact", taught, "--json"))
    assert done["after"] == path.stat().st_size < done["before"]
    assert run("gallery", "compact", taught)[1].endswith("nothing can be undone any more\n")
    assert run("undo", taught)[0] == 1
    damaged = bytearray(path.read_bytes())
    damaged[:4096] = bytes(4096)
    path.write_bytes(damaged)
    code, out, err = run("gallery", "check", taught)
    assert (code, out) == (1, "")
    assert "not a tlc gallery, or its beginning is damaged" in err
    saved = tmp_path / "saved"
    code, out, _ = run("gallery", "recover", taught, "-o", saved)
    assert (code, out.splitlines()[0]) == (0, f"{saved}: 2 examples saved: seven 2")
    assert path.read_bytes() == damaged
    assert document(run("gallery", "check", taught, "--gallery", saved, "--json"))["problems"] == []
    assert document(run("gallery", "recover", taught, "-o", tmp_path / "again", "--json"))["saved"] == 2
    assert run("gallery", "recover", taught, "-o", saved)[0] == 1
    assert run("gallery", "recover", taught)[0] == 2


def test_check_names_the_way_out(taught: Path, run: Run) -> None:
    path = taught.with_name("photos.tlc.gallery")
    whole = path.read_bytes()
    at = whole.index(b"\xff\xd8\xff") + 500  # inside a thumbnail
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    code, out, err = run("gallery", "check", taught, "--json")
    assert (code, len(json.loads(out)["problems"])) == (1, 1)
    assert "`tlc gallery recover`" in err


def test_migrate(bundle_path: Path, run: Run, photos: Path) -> None:
    path, width = bundle_path.with_name("old.gallery"), Bundle.open(bundle_path).manifest.embedding_width
    picture = (photos / "0" / "0.png").read_bytes()
    with Gallery.open(path, PRINT, width, create=True) as gallery:
        gallery.add("cup", vectors("a", "b", width=width), [source("a", picture), source("b")])
    code, _, err = run("predict", bundle_path, photos / "0" / "0.png", "--gallery", path)
    assert code == 1
    assert "tlc gallery migrate" in err
    code, out, err = run("gallery", "migrate", bundle_path, "--gallery", path)
    assert (code, out.splitlines()) == (
        0,
        [
            f"{path}: 1 example brought over; the old gallery is kept as old.gallery.{PRINT[:12]}",
            "1 example had no thumbnail and could not be brought over",
        ],
    )
    assert run("gallery", "migrate", bundle_path, "--gallery", path)[0] == 1
    kept = path.with_name(f"old.gallery.{PRINT[:12]}")
    found = document(run("gallery", "migrate", bundle_path, "--gallery", kept, "--json"))
    assert (found["moved"], found["lost"], found["classes"]) == (1, 1, {"cup": 1})


def test_enrolment_warns_on_stderr_and_in_json(taught: Path, run: Run, photos: Path) -> None:
    known = photos / "0" / "0.png"
    code, out, err = run("enroll", taught, "seven", known)
    assert (code, out.splitlines()[0]) == (0, "seven: 0 examples added, 1 known already")
    assert f"Warning: {known} is enrolled already\n" in err
    found = document(run("enroll", taught, "nine", known, "--json"))
    assert found["warnings"][0] == {
        "kind": "duplicate",
        "image": str(known),
        "label": "seven",
        "text": "is enrolled as 'seven' too",
    }


@pytest.mark.parametrize(
    "command",
    [
        "list",
        "show",
        "rename",
        "move",
        "remove",
        "limit",
        "export",
        "import",
        "merge",
        "migrate",
        "check",
        "compact",
        "recover",
    ],
)
def test_every_command_has_help_and_json(command: str, run: Run) -> None:
    code, out, _ = run("gallery", command, "--help")
    assert code == 0
    assert "--json" in out
    assert command in run("gallery", "--help")[1]
    assert run("gallery", command)[0] == 2
