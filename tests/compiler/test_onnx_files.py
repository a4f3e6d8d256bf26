"""ONNX files as backbones: what tlc makes of them gives what they give, or they are refused in a sentence."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_grammar import Grammar, largest_difference
from onnx_networks import MEAN, SIZE, STD, Small, given_by

from tlc_edge.compiler.backbones.find import find_backbone, load_backbone
from tlc_edge.compiler.backbones.list_layers import list_layers
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.lower.onnx_content import read_onnx_content
from tlc_edge.compiler.lower.onnx_lower import lower_trunk_onnx
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Trunk
from tlc_edge.runtime.engines.onnx_engine import OnnxEngine
from tlc_edge.runtime.errors import BuildError, TlcError, UsageError

pytestmark = pytest.mark.usefixtures("_unrehearsed")

IMAGES = np.random.default_rng(3).integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)
Pixels = Callable[[NDArray[np.float32]], Any]

PIXELS: dict[str, Pixels] = {
    "imagenet": lambda x: (x / 255 - np.array(MEAN)) / np.array(STD),
    "-1..1": lambda x: x / 127.5 - 1,
    "0..1": lambda x: x / 255,
    "0..255": lambda x: x,
    "caffe": lambda x: x[:, :, ::-1] - np.array([103.939, 116.779, 123.68]),
    "clip": lambda x: (x / 255 - np.array([0.4815, 0.4578, 0.4082])) / np.array([0.2686, 0.2613, 0.2758]),
}


def engine(trunk: Trunk, scheme: str = "float32") -> OnnxEngine:
    made = lower_trunk_onnx(trunk, scheme, IMAGES)
    return OnnxEngine("onnxruntime", "onnxruntime", made.data, 1, ["features"])


def same(
    trunk: Trunk,
    wanted: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    images: NDArray[np.uint8],
    atol: float = 1e-5,
) -> None:
    """Hold the trunk's own file, and what builds compare with, against what was worked out without tlc."""
    expected = np.stack([wanted(image) for image in images])
    opened = engine(trunk)
    found = np.stack([opened.run(image)[0] for image in images])
    top = np.abs(expected).max()
    assert top > 0
    np.testing.assert_allclose(found / top, expected / top, atol=atol)
    np.testing.assert_allclose(trunk.model.features(images) / top, expected / top, atol=atol)


def load(path: str, pixels: str | None = "imagenet", **more: Any) -> Any:
    return load_backbone(path, Asked(pixels=pixels, **more))


@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize(("channels_last", "padded"), list(itertools.product((False, True), (False, True))))
def test_pixels_in_any_order_of_channels(tmp_path: Path, pixels: str, channels_last: bool, padded: bool) -> None:
    path = Small(channels_last=channels_last, padded=padded).save(tmp_path)
    trunk = shave(load(path, pixels))
    assert (trunk.layer, trunk.pool, trunk.width) == ("Relu:relu2", "avg", 8)
    # OpenCLIP has its mean with eight digits.
    atol = 1e-3 if pixels == "clip" else 1e-5
    same(trunk, lambda image: given_by(path, image, PIXELS[pixels], "relu2").mean((1, 2)), IMAGES, atol)


ENDS = [
    (classifier, pool, softmax)
    for classifier in ("gemm", "matmul", "point", "places", "none")
    for pool in ("GlobalAveragePool", "ReduceMean", "kept", "AveragePool", "Flatten")
    for softmax in (False, True)
    if not (classifier == "point" and pool in ("ReduceMean", "Flatten")) and not (classifier == "none" and softmax)
]


