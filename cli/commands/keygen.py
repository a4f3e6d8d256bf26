"""Make a key to sign bundles with: a secret file, and a public one for the devices that shall trust it.

\b
tlc keygen
tlc keygen -o workshop.key --password
"""

from __future__ import annotations

from pathlib import Path

import click

from tlc_edge.cli.options import json_option
from tlc_edge.cli.output import put, put_json
from tlc_edge.cli.password import ask_new


@click.command(help=__doc__)
@click.option(
    "-o",
    "--output",
    default="tlc.key",
    show_default=True,
    metavar="FILE",
    help="The secret key, which is never replaced; the public one goes beside it as .pub.",
)
@click.option("--password", is_flag=True, help="Lock it with a password, which is asked for.")
@json_option
def keygen(output: str, password: bool, as_json: bool) -> None:
    from tlc_edge.runtime.signing.ed25519 import load_ed25519
    from tlc_edge.runtime.signing.key_files import new_key

    load_ed25519()  # nobody thinks of a password for nothing
    key, public = new_key(Path(output), ask_new() if password else None)
    if as_json:
        put_json({"id": key.public.id, "key": key.public.text, "secret": output, "public": str(public)})
        return
    put(f"{output}: the secret key; keep it, and a copy of it, where nobody else comes")
    put(f"{public}: the public key {key.public.id}; on each device: tlc trust {public.name}")
