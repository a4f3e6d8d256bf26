"""ONNX files that keep numbers elsewhere are told from those that do not, wherever in the graph it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tlc_edge.runtime.engines.onnx_content import refers_outside

onnx: Any = pytest.importorskip("onnx")


def model(place: str) -> bytes:
    tensor = onnx.numpy_helper.from_array(np.ones(3, np.float32), "t")
    far = onnx.numpy_helper.from_array(np.ones(3, np.float32), "far")
    onnx.external_data_helper.set_external_data(far, "/etc/passwd")
    far.ClearField("raw_data")
    helper = onnx.helper
    constant = helper.make_node("Constant", [], ["c"], value=far if place == "attribute" else tensor)
    branch = helper.make_graph([constant], "branch", [], [], initializer=[far] if place == "branch" else [tensor])
    choose = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([choose], "g", [], [], initializer=[far] if place == "graph" else [tensor])
    made = helper.make_model(graph)
    if place == "function":
        inner = helper.make_node("Constant", [], ["c"], value=far)
        made.functions.append(helper.make_function("d", "f", [], ["c"], [inner], [helper.make_opsetid("", 17)]))
    return bytes(made.SerializeToString())


@pytest.mark.parametrize("place", ["graph", "branch", "attribute", "function"])
def test_numbers_in_other_files_are_seen(place: str) -> None:
    assert refers_outside(model(place))
    assert not refers_outside(model("nowhere"))


def test_what_is_no_onnx_file_is_a_value_error_and_ends() -> None:
    data = model("nowhere")
    for length in range(1, len(data), 7):
        try:
            refers_outside(data[:length])
        except ValueError:
            continue
    with pytest.raises(ValueError, match=r"not an ONNX file|ends early"):
        refers_outside(b"\xff" * 40)
