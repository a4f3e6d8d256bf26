"""Checkpoints whose names do not tell all: what belongs to which variable is settled, or refused; never guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones.cuts import cuts_of
from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.weights.tf_checkpoint import restore
from tlc_edge.runtime.errors import BuildError

pytestmark = pytest.mark.usefixtures("_unrehearsed")


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def part(name: str, filters: int = 3) -> Any:
    """Return a network whose layers are called as those of any other part."""
    from keras import Input, Sequential, layers

    steps = [layers.Conv2D(filters, 3, padding="same", name="conv"), layers.BatchNormalization(name="norm")]
    return Sequential([Input((8, 8, 3)), *steps], name=name)


def of_parts(seed: int, name: str = "whole", first: str = "stem", second: str = "body") -> Any:
    """Return a network of two parts that are called alike inside."""
    from keras import Input, Model

    image = Input((8, 8, 3))
    return drawn(Model(image, part(second)(part(first)(image)), name=name), seed)


def odd(seed: int) -> Any:
    """Return a network whose layers have colons in their names, at which TensorFlow ends them."""
    from keras import Input, Sequential, layers

    steps = [layers.Conv2D(3, 3, name="out:0"), layers.Conv2D(3, 3, name="out:1"), layers.Dense(3, name="out:2")]
    return drawn(Sequential([Input((8, 8, 3)), *steps]), seed)


def drawn(model: Any, seed: int) -> Any:
    generator = np.random.default_rng(seed)
    model.set_weights([generator.uniform(0.2, 1, w.shape) for w in model.get_weights()])
    return model


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def saved(folder: Path, **objects: Any) -> str:
    import tensorflow as tf

    return str(tf.train.Checkpoint(**objects).save(str(folder / "c")))


@pytest.mark.parametrize("make", [of_parts, odd], ids=["parts", "colons"])
def test_one_name_of_several_values_is_settled_by_the_objects(make: Callable[[int], Any], tmp_path: Path) -> None:
    path, model = saved(tmp_path, net=make(1)), make(2)
    assert {r.outcome for r in restore(model, path)} == {"restored"}
    assert same(model, make(1))


def test_of_two_networks_alike_the_one_of_its_name_is_taken(tmp_path: Path) -> None:
    path = saved(tmp_path, student=of_parts(1), teacher=of_parts(2))
    model = of_parts(3, name="teacher")
    restore(model, path)
    assert same(model, of_parts(2))
    with pytest.raises(BuildError, match=r"several values that .* could have .* and nothing tells which; give .*names"):
        restore(before := of_parts(3), path)
    assert same(before, of_parts(3))


def test_of_two_networks_the_one_whose_values_fit_is_taken(tmp_path: Path) -> None:
    path = saved(tmp_path, one=drawn(part("x", 3), 1), two=drawn(part("y", 5), 2))
    model = drawn(part("z", 5), 3)
    restore(model, path)
    assert same(model, drawn(part("y", 5), 2))


def test_without_objects_the_longer_name_decides(tmp_path: Path) -> None:
    import tensorflow as tf

    v1, original = tf.compat.v1, of_parts(1)
    values = {v.path: np.asarray(v) for v in original.weights}
    with tf.Graph().as_default(), v1.Session() as session:
        for name, value in values.items():
            v1.get_variable(name, initializer=value)
        session.run(v1.global_variables_initializer())
        path = str(v1.train.Saver().save(session, str(tmp_path / "c")))
    model = of_parts(2)
    restore(model, path)
    assert same(model, original)
    with pytest.raises(BuildError, match=r"several values that one/conv/kernel could have \(body/conv/kernel, stem"):
        restore(of_parts(2, first="one", second="two"), path)


def test_one_value_is_not_given_to_two_variables(tmp_path: Path) -> None:
    path = saved(tmp_path, net=drawn(part("alone"), 1))
    with pytest.raises(BuildError, match=r"has one value, .*, that body/.* and another variable could have, and noth"):
        restore(of_parts(2), path)


OWN = """
import keras
from keras import layers
def make():
    keras.utils.set_random_seed(3)
    return keras.Sequential([
        layers.Input((8, 8, 3)), layers.Rescaling(1 / 255),
        layers.Conv2D(3, 3, name="one"), layers.BatchNormalization(name="norm"), layers.Conv2D(4, 3, name="two"),
        layers.Flatten(name="flat"), layers.Dense(6, "relu", name="dense"),
        layers.Dense(5, "softmax", name="scores"),
    ])
"""


def backbone_without(folder: Path, *lost: str, patterns: tuple[str, ...] = ()) -> Backbone:
    """Return the network of OWN as it is restored from a checkpoint in which some layers are called otherwise."""
    import tensorflow as tf

    (folder / "own.py").write_text(OWN)
    scope: dict[str, Any] = {}
    exec(OWN, scope)
    root = tf.Module()
    for layer in scope["make"]().layers:
        holder = tf.Module()
        for v in layer.weights:
            setattr(holder, v.name, tf.Variable(np.asarray(v)))
        setattr(root, f"{layer.name}_other" if layer.name in lost else layer.name, holder)
    path = tf.train.Checkpoint(root).write(str(folder / "c"))
    return load_backbone(f"{folder / 'own.py'}:make", Asked(weights=path, restore=patterns))


@pytest.mark.parametrize("lost", ["one", "norm", "two"])
def test_a_trunk_that_lacks_what_should_be_restored_is_refused(lost: str, tmp_path: Path) -> None:
    backbone = backbone_without(tmp_path, lost)
    with pytest.raises(BuildError, match=rf"{lost}/\w+ was not restored: the checkpoint has none of that name; give"):
        shave(backbone)
    if lost == "two":  # of what comes before it, all is there
        assert shave(backbone, "one").width == 3


def test_what_is_left_out_as_asked_or_comes_after_the_cut_is_no_hindrance(tmp_path: Path) -> None:
    assert shave(backbone_without(tmp_path, "two", patterns=("one", "norm"))).layer == "two"
    whole = backbone_without(tmp_path)
    assert len(cuts_of(whole)) == 3
    assert whole.classifier is None or whole.classifier.kernel.shape[1] == 5
    assert not isinstance(whole.own, str)
    without = backbone_without(tmp_path, "dense")
    assert shave(without).layer == "two"
    assert [cut.layer for cut in cuts_of(without)] == ["two", "two"]


def test_a_classifier_that_was_not_restored_is_none(tmp_path: Path) -> None:
    for backbone in (backbone_without(tmp_path, "scores"), backbone_without(tmp_path, patterns=("one", "two"))):
        assert backbone.classifier is None
        assert backbone.own == "the checkpoint did not give it its weights"
