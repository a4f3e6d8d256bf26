"""Serve the page and an HTTP API of one or more bundles, until Ctrl-C or SIGTERM.

Only this machine reaches it, unless --host says otherwise; then who asks needs a token, which `tlc token` adds.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.cli.numbers import Finite
from tlc_edge.cli.options import allow_unsigned_option, device_options, once, state_option, unknown_option
from tlc_edge.cli.output import put_json, say
from tlc_edge.cli.terminate import sigterm_as_interrupt
from tlc_edge.runtime.watch.save_bounds import MOST, MOST_MEGABYTES

if TYPE_CHECKING:
    from tlc_edge.runtime.serve.run import Serving


@click.command(help=__doc__)
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE…")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="0.0.0.0: every address.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option(
    "--camera",
    "--source",
    "camera",
    metavar="WHERE",
    help="Show what this camera sees: its number (0), an address, a video file, or a folder that gets new images.",
)
@click.option(
    "--every", type=Finite(min=0), default=0.1, show_default=True, metavar="SECONDS", help="Look at it this often."
)
@click.option("--queue", metavar="DIR", help="Keep pictures of what is unknown or unsure, to be sorted on the page.")
@click.option(
    "--queue-most",
    type=click.IntRange(min=1),
    default=MOST,
    show_default=True,
    metavar="N",
    help="Pictures kept there, per bundle; then the oldest give way.",
)
@click.option(
    "--queue-megabytes",
    type=click.IntRange(min=1),
    default=MOST_MEGABYTES,
    show_default=True,
    metavar="N",
    help="The same of what they take.",
)
@click.option("--tls", is_flag=True, help="Speak https, by a certificate of this device's own.")
@click.option("--cert", metavar="FILE", help="Speak https by this certificate (PEM).")
@click.option("--key", metavar="FILE", help="Its key.")
@click.option("--read-only", is_flag=True, help="Nobody may teach it anything.")
@click.option("--token", is_flag=True, help="Ask for a token on this machine too.")
@click.option("--host-name", "names", multiple=True, metavar="NAME", help="A further name of this server. Repeatable.")
@click.option("--path-prefix", "prefix", default="", metavar="/PATH", help="Where a reverse proxy shows it.")
@click.option("--trust-proxy", metavar="ADDRESS", help="Take this reverse proxy's word on who asks, and how.")
@state_option
@unknown_option("rate")
@device_options
@allow_unsigned_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout when it is ready.")
def serve(allow_unsigned: bool, as_json: bool, state: str | None, **options: Any) -> None:
    from tlc_edge.runtime.errors import DeviceError
    from tlc_edge.runtime.install import pip_line
    from tlc_edge.runtime.optional import NotThereError, load
    from tlc_edge.runtime.signing.policy import allowing

    for library in ("starlette", "uvicorn", "python_multipart", "prometheus_client", "segno"):
        try:
            load(library)
        except NotThereError as e:
            raise DeviceError(f"`tlc serve` needs {library}, which {e}; run: {pip_line('serve')}") from None
    from tlc_edge import __version__
    from tlc_edge.runtime.serve.run import Options, serving
    from tlc_edge.runtime.serve.tokens import state_folder

    with (
        allowing(once(say)) if allow_unsigned else contextlib.nullcontext(),
        sigterm_as_interrupt(),
        serving(Options(**options, version=__version__), state_folder(state), say) as server,
    ):
        if as_json:
            put_json({"address": server.address, "bundles": list(server.app.bundles), "link": server.link})
            sys.stdout.flush()  # whoever started it reads this, and goes on
        else:
            tell(server)
        server.run()


def tell(server: Serving) -> None:
    """Say where the server is and who may, the link of the first token with its QR code."""
    from tlc_edge.runtime.serve.link import qr_lines

    say(f"serving {', '.join(server.app.bundles)} at {server.address}")
    if server.tokens is None:
        return
    if server.trust is None:
        say("Warning: pictures and tokens go unencrypted over the network; --tls encrypts them")
    elif server.trust.authority is not None:
        say("a phone trusts it once it has ca.crt of that address, whose SHA-256 is", server.trust.fingerprint)
    if server.link is not None:
        say(*qr_lines(server.link), server.link, "this link is shown once; `tlc token add` makes another")
    else:
        say("who asks needs a token; `tlc token add` makes a link")
