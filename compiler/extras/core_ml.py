"""A Core ML package for Apple's devices. It is converted anywhere, but runs on a Mac or an iPhone only."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import uuid
from pathlib import Path
from typing import Any

from tlc_edge.compiler.records import Fused
from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.quiet import quiet

PACKAGE = "model.mlpackage"
_PROGRAM = f"{PACKAGE}/Data/com.apple.CoreML/model.mlmodel"
_DATE = "com.github.apple.coremltools.conversion_date"
_SPACE = uuid.UUID(int=0)


def require_core_ml(target: str) -> None:
    """Check that a package can be made.

    Raises:
        BuildError: coremltools is not installed; says how to get it, and how to do without.
    """
    if importlib.util.find_spec("coremltools") is None:
        raise BuildError(
            f"target {target} gets a Core ML package, which coremltools makes, and it is not installed; run: "
            f"{pip_line('coreml')}, or take the target android for the TFLite file alone"
        )


def core_ml_package(fused: Fused) -> dict[str, bytes]:
    """Return the files of `model.mlpackage`: an ML program with 16-bit float weights, from an image to the outputs.

    It is a classifier with the labels where the model has classes. Whether its answers are right cannot be known
    here: Core ML runs on Apple's systems only.

    Raises:
        BuildError: the converter refuses the network.
    """
    with quiet():
        import coremltools

        spec = fused.trunk.backbone.input
        image = coremltools.ImageType(
            name="image",
            shape=(1, spec.height, spec.width, spec.channels),
            scale=1.0 / spec.std,
            bias=-spec.mean / spec.std if spec.channels == 1 else [-spec.mean / spec.std] * 3,
            color_layout=coremltools.colorlayout.GRAYSCALE if spec.channels == 1 else coremltools.colorlayout.RGB,
        )
        # The converter calls what a function gives `Identity`, `Identity_1`; for a classifier it takes no other names.
        found = ("Identity", "Identity_1")
        labels = None
        if fused.labels:
            labels = coremltools.ClassifierConfig(list(fused.labels), predicted_probabilities_output=found[0])
        try:
            model = coremltools.convert(
                [_frozen(fused)],
                source="tensorflow",
                inputs=[image],
                convert_to="mlprogram",
                minimum_deployment_target=coremltools.target.iOS15,
                classifier_config=labels,
                skip_model_load=True,
            )
            names = {found[1]: "embedding", "classLabel_probs": "probabilities"}
            named = model.get_spec()
            for old, new in (names if fused.labels else {found[0]: "embedding"}).items():
                coremltools.utils.rename_feature(named, old, new)
            metadata = named.description.metadata
            metadata.userDefined.pop(_DATE, None)  # two equal builds shall give equal bytes
            metadata.shortDescription = f"{fused.trunk.backbone.name}, made by tlc"
            model = coremltools.models.MLModel(named, weights_dir=model.weights_dir, skip_model_load=True)
        except Exception as e:
            reason = first_line(e)[:300]
            raise BuildError(f"coremltools cannot convert this network ({reason}); try another backbone") from None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PACKAGE
            model.save(str(path))
            files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
            files[_PROGRAM] = bytes(named.SerializeToString(deterministic=True))
    return _fixed(files)


def _frozen(fused: Fused) -> Any:
    """Return the whole graph, normalised floats in, as a function without variables."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = fused.trunk.backbone.input
    activations = {"linear": tf.identity, "relu": tf.nn.relu, "softmax": tf.nn.softmax}

    def run(image: Any) -> list[Any]:
        features = x = fused.trunk.model(image, training=False)
        outputs: list[Any] = []
        for layer in fused.head.layers:
            x = activations[layer.activation](tf.matmul(x, layer.kernel) + layer.bias)
        if fused.head.layers:
            outputs.append(x)
        if fused.neck.kernel is not None and fused.neck.bias is not None:
            features = tf.sqrt(features) if fused.neck.root else features
            features = tf.matmul(features, fused.neck.kernel) + fused.neck.bias
        return [*outputs, features]

    signature = tf.TensorSpec([1, spec.height, spec.width, spec.channels], tf.float32, name="image")
    function: Any = tf.function(run, input_signature=[signature]).get_concrete_function()
    return convert_variables_to_constants_v2(function)


def _fixed(files: dict[str, bytes]) -> dict[str, bytes]:
    """Give the package's entries identifiers that follow from their paths: the converter draws them anew each time."""
    name = f"{PACKAGE}/Manifest.json"
    manifest: dict[str, Any] = json.loads(files[name])
    entries: dict[str, Any] = manifest["itemInfoEntries"]
    renamed = {old: str(uuid.uuid5(_SPACE, str(entry["path"]))).upper() for old, entry in entries.items()}
    manifest["itemInfoEntries"] = {renamed[old]: entry for old, entry in entries.items()}
    manifest["rootModelIdentifier"] = renamed[manifest["rootModelIdentifier"]]
    return {**files, name: (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()}
