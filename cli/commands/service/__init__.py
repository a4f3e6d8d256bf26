"""Have systemd start `tlc watch` or `tlc serve` with the machine, and again after a failure."""

from __future__ import annotations

from tlc_edge.cli.folder import CommandFolder

service = CommandFolder(__name__, __file__, name="service", help=__doc__)
