"""What a shell offers when Tab is pressed: commands and options as click has them, and what each argument can be.

What is not known here is a file, as it is without any completion.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from .folder import CommandFolder

COMPLETING = "_TLC_COMPLETE"
"""Set by the shell's function when it asks."""

SHELLS = ("bash", "zsh", "fish")

_FILES = [CompletionItem("", type="file")]

_BASH = """\
# Completion of tlc, for bash 4.4 or newer.
_tlc_completion() {
    local reply kind value files= special= typed=${COMP_WORDS[COMP_CWORD]}
    [[ $typed == = || $typed == : ]] && typed=
    COMPREPLY=()
    reply=$(env _TLC_COMPLETE=bash_complete TLC_LINE="${COMP_LINE:0:COMP_POINT}" TLC_BREAKS="$COMP_WORDBREAKS" \\
        "$1" 2>/dev/null) || return 0
    while IFS=, read -r kind value; do
        if [[ $kind == file ]]; then
            files=yes
        elif [[ $kind == plain ]]; then
            COMPREPLY+=("$value")
            [[ $value == *[!A-Za-z0-9_.,:/=+-]* ]] && special=yes
        fi
    done <<<"$reply"
    if [[ $files && ${#COMPREPLY[@]} -gt 0 ]]; then
        kind=${#COMPREPLY[@]}
        mapfile -t -O "$kind" COMPREPLY < <(compgen -f -- "$typed")
        ((${#COMPREPLY[@]} > kind)) && special=yes
    elif [[ $files ]]; then
        compopt -o default
    fi
    # Readline then quotes what needs it, whether or not a quote is open.
    [[ $special ]] && compopt -o filenames
    return 0
}
complete -o nosort -F _tlc_completion tlc
"""


class _Bash(ShellComplete):
    """The line goes to tlc as it stands: bash itself splits words at `:` and `=`."""

    name = "bash"
    source_template = _BASH

    def source(self) -> str:
        """Return the script."""
        return self.source_template

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is being typed, and that."""
        line = os.environ.get("TLC_LINE", "")
        words = split_arg_string(line)[1:]
        if words and not re.search(r"(?<!\\)\s$", line):
            return words[:-1], words[-1]
        return words, ""

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return an item as the script reads it, without what readline takes for words before the last."""
        typed = self.get_completion_args()[1]
        value = typed.partition("=")[2] if typed.startswith("--") else typed
        breaks = os.environ.get("TLC_BREAKS", "")
        before = max((value.rfind(c) + 1 for c in ":=" if c in breaks), default=0)
        return f"{item.type},{item.value[before:]}"


def script(shell: str, cli: click.Command) -> str:
    """Return what a shell must read to complete tlc's words."""
    add_completion_class(_Bash)
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(cli, {}, "tlc", COMPLETING).source()


def take_over() -> None:
    """Have click answer a shell that asks as this module does."""
    add_completion_class(_Bash)
    CommandFolder.prepare = teach


def teach(command: click.Command) -> None:
    """Have each parameter of a command say what it can be."""
    for parameter in command.params:
        own = parameter.shell_complete
        offer = _offers(parameter)
        setattr(parameter, "shell_complete", own if offer is None else _safely(offer))  # noqa: B010 - it is a method


Offer = Callable[[click.Context, str], Iterable[CompletionItem[str]]]


def _offers(parameter: click.Parameter) -> Offer | None:
    """Return what completes a parameter; None where click does."""
    if isinstance(parameter.type, click.Choice) or (isinstance(parameter, click.Option) and parameter.is_flag):
        return None
    known = _WORDS.get(parameter.name or "")
    if known is not None:
        return known
    if isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType):
        return lambda _context, _typed: ()
    return lambda _context, _typed: _FILES


def _safely(offer: Offer) -> Offer:
    """Return the same that offers nothing where it fails: a shell's line is no place for an error."""

    def offered(context: click.Context, typed: str) -> Sequence[CompletionItem[str]]:
        try:
            return [*offer(context, typed)]
        except Exception:
            return []

    return offered


def _words(words: Iterable[str], typed: str, *, files: bool = False) -> list[CompletionItem[str]]:
    found = [CompletionItem(word) for word in words if word.startswith(typed)]
    return [*found, *(_FILES if files else ())]


def _targets(_context: click.Context, typed: str) -> list[CompletionItem[str]]:
    """Return devices; behind a comma another one."""
    from tlc_edge.targets import all_targets

    before, comma, _ = typed.rpartition(",")
    taken = before.split(",")
    names = [f"{before}{comma}{t.name}" for t in all_targets() if t.name not in taken]
    return _words(names, typed, files=not comma)


def _backbones(_context: click.Context, typed: str) -> list[CompletionItem[str]]:
    from tlc_edge.compiler.backbones.find import backbones

    return _words([b.name for b in backbones()], typed, files=True)


def _heads(_context: click.Context, typed: str) -> list[CompletionItem[str]]:
    from tlc_edge.compiler.train.heads import HEADS

    return _words([head.name for head in HEADS if head.name.isalpha()], typed, files=True)


def _engines(context: click.Context, typed: str) -> list[CompletionItem[str]]:
    from tlc_edge.runtime.engines.table import engine_names

    return _words([*engine_names(), *(["all"] if context.info_name == "verify" else [])], typed)


def _augmentations(_context: click.Context, typed: str) -> list[CompletionItem[str]]:
    from tlc_edge.compiler.options import AUGMENTATIONS

    before, comma, _ = typed.rpartition(",")
    names = [f"{before}{comma}{name}" for name in AUGMENTATIONS if name not in before.split(",")]
    return _words([*names, *([] if comma else ["none"])], typed)


def _labels(context: click.Context, typed: str) -> list[CompletionItem[str]]:
    """Return the classes of the bundle on the line, those that were enrolled first."""
    from tlc_edge.cli.options import gallery_path
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.gallery.gallery import Gallery

    bundle = Path(context.params["bundle"])
    gallery = gallery_path(str(bundle), context.params.get("gallery"))
    enrolled: list[str] = []
    if gallery.is_file():
        with Gallery.open_any(gallery) as opened:
            enrolled = [*opened.classes()]
    command = context.command_path.removeprefix("tlc ")
    built = () if command in _ENROLLED_ONLY else Bundle.open(bundle).manifest.labels
    return _words(dict.fromkeys([*enrolled, *built]), typed)


_ENROLLED_ONLY = ("forget", "gallery rename", "gallery list")
"""Commands that know nothing but what was enrolled."""


def _given(*words: str, files: bool = False) -> Offer:
    return lambda _context, typed: _words(words, typed, files=files)


_WORDS: dict[str, Offer] = {
    "label": _labels,
    "old": _labels,
    "new": _labels,
    "target": _targets,
    "backbone": _backbones,
    "head": _heads,
    "engine": _engines,
    "augment": _augmentations,
    "data": _given("sample:digits", files=True),
    "shave": _given("auto"),
    "cache": _given("off", files=True),
    "rate": _given("off"),
    "unknown_rate": _given("off"),
    **dict.fromkeys(("shape", "checksum", "encoding", "input_size", "ids", "webhook", "headers", "mqtt"), _given()),
}
"""What parameters can be, by their names, where that is no file, or more than that."""
