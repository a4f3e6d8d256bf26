"""Graphs that take uint8 pixels: the same graph for float32 pixels from 0 to 255, as every later step gives them.

Between the input and where a graph makes floats of it stand at most operations that move pixels about. Those are as
good for floats, so they are set to floats, and the cast goes. Whatever computes with whole numbers is refused: it
rounds, or runs over, and floats would not.
"""

from __future__ import annotations

from typing import Any

from tlc_edge.runtime.errors import BuildError

_NAMES = """
    BatchToSpaceND BroadcastTo ConcatV2 CropAndResize DepthToSpace EnsureShape ExpandDims Fill Gather GatherNd
    GatherV2 Identity MirrorPad Pack Pad PadV2 PlaceholderWithDefault PreventGradient ResizeArea ResizeBicubic
    ResizeBilinear ResizeNearestNeighbor Reshape Reverse ReverseV2 Roll ScaleAndTranslate Shape Size Slice
    Snapshot SpaceToBatchND SpaceToDepth Split SplitV Squeeze StopGradient StridedSlice Tile Transpose Unpack Rank
    Select SelectV2
"""
_MOVES = frozenset(_NAMES.split())


def take_floats(frozen: Any, where: str) -> Any:
    """Return a frozen concrete function of one uint8 tensor as one of a float32 tensor of the same pixels.

    `where` names it in errors.

    Raises:
        BuildError: it computes with whole numbers.
    """
    import tensorflow as tf

    (start,) = frozen.inputs
    definition = frozen.graph.as_graph_def()
    nodes: dict[str, Any] = {n.name: n for n in definition.node}
    turned = {start.name}
    nodes[start.op.name].attr["dtype"].type = tf.float32.as_datatype_enum
    for operation in frozen.graph.get_operations():
        if any(t.name in turned for t in operation.inputs):
            _turn(operation, nodes, definition, turned, where)
    ends = [t.name for t in frozen.outputs]

    def run(image: Any) -> Any:
        given = {start.name: image}
        return tf.graph_util.import_graph_def(definition, input_map=given, return_elements=ends, name="")

    return tf.function(run).get_concrete_function(tf.TensorSpec(start.shape, tf.float32))


def _turn(operation: Any, nodes: dict[str, Any], definition: Any, turned: set[str], where: str) -> None:
    """Set one operation that reads turned tensors to floats; its outputs may then be turned as well."""
    import tensorflow as tf

    node, real = nodes[operation.name], tf.float32.as_datatype_enum
    if operation.type == "Cast" and operation.outputs[0].dtype.is_floating:
        node.attr["SrcT"].type = real
        if operation.outputs[0].dtype == tf.float32:
            source = node.input[0]
            node.Clear()
            node.name, node.op = operation.name, "Identity"
            node.input.append(source)
            node.attr["T"].type = real
        return
    if operation.type not in _MOVES:
        raise BuildError(
            f"{where}: takes uint8 pixels and computes with them as whole numbers ({operation.type}) before it makes "
            "floats of them; save it with a float32 input"
        )
    for argument in operation.op_def.input_arg:
        kind = argument.type_attr
        if kind in node.attr and node.attr[kind].type == tf.uint8.as_datatype_enum:
            node.attr[kind].type = real
    for i, tensor in enumerate(operation.inputs):
        if tensor.dtype == tf.uint8 and tensor.name not in turned:
            node.input[i] = _constant(tensor, nodes, definition, where)
    turned.update(t.name for t in operation.outputs if t.dtype == tf.uint8)


def _constant(tensor: Any, nodes: dict[str, Any], definition: Any, where: str) -> str:
    """Return the name of a float constant with a uint8 one's value."""
    import numpy as np
    import tensorflow as tf

    if tensor.op.type != "Const":
        raise BuildError(f"{where}: joins its uint8 pixels with other whole numbers; save it with a float32 input")
    name = f"{tensor.op.name}/as_float"
    if name not in nodes:
        value = tf.make_ndarray(tensor.op.get_attr("value")).astype(np.float32)
        made = nodes[name] = definition.node.add(name=name, op="Const")
        made.attr["dtype"].type = tf.float32.as_datatype_enum
        made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return name
