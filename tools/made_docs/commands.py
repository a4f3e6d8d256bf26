"""docs/cli.md from the click commands, whatever modules they lie in."""

from __future__ import annotations

from collections.abc import Iterator

import click

from .markdown import code, table

_ABOUT = """# The command line

`tlc COMMAND --help` says the same. Exit codes: 0 done, 1 the work failed, 2 wrong usage; what went wrong is said in one
sentence on stderr. Ctrl-C leaves nothing half-written. What `--json` prints has [a page of its own](json.md).

"""


def commands(group: click.Group, path: tuple[str, ...] = ("tlc",)) -> Iterator[tuple[str, click.Command]]:
    """Yield every command of a group with its full name, in alphabetical order, those of groups in it too."""
    context = click.Context(group, info_name=path[-1])
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def cli_page(group: click.Group) -> str:
    """Return docs/cli.md."""
    found = list(commands(group))
    listed = table(
        ("command", "what it does"),
        ((f"[`{name}`](#{name.replace(' ', '-')})", command.get_short_help_str(200)) for name, command in found),
    )
    return _ABOUT + listed + "".join(_section(name, command, group) for name, command in found)


def _section(name: str, command: click.Command, root: click.Group) -> str:
    # With the root's settings, as when it is run: click makes a command's help option once and keeps it.
    context = click.Context(command, info_name=name, **root.context_settings)
    pieces = " ".join(command.collect_usage_pieces(context))
    text = f"\n## {name}\n\n{code(f'{name} {pieces}')}\n\n{_prose(command.help or '')}"
    if isinstance(command, click.Group):
        return text
    rows = [(code(_names(p)), _help(p)) for p in command.params if isinstance(p, click.Option) and not p.hidden]
    return text + "\n" + table(("option", "what it does"), rows)


def _names(option: click.Option) -> str:
    """Return the option's names and what it takes. Not by click's own record, which differs between its versions."""
    names = ", ".join(option.opts) + "".join(f" / {name}" for name in option.secondary_opts)
    if option.is_flag or option.count:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} {'|'.join(map(str, option.type.choices))}"
    number = {"integer": "N", "float": "NUMBER"}
    kind = next((word for name, word in number.items() if option.type.name.startswith(name)), option.type.name.upper())
    return f"{names} {option.metavar or kind}"


def _help(option: click.Option) -> str:
    """Return the option's help with its default; what a Markdown page would take for a tag is escaped."""
    text = " ".join((option.help or "").split())
    if option.required:
        text += " [required]"
    elif option.show_default:
        text += f" [default: {option.default}]"
    parts = text.split("`")
    return "`".join(part.replace("<", "&lt;") if i % 2 == 0 else part for i, part in enumerate(parts)).strip()


def _prose(text: str) -> str:
    """Return a help text as Markdown: click's `\\b` keeps the lines of a paragraph, which are examples here."""
    parts: list[str] = []
    for paragraph in text.split("\n\n"):
        lines = [line.strip() for line in paragraph.strip("\n").splitlines()]
        if lines and lines[0] == "\b":
            examples = "\n".join(filter(None, lines[1:]))
            parts.append(f"<!-- not run: read by the command's own parser -->\n```sh\n{examples}\n```\n")
        else:
            parts.append(" ".join(lines).strip() + "\n")
    return "\n".join(parts)
