"""A hash of all that decides what a trunk gives."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict

from tlc_edge.compiler.records import Trunk
from tlc_edge.compiler.weights.pins import arrays_sha256

from .onnx_network import OnnxNetwork


def fingerprint(trunk: Trunk) -> str:
    """Return a hash of all that decides what the trunk gives for given pixels, but for the engine and the scheme."""
    if trunk.facts is not None:
        return trunk.facts.fingerprint
    if isinstance(trunk.model, OnnxNetwork):
        return _of_onnx(trunk, trunk.model)
    layers = json.dumps(trunk.model.get_config(), default=str, sort_keys=True)
    # Keras numbers what has no name as it comes: the same network must have the same fingerprint.
    for i, layer in enumerate(trunk.model.layers):
        layers = layers.replace(f'"{layer.name}"', f'"#{i}"')
    held = {id(layer) for layer in trunk.model.layers}
    for i, operation in enumerate(o for o in trunk.model.operations if id(o) not in held):  # such as x + 3
        layers = layers.replace(f'"{operation.name}"', f'"+{i}"')
    layers = layers.replace(f'"{trunk.model.name}"', '""')
    parts = [layers, asdict(trunk.backbone.input), arrays_sha256(trunk.model.get_weights())]
    parts.append(importlib.metadata.version("tensorflow"))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _of_onnx(trunk: Trunk, network: OnnxNetwork) -> str:
    graph = hashlib.sha256(network.model.SerializeToString(deterministic=True)).hexdigest()
    parts = ["onnx", graph, asdict(trunk.backbone.input), importlib.metadata.version("onnxruntime")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
