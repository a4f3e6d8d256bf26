"""The table of mistakes: each leads to something that there is, and is said on stderr and in JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from command_runs import Done, here

from tlc_edge.cli.commands import cli
from tlc_edge.cli.suggestions import COMMANDS, OPTIONS

Tlc = Callable[..., Done]


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


def command(*names: str) -> click.Command | None:
    found: click.Command | None = cli
    for name in names:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name)
        if found is None:
            return None
    return found


def every_option() -> set[str]:
    names = cli.list_commands(click.Context(cli))
    found = [command(name) for name in names]
    return {opt for one in found if one is not None for param in one.params for opt in param.opts}


def test_what_is_suggested_exists_and_what_was_typed_does_not() -> None:
    has = every_option()
    for meant in OPTIONS.values():
        assert has & set(meant)
    for typed, said in COMMANDS.items():
        assert command(typed) is None, typed
        for words in re.findall(r"tlc ([a-z]+(?: (?:list|rename|export))?)", said):
            assert command(*words.split()) is not None, said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("build --quantize int8", "here it is --scheme"),
        ("build --imgsz 96", "here it is --input-size"),
        ("build --model resnet", "here it is --backbone"),
        ("verify x.tlc --dataset y", "here it is --data"),
        ("predict x.tlc a.png --conf 0.5", "here it is --unknown"),
        ("predict x.tlc a.png --topk 5", "here it is --top"),
        ("list x.tlc", "tlc gallery list BUNDLE"),
        ("server x.tlc", "tlc serve BUNDLE"),
        ("export x.tlc", "tlc gallery export BUNDLE"),
        ("train photos", "tlc build --data SRC --target NAME"),
        ("build photos --target rpi", "labelled images are given as --data photos"),
        ("build rpi --data photos", "a device is given as --target rpi"),
        ("build --data photos", "tlc targets lists them"),
    ],
)
def test_wrong_usage(words: str, said: str, tlc: Tlc) -> None:
    typed = words.split()
    assert said in tlc(*typed).failed(2)
    assert any(said in note for note in tlc(*typed, "--json").json()["error"]["notes"])


@pytest.mark.parametrize("words", ["build --colour red", "predcit x", "predict gone.tlc a.png", "undo gone.tlc"])
def test_where_nothing_is_known_nothing_is_said(words: str, tlc: Tlc) -> None:
    assert tlc(*words.split(), "--json").json()["error"]["notes"] == []


def test_files_in_each_others_place(tlc: Tlc, bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    image = photos / "0" / "0.png"
    assert f"the bundle comes first: tlc predict {bundle_path} …" in tlc("predict", image, bundle_path).failed()
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    said = tlc("predict", bundle_path, tmp_path / "film.mp4")
    assert f"a video is watched: tlc watch {bundle_path} --camera" in said.failed(1)
    assert "0 is one of the classes that were built in" in tlc("forget", bundle_path, "0").failed(2)
    assert "built in" not in tlc("forget", bundle_path, "mug").failed(2)


def test_words_of_undo(tlc: Tlc, bundle_path: Path, photos: Path) -> None:
    images = sorted((photos / "1").iterdir())[:3]
    assert tlc("enroll", bundle_path, "mug", *images).code == 0
    assert tlc("gallery", "rename", bundle_path, "mug", "cup").code == 0
    assert "mug has its old name again (took back: rename)" in tlc("undo", bundle_path).out
    assert "mug: 3 examples removed (took back: enroll)" in tlc("undo", bundle_path).out
