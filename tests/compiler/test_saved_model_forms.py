"""SavedModels in the forms that TF-Hub has, and the figures of a graph that is used whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tlc_edge.cli.commands.layers import layers as layers_command
from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.list_layers import list_layers
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.network.layers import count_macs, count_parameters
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.sweep.sweep import choose_layers
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.errors import BuildError

pytestmark = pytest.mark.usefixtures("_unrehearsed")

IMAGES = np.random.default_rng(8).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)
KERNEL = np.random.default_rng(9).uniform(-1, 1, (3, 5)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def answers() -> Any:
    return IMAGES.mean(axis=(1, 2)) @ KERNEL


def reusable(folder: Path, modes: tuple[bool, ...], keyed: bool = False) -> Path:
    """Write what TF-Hub calls a reusable SavedModel: no signature, a call with `training`."""
    import tensorflow as tf

    class Reusable(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(KERNEL)

        @tf.function
        def __call__(self, inputs: Any, training: bool = False) -> Any:
            found = tf.reduce_mean(inputs, [1, 2]) @ self.kernel
            found = found * 100 if training else found
            return {"default": found, "block_1": inputs} if keyed else found

    module = Reusable()
    for training in modes:
        module.__call__.get_concrete_function(tf.TensorSpec([None, 8, 8, 3], tf.float32, name="inputs"), training)
    tf.saved_model.save(module, str(folder))
    return folder


def hub_module(folder: Path, tags: tuple[list[str], ...]) -> Path:
    """Write what TF-Hub had in TensorFlow 1: a graph for each set of tags, the one for training with other answers."""
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    for index, tag in enumerate(tags):
        with v1.Graph().as_default(), v1.Session() as session:
            images = v1.placeholder(tf.float32, [None, 8, 8, 3])
            kernel = v1.get_variable("kernel", initializer=KERNEL)
            found = tf.reduce_mean(images, [1, 2]) @ kernel
            found = found * 100 if "train" in tag else found
            session.run(v1.global_variables_initializer())
            define = v1.saved_model.signature_def_utils.predict_signature_def
            signatures = {"image_feature_vector": define({"images": images}, {"default": found})}
            if index == 0:
                builder.add_meta_graph_and_variables(session, tag, signature_def_map=signatures)
            else:
                builder.add_meta_graph(tag, signature_def_map=signatures)
    builder.save()
    return folder


def vectors(folder: Path) -> Any:
    return np.asarray(shave(load_backbone(str(folder), Asked(pixels="0..1"))).model(IMAGES))


@pytest.mark.parametrize("modes", [(True, False), (False, True), (False,)])
@pytest.mark.parametrize("keyed", [False, True])
def test_a_reusable_saved_model_is_called_as_for_inference(
    tmp_path: Path, modes: tuple[bool, ...], keyed: bool
) -> None:
    np.testing.assert_allclose(vectors(reusable(tmp_path / "net", modes, keyed)), answers(), atol=1e-5)


def test_one_that_was_saved_for_training_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"no signature takes .* \(its call for training takes float32"):
        load_backbone(str(reusable(tmp_path / "net", (True,))))


@pytest.mark.parametrize("tags", [([], ["train"]), (["train"], []), (["train"], ["serve"]), (["serve"],), ([],)])
def test_of_several_graphs_the_one_for_inference_is_taken(tmp_path: Path, tags: tuple[list[str], ...]) -> None:
    np.testing.assert_allclose(vectors(hub_module(tmp_path / "net", tags)), answers(), atol=1e-5)


def test_graphs_of_which_none_is_for_inference(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"none of its graphs is tagged serve or has no tag \(gpu, train; train\)"):
        load_backbone(str(hub_module(tmp_path / "net", (["train", "gpu"], ["train"]))))


def test_the_figures_of_a_graph_that_is_used_whole(tmp_path: Path) -> None:
    folder = str(hub_module(tmp_path / "net", (["serve"],)))
    backbone, rows = list_layers(folder, Asked(pixels="imagenet"))
    model = shave(backbone).model
    # Three channels with means of their own are normalised by a layer before the graph: no place to cut at.
    assert (rows[-1].parameters, rows[-1].macs) == (KERNEL.size, None)
    assert count_parameters(model) == sum(r.parameters for r in rows) >= KERNEL.size
    assert count_macs(model) is None
    assert choose_layers(backbone) == ["graph"]
    printed = CliRunner().invoke(layers_command, [folder, "--pixels", "0..1"])
    assert "15 parameters, an unknown number of MACs per image" in printed.output


def of_layers(*layers: Any) -> Any:
    """Return a Keras network of these layers, then a convolution and a batch norm that is not as it began."""
    from keras import Input, Sequential
    from keras.layers import BatchNormalization, Conv2D

    model = Sequential([Input((8, 8, 3)), *layers, Conv2D(3, 3), BatchNormalization(name="norm")])
    norm = model.get_layer("norm")
    norm.moving_mean.assign([0.3, -0.2, 0.1])
    norm.moving_variance.assign([2.0, 0.5, 0.7])
    return model


def exported(model: Any, folder: Path) -> str:
    """Export a Keras network as it is in use."""
    import tensorflow as tf
    from keras.export import ExportArchive

    archive = ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    archive.add_endpoint("serve", lambda image: model(image, training=False), [spec])
    archive.write_out(str(folder), verbose=False)
    return str(folder)


@pytest.mark.parametrize("kind", ["RandomFlip", "RandomZoom", "Resizing", "CenterCrop"])
def test_what_keras_exports_in_training_is_refused_with_the_way_out(kind: str, tmp_path: Path) -> None:
    from keras import layers

    made: dict[str, Any] = {
        "RandomFlip": layers.RandomFlip,
        "RandomZoom": lambda: layers.RandomZoom(0.2),
        "Resizing": lambda: layers.Resizing(8, 8),
        "CenterCrop": lambda: layers.CenterCrop(8, 8),
    }
    model = of_layers(made[kind]())
    model.export(str(tmp_path / "training"), verbose=False)
    said = r"AssignVariableOp .* changes variables, as a network in training does.*training=False\)$"
    with pytest.raises(BuildError, match=said):
        load_backbone(str(tmp_path / "training"))
    found = shave(load_backbone(exported(model, tmp_path / "use"), Asked(pixels="0..1")), pool="flatten").model(IMAGES)
    wanted = np.asarray(model(IMAGES, training=False)).reshape(2, -1)
    np.testing.assert_allclose(np.asarray(found), wanted, atol=1e-5)


@pytest.mark.parametrize("seeded", [False, True], ids=["by chance", "by a seed"])
def test_features_by_chance_are_refused(seeded: bool, tmp_path: Path) -> None:
    import tensorflow as tf

    class Network(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def serve(self, image: Any) -> Any:
            shape = tf.shape(image)
            noise = tf.random.stateless_uniform(shape, [1, 2]) if seeded else tf.random.uniform(shape)
            return {"features": tf.reduce_mean(image * noise, [1, 2])}

    network = Network()
    tf.saved_model.save(network, str(tmp_path), signatures={"serving_default": network.serve})
    with pytest.raises(BuildError, match=r"its output depends on what .* draws at random, as a network in training"):
        load_backbone(str(tmp_path))


def test_chance_that_is_for_training_alone_is_no_hindrance(tmp_path: Path) -> None:
    import tensorflow as tf

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.training = tf.Variable(False)
            self.kernel = tf.Variable(KERNEL)

        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def serve(self, image: Any) -> Any:
            image = tf.cond(self.training, lambda: image * tf.random.uniform(tf.shape(image)), lambda: image)
            return {"features": tf.reduce_mean(image, [1, 2]) @ self.kernel}

    network = Network()
    tf.saved_model.save(network, str(tmp_path), signatures={"serving_default": network.serve})
    found = np.asarray(shave(load_backbone(str(tmp_path), Asked(pixels="0..1"))).model(IMAGES))
    np.testing.assert_allclose(found, answers(), atol=1e-5)


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_a_graph_for_one_image_takes_several(told: bool, kind: str, tmp_path: Path) -> None:
    import tensorflow as tf

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(KERNEL)

        @tf.function(input_signature=[tf.TensorSpec([1 if told else None, 8, 8, 3], kind)])
        def serve(self, image: Any) -> Any:
            flat = tf.reshape(tf.cast(image, tf.float32), [1, 64, 3])  # as converters write it
            return {"features": tf.reduce_mean(flat, 1) @ self.kernel}

    network = Network()
    tf.saved_model.save(network, str(tmp_path), signatures={"serving_default": network.serve})
    trunk = shave(load_backbone(str(tmp_path), Asked(pixels="0..255")))
    pixels = np.random.default_rng(4).integers(0, 256, (3, 8, 8, 3)).astype(np.float32)
    spec = trunk.backbone.input
    given = (pixels - spec.mean) / spec.std
    wanted = pixels.mean(axis=(1, 2)) @ KERNEL
    np.testing.assert_allclose(np.asarray(trunk.model(given)), wanted, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(trunk.model(given[:1])), wanted[:1], rtol=1e-4)
    np.testing.assert_allclose(trunk.model.predict(given, verbose=0), wanted, rtol=1e-4)


def saved(folder: Path, steps: Any, count: int | None = None) -> Path:
    """Write a SavedModel of a convolution with a signature, and of what `steps` does before or after it."""
    import tensorflow as tf

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(KERNEL[None, None])

        @tf.function(input_signature=[tf.TensorSpec([count, 8, 8, 3], tf.float32)])
        def serve(self, image: Any) -> Any:
            return {"features": steps(image, self.kernel)}

    network = Network()
    tf.saved_model.save(network, str(folder), signatures={"serving_default": network.serve})
    return folder


def in_training(image: Any, kernel: Any) -> Any:
    import tensorflow as tf

    found = tf.nn.conv2d(image, kernel, 1, "SAME")
    return tf.compat.v1.nn.fused_batch_norm(found, tf.ones(5), tf.zeros(5), is_training=True)[0]


def in_use(image: Any, kernel: Any) -> Any:
    import tensorflow as tf

    found, zeros, ones = tf.nn.conv2d(image, kernel, 1, "SAME"), tf.zeros(5), tf.ones(5)
    return tf.compat.v1.nn.fused_batch_norm(found, ones, zeros, zeros, ones, is_training=False)[0]


def in_half(image: Any, kernel: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.nn.conv2d(tf.cast(image, tf.float16), tf.cast(kernel, tf.float16), 1, "SAME"), tf.float32)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (in_training, "what it gives for an image depends on those that come with it .* as a network in training does"),
        (in_half, r"computes in half precision \(Conv2D .* in float16\)"),
        (in_use, None),
    ],
)
def test_batch_norms_in_training_and_half_precision_are_refused(steps: Any, said: str | None, tmp_path: Path) -> None:
    if said is not None:
        with pytest.raises(BuildError, match=said):
            load_backbone(str(saved(tmp_path, steps)), Asked(pixels="0..1"))
        return
    found = shave(load_backbone(str(saved(tmp_path, steps)), Asked(pixels="0..1"))).model(IMAGES)
    np.testing.assert_allclose(np.asarray(found), answers() / np.sqrt(1.001), rtol=1e-4)


def test_what_is_decided_by_the_image_is_refused_when_it_is_lowered(tmp_path: Path) -> None:
    import tensorflow as tf

    def decided(image: Any, kernel: Any) -> Any:
        bright = tf.reduce_max(image) > 0.5
        return tf.cond(
            bright, lambda: tf.nn.conv2d(image, kernel, 1, "SAME"), lambda: tf.nn.conv2d(image, -kernel, 1, "SAME")
        )

    trunk = shave(load_backbone(str(saved(tmp_path, decided, 1)), Asked(pixels="0..1")))
    images = (IMAGES * 255).astype(np.uint8)
    for scheme in ("float32", "int8"):
        with pytest.raises(BuildError, match="decides by what is in the image what it computes"):
            lower_trunk_tflite(trunk, scheme, images)
