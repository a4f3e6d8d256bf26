"""What pages say of options: each that is named is one that its command has."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from conftest import ROOT

from tlc_edge.cli.commands import cli

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = {"--system-site-packages", "--cacert", "--array"}
"""Options of other programs that pages name: venv, curl and Slurm."""
HANDED_ON = {("service", "install"): ("watch",), ("service", "serve"): ("serve",)}
"""Commands that hand what they do not know to another one."""


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Yield every command with its options."""
    found = {o for p in command.params if isinstance(p, click.Option) for o in (*p.opts, *p.secondary_opts)}
    yield path, found | {"--help"}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            within = command.get_command(context, name)
            assert within is not None
            yield from commands(within, (*path, name))


def wrong(text: str) -> list[str]:
    """Return what a text says of options that is not so."""
    known = dict(commands(cli))
    every = set[str]().union(*known.values(), OTHERS)
    found = [option for option in re.findall(r"`(--[a-z][a-z-]*)", text) if option not in every]
    for words, rest in re.findall(r"\btlc ((?:[a-z]+ ?)+)([^`\n]*)", text):
        path: tuple[str, ...] = ()
        for word in words.split():
            if (*path, word) not in known:
                break
            path = (*path, word)
        if path:
            its = known[path] | known.get(HANDED_ON.get(path, ()), set())
            # What follows a pipe or `&&` is another program's.
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", re.split(r" && |\|", rest)[0]):
                if option not in its:
                    found.append(f"tlc {' '.join(path)} {option}")
    return found


def test_options_that_pages_name_are_those_of_their_commands() -> None:
    for page in PAGES:
        assert wrong(page.read_text("utf-8")) == [], page.name


def test_an_option_that_is_not_there_is_noticed() -> None:
    assert wrong("`--top` and `tlc predict a.tlc b.jpg --top 3`, `tlc service install a.tlc --camera 0`") == []
    assert wrong("`--topmost`") == ["--topmost"]
    assert wrong("`tlc predict a.tlc b.jpg --camera 0`") == ["tlc predict --camera"]
