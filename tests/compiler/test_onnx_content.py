"""What an ONNX file is made of: counted, and a file that is not what it claims is refused."""

from __future__ import annotations

import numpy as np
import pytest
from small_networks import small_fused, small_images

from tlc_edge.compiler.lower.onnx_content import check_onnx_content, read_onnx_content
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx, onnx_model
from tlc_edge.runtime.errors import BuildError
from tlc_edge.targets.schemes import names


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    fused = small_fused()
    return {s: onnx_model(lower_trunk_onnx(fused.trunk, s, small_images(16)), fused).data for s in names("onnx")}


def test_counts(files: dict[str, bytes]) -> None:
    # Two convolutions, the mean, head and neck read uint8; softmax alone, of the head's float32, does not.
    int8 = read_onnx_content(files["int8"])
    assert int8.floats == {"Softmax": 1}
    assert int8.activations == {"uint8": 5, "float32": 1}
    assert int8.weights == {"int8": 6 * 27 + 12 * 6 + 12 * 3 + 12 * 5}
    assert "Clip" not in int8.operations  # the range of what comes after cuts off as much
    floating = read_onnx_content(files["float32"])
    assert floating.activations == {"float32": 8}
    assert floating.weights == {"float32": 4 * int8.weights["int8"]}
    assert (floating.operations["Conv"], floating.operations["Gemm"]) == (2, 2)
    assert read_onnx_content(files["float16"]).weights == {"float16": 2 * int8.weights["int8"]}


def test_every_scheme_is_taken_for_itself_and_for_no_other(files: dict[str, bytes]) -> None:
    for scheme, data in files.items():
        for claimed in names("onnx"):
            if claimed == scheme:
                check_onnx_content(data, claimed)
            else:
                with pytest.raises(BuildError, match=f"the ONNX file made is not {claimed}: operations read"):
                    check_onnx_content(data, claimed)


def test_int8_weights_alone_are_not_int8() -> None:
    """The converter that was given no ranges, or skipped most operations, must not pass."""
    import onnx

    from tlc_edge.compiler.lower.onnx_weights import add_weights

    model = onnx.load_from_string(lower_trunk_onnx(small_fused().trunk).data)
    for constant in list(model.graph.initializer):
        if len(constant.dims) > 1:
            model.graph.initializer.remove(constant)
            add_weights(model.graph, constant.name, onnx.numpy_helper.to_array(constant).astype(np.float32), "int8")
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    assert read_onnx_content(data).weights.keys() == {"int8"}
    with pytest.raises(BuildError, match="is not int8: operations read float32 5, weights are int8"):
        check_onnx_content(data, "int8")
