"""Write a systemd unit that runs `tlc watch BUNDLE` with these options, as root; say what to run next.

The options of `tlc watch` follow after BUNDLE, `--json` of them after `--`. The service runs as an ordinary user, sees
all but the bundle's folder and its own as read-only, and reads TLC_MQTT_USER and TLC_MQTT_PASSWORD from /etc/NAME.env
where that is.
"""

from __future__ import annotations

from pathlib import Path

import click

from tlc_edge.cli.options import bundle_argument, json_option
from tlc_edge.cli.output import put, put_json, say


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@click.option("--name", default="tlc-watch", show_default=True, metavar="NAME", help="Of the service.")
@click.option("--user", metavar="USER", help="Who it runs as.  [default: who calls sudo, or this]")
@click.option("--to", metavar="FILE|-", help="Write the unit there.  [default: /etc/systemd/system/NAME.service]")
@bundle_argument
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@json_option
def install(name: str, user: str | None, to: str | None, bundle: str, options: tuple[str, ...], as_json: bool) -> None:
    from tlc_edge.cli.commands.watch import watch
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.watch.unit import program, service_unit, usual_user, writable_folders, write_unit

    # A mistake is told now, not in the journal. click keeps the help option that a command first made, so it is the
    # one that the root asks for.
    names = click.get_current_context().help_option_names
    given = watch.make_context("tlc watch", [bundle, *options], help_option_names=names).params
    Bundle.open(bundle)
    path = Path(bundle).absolute()
    folders = writable_folders(name, path, given["gallery"], given["save_unknown"])
    text = service_unit("watch", name, [*program(), "watch", str(path), *options], folders, user or usual_user())
    where = None if to == "-" else write_unit(Path(to or f"/etc/systemd/system/{name}.service"), text)
    if as_json:
        put_json({"name": name, "path": None if where is None else str(where), "unit": text})
        return
    if where is None:
        put(*text.splitlines())
        return
    say(f"{where} written; next: systemctl daemon-reload && systemctl enable --now {name}")
