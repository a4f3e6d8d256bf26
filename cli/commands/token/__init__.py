"""Say who may reach a server of `tlc serve` from beyond this machine: add, list and revoke tokens."""

from __future__ import annotations

from tlc_edge.cli.folder import CommandFolder

token = CommandFolder(__name__, __file__, name="token", help=__doc__)
