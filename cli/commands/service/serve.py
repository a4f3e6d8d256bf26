"""Write a systemd unit that runs `tlc serve BUNDLE…` with these options, as root; say what to run next.

The options of `tlc serve` follow after the bundles, `--json` of them after `--`. The service runs as an ordinary user,
sees all but the folders of the bundles and its own as read-only, and keeps tokens and certificates in /var/lib/NAME. A
file for Avahi lets browsers of the network find it.
"""

from __future__ import annotations

from pathlib import Path

import click

from tlc_edge.cli.options import json_option
from tlc_edge.cli.output import put, put_json, say


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@click.option("--name", default="tlc-serve", show_default=True, metavar="NAME", help="Of the service.")
@click.option("--user", metavar="USER", help="Who it runs as.  [default: who calls sudo, or this]")
@click.option("--to", metavar="FILE|-", help="Write the unit there.  [default: /etc/systemd/system/NAME.service]")
@click.option(
    "--avahi", metavar="FILE|-", help="Write Avahi's file there.  [default: /etc/avahi/services/NAME.service]"
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="BUNDLE… [OPTIONS]")
@json_option
def serve(
    name: str, user: str | None, to: str | None, avahi: str | None, words: tuple[str, ...], as_json: bool
) -> None:
    from tlc_edge.cli.commands.serve import serve as served
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.watch.announce import announcement, write_announcement
    from tlc_edge.runtime.watch.unit import program, service_unit, usual_user, writable_folders, write_unit

    # A mistake is told now, not in the journal.
    names = click.get_current_context().help_option_names
    given = served.make_context("tlc serve", list(words), help_option_names=names).params
    bundles: tuple[str, ...] = given["bundles"]
    folders: list[Path] = []
    for bundle in bundles:
        Bundle.open(bundle)
        folders += writable_folders(name, Path(bundle).absolute(), given["gallery"], given["queue"])
    absolute = [str(Path(word).absolute()) if word in bundles else word for word in words]
    text = service_unit(
        "serve", name, [*program(), "serve", *absolute], list(dict.fromkeys(folders)), user or usual_user()
    )
    found = announcement(given["port"], given["prefix"], is_secure=given["tls"] or given["cert"] is not None)
    where = None if to == "-" else write_unit(Path(to or f"/etc/systemd/system/{name}.service"), text)
    beside = None
    if avahi != "-" and (avahi is not None or where is not None):
        beside = write_announcement(Path(avahi or f"/etc/avahi/services/{name}.service"), found)
    if as_json:
        paths = {key: None if path is None else str(path) for key, path in (("path", where), ("avahi_path", beside))}
        put_json({"name": name, **paths, "unit": text, "avahi": found})
        return
    if where is None:
        put(*text.splitlines())
        return
    say(f"{where} written; next: systemctl daemon-reload && systemctl enable --now {name}")
    say(f"its first link is in the journal: journalctl -u {name}; `tlc token add --state /var/lib/{name}` makes others")
