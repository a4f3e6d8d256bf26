"""Logs of a fine-tuning for TensorBoard: loss, accuracy, a few input images, the graph."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.quiet import quiet


def check_logs() -> None:
    """Check that logs can be written, before there is any work.

    Raises:
        BuildError: TensorBoard is not installed; says the pip line.
    """
    import importlib.util

    if importlib.util.find_spec("tensorboard") is None:
        raise BuildError(f"--logdir needs tensorboard; run: {pip_line('tensorboard')}")


class Logs:
    """Writes event files into a folder; without a folder, nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._writer: Any = None
        if folder is not None:
            import tensorflow as tf

            try:
                folder.mkdir(parents=True, exist_ok=True)
                with quiet():
                    self._writer = tf.summary.create_file_writer(str(folder))
            except (OSError, tf.errors.OpError) as e:
                raise BuildError(f"--logdir {folder}: cannot be written ({e}); choose another") from None

    def __enter__(self) -> Logs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def start(self, pictures: NDArray[np.uint8], model: Any) -> None:
        """Write input images [N, H, W, C] and the graph of the trained part."""
        if self._writer is None:
            return
        import tensorflow as tf

        with quiet():
            function: Any = tf.function(lambda *x: model(list(x), training=False))
            signature = [tf.TensorSpec([None, *t.shape[1:]], tf.float32) for t in model.inputs]
            graph = function.get_concrete_function(*signature).graph
            with self._writer.as_default(step=0):
                tf.summary.image("input", pictures, max_outputs=len(pictures))
                tf.summary.graph(graph)
            self._writer.flush()

    def epoch(self, epoch: int, trained: tuple[float, float], watched: tuple[float, float]) -> None:
        """Write loss and accuracy, of the images that were trained on and of those that were watched."""
        if self._writer is None:
            return
        import tensorflow as tf

        with self._writer.as_default(step=epoch):
            for part, (loss, accuracy) in (("train", trained), ("watched", watched)):
                tf.summary.scalar(f"loss/{part}", loss)
                tf.summary.scalar(f"accuracy/{part}", accuracy)
        self._writer.flush()
