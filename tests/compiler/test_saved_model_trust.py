"""SavedModels that say what is to be run: nothing of it is, and a network among it is read all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.errors import BuildError

pytestmark = pytest.mark.usefixtures("_unrehearsed")

IMAGES = np.random.default_rng(8).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)
KERNEL = np.random.default_rng(9).uniform(-1, 1, (3, 5)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def written(folder: Path, victim: Path, at_load: str = "", in_call: str = "") -> Path:
    """Write a network whose table's initialiser, or whose call, does something with the file `victim`."""
    import tensorflow as tf

    deeds: dict[str, Any] = {
        "": lambda: None,
        "print": lambda: tf.raw_ops.PrintV2(input=tf.constant("x"), output_stream=f"file://{victim}", end="\n"),
        "write": lambda: tf.io.write_file(str(victim), "x"),
        "save": lambda: tf.raw_ops.SaveV2(
            prefix=str(victim), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
        ),
    }

    class Table(tf.saved_model.experimental.TrackableResource):
        def __init__(self) -> None:
            super().__init__(device="")
            _ = self.resource_handle

        def _create_resource(self) -> Any:
            return tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name="t")

        def _initialize(self) -> None:
            deeds[at_load]()

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(KERNEL)
            self.table = Table() if at_load else None

        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def serve(self, image: Any) -> Any:
            deeds[in_call]()
            return {"features": tf.reduce_mean(image, [1, 2]) @ self.kernel}

    network = Network()
    tf.saved_model.save(network, str(folder), signatures={"serving_default": network.serve})
    for made in victim.parent.glob(f"{victim.name}*"):
        made.unlink()  # what saving itself did
    return folder


@pytest.mark.parametrize("deed", ["print", "write", "save"])
def test_what_is_to_be_run_at_loading_is_not(tmp_path: Path, deed: str) -> None:
    victim = tmp_path / "victim"
    folder = written(tmp_path / "net", victim, at_load=deed)
    given = np.asarray(shave(load_backbone(str(folder), Asked(pixels="0..1"))).model(IMAGES))
    np.testing.assert_allclose(given, IMAGES.mean(axis=(1, 2)) @ KERNEL, atol=1e-5)
    assert not list(tmp_path.glob("victim*"))


@pytest.mark.parametrize(("deed", "operation"), [("print", "PrintV2"), ("write", "WriteFile"), ("save", "SaveV2")])
def test_what_the_network_itself_does_is_refused_by_its_name(tmp_path: Path, deed: str, operation: str) -> None:
    victim = tmp_path / "victim"
    folder = written(tmp_path / "net", victim, in_call=deed)
    with pytest.raises(BuildError, match=f"operation {operation} .* reaches outside the network; it was refused"):
        load_backbone(str(folder))
    assert not list(tmp_path.glob("victim*"))


def test_a_graph_of_tensorflow_1_with_an_initialiser(tmp_path: Path) -> None:
    import tensorflow as tf

    v1, victim = tf.compat.v1, tmp_path / "victim"
    builder = v1.saved_model.Builder(str(tmp_path / "net"))
    with v1.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 8, 8, 3])
        first = v1.get_variable("first", initializer=KERNEL, use_resource=False)
        second = v1.get_variable("second", initializer=KERNEL[0] * 2)
        found = tf.reduce_mean(images, [1, 2]) @ first + second
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.signature_def_utils.predict_signature_def({"images": images}, {"default": found})
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={"serving_default": signature},
            main_op=tf.raw_ops.WriteFile(filename=str(victim), contents="x"),
        )
    builder.save()
    given = np.asarray(shave(load_backbone(str(tmp_path / "net"), Asked(pixels="0..1"))).model(IMAGES))
    np.testing.assert_allclose(given, IMAGES.mean(axis=(1, 2)) @ KERNEL + KERNEL[0] * 2, atol=1e-5)
    assert not victim.exists()


def test_damage_anywhere_is_a_sentence_or_harmless(tmp_path: Path) -> None:
    folder = written(tmp_path / "net", tmp_path / "victim")
    graph = folder / "saved_model.pb"
    data, generator, said = graph.read_bytes(), np.random.default_rng(3), list[str]()
    for _ in range(40):
        changed = bytearray(data)
        for at in generator.integers(0, len(data), 12):
            changed[at] = int(generator.integers(256))
        graph.write_bytes(changed)
        try:
            load_backbone(str(folder), Asked(pixels="0..1"))
        except BuildError as e:
            said.append(str(e).removeprefix(str(folder)))
    assert len(said) > 20
    assert all(len(text) < 600 for text in said)
