"""`tlc keygen`, `sign`, `trust`, and that no command opens what a device does not trust."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from command_runs import Done, apart, here
from PIL import Image
from signed_samples import trusting
from test_json_shapes import hold

from tlc_edge.cli.commands import cli
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.bundle.sign import sign_bundle
from tlc_edge.runtime.errors import TrustError
from tlc_edge.runtime.signing.release import make_release
from tlc_edge.runtime.signing.secret_key import make_secret

pytest.importorskip("cryptography")
Tlc = Callable[..., Done]


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


@pytest.fixture
def keys(tlc: Tlc, tmp_path: Path) -> Path:
    """A folder with a key's two files, on a device that trusts none yet."""
    folder = tmp_path / "keys"
    folder.mkdir()
    done = tlc("keygen", "-o", folder / "tlc.key")
    assert done.code == 0, done
    assert "the secret key; keep it" in done.out
    return folder


def commands(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield (*before, name), command


OPENING = {
    words: command for words, command in commands(cli) if any(p.name in ("bundle", "bundles") for p in command.params)
}
SIGNS = ("sign",)
MORE: dict[tuple[str, ...], tuple[str, ...]] = {
    ("predict",): ("a.png",),
    ("enroll",): ("mug", "a.png"),
    ("forget",): ("mug",),
    ("verify",): ("--data", "photos"),
    ("watch",): ("--camera", "empty"),
    ("label",): ("empty",),
    ("site",): ("--vendor", "empty"),
    ("gallery", "export"): ("out.gallery",),
    ("gallery", "import"): ("in.gallery",),
    ("gallery", "merge"): ("in.gallery", "-o", "out.gallery"),
    ("gallery", "move"): ("1", "mug"),
    ("gallery", "recover"): ("-o", "out.gallery"),
    ("gallery", "remove"): ("1",),
    ("gallery", "rename"): ("mug", "cup"),
    ("gallery", "show"): ("a.png",),
    ("service", "install"): ("--to", "-", "--camera", "0"),
}
"""What a command needs beside a bundle, in words that it can read."""


class Terminal(io.StringIO):
    """What a person types at, who types nothing."""

    def isatty(self) -> bool:
        return True


def test_every_command_with_a_bundle_can_be_told_to_open_it_all_the_same() -> None:
    assert len(OPENING) > 20
    for words, command in OPENING.items():
        if words != SIGNS:
            assert any("--allow-unsigned" in p.opts for p in command.params), words


@pytest.mark.parametrize("words", [w for w in OPENING if w != SIGNS], ids=" ".join)
def test_no_command_opens_what_is_not_trusted(
    words: tuple[str, ...], tlc: Tlc, bundle_path: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", Terminal())
    Image.new("RGB", (80, 80), (200, 30, 30)).save("a.png")
    Path("empty").mkdir()
    assert tlc("enroll", bundle_path, "mug", "a.png").code == 0
    shutil.copy(f"{bundle_path}.gallery", "in.gallery")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    with trusting(tmp_path / "trust"):
        assert tlc("trust", keys / "tlc.pub").code == 0
        said = tlc(*words, bundle_path, *MORE.get(words, ())).failed()
        assert "not signed, and this device opens only what a key that it trusts has signed" in said
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


def test_what_is_allowed_is_said_aloud_and_once(
    tlc: Tlc, bundle_path: Path, keys: Path, photos: Path, tmp_path: Path
) -> None:
    picture = photos / "0" / "0.png"
    with trusting(tmp_path / "trust"):
        assert tlc("trust", keys / "tlc.pub").code == 0
        done = tlc("predict", bundle_path, picture, "--allow-unsigned")
        assert done.code == 0
        assert done.err.count("Warning: ") == done.err.count("is opened all the same (") == 1
        for words in (("gallery", "list"), ("doctor",), ("selftest",), ("bench", "--runs", "1")):
            done = tlc(*words, bundle_path, "--allow-unsigned")
            assert (done.code, done.err.count("is opened all the same (")) == (0, 1), done
        assert "not signed" in tlc("predict", bundle_path, picture).failed()  # this once
        with pytest.raises(TrustError):
            Classifier.open(bundle_path)


def test_doctor_says_so_and_does_not_run_it(tlc: Tlc, bundle_path: Path, keys: Path, tmp_path: Path) -> None:
    with trusting(tmp_path / "trust"):
        assert tlc("trust", keys / "tlc.pub").code == 0
        assert "not signed" in tlc("doctor", bundle_path).failed()


def test_signed_it_works_in_both_forms(tlc: Tlc, bundle_path: Path, keys: Path, photos: Path, tmp_path: Path) -> None:
    picture = photos / "0" / "0.png"
    plain = tlc("predict", bundle_path, picture)
    shutil.unpack_archive(bundle_path, tmp_path / "folder", "zip")
    for path in (bundle_path, tmp_path / "folder"):
        hold("sign", tlc("sign", path, "--key", keys / "tlc.key", "--serial", 3, "--json").json())
    with trusting(tmp_path / "trust"):
        assert tlc("trust", keys / "tlc.pub").code == 0
        for path in (bundle_path, tmp_path / "folder"):
            assert tlc("predict", path, picture).out == plain.out
            assert tlc("selftest", path).code == 0
            assert tlc("doctor", path).code == 0
            assert tlc("enroll", path, "mug", picture).code == 0
            assert tlc("predict", path, picture).code == 0  # what was taught lies beside it, not in it
        assert "serial number 2" not in tlc("sign", bundle_path, "--key", keys / "tlc.key", "--serial", 2).err
        assert "older than what was opened here already" in tlc("predict", bundle_path, picture).failed()


def test_the_shapes_of_what_is_printed(tlc: Tlc, keys: Path, tmp_path: Path) -> None:
    hold("keygen", tlc("keygen", "-o", tmp_path / "next.key", "--json").json())
    with trusting(tmp_path / "trust"):
        assert tlc("trust", "--json").json()["keys"] == []
        hold("trust", tlc("trust", keys / "tlc.pub", "--json").json())
        hold("trust", tlc("trust", "--list", "--json").json())
        assert "no signature of a key that is trusted" in tlc("trust", tmp_path / "next.pub").failed()
        hold("sign", tlc("sign", tmp_path / "next.pub", "--key", keys / "tlc.key", "--json").json())
        held = tlc("trust", tmp_path / "next.pub", "--json").json()
        assert len(held["keys"]) == 2
        assert "is trusted no longer" in tlc("trust", "--remove", keys / "tlc.pub").out
        assert "is trusted no longer; no key is left" in tlc("trust", "--remove", held["keys"][0]["id"]).out + (
            tlc("trust", "--remove", tmp_path / "next.pub").out
        )
        assert tlc("trust").out == "no key is trusted, so bundles are opened whoever made them\n"
    assert "are one thing each" in tlc("trust", "--list", "--remove", "A").failed(2)
    assert "exists already" in tlc("keygen", "-o", keys / "tlc.key").failed(2)
    assert "a key has neither" in tlc("sign", keys / "tlc.pub", "--key", keys / "tlc.key", "--name", "a").failed(2)


def test_a_password_is_read_where_there_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tlc_edge.runtime.signing.secret_key import secret_file

    key = make_secret()
    (tmp_path / "a.key").write_bytes(secret_file(key, b"open", 1 << 15, 1 << 20))
    (tmp_path / "a.pub").write_bytes(key.public.file)
    words = ("sign", tmp_path / "a.pub", "--key", tmp_path / "a.key")
    assert apart(*words, stdin=b"open\n").code == 0
    assert "password is not its own" in apart(*words, stdin=b"shut\n").failed()
    assert "there is none on standard input" in apart(*words).failed(2)


def test_from_python_the_same_holds(bundle_path: Path, tmp_path: Path) -> None:
    key = make_secret()
    with trusting(tmp_path / "trust", key):
        for opens in (Bundle.open, Classifier.open):
            with pytest.raises(TrustError, match="not signed"):
                opens(bundle_path)
        told: list[Any] = []
        with Classifier.open(Bundle.open(bundle_path, allow_unsigned=told.append)):
            assert len(told) == 1
        sign_bundle(bundle_path, key, make_release(1))
        with Classifier.open(bundle_path) as classifier:
            assert classifier.bundle.signed is not None


def test_completion_offers_nothing_of_what_is_not_trusted(
    bundle_path: Path, tmp_path: Path, photos: Path, tlc: Tlc
) -> None:
    assert tlc("enroll", bundle_path, "mug", photos / "0" / "0.png").code == 0

    def offered() -> str:
        return apart(_TLC_COMPLETE="bash_complete", TLC_LINE=f"tlc forget {bundle_path} ", TLC_BREAKS=" ").out

    assert "mug" in offered()
    with trusting(tmp_path / "trust", make_secret()):
        assert "mug" not in offered()
