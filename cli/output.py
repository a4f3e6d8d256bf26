"""What commands share when they print: JSON, tables, figures, progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import click

from tlc_edge.runtime.errors import LONGEST, is_hidden, plain, shortened

from .interrupt import Interrupt

_LONGEST_LINE = 10_000  # of what is asked for: a list of many classes, say
_LONGEST_CELL = 200


def say(*lines: str) -> None:
    """Print lines for the person on stderr, each as `plain` has it."""
    for line in lines:
        click.echo(shortened(plain(line), LONGEST), err=True)


def ask(prompt: str, at_end: str) -> str:
    """Ask for a line, on stderr; return it as it was typed, or `at_end` where the input has ended."""
    click.echo(shortened(plain(prompt), LONGEST), nl=False, err=True)
    line = sys.stdin.readline()
    if not line:
        say("")
    return line or at_end


def put(*lines: str) -> None:
    """Print lines on stdout, each as `plain` has it."""
    for line in lines:
        click.echo(shortened(plain(line), _LONGEST_LINE))


_put: list[bool] = []


def take_json() -> bool:
    """Return whether `put_json` has printed since this was asked last: then there is a document already."""
    found = bool(_put)
    _put.clear()
    return found


def put_json(document: Any) -> None:
    """Print one JSON document on stdout; in ASCII where the terminal's encoding lacks a character."""
    _put.append(True)
    click.echo(_json(document, indent=1))


def put_json_line(document: Any) -> None:
    """Print one JSON document on a line of its own."""
    click.echo(_json(document, indent=None))


def _json(document: Any, indent: int | None) -> str:
    """Return a document as JSON in which characters that a terminal would act on are escaped."""
    import json

    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=indent, allow_nan=False)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(_escaped(c) if c != "\n" and is_hidden(c) else c for c in text)


def _escaped(c: str) -> str:
    """Return a character as JSON writes it in ASCII."""
    units = c.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def table(rows: Sequence[Sequence[Any]], head: Sequence[str]) -> list[str]:
    """Return rows as aligned lines; columns that hold only numbers stand right."""
    texts = [[shortened(plain(str(c)), _LONGEST_CELL) for c in row] for row in rows]
    widths = [max(len(line[i]) for line in (list(head), *texts)) for i in range(len(head))]
    right = [bool(rows) and all(_numeric(t[i]) for t in texts) for i in range(len(head))]

    def line(cells: Iterable[str]) -> str:
        return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)).rstrip()

    return [line(head), *(line(t) for t in texts)]


def _numeric(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("%", "").replace("-", "").strip().isdigit() or not text


def examples(count: int) -> str:
    """Return a number of examples for people."""
    return f"{count} example{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Return a number of bytes for people."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def unknown_figures(found: Any) -> str:
    """Return what the manifest's metrics say of `unknown`, which hold what the tlc of that day wrote."""
    try:
        rate, alarms, images = found["rate"], found["false_alarms"], found["test_images"]
    except (KeyError, TypeError):
        return "not measured"
    if not rate:
        return "off"
    text = f"{100 * rate:g} % of known images may be called so; {alarms} of {images} test images were"
    if found.get("foreign_images"):
        accepts, foreign = found["false_accepts"], found["foreign_images"]
        text += f"; {accepts} of {foreign} foreign images ({found['foreign']}) passed for known"
        shown = found.get("none_of_these")
        if shown:
            passed, alarms = shown["false_accepts_without"], shown["false_alarms_without"]
            text += f", now that {shown['images']} of them ship as none of these"
            text += f"; without, {passed} passed, and {alarms} test images were called unknown"
    return text


class StepLines:
    """Progress on stderr: one line per step, redrawn where a person watches."""

    def __init__(self, quiet: bool = False) -> None:
        self._interrupt = Interrupt()
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._step = ""
        self._start = self._drawn = 0.0
        self._units = ""

    def __call__(self, step: str, done: int, total: int) -> None:
        """Take a build's progress.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        self._interrupt.check()
        if self._quiet:
            return
        now = time.perf_counter()
        if step != self._step:
            self.finish()
            self._step, self._start, self._units = step, now, ""
        if total:
            self._units = f"{done}/{total}"
        # Ten times a second is enough for the eye.
        if self._live and (now - self._drawn > 0.1 or done == total):
            self._drawn = now
            click.echo(f"\r\033[K  {step:<17} {self._units}", err=True, nl=False)

    def finish(self) -> None:
        """Close the line of the step that ran last; one that took no time is not worth a line."""
        seconds = time.perf_counter() - self._start
        if self._step and not self._quiet:
            if self._live:
                click.echo("\r\033[K", err=True, nl=False)
            if seconds >= 0.1:
                click.echo(f"  {self._step:<17} {seconds:5.1f} s  {self._units}".rstrip(), err=True)
        self._step = ""

    def __enter__(self) -> StepLines:
        self._interrupt.__enter__()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.finish()
        elif self._step and self._live and not self._quiet:
            click.echo("", err=True)
        self._interrupt.__exit__(kind, error, trace)
