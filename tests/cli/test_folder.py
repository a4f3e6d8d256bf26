"""A folder of commands: each file is one, found when it is asked for, listed by its first line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tlc_edge.cli.commands import cli
from tlc_edge.cli.folder import CommandFolder

WAVE = '''"""Wave to NAME; it is polite.

More of it.
"""
import click

@click.command(help=__doc__)
@click.argument("name")
def wave(name):
    click.echo(f"waves to {name}")
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with two commands, one of them named like a word of Python's, and a group of one."""
    folder = tmp_path / "few_commands"
    (folder / "more" / "deeper").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "_shared.py").write_text("raise AssertionError('is no command')")
    (folder / "notes.txt").write_text("is none either")
    (folder / "wave.py").write_text(WAVE)
    (folder / "import_.py").write_text(WAVE.replace("Wave", "Import").replace("def wave", "def import_"))
    (folder / "more" / "__init__.py").write_text(
        '"""One more."""\nfrom tlc_edge.cli.folder import CommandFolder\n'
        "more = CommandFolder(__name__, __file__, name='more', help=__doc__)\n"
    )
    (folder / "more" / "two_words.py").write_text(WAVE.replace("def wave", "def two_words"))
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "few_commands"]:
        del sys.modules[name]


def run(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(CommandFolder("few_commands", str(folder / "__init__.py"), name="few"), words)
    assert not done.exception or isinstance(done.exception, SystemExit), done.exception
    return done.output


def test_a_file_is_a_command_and_a_folder_a_group(package: Path) -> None:
    assert run(package, "wave", "Ada") == "waves to Ada\n"
    assert run(package, "import", "Ada") == "waves to Ada\n"
    assert run(package, "more", "two-words", "Ada") == "waves to Ada\n"
    (package / "call.py").write_text(WAVE.replace("waves", "calls").replace("def wave", "def call"))
    assert run(package, "call", "Ada") == "calls to Ada\n"


def test_the_list_is_made_without_loading_a_command(package: Path) -> None:
    (package / "broken.py").write_text('"""Break."""\nraise AssertionError')
    shown = run(package, "--help")
    listed = shown[shown.index("Commands:") :].split("\n")
    assert [line.split(maxsplit=1) for line in listed[1:-1]] == [
        ["broken", "Break."],
        ["import", "Import to NAME; it is polite."],
        ["more", "One more."],
        ["wave", "Wave to NAME; it is polite."],
    ]
    assert not any(name.startswith("few_commands") for name in sys.modules)


def test_what_is_no_command_is_told(package: Path) -> None:
    for word in ("notes", "_shared", "import_", "deeper"):
        assert f"No such command '{word}'" in run(package, word)


def test_the_lists_of_tlc_are_what_its_commands_say_themselves() -> None:
    folders = [cli]
    for folder in folders:
        context = click.Context(folder)
        found = {name: folder.get_command(context, name) for name in folder.list_commands(context)}
        commands = {name: command for name, command in found.items() if command is not None}
        assert len(commands) == len(found) >= 1
        ours, clicks = click.HelpFormatter(width=200), click.HelpFormatter(width=200)
        folder.format_commands(context, ours)
        click.Group(commands=commands).format_commands(context, clicks)
        assert ours.getvalue() == clicks.getvalue()
        folders += [command for command in commands.values() if isinstance(command, CommandFolder)]
    assert len(folders) == 6
