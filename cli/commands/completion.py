"""Print what SHELL must read to complete commands, targets, backbones, labels and files.

\b
tlc completion bash >> ~/.bashrc
tlc completion zsh >> ~/.zshrc
tlc completion fish > ~/.config/fish/completions/tlc.fish
"""

from __future__ import annotations

import click

from tlc_edge.cli.completion import SHELLS, script
from tlc_edge.cli.options import json_option
from tlc_edge.cli.output import put_json


@click.command(help=__doc__)
@click.argument("shell", type=click.Choice(SHELLS))
@json_option
def completion(shell: str, as_json: bool) -> None:
    text = script(shell, click.get_current_context().find_root().command)
    if as_json:
        put_json({"shell": shell, "script": text})
    else:
        click.echo(text, nl=False)
