"""The step of a build that fine-tunes: choose layers, train a head to start from, train both, say what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.prepared import Part
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.options import FineTune
from tlc_edge.compiler.records import Trunk
from tlc_edge.compiler.train.balance import watch
from tlc_edge.compiler.train.linear import train_linear
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError, ImageError
from tlc_edge.runtime.progress import Count, silent

from .layers import check_asked, choose
from .tensorboard import check_logs
from .train import fine_tune


def checkpoints_beside(output: Path) -> Path:
    """Return where the checkpoints go that nobody asked for, until the bundle is written."""
    return output.with_name(f"{output.name}.checkpoints")


def check_fine_tune(asked: FineTune) -> None:
    """Check what can be checked before anything heavy is loaded.

    Raises:
        UsageError: the layers asked for are none.
        BuildError: there are to be logs, and TensorBoard is missing.
    """
    check_asked(asked.layers)
    if asked.logdir is not None:
        check_logs()


def fine_tune_step(
    asked: FineTune,
    trunk: Trunk,
    train: Part,
    views: Sequence[View],
    preprocessing: Preprocessing,
    seed: int,
    progress: Count = silent,
) -> tuple[Trunk, str]:
    """Return the trunk, fine-tuned where that gained something, and a sentence about it.

    `train` holds the training images, with the float features that the trunk gives for them; every class occurs.

    Raises:
        TlcError: as in `choose` and `fine_tune`.
    """
    samples, features, targets = train.samples, train.features, train.classes
    classes = int(targets.max()) + 1
    choice = choose(trunk, asked.layers, len(samples), classes, 1 + len(views))
    if not choice.layers:
        return trunk, f"fine-tuning trained {choice.reason}"
    watched = watch(targets, seed)
    head, _ = train_linear([features[~watched]], targets[~watched], classes, seed)
    images = (_load(samples, view, preprocessing) for view in (PLAIN, *views))
    tuned = fine_tune(trunk, head, choice, images, targets, watched, asked, seed, progress)
    went_on = f", of which an earlier run did {tuned.resumed}" if tuned.resumed else ""
    done = f"fine-tuning trained {choice.reason}; epochs: {len(tuned.losses) - 1}{went_on}"
    if not tuned.epoch:
        return trunk, f"{done}, and none was better than the start: the trunk stays as it was"
    return (
        tuned.trunk,
        f"{done}, the best was {tuned.epoch}: log loss on images set aside from {tuned.losses[0]:.3f} to "
        f"{tuned.losses[tuned.epoch]:.3f}",
    )


def _load(samples: Sequence[Sample], view: View, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    images = np.empty((len(samples), preprocessing.height, preprocessing.width, preprocessing.channels), np.uint8)
    for i, sample in enumerate(samples):
        try:
            images[i] = view.load(sample.source, preprocessing)
        except ImageError as e:  # it was read before
            raise DataError(f"{sample.name}: {e}") from None
    return images
