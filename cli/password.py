"""Passwords of secret keys: asked for at the terminal, read as one line where there is none."""

from __future__ import annotations

import sys

import click


def ask() -> str:
    """Return the password of a key.

    Raises:
        click.UsageError: standard input is closed, or empty.
    """
    return _read("Password of the key")


def ask_new() -> str:
    """Return a new password; at a terminal it is asked for twice.

    Raises:
        click.UsageError: as `ask`.
    """
    return _read("Password for the new key", confirm=True)


def _read(prompt: str, *, confirm: bool = False) -> str:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - so Python says that it is closed
        raise click.UsageError("the key has a password, and standard input is closed")
    if sys.stdin.isatty():
        text: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
        return text
    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise click.UsageError("the key has a password, and there is none on standard input")
    return text
