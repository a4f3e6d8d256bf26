"""Look at what was enrolled, keep it in order, carry it between devices and models."""

from __future__ import annotations

from tlc_edge.cli.folder import CommandFolder

gallery = CommandFolder(__name__, __file__, name="gallery", help=__doc__)
