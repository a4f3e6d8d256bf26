"""Strangers' graphs and checkpoints are tried in a confined process first: however that ends, it is a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones import saved_model
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.weights import rehearse as rehearsal
from tlc_edge.compiler.weights.rehearse import rehearse
from tlc_edge.runtime.errors import BuildError

MODULE = """
import os, socket, sys, time
from tlc_edge.compiler.weights import rehearse
from tlc_edge.runtime.errors import BuildError, UsageError
rehearse.load_tensorflow = lambda: None  # it is not needed here, and takes seconds
NEW = os.path.join(os.path.dirname(__file__), "new")

def work(request):
    exec(request["code"])

rehearse.answer(work)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "module_of_a_test.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda code: rehearse("module_of_a_test", {"where": "net", "code": code}, "net", 1000)


TRIED = "in the process that strangers' files are tried in; it is damaged, or made to do harm"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.abort()", f"net: reading it ended with SIGABRT {TRIED}"),
        ("os.kill(os.getpid(), 11)", f"net: reading it ended with SIGSEGV {TRIED}"),
        ("os._exit(0)", f"net: reading it came to no answer {TRIED}"),
        ("os.write(1, b'x'); os.abort()", "net: reading it ended with SIGABRT"),
        ("raise BuildError('net: its own sentence')", "^net: its own sentence$"),
        ("raise ValueError('odd\\nlines')", r"^net: cannot be read \(odd\)$"),
        ("bytearray(1 << 42)", "^net: asks for more memory than a file of its size can need; it was refused$"),
        ("open(NEW, 'wb').write(b'x')", r"^net: cannot be read \(\[Errno"),
        ("socket.create_connection(('127.0.0.1', 9), 2)", r"^net: cannot be read \(.*(unreachable|Permission|denied)"),
    ],
)
def test_however_it_ends_it_is_a_sentence(run: Any, code: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=reason) as error:
        run(code)
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= 600
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "code", ["pass", "print('a line')", "raise UsageError('not of the file')", "open('/etc/passwd').read()"]
)
def test_what_went_well_says_nothing(run: Any, code: str, capfd: pytest.CaptureFixture[str]) -> None:
    run(code)
    assert capfd.readouterr() == ("", "")


def test_what_never_ends_is_ended(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "SECONDS", 3)
    with pytest.raises(BuildError, match="net: reading it took more than 3 seconds in the process"):
        run("time.sleep(100)")


def exported(folder: Path, body: Any) -> Path:
    load_tensorflow()
    import tensorflow as tf

    module: Any = tf.Module()
    module.kernel = tf.Variable(tf.ones((3, 4)))
    signature = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    function = tf.function(lambda image: {"out": body(tf, image, module.kernel)}, input_signature=[signature])
    tf.saved_model.save(module, str(folder / "sm"), signatures=function)
    return folder / "sm"


def _bomb(tf: Any, image: Any, kernel: Any) -> Any:
    # Computed as it is frozen: a terabyte.
    return tf.reduce_mean(image, [1, 2]) @ kernel + tf.reduce_sum(tf.fill([500_000, 500_000], 1.0))


def test_a_saved_model_whose_constants_take_all_memory_is_told(tmp_path: Path) -> None:
    path = exported(tmp_path, _bomb)
    with pytest.raises(BuildError, match=r"numbers for one image|cannot be (read|run)|more memory|ended with|tried in"):
        saved_model.load(str(path), Asked())


def test_a_saved_model_that_is_right_gives_what_it_gave(tmp_path: Path) -> None:
    path = exported(tmp_path, lambda tf, image, kernel: tf.reduce_mean(image, [1, 2]) @ kernel)
    backbone = saved_model.load(str(path), Asked(pixels="0..1"))
    found = backbone.model.predict(np.ones((1, 8, 8, 3)), verbose=0)
    np.testing.assert_allclose(found, np.full((1, 4), 3.0), rtol=1e-5)


def test_damage_to_a_saved_model_is_a_sentence(tmp_path: Path) -> None:
    path = exported(tmp_path, lambda tf, image, kernel: tf.reduce_mean(image, [1, 2]) @ kernel)
    (path / "variables" / "variables.index").write_bytes(b"\0" * 100)
    with pytest.raises(BuildError) as error:
        saved_model.load(str(path), Asked())
    assert str(error.value).isprintable()
    (path / "variables" / "variables.index").unlink()
    os.mkfifo(path / "variables" / "variables.index")
    with pytest.raises(BuildError, match=r"variables.index: not a file"):
        saved_model.load(str(path), Asked())


def test_reading_is_all_that_is_left(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("words")
    script = (
        "import sys\n"
        "from tlc_edge.compiler.weights.confine import bound_memory, confine_to_reading\n"
        "print(confine_to_reading(20)); bound_memory(1 << 28)\n"
        "print(open(sys.argv[1] + '/there').read())\n"
        "try: open(sys.argv[1] + '/new', 'wb').write(b'x')\n"
        "except OSError: print('no')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    means, *rest = ran.stdout.splitlines()
    assert rest == ["words", "no"]
    new = tmp_path / "new"
    assert not new.exists() or ("landlock" not in means and new.stat().st_size == 0)


def onnx_of(folder: Path, *sizes: float) -> str:
    """Write an ONNX network that adds ones of a shape that no inference sees: it is computed from numbers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    ones = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [
        node("Exp", ["logs"], ["powers"]),
        node("Round", ["powers"], ["rounded"]),
        node("Cast", ["rounded"], ["sizes"], to=TensorProto.INT64),
        node("ConstantOfShape", ["sizes"], ["ones"], value=ones),
        node("ReduceMean", ["ones"], ["one"], axes=[2, 3], keepdims=1),
        node("Conv", ["image", "kernel"], ["map"], name="conv"),
        node("Mul", ["map", "one"], ["out"], name="out"),
    ]
    constants = [
        numpy_helper.from_array(np.log(np.asarray(sizes, np.float32)), "logs"),
        numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "kernel"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    gives = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 8, 8])
    graph = helper.make_graph(nodes, "g", [image], [gives], constants)
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def test_an_onnx_file_whose_constants_take_all_memory_is_told(tmp_path: Path) -> None:
    from tlc_edge.compiler.backbones import onnx_file

    with pytest.raises(BuildError, match=r"cannot be run on 8x8 pixels.*memory|more memory|tried in") as error:
        onnx_file.load(onnx_of(tmp_path, 1, 4, 400_000, 200_000), Asked(pixels="0..1"))
    assert len(str(error.value)) <= 600
    assert onnx_file.load(onnx_of(tmp_path, 1, 4, 5, 5), Asked(pixels="0..1")).default_shave == "out"
