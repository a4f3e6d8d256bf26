"""What in a network's file would run code or open files: one list for every reader of Keras' configurations."""

from __future__ import annotations

from typing import Any

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
FILES = frozenset({"StringLookup", "IntegerLookup", "TextVectorization", "IndexLookup", "FeatureSpace"})
"""Those of layers that read the file which their `vocabulary` names; no image goes through one."""


_STRIPPED = {
    "PruneLowMagnitude": "sparsity.keras.strip_pruning",
    "ClusterWeights": "clustering.keras.strip_clustering",
}
_ROUNDED = (
    *("QConv", "QDense", "QActivation", "QDepthwise", "QSeparable", "QBatchNormalization", "QMobileNet", "QAdaptive"),
    *("QuantConv", "QuantDense", "QuantDepthwise", "QuantSeparable", "QuantLocally"),
)
"""How the names of QKeras' and Larq's layers begin."""


def refuse_code(where: str, layer: str, kind: str) -> None:
    """Refuse a layer of the class `kind` if it carries code or reads files; `where` names the file.

    Raises:
        BuildError: it does.
    """
    if kind in CODE:
        raise BuildError(
            f"{where}: layer {layer} is a {kind}, which carries code; it was refused without running it: "
            "save the network without it, or as a SavedModel"
        )
    if kind.rpartition(">")[2].startswith(("QuantizeLayer", "QuantizeWrapper")) or kind.endswith("QuantizeWrapper"):
        raise BuildError(
            f"{where}: a quantization-aware network ({kind[:60]}): it holds ranges for int8, which a build finds by "
            "itself; give the network as it was before quantize_model, with its trained weights (strip them: each "
            "QuantizeWrapper's layer)"
        )
    if kind.rpartition(">")[2] in _STRIPPED:
        raise BuildError(
            f"{where}: layer {layer} is wrapped for training ({kind[:60]}); give the network without what is only "
            f"for that: tfmot's {_STRIPPED[kind.rpartition('>')[2]]}(model).save(…)"
        )
    if kind.rpartition(">")[2].startswith(_ROUNDED):
        raise BuildError(
            f"{where}: layer {layer} is a {kind[:60]}, of a library that rounds weights by rules of its own; give the "
            "network with Keras' own layers, and a build finds its ranges for int8"
        )
    if kind in FILES:
        raise BuildError(
            f"{where}: layer {layer} is a {kind}, which reads a file of words that it names; it was refused without "
            "opening it: save the network without it"
        )


def refuse_foreign(config: Any, where: str) -> None:
    """Refuse, before Keras sees it, what would run a function, open a file or import a module not Keras' own.

    `config` is parsed JSON, at any depth; `where` names the file.

    Raises:
        BuildError: something in it would.
    """
    if isinstance(config, list):
        for item in config:
            refuse_foreign(item, where)
        return
    if not isinstance(config, dict):
        return
    kind, module = config.get("class_name"), config.get("module")
    if isinstance(kind, str):
        name = config["config"].get("name", kind) if isinstance(config.get("config"), dict) else kind
        refuse_code(where, str(name)[:80], kind)
        own = module in (None, "builtins") or str(module).split(".")[0] == "keras"
        if not own or (module == "builtins" and kind != "function" and config.get("registered_name")):
            raise BuildError(
                f"{where}: {str(name)[:80]} is {str(module)[:80]}.{kind[:80]}, which is not Keras' own; it was "
                "refused without importing it: "
                "name the code yourself, --backbone mynet.py:make_model --weights FILE"
            )
    for value in config.values():
        refuse_foreign(value, where)
