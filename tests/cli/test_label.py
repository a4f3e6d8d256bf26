"""`tlc label`: images sorted into classes by typing, at a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from command_runs import COMMAND, Done
from test_json_shapes import hold

from tlc_edge.cli.answers import Answer, read_answer
from tlc_edge.runtime import Classifier, DeviceError, Gallery, GalleryError, UsageError
from tlc_edge.runtime.watch.sorting import Sorting, class_folder

# --- what a line means


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cup\n", Answer("label", "cup")),
        ("  cup ", Answer("label", "cup")),
        ("=cup", Answer("label", "cup")),
        ("1", Answer("label", "mug")),
        ("2", Answer("label", "cup")),
        ("3", Answer("unclear", "there is no guess 3; type =3 for a class of that name")),
        ("0", Answer("unclear", "there is no guess 0; type =0 for a class of that name")),
        ("=3", Answer("new", "3")),
        ("-1", Answer("new", "-1")),
        ("2026", Answer("new", "2026")),
        ("", Answer("skip")),
        ("\n", Answer("skip")),
        ("s", Answer("skip")),
        ("SKIP", Answer("skip")),
        ("u", Answer("undo")),
        ("undo", Answer("undo")),
        ("q", Answer("quit")),
        ("=q", Answer("new", "q")),
        ("=", Answer("unclear", "type a class's name")),
        ("cpu", Answer("new", "cpu", "cup")),
        ("Cup", Answer("new", "Cup", "cup")),
        ("lorry", Answer("new", "lorry")),
    ],
)
def test_a_line_is_a_guess_a_class_or_a_word(typed: str, meant: Answer) -> None:
    assert read_answer(typed, ["mug", "cup"], {"mug": 0, "cup": 3, "plate": 0}) == meant


@pytest.mark.parametrize("typed", ["1", "u", "skip"])
def test_what_is_a_class_too_is_asked_again(typed: str) -> None:
    answer = read_answer(typed, ["1", "7"], ["1", "7", "u", "skip"])
    assert answer == Answer("unclear", f"{typed!r} is a class too; type ={typed} for the class")
    assert read_answer(f"={typed}", ["1", "7"], ["1", "7", "u", "skip"]) == Answer("label", typed)


def test_a_class_names_a_folder() -> None:
    assert [class_folder(c) for c in ("cup", "a b", "a/b", "..", ".x")] == ["cup", "a b", "a%2Fb", "%2E.", "%2Ex"]


# --- the library


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """Four pictures, a file that is none, one that is hidden and one in a folder."""
    made = tmp_path / "unknown"
    (made / "old").mkdir(parents=True)
    for i in range(4):
        (made / f"{i}.png").write_bytes((photos / f"{i}" / "0.png").read_bytes())
    (made / "old" / "9.png").write_bytes((photos / "0" / "1.png").read_bytes())
    (made / ".x.png").write_bytes(b"")
    (made / "b.txt").write_text("no picture")
    return made


@pytest.fixture
def sorting(bundle_path: Path, folder: Path) -> Iterator[Sorting]:
    with Classifier.open(bundle_path) as classifier:
        yield Sorting(classifier, folder)


def enrolled(bundle: Path) -> dict[str, int]:
    with Gallery.open_any(bundle.with_suffix(".tlc.gallery")) as gallery:
        return gallery.classes()


def test_what_is_sorted_is_enrolled_and_moved(sorting: Sorting, folder: Path, bundle_path: Path) -> None:
    assert [p.name for p in sorting.pictures] == ["0.png", "1.png", "2.png", "3.png", "b.txt"]
    assert sorting.sort(folder / "0.png", " seven ").added == 1
    assert (folder / "seven" / "0.png").exists()
    assert not (folder / "0.png").exists()
    assert stat.S_IMODE((folder / "seven").stat().st_mode) == 0o700
    (folder / "seven" / "1.png").write_bytes(b"of before")
    sorting.sort(folder / "1.png", "seven")
    assert (folder / "seven" / "1.png").read_bytes() == b"of before"
    assert (folder / "seven" / "1-1.png").exists()
    assert (enrolled(bundle_path), sorting.counts) == ({"seven": 2}, {"seven": 2})


def test_undo_walks_back_in_both(sorting: Sorting, folder: Path, bundle_path: Path) -> None:
    for name, label in (("0.png", "seven"), ("1.png", "eight")):
        sorting.sort(folder / name, label)
    assert sorting.undo() == folder / "1.png"
    assert (enrolled(bundle_path), sorting.counts) == ({"seven": 1}, {"seven": 1})
    assert sorting.undo() == folder / "0.png"
    assert enrolled(bundle_path) == {}
    assert all((folder / name).exists() for name in ("0.png", "1.png"))
    with pytest.raises(UsageError, match="nothing was sorted yet"):
        sorting.undo()


def test_undo_never_takes_back_what_another_did(
    sorting: Sorting, folder: Path, bundle_path: Path, photos: Path
) -> None:
    sorting.sort(folder / "0.png", "seven")
    with Classifier.open(bundle_path) as other:
        other.enroll("mine", photos / "2" / "1.png")
        with pytest.raises(GalleryError, match="something else was changed since"):
            sorting.undo()
        assert enrolled(bundle_path) == {"mine": 1, "seven": 1}
        other.undo()
    assert sorting.undo() == folder / "0.png"
    assert enrolled(bundle_path) == {}


def test_one_that_is_known_already_is_only_moved_and_moved_back(
    sorting: Sorting, folder: Path, bundle_path: Path
) -> None:
    with Classifier.open(bundle_path) as other:
        other.enroll("seven", folder / "0.png")
    assert sorting.sort(folder / "0.png", "seven").skipped == 1
    sorting.undo()
    assert (folder / "0.png").exists()
    assert enrolled(bundle_path) == {"seven": 1}


def test_a_picture_that_cannot_be_moved_is_told(sorting: Sorting, folder: Path, bundle_path: Path) -> None:
    (folder / "seven").write_bytes(b"a file")
    with pytest.raises(DeviceError, match="is enrolled as 'seven', but stays where it is"):
        sorting.sort(folder / "0.png", "seven")
    assert (folder / "0.png").exists()
    assert enrolled(bundle_path) == {"seven": 1}
    with pytest.raises(DeviceError, match="give a folder of images"):
        Sorting(None, folder / "0.png")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- the command


def typed(lines: Sequence[str], *words: object) -> Done:
    """Run `tlc label`, with lines typed at a terminal; `^C` presses Ctrl-C, `^D` ends the input."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "label", *map(str, words)], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        os.close(theirs)
        assert running.stderr is not None
        said = b""
        for line in lines:
            while not (said.endswith((b"quit: ", b"y/n: "))):
                piece = os.read(running.stderr.fileno(), 1)
                assert piece, said.decode()
                said += piece
            said += b"\n"
            if line == "^C":
                running.send_signal(signal.SIGINT)
            else:
                os.write(ours, b"\x04" if line == "^D" else f"{line}\n".encode())
        out, err = running.communicate(timeout=60)
    os.close(ours)
    return Done(running.returncode, out.decode(), (said + err).decode())


