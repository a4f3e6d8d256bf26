"""Study: what the report tells beside accuracies. It looks at what was built and changes nothing of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.network.layers import count_macs
from tlc_edge.compiler.records import Floats, Fused
from tlc_edge.runtime.progress import Count, silent

from .embedding_map import EmbeddingMap, draw_map
from .learning_curve import Curve, Material, draw_curve
from .odd_labels import Odd, find_odd


@dataclass(frozen=True, eq=False)
class Study:
    """The same for all files and targets of a build."""

    train_accuracy: float | None
    """Of the head on the images that it was trained on; None without a head."""
    train_counts: NDArray[np.int64]
    """Training images of each class, [C]."""
    curve: Curve
    map: EmbeddingMap
    train_names: tuple[str, ...]
    """Of the training images, [M]."""
    train_classes: NDArray[np.int64]
    """[M]"""
    odd: tuple[Odd, ...]
    """Training images that look like another class."""
    macs: int | None
    """Multiply-accumulates for one image, of convolutions and dense layers; None where they cannot be counted."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Images as the float trunk sees them."""

    features: Floats
    """Pooled, [N, F]."""
    embeddings: Floats
    """[N, D]"""
    classes: NDArray[np.int64]
    """[N]"""


def study(
    fused: Fused, train: Seen, held_out: Seen, names: tuple[str, ...], seed: int, progress: Count = silent
) -> Study:
    """Draw the learning curve and the map, and count; `names` are those of the training images."""
    head = fused.head
    count = int(max(train.classes.max(), held_out.classes.max())) + 1
    if head.layers:
        answers = np.argmax(head.probabilities(train.features), axis=1)
        accuracy: float | None = float(np.mean(answers == train.classes))
        material = Material(train.features, train.classes, held_out.features, held_out.classes)
    else:
        accuracy = None
        material = Material(train.embeddings, train.classes, held_out.embeddings, held_out.classes)
    trunk = count_macs(fused.trunk.model)
    extra = sum(layer.kernel.size for layer in head.layers)
    extra += 0 if fused.neck.kernel is None else fused.neck.kernel.size
    return Study(
        train_accuracy=accuracy,
        train_counts=np.bincount(train.classes, minlength=count).astype(np.int64),
        curve=draw_curve(head, material, count, seed, progress),
        map=draw_map(train.embeddings, train.classes, held_out.embeddings, held_out.classes, seed),
        train_names=names,
        train_classes=train.classes,
        odd=find_odd(train.embeddings, train.classes),
        macs=None if trunk is None else trunk + extra,
    )
