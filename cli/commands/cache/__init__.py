"""Show or empty the cache: features of images seen before, downloads, unpacked archives."""

from __future__ import annotations

from tlc_edge.cli.folder import CommandFolder

cache = CommandFolder(__name__, __file__, name="cache", help=__doc__)
