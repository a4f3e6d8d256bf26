"""What a file is made of: counted, and a file that is not what it claims is refused."""

from __future__ import annotations

import pytest
from small_networks import small_fused, small_images

from tlc_edge.compiler.lower.tflite_content import check_content, left_in_float, read_content
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.compiler.records import Trunk
from tlc_edge.runtime.errors import BuildError
from tlc_edge.targets.schemes import names


def wide_trunk() -> Trunk:
    """Return a trunk with more than 1,024 weights in a layer."""
    from keras import Input, Model, layers, utils

    from tlc_edge.compiler.backbones.shave import shave
    from tlc_edge.compiler.records import Backbone, InputSpec, Provenance

    utils.set_random_seed(1)
    image = Input((8, 8, 3))
    x = layers.Conv2D(16, 3, 2, "same", activation="relu")(image)
    model = Model(image, layers.Conv2D(96, 1, name="wide", activation="relu")(x))
    return shave(Backbone("wide", model, InputSpec(8, 8), Provenance("", "", "", ""), "wide"))


def test_counts() -> None:
    small_fused()  # TensorFlow is loaded
    found = read_content(lower_trunk_tflite(wide_trunk(), "int8", small_images(8)).data)
    assert found.operations == {"CONV_2D": 2, "MEAN": 1, "QUANTIZE": 1, "DEQUANTIZE": 1}
    assert found.activations == {"int8": 3}
    assert found.weights == {"int8": 16 * 27 + 96 * 16}
    assert found.large == {"int8": 96 * 16}


def test_an_operation_that_there_is_in_float_alone_is_told() -> None:
    small_fused()
    from keras import Input, Model, layers, utils

    from tlc_edge.compiler.backbones.shave import shave
    from tlc_edge.compiler.records import Backbone, InputSpec, Provenance

    utils.set_random_seed(1)
    image = Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu")(image)
    x = layers.ELU()(layers.Conv2D(8, 3)(x))
    model = Model(image, layers.Conv2D(8, 3, name="last", activation="relu")(x))
    trunk = shave(Backbone("elu", model, InputSpec(8, 8), Provenance("", "", "", ""), "last"))
    data = lower_trunk_tflite(trunk, "int8", small_images(8)).data
    assert left_in_float(data) == (
        "the int8 file does 1 of 5 operations in float32, as TFLite has them in nothing else: ELU 1"
    )
    assert left_in_float(lower_trunk_tflite(wide_trunk(), "int8", small_images(8)).data) is None


def test_every_scheme_is_taken_for_itself_and_for_no_other() -> None:
    small_fused()
    trunk = wide_trunk()
    files = {scheme: lower_trunk_tflite(trunk, scheme, small_images(8)).data for scheme in names("tflite")}
    sizes = {scheme: len(data) for scheme, data in files.items()}
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]
    for scheme, data in files.items():
        for claimed in names("tflite"):
            if claimed == scheme:
                check_content(data, claimed)
            else:
                with pytest.raises(BuildError, match=f"a file that is not {claimed}: operations give"):
                    check_content(data, claimed)
