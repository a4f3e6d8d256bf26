"""A group of commands that is a folder: each file in it is a command, and none is loaded before it is asked for."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import click


class CommandFolder(click.Group):
    """The commands that lie in a package's folder, a file or a folder of the next group each.

    `undo.py` defines the command `undo` as its `undo`; where that is a word of Python's own there is one underscore
    more (`import_.py`). The file's docstring is the command's help, so that a list of the commands needs only the
    first lines of their files.
    """

    prepare: ClassVar[Callable[[click.Command], None] | None] = None
    """What is done to each command that is loaded."""

    def __init__(self, package: str, file: str, **settings: Any) -> None:
        """Take the package's `__name__` and `__file__`, and what click's groups take."""
        super().__init__(**settings)
        self._package, self._folder = package, os.path.dirname(file)  # noqa: PTH120

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click names it
        """Return the names, sorted."""
        return sorted(_command_name(module) for module in self._modules())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load the command of that name; None where there is none."""
        module = next((m for m in self._modules() if _command_name(m) == cmd_name), None)
        if module is None:
            return None
        found = getattr(importlib.import_module(f"{self._package}.{module}"), module)
        assert isinstance(found, click.Command)
        if CommandFolder.prepare is not None:
            CommandFolder.prepare(found)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list for the group's help as click does, of commands that have only their first lines."""
        shown = {_command_name(m): click.Command(_command_name(m), help=self._first_line(m)) for m in self._modules()}
        click.Group(commands=shown).format_commands(ctx, formatter)

    # Without pathlib, which takes a tenth of the time of `tlc --help`: nothing else there needs it.

    def _modules(self) -> Iterator[str]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122
                if not stem.startswith("_") and (suffix == ".py" or _is_file(f"{entry.path}/__init__.py")):
                    yield stem

    def _first_line(self, module: str) -> str:
        path = f"{self._folder}/{module}.py"
        with open(path if _is_file(path) else f"{self._folder}/{module}/__init__.py", encoding="utf-8") as file:  # noqa: PTH123
            return file.readline().strip().removeprefix('"""').removesuffix('"""')


def _is_file(path: str) -> bool:
    return os.path.isfile(path)  # noqa: PTH113


def _command_name(module: str) -> str:
    return module.rstrip("_").replace("_", "-")
