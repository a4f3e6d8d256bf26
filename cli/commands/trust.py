"""Trust a key: from then on nothing is opened here that no trusted key has signed, or that is older than what was.

Without KEY it lists what is trusted. A further KEY must be signed by one that is trusted already, in FILE.minisig
beside it.

\b
tlc trust tlc.pub
tlc trust --remove B1F36C7A9A0D4E55
"""

from __future__ import annotations

import click

from tlc_edge.cli.options import allow_unsigned_option, json_option, once
from tlc_edge.cli.output import put, put_json, say, table
from tlc_edge.runtime.errors import UsageError


@click.command(help=__doc__)
@click.argument("key", required=False)
@click.option("--list", "listed", is_flag=True, help="List what is trusted; so it is without KEY.")
@click.option("--remove", metavar="KEY", help="Trust a key no longer: its number, its line or its file.")
@click.option(
    "--start-anew", metavar="NAME", help="Forget the newest serial number seen under a name; '' where there is none."
)
@allow_unsigned_option
@json_option
def trust(
    key: str | None, listed: bool, remove: str | None, start_anew: str | None, allow_unsigned: bool, as_json: bool
) -> None:
    from tlc_edge.runtime.signing import newest
    from tlc_edge.runtime.signing.trust_key import trust_key
    from tlc_edge.runtime.signing.trusted import SYSTEM, remove_key, trust_folder, trusted_keys

    if sum((key is not None, listed, remove is not None, start_anew is not None)) > 1:
        raise UsageError("KEY, --list, --remove and --start-anew are one thing each; give one of them")
    done = ""
    if key is not None:
        added = trust_key(key, once(say) if allow_unsigned else None)
        done = f"{added.key.id} is trusted now"
    elif remove is not None:
        gone = remove_key(remove)
        left = "" if trusted_keys() else "; no key is left, so anything is opened again"
        done = f"{gone.key.id} is trusted no longer{left}"
    elif start_anew is not None:
        newest.start_anew(start_anew)
        done = f"the next bundle under the name {start_anew!r} counts as the first"
    keys = [
        {"id": t.key.id, "key": t.key.text, "path": str(t.path), "for_all": t.path.parent == SYSTEM}
        for t in trusted_keys()
    ]
    seen = newest.newest()
    folder = trust_folder()
    if as_json:
        put_json({"keys": keys, "newest": dict(seen), "folder": None if folder is None else str(folder)})
        return
    if done:
        put(done)
        return
    if not keys:
        put("no key is trusted, so bundles are opened whoever made them")
        return
    put(*table([(k["id"], k["path"]) for k in keys], ("key", "kept in")))
    if seen:
        rows = [(name or "(no name)", str(serial)) for name, serial in sorted(seen.items())]
        put("", *table(rows, ("name", "newest serial number seen")))
