"""Run with -m by `rehearse`: read every variable of a TensorFlow checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .rehearse import answer


def read_all(request: Mapping[str, Any]) -> None:
    """Read the checkpoint whose path without suffixes is `stem`."""
    import tensorflow as tf

    reader: Any = tf.train.load_checkpoint(request["stem"])
    for key in reader.get_variable_to_shape_map():
        reader.get_tensor(key)


if __name__ == "__main__":
    answer(read_all)
