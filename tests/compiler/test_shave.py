from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import feature_map, small_backbone, small_images

from tlc_edge.compiler.backbones.list_layers import list_layers
from tlc_edge.compiler.backbones.shave import cost_of_flatten, shave
from tlc_edge.compiler.network.layers import macs, nodes
from tlc_edge.compiler.options import POOLS
from tlc_edge.compiler.records import Backbone
from tlc_edge.runtime.errors import UsageError


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return small_backbone()


@pytest.mark.parametrize(
    ("pool", "width", "expected"),
    [
        ("avg", 12, lambda maps: maps.mean(axis=(1, 2))),
        ("max", 12, lambda maps: maps.max(axis=(1, 2))),
        ("flatten", 192, lambda maps: maps.reshape(len(maps), -1)),
    ],
)
def test_the_trunk_gives_the_pooled_feature_map(
    backbone: Backbone, pool: str, width: int, expected: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> None:
    images = small_images(3)
    trunk = shave(backbone, pool=pool)
    assert (trunk.layer, trunk.pool, trunk.width) == ("top_activation", pool, width)
    np.testing.assert_allclose(
        feature_map(trunk.model, images), expected(feature_map(backbone.model, images)), atol=1e-5
    )


def test_the_layer_decides_where(backbone: Backbone) -> None:
    from keras import Model

    trunk = shave(backbone, "first_activation")
    below = Model(backbone.model.input, backbone.model.get_layer("first_activation").output)
    images = small_images(2)
    assert trunk.width == 6
    np.testing.assert_allclose(
        feature_map(trunk.model, images), feature_map(below, images).mean(axis=(1, 2)), atol=1e-5
    )
    assert "top_conv" not in [layer.name for layer in trunk.model.layers]


def test_what_was_handed_in_stays_as_it_is(backbone: Backbone) -> None:
    images = small_images(2)
    names, before = [layer.name for layer in backbone.model.layers], feature_map(backbone.model, images)
    first = shave(backbone)
    given = feature_map(first.model, images)
    shave(backbone, "first_activation", "max")
    assert [layer.name for layer in backbone.model.layers] == names
    np.testing.assert_array_equal(feature_map(backbone.model, images), before)
    np.testing.assert_array_equal(feature_map(first.model, images), given)
    assert first.backbone is backbone


def test_an_unknown_layer_lists_the_nearest_first(backbone: Backbone) -> None:
    with pytest.raises(UsageError, match=r"unknown layer of small 'top_activatoin'; known: top_activation, "):
        shave(backbone, "top_activatoin")


def test_an_unknown_pooling(backbone: Backbone) -> None:
    with pytest.raises(UsageError, match=r"unknown pooling 'average'; known: avg"):
        shave(backbone, pool="average")
    assert POOLS == ("avg", "max", "flatten")


def longer(backbone: Backbone) -> Backbone:
    """The backbone with a residual block, a pooling and a layer that gives a sequence behind it."""
    from dataclasses import replace

    from keras import Model, layers

    x = backbone.model.output
    x = layers.Add(name="joined")([layers.Conv2D(12, 1, name="branch")(x), x])
    x = layers.Reshape((16, 12), name="sequence")(x)
    x = layers.GlobalAveragePooling1D(name="pooled")(x)
    model = Model(backbone.model.input, x, name="longer")
    return replace(backbone, model=model, removed=("scores",), merged={"top_norm": "top_conv"})


def test_a_layer_that_gives_a_vector_is_not_pooled(backbone: Backbone) -> None:
    trunk = shave(longer(backbone), "pooled", "max")
    assert (trunk.pool, trunk.width) == ("none", 12)


@pytest.mark.parametrize(
    ("layer", "name"),
    [("first_conv", "first_conv"), ("1", "first_conv"), ("top_norm", "top_conv"), ("joined", "joined")],
)
def test_layers_are_named_or_counted(backbone: Backbone, layer: str, name: str) -> None:
    assert shave(longer(backbone), layer).layer == name


def test_auto_is_the_backbones_own_choice(backbone: Backbone) -> None:
    assert shave(backbone, "auto").layer == shave(backbone).layer == "top_activation"


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("first_conf", "unknown layer of small 'first_conf'; known: first_conv"),
        ("99", "has layers 0 to 8"),
        ("image", "nothing would be left"),
        ("0", "nothing would be left"),
        ("scores", "the classifier of small or comes after it; cut at top_activation or before"),
        ("top_activation", r"goes to 2 layers \((branch, joined|joined, branch)\), so the cut would lose a branch"),
        ("sequence", r"gives \[16, 12\] an image, expected a feature map"),
    ],
)
def test_where_it_cannot_be_cut_the_reason_is_said(backbone: Backbone, layer: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        shave(longer(backbone), layer)


def test_a_layer_used_twice_has_several_outputs(backbone: Backbone) -> None:
    from dataclasses import replace

    from keras import Input, Model, layers

    start = Input((8, 8, 3), name="image")
    shared = layers.Conv2D(3, 1, name="shared")
    model = Model(start, shared(shared(start)))
    with pytest.raises(UsageError, match="uses this layer 2 times"):
        shave(replace(backbone, model=model), "shared")


def test_flatten_says_what_it_costs(backbone: Backbone) -> None:
    said = cost_of_flatten(shave(backbone, pool="flatten"))
    assert said is not None
    assert "192 features per image in place of 12" in said
    assert cost_of_flatten(shave(backbone)) is None


def test_multiply_accumulates_are_counted(backbone: Backbone) -> None:
    found = nodes(longer(backbone).model)
    shapes = {n.name: n.shape for n in found}
    counted = {n.name: macs(n, [shapes[i] for i in n.inputs]) for n in found}
    assert counted["first_conv"] == 4 * 4 * 3 * 3 * 3 * 6
    assert counted["branch"] == 4 * 4 * 12 * 12
    assert counted["first_activation"] == counted["joined"] == 0


def test_the_layers_listed_are_those_that_can_be_cut(lite0: Backbone) -> None:
    _, rows = list_layers("efficientnet-lite0")
    assert [r.index for r in rows] == list(range(len(rows)))
    assert [r.name for r in rows if r.default] == ["top_activation"]
    assert sum(r.parameters for r in rows) == lite0.model.count_params()
    for row in [r for r in rows if r.shave][::20]:
        assert shave(lite0, row.name).width == row.shape[-1]
    with pytest.raises(UsageError, match="unknown backbone 'efficientnet-lite9'; known: efficientnet-lite"):
        list_layers("efficientnet-lite9")