@pytest.mark.parametrize(("classifier", "pool", "softmax"), ENDS)
def test_the_classifier_is_known_whatever_it_is_made_of(
    tmp_path: Path, classifier: str, pool: str, softmax: bool
) -> None:
    path = Small(classifier=classifier, pool=pool, softmax=softmax).save(tmp_path)
    backbone = load(path)
    assert backbone.default_shave == ("Conv:scores" if classifier == "places" and not softmax else "Relu:relu2")
    if classifier in ("gemm", "matmul", "point"):
        assert backbone.classifier is not None
        assert backbone.classifier.pool == ("flatten" if pool == "Flatten" else "avg")
        trunk = shave(backbone, pool=backbone.classifier.pool)
        scores = engine(trunk).run(IMAGES[0])[0] @ backbone.classifier.kernel + backbone.classifier.bias
        end = "scores" if classifier == "point" else "fc"
        np.testing.assert_allclose(scores, given_by(path, IMAGES[0], PIXELS["imagenet"], end).ravel(), atol=2e-4)
    else:
        assert backbone.classifier is None
    gone = bool(backbone.removed)
    assert gone == (softmax and classifier != "none")  # scores alone may be an embedding as well


@pytest.mark.parametrize("cut", ["Conv:conv1", "BatchNormalization:bn1", "Relu:relu1", "GlobalAveragePool:pooled"])
@pytest.mark.parametrize("pool", ["avg", "max", "flatten"])
def test_a_cut_anywhere(tmp_path: Path, cut: str, pool: str) -> None:
    path = Small().save(tmp_path)
    trunk = shave(load(path), cut, pool)
    assert trunk.layer == cut

    def wanted(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        value = given_by(path, image, PIXELS["imagenet"], cut.partition(":")[2])
        return {"avg": value.mean((1, 2)), "max": value.max((1, 2)), "flatten": value.ravel()}[pool]

    same(trunk, wanted, IMAGES)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("begin", ["torch", "half", "caffe", "uint8"])
def test_what_stands_in_the_graph_is_not_done_twice(tmp_path: Path, begin: str, channels_last: bool) -> None:
    path = Small(begin=begin, channels_last=channels_last).save(tmp_path)
    backbone = load(path, None)
    assert not backbone.notes
    trunk = shave(backbone)
    same(trunk, lambda image: given_by(path, image, PIXELS["0..255"], "relu2").mean((1, 2)), IMAGES)
    # What is left of it: the input's own mean and scale.
    assert read_onnx_content(lower_trunk_onnx(trunk).data).operations["Conv"] == 2


@pytest.mark.parametrize(
    "kind",
    [
        {"half": True},
        {"batch": 1},
        {"batch": 4},
        {"as_inputs": True},
        {"norm": False},
        {"opset": 11},
        {"opset": 14},
        {"names": "/stage {}/Ünïcode→"},
        {"names": "image{}"},
        {"names": "features{}"},
    ],
)
def test_forms_of_files(tmp_path: Path, kind: dict[str, Any]) -> None:
    small = Small(**kind)
    path = small.save(tmp_path)
    trunk = shave(load(path))
    tolerance = 4e-3 if "half" in kind else 1e-5
    end = small.names.format("relu2")
    for image in IMAGES:
        wanted = given_by(path, image, PIXELS["imagenet"], end).mean((1, 2))
        np.testing.assert_allclose(engine(trunk).run(image)[0], wanted, atol=tolerance * np.abs(wanted).max())


def test_grey_and_an_open_size(tmp_path: Path) -> None:
    path = Small(channels=1, size="side").save(tmp_path)
    backbone = load(path, "0..1")
    assert (backbone.input.height, backbone.input.channels) == (224, 1)
    assert any("--input-size" in note for note in backbone.notes)
    trunk = shave(load(path, "0..1", input_size=(SIZE, SIZE)))
    same(trunk, lambda image: given_by(path, image, PIXELS["0..1"], "relu2").mean((1, 2)), IMAGES[:, :, :, :1])


def test_a_batch_of_one_stays_where_the_network_takes_no_other(tmp_path: Path) -> None:
    """A reshape to [1, 8] is that of one image: the file says so in place of promising more."""
    free, fixed = Small().model(), Small(batch=1).model()
    (flat,) = [n for n in fixed.graph.node if n.output[0] == "flat"]
    fixed.graph.initializer.append(numpy_helper.from_array(np.array([-1, 4, 2], np.int64), "shape"))
    fixed.graph.initializer.append(numpy_helper.from_array(np.array([-1, 8], np.int64), "back"))
    flat.CopyFrom(helper.make_node("Reshape", [flat.input[0], "shape"], ["odd"], name="odd"))
    mixed = helper.make_node("ReduceSum", ["odd"], ["sum"], name="sum", keepdims=1)
    added = helper.make_node("Add", ["odd", "sum"], ["more"], name="more")
    again = helper.make_node("Reshape", ["more", "back"], ["flat"], name="again")
    at = list(fixed.graph.node).index(flat)
    for node in (again, added, mixed):
        fixed.graph.node.insert(at + 1, node)
    first = {}
    for name, model, cut in (("free", free, "Flatten:flat"), ("fixed", fixed, "again")):
        onnx.save(model, tmp_path / f"{name}.onnx")
        trunk = shave(load(str(tmp_path / f"{name}.onnx")), cut)
        made = onnx.load_from_string(lower_trunk_onnx(trunk).data)
        (first[name], *_) = made.graph.input[0].type.tensor_type.shape.dim
    assert first["free"].dim_param == "batch"
    assert first["fixed"].dim_value == 1


@pytest.mark.parametrize("pixels", ["0..1", "imagenet"])
def test_int8_is_near_the_float_network(tmp_path: Path, pixels: str) -> None:
    trunk = shave(load(Small().save(tmp_path), pixels))
    plain, int8 = engine(trunk), engine(trunk, "int8")
    a, b = (np.stack([e.run(image)[0] for image in IMAGES]) for e in (plain, int8))
    assert not np.array_equal(a, b)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
    assert not read_onnx_content(lower_trunk_onnx(trunk, "int8", IMAGES).data).floats


def test_layers_are_the_files_own(tmp_path: Path) -> None:
    backbone, rows = list_layers(Small(begin="torch", softmax=True).save(tmp_path))
    assert [(r.name, r.shape) for r in rows] == [
        ("image", (16, 16, 3)),
        ("Conv:conv1", (8, 8, 6)),
        ("BatchNormalization:bn1", (8, 8, 6)),
        ("Relu:relu1", (8, 8, 6)),
        ("Conv:conv2", (8, 8, 8)),
        ("Relu:relu2", (8, 8, 8)),
        ("GlobalAveragePool:pooled", (1, 1, 8)),
        ("Flatten:flat", (8,)),
    ]
    # Three means at once make a fourth channel; see docs/backbones.md.
    assert [r.macs for r in rows if r.kind == "Conv"] == [8 * 8 * 6 * 36, 8 * 8 * 8 * 54]
    assert backbone.removed == ("Gemm:fc", "Softmax:probabilities")
    assert backbone.merged["Div:unit"] == "image"
    assert rows[5].default
    with pytest.raises(UsageError, match="classifier of small or comes after it"):
        shave(backbone, "Gemm:fc")
    with pytest.raises(UsageError, match=r"no layer of small|unknown layer"):
        shave(backbone, "conv9")


def beside(folder: Path, location: str = "weights.bin", **more: str) -> str:
    """The network with one kernel in another file."""
    model = Small().model()
    kernel = next(c for c in model.graph.initializer if c.name == "conv2.weight")
    data = numpy_helper.to_array(kernel).tobytes()
    (folder / "net").mkdir(exist_ok=True)
    (folder / "net" / "weights.bin").write_bytes(b"\0" * 8 + data)
    (folder / "secret.bin").write_bytes(b"\0" * 8 + data)
    kernel.ClearField("raw_data")
    kernel.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "8", "length": str(len(data)), **more}.items():
        kernel.external_data.add(key=key, value=value)
    (folder / "net" / "small.onnx").write_bytes(model.SerializeToString())
    return str(folder / "net" / "small.onnx")


