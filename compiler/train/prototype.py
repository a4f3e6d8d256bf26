"""The prototype head: the class with the nearest mean, without training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Dense, Floats, Head

from .temperature import with_temperature
from .training import Training


def make(given: Training) -> Head:
    """Make the head and find its temperature."""
    classes = len(given.labels)
    head = prototypes(given.views, given.targets, classes)
    return with_temperature(head, lambda v, t: prototypes(v, t, classes), given.views, given.targets, given.seed)


def prototypes(views: Sequence[Floats], targets: NDArray[np.int64], classes: int) -> Head:
    """Make a head of class means: no training, and the answer is the class with the nearest one.

    A softmax over negative squared distances is linear in the features, since the features' own square is
    common to all classes. Distances are divided by twice the within-class variance, summed over all
    features as if they were one Gaussian: without it every answer would be certain.
    """
    features = np.concatenate(views)
    labels = np.tile(targets, len(views))
    means = np.stack([features[labels == c].mean(axis=0, dtype=np.float64) for c in range(classes)])
    within = float(np.mean(np.sum(np.square(features - means[labels]), axis=1))) or 1.0
    # The sum over F features overstates the evidence, for they are far from independent.
    temperature = within / np.sqrt(features.shape[1])
    kernel = (2 * means.T / temperature).astype(np.float32)
    bias = (-np.square(means).sum(axis=1) / temperature).astype(np.float32)
    return Head("prototype", (Dense(kernel, bias, "softmax"),), {"views": len(views)})
