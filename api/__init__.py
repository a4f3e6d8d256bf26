"""tlc, the transfer-learning compiler. Importing this loads nothing else; the rooms are imported by their names.

`tlc_edge.runtime` is the device, `tlc_edge.compiler` the build, `tlc_edge.targets` the devices there are. `build`,
`sweep`, `layers` and `verify` are the commands of these names, and load the compiler when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlc_edge.compiler.from_python import build, layers, sweep, verify

__version__ = "0.2.0.dev0"
__all__ = ["build", "sweep", "layers", "verify", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("build", "sweep", "layers", "verify"):
        from tlc_edge.compiler.toolchain import loading

        with loading():
            from tlc_edge.compiler import from_python

        return getattr(from_python, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
