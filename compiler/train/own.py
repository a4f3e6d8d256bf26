"""The network's own classifier as a head: it goes on as it is."""

from __future__ import annotations

from tlc_edge.compiler.records import Head
from tlc_edge.runtime.errors import BuildError

from .training import Training


def make(given: Training) -> Head:
    """Return the classifier that came with the backbone.

    Raises:
        BuildError: there is none, or it is of other features or classes.
    """
    if isinstance(given.own, str):
        raise BuildError(f"--head own: {given.own}")
    layers = given.own.layers
    sizes = (len(layers[0].kernel), layers[-1].kernel.shape[1])
    wanted = (given.views[0].shape[1], len(given.labels))
    if sizes != wanted:
        raise BuildError(
            f"--head own: the classifier takes {sizes[0]} features and tells {sizes[1]} classes apart, the build has "
            f"{wanted[0]} and {wanted[1]}"
        )
    return Head("own", layers)
