"""Completion, in a real bash at a real terminal: keys are pressed, and what the line then holds is read."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_runs import COMMAND, apart
from PIL import Image

ALL = "\x1b*"
"""Meta-*: readline puts everything that could stand here on the line."""


class Bash:
    """An interactive bash with the completion, in a folder."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder, self._shown = folder, folder / ".line"
        self._pid, self._fd = pty.fork()
        if not self._pid:
            os.chdir(folder)
            env = {
                **os.environ,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "TERM": "dumb",
                "PS1": "",
                "INPUTRC": "/dev/null",
            }
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], env)
        self._send("stty -echo; bind 'set enable-bracketed-paste off'; eval \"$(tlc completion bash)\"\n")
        self._send("_show() { printf '%s' \"$READLINE_LINE\" >.line.new; mv .line.new .line; READLINE_LINE=; }\n")
        self._send("bind -x '\"\\C-g\": _show'\n")

    def __call__(self, keys: str) -> str:
        """Return the line after these keys."""
        self._shown.unlink(missing_ok=True)
        self._send(f"{keys}\x07")
        end = time.monotonic() + 60
        while not self._shown.exists():
            assert time.monotonic() < end, f"no line after {keys!r}"
            self._drain()
        return self._shown.read_text()

    def close(self) -> None:
        self._send("\x15exit\n")
        try:
            while os.read(self._fd, 1 << 16):
                pass
        except OSError:  # what Linux says when the other end is closed
            pass
        os.close(self._fd)
        os.waitpid(self._pid, 0)

    def _send(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def _drain(self) -> None:
        import select

        if select.select([self._fd], [], [], 0.02)[0]:
            os.read(self._fd, 1 << 16)


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory, built_bundle: Path) -> Iterator[Bash]:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    folder, programs = tmp_path_factory.mktemp("folder"), tmp_path_factory.mktemp("bin")
    (programs / "tlc").write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    (programs / "tlc").chmod(0o755)
    shutil.copy(built_bundle, folder / "digits.tlc")
    (folder / "my photos").mkdir()
    for name in ("my photos/one.jpg", "two.jpg", "three.jpg"):
        Image.new("RGB", (9, 9), "red").save(folder / name)
    (folder / "robot.toml").touch()
    shutil.copy(folder / "two.jpg", folder / "mug.jpg")
    for label in ("blue mug", "bell"):
        assert apart("enroll", folder / "digits.tlc", label, folder / "mug.jpg").code == 0
    shell = Bash(folder, programs)
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("tlc pre\t", "tlc predict "),
        ("tlc gallery exp\t", "tlc gallery export "),
        ("tlc build --tar\t", "tlc build --target "),
        ("tlc build --target jet\t", "tlc build --target jetson "),
        ("tlc build --target=jet\t", "tlc build --target=jetson "),
        ("tlc build --target rpi,jet\t", "tlc build --target rpi,jetson "),
        ("tlc build --target rob\t", "tlc build --target robot.toml "),
        ("tlc build --data sam\t", "tlc build --data sample:digits "),
        ("tlc build --data sample:di\t", "tlc build --data sample:digits "),
        ("tlc build --data my\t", "tlc build --data my\\ photos/"),
        ("tlc build --scheme int16\t", "tlc build --scheme int16x8 "),
        ("tlc build --backbone efficientnet-lite0\t", "tlc build --backbone efficientnet-lite0 "),
        ("tlc layers keras:MobileNetV2\t", "tlc layers keras:MobileNetV2 "),
        ("tlc verify digits.tlc --engine al\t", "tlc verify digits.tlc --engine all "),
        ("tlc predict dig\t", "tlc predict digits.tlc"),
        ("tlc predict digits.tlc tw\t", "tlc predict digits.tlc two.jpg "),
        ("tlc predict digits.tlc my\\ ph\t", "tlc predict digits.tlc my\\ photos/"),
        ("tlc predict digits.tlc my\\ photos/o\t", "tlc predict digits.tlc my\\ photos/one.jpg "),
        ("tlc enroll digits.tlc be\t", "tlc enroll digits.tlc bell "),
        ("tlc enroll digits.tlc bl\t", "tlc enroll digits.tlc blue\\ mug "),
        ("tlc enroll digits.tlc 'bl\t", "tlc enroll digits.tlc 'blue mug' "),
        ("tlc forget digits.tlc blu\t", "tlc forget digits.tlc blue\\ mug "),
        ("tlc enroll digits.tlc bell th\t", "tlc enroll digits.tlc bell three.jpg "),
        ("tlc predict digits.tlc two.jpg --top \t", "tlc predict digits.tlc two.jpg --top "),
        ("tlc gone two\t", "tlc gone two"),
    ],
)
def test_tab(bash: Bash, keys: str, line: str) -> None:
    found = bash(keys)
    if line.endswith("digits.tlc"):  # its gallery lies beside it, so more may follow
        assert found.startswith(line)
    else:
        assert found.rstrip() == line.rstrip()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("tlc forget digits.tlc ", ["blue\\ mug", "bell"]),
        ("tlc enroll digits.tlc ", ["blue\\ mug", "bell", "0", "1", "2", "3"]),
        ("tlc completion ", ["bash", "zsh", "fish"]),
        ("tlc build --target rpi", ["rpi", "rpi-32", "rpi-zero"]),
    ],
)
def test_all_that_could_stand_there(bash: Bash, keys: str, words: list[str]) -> None:
    stem = keys.rpartition(" ")[0]
    assert sorted(bash(keys + ALL).removeprefix(stem).split()) == sorted(" ".join(words).split())


def test_where_there_is_no_bundle_nothing_is_said(bash: Bash) -> None:
    assert bash("tlc forget gone.tlc b\t") == "tlc forget gone.tlc b"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_click_s_script_and_the_same_words(shell: str, tmp_path: Path) -> None:
    text = apart("completion", shell).out
    assert f"_TLC_COMPLETE={shell}_complete" in text
    env = {"_TLC_COMPLETE": f"{shell}_complete", "COMP_WORDS": "tlc build --target jet", "COMP_CWORD": "3"}
    if shell == "fish":
        env["COMP_CWORD"] = "jet"
    assert "jetson" in apart(**env).out
    assert "file" in apart(**env).out
    found = shutil.which(shell)
    if found is not None:
        done = subprocess.run([found, "-n", "/dev/stdin"], input=text, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_its_json(tmp_path: Path) -> None:
    done = apart("completion", "bash", "--json")
    assert json.loads(done.out)["script"] == apart("completion", "bash").out
    assert "Invalid value for" in apart("completion", "csh").failed(2)


def test_what_is_asked_for_is_answered_without_a_word_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    for line in ("tlc forget gone.tlc ", "tlc build --backbone ", "tlc sweep --data ", "tlc nothing ", "tlc"):
        done = apart(_TLC_COMPLETE="bash_complete", TLC_LINE=line, TLC_BREAKS=" :=")
        assert (done.code, done.err) == (0, ""), line
