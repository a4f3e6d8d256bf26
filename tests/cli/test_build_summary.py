"""What a build prints: on a terminal with weight, colour and lines that end where words do; in a pipe text alone."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
from collections import Counter
from pathlib import Path

import pytest
from report_samples import make

from tlc_edge.cli.build_summary import print_summary, sentence
from tlc_edge.compiler.data.records import Skipped
from tlc_edge.compiler.records import Score
from tlc_edge.compiler.result import Built, Result
from tlc_edge.compiler.shards.costs import Costs, Worker

LABELS = ("bishop", "king", "knight", "pawn", "queen", "rook")
ALONE = Costs()
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def result(labels: tuple[str, ...] = LABELS, note: str = "photos: all is well", costs: Costs = ALONE) -> Result:
    """A build of 24 held-out images, six of them answered wrong."""
    findings, _ = make(labels, 24, wrong=range(6))
    score = Score("model.tflite", "ai-edge-litert", "int8", 4_000_000, 0.75, 0.958, 0.9871)
    unknown = {"rate": 0.05, "false_alarms": 0, "test_images": 12, "foreign_images": 0}
    findings.manifest.metrics["unknown"].update(unknown)
    built = Built(
        path=Path("photos.tlc"),
        target="rpi",
        scheme="int8",
        bytes=19_400_000,
        scores=(score,),
        findings=findings,
        milliseconds=(6.2,),
        fits=(),
        notes=("Compile for the Edge TPU:  edgetpu_compiler -s model.tflite",),
    )
    return Result(
        bundles=(built,),
        labels=labels,
        images=Counter(train=66, validation=24),
        float_accuracy=0.792,
        held_out=24,
        skipped=(Skipped("rook/phone.heic", "not an image in a format known here; convert it to JPEG or PNG"),),
        seconds={"load data": 1.0, "write": 2.0},
        cached=90,
        notes=(note,),
        costs=costs,
        recognised="photos: a folder per class; 90 images of 6 classes",
    )


class Terminal(io.StringIO):
    """Takes what is printed as a terminal does."""

    def isatty(self) -> bool:
        return True


def on_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int = 80, note: str = "photos: all is well", **env: str
) -> str:
    """Return what a terminal of so many columns gets."""
    screen = Terminal()
    with monkeypatch.context() as patch:
        for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            patch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", "COLUMNS": str(columns), **env}.items():
            patch.setenv(name, value)
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, screen)
        print_summary(result(note=note))
    return screen.getvalue()


def test_in_a_pipe_it_is_text_and_a_line_is_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    print_summary(result())
    out, err = capfd.readouterr()
    assert "\x1b" not in out + err
    lines = out.splitlines()
    assert lines[:4] == [
        "photos: a folder per class; 90 images of 6 classes",
        "75 % right on 24 photos it never saw (55 to 88 %)",
        "Next, on the device:  tlc predict photos.tlc IMAGE",
        "The whole report:     tlc inspect photos.tlc --report",
    ]
    assert lines[7:10] == [
        "photos.tlc  for rpi, 19.4 MB",
        "model         scheme  size    accuracy  95 % interval   ms here",
        "model.tflite  int8    4.0 MB     0.750  0.551 to 0.880      6.2",
    ]
    assert any(len(line) > 80 and line.startswith("! ") for line in lines)
    assert err.splitlines() == [
        "photos: all is well",
        "90 images were seen before: their features come from the cache",
        "skipped rook/phone.heic: not an image in a format known here; convert it to JPEG or PNG",
    ]


def test_what_others_did_is_a_line_and_with_all_of_it_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    told = ("features:", "read from elsewhere", "node-1:17")
    print_summary(result(), verbose=True)
    out = capfd.readouterr().out
    assert not any(words in out for words in told)
    costs = Costs(
        4_200_000, (Worker("node-1:17", 3, 300, 6_000_000, 2.26, 2.0), Worker("node-2:9", 1, 100, 2_000_000, 1.1, 1))
    )
    print_summary(result(costs=costs))
    out = capfd.readouterr().out
    assert "features: 4 shards by 2 workers; 8.0 MB read, 3.4 s, 3.0 s of processor\n" in out
    assert "read from elsewhere by this build: 4.2 MB\n" in out
    assert told[-1] not in out
    print_summary(result(costs=costs), verbose=True)
    rows = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert ["node-1:17", "3", "300", "6.0", "MB", "2.3", "2.0"] in rows


def test_a_terminal_shows_the_same_words_and_cuts_none(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = on_terminal(monkeypatch)
    print_summary(result())
    out, err = capfd.readouterr()
    assert sorted(ANSI.sub("", shown).split()) == sorted((out + err).split())


@pytest.mark.parametrize("columns", [80, 100, 66])
def test_lines_end_where_words_do(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    lines = [line.rstrip() for line in ANSI.sub("", on_terminal(monkeypatch, columns)).splitlines()]
    assert max(map(len, lines)) <= columns
    warning = next(i for i, line in enumerate(lines) if line.startswith("! "))
    assert lines[warning + 1].startswith("  ")  # it goes on beside its mark


def test_the_sentence_stands_out(monkeypatch: pytest.MonkeyPatch) -> None:
    line = next(line for line in on_terminal(monkeypatch).splitlines() if "right on" in line)
    assert re.fullmatch(r"\x1b\[1;32m75 % right on 24 photos it never saw \(55 to 88 %\)\x1b\[0m *", line)


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    shown = on_terminal(monkeypatch, **env)
    assert "\x1b" not in shown
    assert "75 % right on 24 photos" in shown


def test_a_terminal_is_shown_names_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, note="photos/\x1b[31mred: passed [bold]over[/bold] :smile:")
    assert "\\x1b[31mred: passed [bold]over[/bold] :smile:" in ANSI.sub("", shown)


def test_without_rich_a_terminal_has_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert on_terminal(monkeypatch).splitlines()[1] == sentence(result())


def test_a_real_terminal_of_fifty_columns(tmp_path: Path) -> None:
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 50, 0, 0))
    script = "from test_build_summary import *\nprint_summary(result())"
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    env |= {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], stdin=slave, stdout=slave, stderr=slave, env=env) as process:
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 1 << 16):
                shown += piece
        except OSError:  # what Linux says when the other end is closed
            pass
        assert process.wait() == 0, shown.decode()
    os.close(master)
    lines = ANSI.sub("", shown.decode()).splitlines()
    assert "75 % right on 24 photos it never saw (55 to 88 %)" in [line.rstrip() for line in lines]
    assert max(len(line.rstrip()) for line in lines if not line.startswith(("model", "Next", "The"))) <= 50
