"""What in a network's file would run code: one list for every reader of Keras' configurations."""

from __future__ import annotations

from tlc_edge.runtime.errors import BuildError

CODE = frozenset(
    {
        # They run a function, load a file, or wrap another framework.
        *("Lambda", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "TFSMLayer"),
        *("TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
        # How Keras 3 writes a function of Python down.
        *("__lambda__", "__bytecode__"),
    }
)
"""Names of classes, as a configuration has them."""


def refuse_code(where: str, layer: str, kind: str) -> None:
    """Refuse a layer of the class `kind` if it carries code; `where` names the file.

    Raises:
        BuildError: it does.
    """
    if kind in CODE:
        raise BuildError(
            f"{where}: layer {layer} is a {kind}, which carries code; it was refused without running it: "
            "save the network without it, or as a SavedModel"
        )