def test_numbers_in_a_file_beside_it(tmp_path: Path) -> None:
    whole = Small().save(tmp_path)
    found, wanted = (engine(shave(load(path))).run(IMAGES[0])[0] for path in (beside(tmp_path), whole))
    np.testing.assert_array_equal(found, wanted)
    before = load(str(tmp_path / "net" / "small.onnx")).provenance.sha256
    (tmp_path / "net" / "weights.bin").write_bytes((tmp_path / "net" / "weights.bin").read_bytes()[:-4] + b"\0\0\0\0")
    assert load(str(tmp_path / "net" / "small.onnx")).provenance.sha256 != before


@pytest.mark.parametrize(
    ("location", "more", "message"),
    [
        ("../secret.bin", {}, "only a file beside it is read"),
        ("/etc/hostname", {}, "only a file beside it is read"),
        ("inner/weights.bin", {}, "only a file beside it is read"),
        ("..", {}, "only a file beside it is read"),
        ("", {}, "only a file beside it is read"),
        ("other.bin", {}, "cannot be read beside it"),
        ("link.bin", {}, "no plain file beside it"),
        ("weights.bin", {"offset": "-8"}, "too short for them"),
        ("weights.bin", {"length": "999999"}, "too short for them"),
        ("weights.bin", {"offset": "many"}, "too short for them"),
    ],
)
def test_nothing_is_read_but_beside_it(tmp_path: Path, location: str, more: dict[str, str], message: str) -> None:
    path = beside(tmp_path, location, **more)
    (tmp_path / "net" / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(BuildError, match=message):
        load(path)


def changed(change: Callable[[Any], None], **kind: Any) -> Callable[[], Any]:
    def make() -> Any:
        model = Small(**kind).model()
        change(model)
        return model

    return make


def text_model() -> Any:
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    table = numpy_helper.from_array(np.ones((9, 4), np.float32), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["words"])],
        "text",
        [ids],
        [helper.make_tensor_value_info("words", TensorProto.FLOAT, ["a", "b", "c"])],
        [table],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def more_inputs(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 8]))


