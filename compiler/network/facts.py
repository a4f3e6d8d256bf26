"""What is known of a trunk without its network, so that a build that lowers nothing need not load it."""

from __future__ import annotations

from typing import Any

from tlc_edge.compiler.records import Facts, Trunk
from tlc_edge.compiler.weights.pins import arrays_sha256

from .fingerprint import fingerprint
from .layers import count_macs, count_parameters, nodes
from .onnx_network import OnnxNetwork
from .walk import is_relu, steps

_HAND_ON = frozenset(
    {
        *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "AveragePooling2D", "MaxPooling2D", "Flatten", "Reshape"),
        *("Dropout", "SpatialDropout2D", "ZeroPadding2D", "Cropping2D"),
    }
)


def facts_of(trunk: Trunk) -> Facts:
    """Return a trunk's facts; of one without them its network is looked at."""
    if trunk.facts is not None:
        return trunk.facts
    shape = next((node.shape for node in nodes(trunk.model) if node.name == trunk.layer), ())
    return Facts(
        fingerprint=fingerprint(trunk),
        weights_sha256=arrays_sha256(trunk.model.get_weights()),
        never_negative=never_negative(trunk.model),
        parameters=count_parameters(trunk.model),
        macs=count_macs(trunk.model),
        channels=shape[-1] if shape else trunk.width,
    )


def of_onnx(trunk: Trunk) -> bool:
    """Return whether a trunk comes from an ONNX file, which is cut and run as it is, without Keras."""
    return isinstance(vars(trunk)["model"], OnnxNetwork)  # as it was given: one that comes later is Keras'


def never_negative(model: Any) -> bool:
    """Return whether what a network gives comes from a ReLU, through pooling at most; of ONNX that is not known."""
    if isinstance(model, OnnxNetwork):
        return False
    given_by = {key: step for step in steps(model) for key in step.outputs}
    step = given_by.get(id(model.outputs[0]))
    while step is not None and step.kind in _HAND_ON:
        step = given_by.get(step.inputs[0])
    return step is not None and is_relu(step)
