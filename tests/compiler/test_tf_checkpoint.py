from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.weights.tf_checkpoint import restore
from tlc_edge.runtime.errors import BuildError, UsageError

pytestmark = pytest.mark.usefixtures("_unrehearsed")

OWN = """
import keras
from keras import layers
print("own code runs")
def make_model():
    return keras.Sequential([
        layers.Input((28, 28, 1)),
        layers.Conv2D(3, 5, 2, name="conv1"),
        layers.BatchNormalization(name="norm"),
        layers.Conv2D(4, 3, 2, name="conv2"),
        layers.Flatten(name="flat"),
        layers.Dense(5, activation="softmax", name="scores"),
    ])
def number(): return 7
def fails(): raise ValueError("no idea")
"""


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "mynet.py"
    path.write_text(OWN)
    return path


def make(seed: int | None = None, first: str = "conv1", filters: int = 3) -> Any:
    """Return the network of OWN, with weights drawn from `seed`."""
    from keras import Sequential, layers

    model = Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(filters, 5, 2, name=first),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(4, 3, 2, name="conv2"),
            layers.Flatten(name="flat"),
            layers.Dense(5, activation="softmax", name="scores"),
        ]
    )
    generator = np.random.default_rng(seed)
    model.set_weights([generator.uniform(0.2, 1, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module", params=["objects", "objects, of a root", "names", "names, in a scope", "subclass"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """A checkpoint in each format, with the network that is in it."""
    import tensorflow as tf

    model, path = make(1), str(tmp_path_factory.mktemp("checkpoint") / "model.ckpt")
    if request.param == "objects":
        import keras

        optimizer = keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)  # its slots are named after the variables
        return tf.train.Checkpoint(model=model, optimizer=optimizer).save(path), model
    if request.param == "objects, of a root":
        return tf.train.Checkpoint(model).write(path), model
    if request.param == "subclass":
        # An object whose own attributes are the only names there are.
        root = tf.Module()
        for layer in model.layers:
            part = tf.Module()
            for v in layer.weights:
                setattr(part, v.name, tf.Variable(np.asarray(v)))
            setattr(root, layer.name, part)
        return tf.train.Checkpoint(root).write(path), model
    scope = "net/" if "scope" in request.param else ""
    v1 = tf.compat.v1
    values = {f"{layer.name}/{v.name}": np.asarray(v) for layer in model.layers for v in layer.weights}
    with tf.Graph().as_default(), v1.Session() as session:
        for name, value in values.items():
            v1.get_variable(f"{scope}{name}", initializer=value)
        v1.get_variable("global_step", initializer=np.array(34))
        session.run(v1.global_variables_initializer())
        return str(v1.train.Saver().save(session, path, global_step=34)), model


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def test_both_formats_restore_every_variable(saved: tuple[str, Any]) -> None:
    path, original = saved
    model = make(2)
    table = restore(model, path)
    assert {r.outcome for r in table} == {"restored"}
    assert same(model, original)
    again = make(3)
    restore(again, f"{path}.index")
    assert same(again, original)


def test_patterns_choose_and_the_rest_keeps_its_values(saved: tuple[str, Any]) -> None:
    path, original = saved
    model, before = make(2), make(2)
    table = {r.variable: r.outcome for r in restore(model, path, ["conv.*", "norm/gamma"])}
    restored = [n for n, outcome in table.items() if outcome == "restored"]
    assert restored == ["conv1/kernel", "conv1/bias", "norm/gamma", "conv2/kernel", "conv2/bias"]
    assert same(model.get_layer("conv2"), original.get_layer("conv2"))
    assert same(model.get_layer("scores"), before.get_layer("scores"))
    assert table["scores/kernel"] == "initial"


def test_what_does_not_fit_is_told_from_what_is_not_there(saved: tuple[str, Any]) -> None:
    path, _ = saved
    table = {r.variable: r for r in restore(make(2, filters=6), path)}
    assert (table["conv1/kernel"].outcome, table["conv2/kernel"].outcome) == ("shape", "shape")
    assert "[5, 5, 1, 3] in the checkpoint, [5, 5, 1, 6] in the network" in table["conv1/kernel"].reason
    assert table["scores/bias"].outcome == "restored"
    other = {r.variable: r.outcome for r in restore(make(2, first="stem"), path)}
    assert (other["stem/kernel"], other["conv2/kernel"]) == ("missing", "restored")


def test_nothing_restored_is_an_error(saved: tuple[str, Any]) -> None:
    from keras import Sequential, layers

    path, _ = saved
    other = Sequential([layers.Input((8, 8, 3)), layers.Conv2D(2, 1, name="elsewhere")])
    with pytest.raises(BuildError, match="nothing was restored; elsewhere/kernel: the checkpoint has none of that"):
        restore(other, path)
    with pytest.raises(UsageError, match="no layer matches; the network has conv1, norm, conv2, scores"):
        restore(make(), path, ["dense.*"])
    with pytest.raises(UsageError, match="not a regular expression"):
        restore(make(), path, ["conv("])


def test_checkpoints_that_are_not_whole(saved: tuple[str, Any], tmp_path: Path) -> None:
    path, _ = saved
    for file in Path(path).parent.glob(f"{Path(path).name}*"):
        shutil.copy(file, tmp_path / file.name)
    copy = tmp_path / Path(path).name
    with pytest.raises(BuildError, match=f"no checkpoint there .*; that folder has {copy.name}"):
        restore(make(), str(tmp_path / "other.ckpt"))
    data = next(tmp_path.glob("*.data-00000-of-00001"))
    data.write_bytes(data.read_bytes()[:40])
    with pytest.raises(BuildError, match=r"cannot be read|damaged"):
        restore(make(), str(copy))
    data.unlink()
    with pytest.raises(BuildError, match=r"cannot be read|damaged"):
        restore(make(), str(copy))


def test_own_code_is_run_because_it_is_named(
    saved: tuple[str, Any], own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, original = saved
    backbone = load_backbone(f"{own}:make_model", Asked(weights=path))
    printed = capsys.readouterr()
    assert printed.out == ""  # the command's own output stays clean
    assert "own code runs" in printed.err
    assert any("was run, because --backbone names it" in note for note in backbone.notes)
    assert {r.outcome for r in backbone.restored} == {"restored"}
    assert (backbone.name, backbone.default_shave, backbone.removed) == ("mynet.py:make_model", "conv2", ("scores",))
    image = np.random.default_rng(4).uniform(0, 1, (2, 28, 28, 1)).astype(np.float32)
    np.testing.assert_allclose(at_conv2(backbone.model, image), at_conv2(original, image), rtol=1e-4, atol=1e-4)


def at_conv2(model: Any, image: Any) -> Any:
    from keras import Model

    return np.asarray(Model(model.inputs[0], model.get_layer("conv2").output)(image, training=False))


def test_own_code_that_is_no_use(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="has no function make"):
        load_backbone(f"{own}:make")
    with pytest.raises(BuildError, match=r"number\(\) gave a int, expected a Keras model"):
        load_backbone(f"{own}:number")
    with pytest.raises(BuildError, match=r"mynet.py, line 15: ValueError: no idea"):
        load_backbone(f"{own}:fails")
