"""Make the features of a large data set in shards, on as many machines as there are, for `tlc build --features`."""

from __future__ import annotations

from tlc_edge.cli.folder import CommandFolder

features = CommandFolder(__name__, __file__, name="features", help=__doc__)