def rank(model: Any) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[0]


def custom(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    model.graph.node[1].domain = "com.acme"


def control(model: Any) -> None:
    node = model.graph.node[2]
    branch = helper.make_graph(
        [helper.make_node("Identity", ["bn1"], ["then"])],
        "branch",
        [],
        [helper.make_tensor_value_info("then", TensorProto.FLOAT, ["a", "b", "c", "d"])],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    node.CopyFrom(helper.make_node("If", ["always"], ["relu1"], name="if", then_branch=branch, else_branch=branch))


def quantized(model: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "scale"))
    model.graph.initializer.append(numpy_helper.from_array(np.uint8(0), "zero"))
    model.graph.node.insert(3, helper.make_node("QuantizeLinear", ["relu1", "scale", "zero"], ["q"], name="q"))
    model.graph.node.insert(4, helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], name="dq"))
    model.graph.node[5].input[0] = "dq"


def noisy(model: Any) -> None:
    model.graph.node.insert(3, helper.make_node("RandomUniformLike", ["relu1"], ["noise"], name="noise"))
    model.graph.node.insert(4, helper.make_node("Add", ["relu1", "noise"], ["noisy"], name="add"))
    model.graph.node[5].input[0] = "noisy"


def training(model: Any) -> None:
    model.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    model.graph.node[1].output.extend(["mean_out", "var_out"])


