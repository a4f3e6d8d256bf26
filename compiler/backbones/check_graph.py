"""Graphs of SavedModels that are refused: too large, by chance, as in training, or in half precision."""

from __future__ import annotations

import math
from typing import Any

from tlc_edge.compiler.weights.extent import LARGEST_TENSOR
from tlc_edge.compiler.weights.operations import FOR_TRAINING, draws_at_random
from tlc_edge.runtime.errors import BuildError

_MULTIPLYING = frozenset({"Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2", "Einsum"})
_APART = 0.01
"""Of what is given for an image, the largest difference that rounding may make where others come with it."""


def check_extent(graph: Any) -> None:
    """Refuse a graph of which an operation gives more for one image than is ever computed.

    Raises:
        BuildError: it is such a graph.
    """
    for operation in graph.get_operations():
        for tensor in operation.outputs:
            count = math.prod(n for n in tensor.shape.as_list() if n) if tensor.shape.rank is not None else 0
            if count > LARGEST_TENSOR:
                raise BuildError(
                    f"{operation.name[:60]} in its graph gives {count:,} numbers for one image, at most "
                    f"{LARGEST_TENSOR:,} are computed; take another network"
                )


def check_chance(frozen: Any) -> None:
    """Refuse a graph whose output is another one each time, or as the seed was when it was saved.

    Raises:
        BuildError: it is such a graph.
    """
    drawn = draws_at_random(frozen.graph.as_graph_def().node, frozen.outputs[0].name)
    if drawn is not None:
        raise BuildError(f"the SavedModel: its output depends on what {drawn[:60]} draws at random, {FOR_TRAINING}")


def check_precision(frozen: Any) -> None:
    """Refuse a graph that multiplies in half precision: no model file would compute as it does.

    Raises:
        BuildError: it is such a graph.
    """
    import tensorflow as tf

    halves = {tf.float16.as_datatype_enum: "float16", tf.bfloat16.as_datatype_enum: "bfloat16"}
    for node in frozen.graph.as_graph_def().node:
        if node.op in _MULTIPLYING and node.attr["T"].type in halves:
            raise BuildError(
                f"the SavedModel: it computes in half precision ({node.op} {node.name[:60]} in "
                f"{halves[node.attr['T'].type]}), as no model file does; export it with the policy float32, or save "
                "it as .keras, which tlc computes in float32"
            )


def check_alone(frozen: Any, shape: tuple[int, ...], several: bool) -> None:
    """Refuse a graph that gives something else for an image [H, W, C] where another one comes with it.

    Raises:
        BuildError: it is such a graph, and says that it takes `several`.
        Exception: TensorFlow cannot run it on two images, or not as on each of them.
    """
    import numpy as np
    import tensorflow as tf

    noise = np.random.default_rng(1).uniform(0, 1, (2, *shape)) * [[[[0.3]]], [[[1.0]]]]
    for top in (1.0, 255.0):  # which of the two it takes is not known
        images = tf.constant(noise * top, tf.float32)
        together, alone = (np.asarray(frozen(given)[0], np.float64)[0] for given in (images, images[:1]))
        if np.abs(together - alone).max(initial=0.0) > _APART * max(np.abs(alone).max(initial=0.0), 1e-6):
            if not several:
                raise ValueError("another answer for two images")
            raise BuildError(
                "the SavedModel: what it gives for an image depends on those that come with it (its batch norms use "
                f"the mean of what they are given), {FOR_TRAINING}"
            )