def test_a_session(bundle_path: Path, folder: Path) -> None:
    lines = ["mug", "y", "seven", "n", "=3", "u", "s", "=2", "q"]
    done = typed(lines, bundle_path, folder)
    assert (done.code, done.out) == (0, f"{folder}: 2 sorted (2 1, mug 1), 1 skipped, 2 left\n")
    asked = [line.removeprefix(f"{folder}/") for line in done.err.splitlines() if " of 5)" in line]
    assert [line[:8] for line in asked] == [f"{n}.png  (" for n in "012123"]
    assert "'seven' is a new class. Make it? y/n: " in done.err
    assert enrolled(bundle_path) == {"2": 1, "mug": 1}
    assert sorted(p.name for p in folder.iterdir()) == [".x.png", "1.png", "2", "3.png", "b.txt", "mug", "old"]


def test_to_the_end_for_machines(bundle_path: Path, folder: Path) -> None:
    done = typed(["=0", "=1", "\t", "=1"], bundle_path, folder, "--json")
    assert done.code == 0
    hold("label", done.json())
    counts = {"sorted": {"0": 1, "1": 2}, "skipped": 1, "unreadable": 1, "left": 0, "classes": {"0": 1, "1": 2}}
    assert done.json() == {"folder": str(folder), **counts}
    assert "b.txt: not an image in a format known here" in done.err


@pytest.mark.parametrize("end", ["^D", "quit"])
def test_the_end_of_the_input_quits(end: str, bundle_path: Path, folder: Path) -> None:
    done = typed(["=0", end], bundle_path, folder)
    assert (done.code, done.out) == (0, f"{folder}: 1 sorted (0 1), 4 left\n")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_ctrl_c_keeps_what_was_sorted(options: tuple[str, ...], bundle_path: Path, folder: Path) -> None:
    done = typed(["=0", "^C"], bundle_path, folder, *options)
    kept = "1 sorted (0 1) before that, which stay so"
    assert kept in done.failed(1)
    assert enrolled(bundle_path) == {"0": 1}
    if options:
        assert json.loads(done.out)["error"]["notes"] == [kept]


def test_mistakes_at_the_terminal_are_asked_again(bundle_path: Path, folder: Path) -> None:
    done = typed(["undo", "7", "1", "x\x7f" * 3 + "a" * 201, "y", "q"], bundle_path, folder)
    assert done.code == 0
    for said in ("nothing was sorted yet", "there is no guess 7", "'1' is a class too", "has 201 characters"):
        assert said in done.err


def test_where_there_is_no_terminal_it_says_so(bundle_path: Path, folder: Path) -> None:
    command = [*COMMAND, "label", str(bundle_path), str(folder)]
    for words in ([], ["--json"]):
        done = subprocess.run([*command, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert "asks at a terminal" in Done(done.returncode, done.stdout, done.stderr).failed(2)
        assert not words or "asks at a terminal" in json.loads(done.stdout)["error"]["what"]