def counts(model: Any) -> None:
    model.graph.node.insert(3, helper.make_node("NonZero", ["relu1"], ["where"], name="where"))
    model.graph.node.insert(4, helper.make_node("Cast", ["where"], ["positions"], name="positions", to=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("positions", TensorProto.FLOAT, ["a", "b"]))


def four_channels(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4


def both(model: Any) -> None:
    for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]:
        dim.dim_value = 3


def nothing_known(model: Any) -> None:
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_param = "any"


def not_a_number(model: Any) -> None:
    kernel = next(c for c in model.graph.initializer if c.name == "conv2.weight")
    kernel.CopyFrom(numpy_helper.from_array(np.full((8, 6, 3, 3), np.nan, np.float32), kernel.name))


def huge(model: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 30000, 30000], np.int64), "far"))
    model.graph.node.insert(1, helper.make_node("Tile", ["conv1", "far"], ["tiled"], name="tiled"))
    model.graph.node[2].input[0] = "tiled"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (text_model, r"takes input_ids int64 \[batch, sequence\], expected one image"),
        (changed(more_inputs), r"takes 2 inputs \(.*mask float \[1, 8\]\), expected one image"),
        (changed(rank), "expected one image"),
        (changed(custom), "com.acme::BatchNormalization, which is none of ONNX's own"),
        (changed(control), "control flow"),
        (changed(quantized), "quantized already"),
        (changed(noisy), "something else each time"),
        (changed(training), "exported for training"),
        (changed(counts), "depends on what is in the image"),
        (changed(four_channels), "1 or 3 channels"),
        (changed(both), "which axis has the channels is not known"),
        (changed(nothing_known), "which axis has the channels is not known"),
        (changed(not_a_number), "no numbers"),
        (changed(huge), "bytes for one image"),
    ],
)
def test_what_is_refused_in_a_sentence(tmp_path: Path, make: Callable[[], Any], message: str) -> None:
    (tmp_path / "net.onnx").write_bytes(make().SerializeToString())
    with pytest.raises(TlcError, match=message) as caught:
        load(str(tmp_path / "net.onnx"))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"not onnx at all, but text", b"\x08\x08\x12\x04\xff\xff\xff\xff"])
def test_a_damaged_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(BuildError, match=r"not an ONNX file|not a valid ONNX file"):
        load(str(tmp_path / "net.onnx"))


def test_every_damage_is_a_sentence(tmp_path: Path) -> None:
    """Cut off or with a byte changed, a file is refused or read; nothing else comes out of it."""
    whole = Small().model().SerializeToString()
    random = np.random.default_rng(0)
    read, said = 0, list[str]()
    for _ in range(60):
        data = bytearray(whole)
        if random.random() < 0.3:
            del data[int(random.integers(len(data))) :]
        else:
            data[int(random.integers(len(data)))] = int(random.integers(256))
        (tmp_path / "net.onnx").write_bytes(bytes(data))
        try:
            shave(load(str(tmp_path / "net.onnx")))
            read += 1
        except TlcError as e:
            said.append(str(e))
    assert read
    assert said
    assert max(map(len, said)) <= 600


def test_pixels_are_never_guessed(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="does not say what pixels it takes; say --pixels: imagenet for torchvision"):
        load(Small().save(tmp_path), None)
    uint8 = Small(begin="uint8").save(tmp_path)
    with pytest.raises(BuildError, match="takes uint8"):
        load(uint8, "imagenet")
    # Said twice is done twice: what the network is given, and what it does to that.
    path = Small(begin="half").save(tmp_path)
    same(shave(load(path, "0..1")), lambda image: given_by(path, image, PIXELS["0..1"], "relu2").mean((1, 2)), IMAGES)


def test_options_that_are_not_for_it(tmp_path: Path) -> None:
    path = Small().save(tmp_path)
    with pytest.raises(UsageError, match="--weights is for"):
        find_backbone(path, Asked(weights="x.h5"))
    with pytest.raises(UsageError, match="--alpha is for"):
        find_backbone(path, Asked(alpha=0.5))
    with pytest.raises(BuildError, match="cannot be run on 20x20 pixels"):
        load(Small(pool="Flatten").save(tmp_path), input_size=(20, 20))
    assert shave(load(Small().save(tmp_path), input_size=(20, 20))).width == 8


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_random_networks(tmp_path: Path, first: int) -> None:
    """`python tests/onnx_grammar.py 2000` goes through more."""
    for seed in (*range(first, first + 20), 900 + first, 963):  # 963 begins with a transposed convolution
        assert largest_difference(seed, tmp_path) < 1e-4, Grammar(seed).steps
