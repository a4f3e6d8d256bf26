"""Study: what the report tells beside accuracies. It looks at what was built and changes nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.prepared import Data
from tlc_edge.compiler.lower.file_kinds import TrunkKind
from tlc_edge.compiler.network.facts import facts_of
from tlc_edge.compiler.records import Correction, Fused
from tlc_edge.compiler.verify.layer_errors import LayerError
from tlc_edge.compiler.verify.parity import NONE, Parity
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
    layers: Mapping[TrunkKind, tuple[LayerError, ...]] = field(default_factory=dict[TrunkKind, tuple[LayerError, ...]])
    """Of each trunk that is not float32, by its own format and scheme."""
    parity: Parity = NONE
    """Every two files of the build and the float graph."""
    corrections: Mapping[TrunkKind, Correction] = field(default_factory=dict[TrunkKind, Correction])
    """Of each trunk whose biases were to be corrected, by its own format and scheme."""


def study(fused: Fused, data: Data, seed: int, progress: Count = silent, cache: str | None = "off") -> Study:
    """Draw the learning curve and the map, and count; what was drawn before comes from the `cache`."""
    head, train, held_out = fused.head, data.train, data.held_out
    embedded, held_out_embedded = (fused.neck.project(part.features) for part in (train, held_out))
    count = int(max(train.classes.max(), held_out.classes.max())) + 1
    if head.layers:
        answers = np.argmax(head.probabilities(train.features), axis=1)
        accuracy: float | None = float(np.mean(answers == train.classes))
        material = Material(train.features, train.classes, held_out.features, held_out.classes)
    else:
        accuracy = None
        material = Material(embedded, train.classes, held_out_embedded, held_out.classes)
    trunk = facts_of(fused.trunk).macs
    extra = sum(layer.kernel.size for layer in head.layers)
    extra += 0 if fused.neck.kernel is None else fused.neck.kernel.size
    return Study(
        train_accuracy=accuracy,
        train_counts=np.bincount(data.classes[data.parts.train], minlength=count).astype(np.int64),
        curve=draw_curve(head, material, count, seed, progress, cache),
        map=draw_map(embedded, train.classes, held_out_embedded, held_out.classes, seed, cache),
        train_names=tuple(s.name for s in train.samples),
        train_classes=train.classes,
        odd=find_odd(embedded, train.classes),
        macs=None if trunk is None else trunk + extra,
    )
