"""tlc, the transfer-learning compiler.

On a workstation, `tlc build` turns a pretrained backbone and labelled images into one verified
bundle. On the device, `tlc predict` uses it and `tlc enroll` teaches it new classes on the spot.
"""

from __future__ import annotations

import click

from tlc_edge import __version__
from tlc_edge.cli.folder import CommandFolder

cli = click.version_option(__version__, prog_name="tlc")(
    CommandFolder(
        __name__, __file__, name="tlc", help=__doc__, context_settings={"help_option_names": ["-h", "--help"]}
    )
)
