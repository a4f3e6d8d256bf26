"""Sign a bundle, so that devices that trust the key open it, and nothing older from then on.

A public key in the place of BUNDLE is signed too: devices take a new key that one of theirs has signed.

\b
tlc sign photos.tlc --key tlc.key
tlc sign next.pub --key tlc.key
"""

from __future__ import annotations

from pathlib import Path

import click

from tlc_edge.cli.options import json_option
from tlc_edge.cli.output import put, put_json
from tlc_edge.cli.password import ask
from tlc_edge.runtime.errors import UsageError


@click.command(help=__doc__)
@click.argument("bundle")
@click.option("--key", required=True, metavar="FILE", help="The secret key, of `tlc keygen` or minisign.")
@click.option(
    "--serial",
    type=int,
    metavar="N",
    help="Serial number; a device opens none that is lower than one it has seen.  [default: the time, in milliseconds]",
)
@click.option("--name", default="", metavar="NAME", help="Count serial numbers apart from bundles with other names.")
@json_option
def sign(bundle: str, key: str, serial: int | None, name: str, as_json: bool) -> None:
    from tlc_edge.runtime.bundle.sign import sign_bundle
    from tlc_edge.runtime.signing.key_files import is_public, sign_file
    from tlc_edge.runtime.signing.release import make_release
    from tlc_edge.runtime.signing.secret_key import read_secret
    from tlc_edge.runtime.signing.trust_key import KEY_COMMENT

    release = make_release(serial, name)
    if is_public(Path(bundle)):
        if serial is not None or name:
            raise UsageError("--serial and --name are of a bundle; a key has neither")
        signer = read_secret(Path(key), ask)
        to = sign_file(Path(bundle), signer, KEY_COMMENT)
        document = {"path": bundle, "key": signer.public.id, "signature": str(to), "serial": None, "name": ""}
        text = f"{to}: signed with the key {signer.public.id}; give it to the devices beside {bundle}"
    else:
        signer = read_secret(Path(key), ask)
        sign_bundle(bundle, signer, release)
        document = {"path": bundle, "key": signer.public.id, "signature": None} | vars(release)
        named = f" under the name {name}" if name else ""
        text = f"{bundle}: signed with the key {signer.public.id}, serial number {release.serial}{named}"
    put_json(document) if as_json else put(text)
