"""tlc, the transfer-learning compiler. Importing this loads nothing else; the rooms are imported by their names.

`tlc_edge.runtime` is the device, `tlc_edge.compiler` the build, `tlc_edge.targets` the devices there are.
"""

__version__ = "0.2.0.dev0"
