"""What layers keep beside their variables and compute from them: Normalization's mean and deviation are such.

Keras computes it when it loads a network itself. Variables that are set in any other way, one by one, by a
checkpoint or in a copy of a network, leave a layer with what it had before.
"""

from __future__ import annotations

from typing import Any


def derive_state(model: Any) -> None:
    """Let the layers of a Keras model, those of models in it, or one layer compute what follows from their variables.

    To be called after any of them was set.
    """
    for layer in getattr(model, "layers", None) or ():
        derive_state(layer)
    finalize: Any = getattr(model, "finalize_state", None)
    if finalize is not None and getattr(model, "weights", None):
        finalize()
