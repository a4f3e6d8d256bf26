from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import feature_map, small_backbone, small_images

from tlc.compiler.layers import list_layers
from tlc.compiler.records import Backbone
from tlc.compiler.shave import POOLS, shave
from tlc.runtime.errors import UsageError


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


def test_a_layer_without_a_feature_map(backbone: Backbone) -> None:
    from dataclasses import replace

    from keras import Model, layers

    pooled = layers.GlobalAveragePooling2D(name="pooled")(backbone.model.output)
    longer = replace(backbone, model=Model(backbone.model.input, pooled, name="longer"))
    with pytest.raises(UsageError, match=r"'pooled' gives shape \(None, 12\), expected a feature map"):
        shave(longer, "pooled")
    assert shave(longer, "top_activation").width == 12


def test_the_layers_listed_are_those_that_can_be_cut(lite0: Backbone) -> None:
    rows = list_layers("efficientnet-lite0")
    assert [r.index for r in rows] == list(range(len(rows)))
    assert [r.name for r in rows if r.default] == ["top_activation"]
    assert sum(r.parameters for r in rows) == lite0.model.count_params()
    for row in [r for r in rows if r.shave][::20]:
        assert shave(lite0, row.name).width == row.shape[-1]
    with pytest.raises(UsageError, match="unknown backbone 'efficientnet-lite9'; known: efficientnet-lite0"):
        list_layers("efficientnet-lite9")
