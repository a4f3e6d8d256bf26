"""One run of the command line, and the one place that turns errors into messages and exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from tlc_edge.runtime.errors import TlcError
from tlc_edge.runtime.quiet import end_quiet

from .commands import cli
from .interrupt import MESSAGE, Interrupt
from .output import put_json, say, take_json


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the work failed, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text
    try:
        code = _run(argv)
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison] - None where it is closed
            sys.stdout.flush()  # whether the work failed or not: what was printed may not get out
    except OSError as e:
        # Of the disk that the output goes to, say. A reader such as `head` that has had enough is no error.
        if not isinstance(e, BrokenPipeError):
            with contextlib.suppress(OSError):  # of stderr, on the same full disk: there is no one left to tell
                say(f"Error: {e.filename or 'the output'}: {e.strerror or e}")
        # What could not be written is still there, and Python would complain once more at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    return code


def _run(argv: Sequence[str] | None) -> int:
    """Run a command; say what went wrong and return the exit code.

    With `--json` what went wrong is a document too, where the command has not printed its own.

    Raises:
        OSError: what it says cannot be written.
    """
    take_json()
    if "_TLC_COMPLETE" in os.environ:  # a shell asks; the module is not loaded for anything else
        from .completion import take_over

        take_over()
    words = sys.argv[1:] if argv is None else argv
    try:
        with Interrupt() as interrupt:  # inside: what a library made of a Ctrl-C must not be reported as its error
            interrupt.check()
            code = cli.main(args=argv, prog_name="tlc", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as e:
        shown = io.StringIO()
        e.show(shown)
        say(*shown.getvalue().splitlines())
        hint = _say_hint(words, e)
        error: dict[str, Any] = {"what": e.format_message(), "kind": "UsageError", "exit_code": e.exit_code}
        error["notes"] = hint
    except TlcError as e:
        say(f"Error: {e}")
        notes: list[str] = getattr(e, "__notes__", [])
        for note in notes:
            say(f"       ({note})")
        notes = [*notes, *_say_hint(words, e)]
        error = {"what": str(e), "kind": type(e).__name__, "exit_code": e.exit_code, "notes": list(notes)}
        error |= {"step": e.step, "after": list(e.after), "tried": list(e.tried)}
    except (click.Abort, KeyboardInterrupt) as e:
        end_quiet()
        say(MESSAGE)
        kept = _notes(e)
        for note in kept:
            say(f"       ({note})")
        error = {"what": MESSAGE, "kind": "Interrupted", "exit_code": 1, "notes": kept}
    except MemoryError:
        message = "out of memory; close other programs, or use fewer or smaller images"
        say(f"Error: {message}")
        error = {"what": message, "kind": "MemoryError", "exit_code": 1}
    if _wants_json(words) and not take_json():
        put_json({"error": {"step": None, "after": [], "tried": [], "notes": [], **error}})
    return int(error["exit_code"])


def _notes(error: BaseException | None) -> list[str]:
    """Return what was noted of a Ctrl-C, which click makes another exception of, and Interrupt a third."""
    while error is not None:
        found: list[str] = getattr(error, "__notes__", [])
        if found:
            return list(found)
        error = error.__cause__ or error.__context__
    return []


def _say_hint(words: Sequence[str], error: Exception) -> list[str]:
    """Say what was meant, where that is known, and return it."""
    from .suggestions import suggest

    hint = suggest(words, error)
    if hint is not None:
        say(f"       ({hint})")
    return [] if hint is None else [hint]


def _wants_json(words: Sequence[str]) -> bool:
    """Whether a command line, right or wrong, asks for JSON."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options
