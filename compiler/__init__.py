"""tlc on a workstation: `build(Options(...))` turns a backbone and labelled images into a bundle.

Importing this package is light; TensorFlow is imported by the steps that need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .options import Options
    from .pipeline import build
    from .result import Built, Result

__all__ = ["build", "Options", "Result", "Built"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from .toolchain import loading

        with loading():
            from . import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
