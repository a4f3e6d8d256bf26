"""The ladder: what is tried, in which order, how far it may go, and what is said where nothing is good enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_networks import LABELS

from tlc_edge.compiler import ladder
from tlc_edge.compiler.again import RefusedError
from tlc_edge.compiler.backbones.find import find_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.data.calibration_set import CalibrationSet, decode_calibration
from tlc_edge.compiler.data.prepared import Data, HeldOut, number_classes, split_samples
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.features.featurize import featurize
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.fit import Fitted, fit
from tlc_edge.compiler.ladder import (
    Ladder,
    best_of,
    climb,
    find_problems,
    find_ways,
    fit_or_climb,
    is_bound,
    ladder_text,
    noisiest_layers,
    none_left,
    to_rung,
)
from tlc_edge.compiler.lower.file_kinds import TrunkKind, file_kinds
from tlc_edge.compiler.options import Options
from tlc_edge.compiler.order import Order
from tlc_edge.compiler.prepare import lower
from tlc_edge.compiler.records import Backbone, InputSpec, LoweredTrunk, Outputs, Provenance
from tlc_edge.compiler.result import Rung
from tlc_edge.compiler.steps import Steps, no_progress
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.verify.layer_errors import LayerError
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.progress import silent
from tlc_edge.targets import Target, load_target

INT8 = ("tflite", "int8")
BOARD = replace(load_target("rpi"), name="board", formats=("tflite",))
"""Takes any TFLite file."""
OPERATIONS = ("CONV_2D", "DEQUANTIZE", "FULLY_CONNECTED", "MEAN", "QUANTIZE", "SOFTMAX")


def order_of(*targets: Target, **asked: object) -> Order:
    """Return an order as `check` makes it, without looking at data and folders."""
    options = Options("", tuple(t.name for t in targets), Path("b.tlc"), **{"cache": "off", **asked})  # type: ignore[arg-type]
    kinds = {t.name: file_kinds(t, options.scheme, options.onnx_scheme) for t in targets}
    return Order(options, True, find_backbone(options.backbone), targets, kinds, (), ())


def rung(accuracy: float, size: int = 100, blind: int = 0, what: str = "", scheme: str = "int8") -> Rung:
    return Rung("model.tflite", scheme, what, accuracy, (0.25, 0.75), 0.9, size, blind, False)


def noise(**added: float) -> list[LayerError]:
    """Return layers in the network's order, by the noise that came in with each; their tensors are in capitals."""
    return [LayerError(name, "CONV_2D", 20.0, 0.99, a, name.upper()) for name, a in added.items()]


class TestNoisiestLayers:
    # The signal to noise of the last is as bad as that of what it reads: the noise came in before it.
    FOUR = noise(a=0.1, b=0.4, c=0.0, d=0.2)

    def test_those_that_bring_most_noise_come_first(self) -> None:
        assert list(noisiest_layers(self.FOUR, "tflite")) == [("b", "d"), ("b", "d")]

    def test_by_the_names_that_the_formats_converter_knows(self) -> None:
        assert next(noisiest_layers(self.FOUR, "onnx")) == ("B", "D")

    def test_more_of_them_each_time(self) -> None:
        many = noise(**{f"l{i:02d}": float(i) for i in range(60)})
        few, more = noisiest_layers(many, "tflite")
        assert few == ("l57", "l58", "l59")  # a twentieth
        assert more == tuple(f"l{i}" for i in range(48, 60))  # a fifth

    def test_a_name_that_two_operations_share_counts_once(self) -> None:
        twice = [*noise(a=0.5), *noise(a=0.4, b=0.3, c=0.2)]
        assert next(noisiest_layers(twice, "tflite")) == ("a", "b")


class TestIsBound:
    @pytest.mark.parametrize(
        ("change", "bound"),
        [
            ({}, False),
            ({"full_int8": True}, True),
            ({"operations": ("CONV_2D",)}, True),
            ({"input_dtype": "int8"}, True),
            ({"output_dtype": "int8"}, True),
        ],
    )
    def test_a_device_that_takes_nothing_but_int8(self, change: dict[str, object], bound: bool) -> None:
        target = replace(BOARD, **change)  # type: ignore[arg-type]
        assert is_bound(order_of(target), INT8) is bound

    def test_one_such_device_among_several_is_enough(self) -> None:
        narrow = replace(BOARD, name="narrow", full_int8=True)
        for targets in ((BOARD, narrow), (narrow, BOARD)):
            assert is_bound(order_of(*targets), INT8)

    def test_a_device_that_asks_for_another_file_has_no_say(self) -> None:
        narrow = replace(BOARD, name="narrow", full_int8=True)
        both = replace(BOARD, formats=("tflite", "onnx"), onnx_scheme="int8")
        assert not is_bound(order_of(both, narrow), ("onnx", "int8"))
        assert is_bound(order_of(both, narrow), INT8)

    def test_a_device_that_takes_another_format_beside_it_has_one(self) -> None:
        both = replace(BOARD, formats=("onnx", "tflite"), full_int8=True)
        assert is_bound(order_of(both), INT8)

    def test_the_profiles_that_ship(self) -> None:
        bound = {name: is_bound(order_of(load_target(name)), INT8) for name in ("rpi", "desktop", "coral", "mcu")}
        assert bound == {"rpi": False, "desktop": False, "coral": True, "mcu": True}


class TestBestOf:
    def test_the_most_accurate(self) -> None:
        assert best_of([rung(0.5), rung(0.8), rung(0.6)]).accuracy == 0.8

    def test_of_equals_the_smallest(self) -> None:
        assert best_of([rung(0.8, size=300), rung(0.8, size=100), rung(0.8, size=200)]).bytes == 100

    def test_one_that_gives_zeros_only_where_all_do(self) -> None:
        assert best_of([rung(0.9, blind=1), rung(0.2)]).accuracy == 0.2
        assert best_of([rung(0.3, blind=1), rung(0.4, blind=7)]).accuracy == 0.4


class TestNoneLeft:
    HELD_OUT = HeldOut((), np.zeros((20, 8, 8, 3), np.uint8), np.zeros(20, np.int64), np.zeros(20, np.bool_))
    FIRST = BuildError("the first thing that was wrong")

    def test_the_best_is_named(self) -> None:
        rungs = [rung(0.5, what="as asked"), rung(0.7, 1234, scheme="mixed", what="2 layers in float32"), rung(0.6)]
        assert str(none_left(self.FIRST, rungs, self.HELD_OUT, 2.5)) == (
            "model.tflite: none of 3 ways to make it stays within 2.5 points of the float graph's accuracy on 20 "
            "held-out images; the best is mixed, 2 layers in float32: 0.700 (0.250 to 0.750) against 0.900, "
            "1,234 bytes; take --scheme float32, another backbone, or a larger --max-drop"
        )

    def test_that_the_best_gives_zeros_is_said(self) -> None:
        said = str(none_left(self.FIRST, [rung(0.5, blind=2), rung(0.6, blind=2)], self.HELD_OUT, 2))
        assert ", with embeddings that are zero; take" in said

    def test_where_there_was_one_way_the_first_error_says_all(self) -> None:
        assert none_left(self.FIRST, [rung(0.5)], self.HELD_OUT, 2) is self.FIRST
        assert none_left(self.FIRST, [rung(0.5), rung(0.4)], self.HELD_OUT, 2) is not self.FIRST


def test_the_manifests_text_has_a_line_per_file() -> None:
    other = replace(rung(0.75, 2_000_000, scheme="float16"), file="model.onnx")
    assert ladder_text([rung(0.5, what="as asked"), other, rung(0.8, scheme="float16")]) == {
        "model.tflite": "int8, as asked: 0.500 (100 bytes); then float16: 0.800 (100 bytes)",
        "model.onnx": "float16: 0.750 (2,000,000 bytes)",
    }


# --- on a network of six convolutions, and images whose brightness tells their class


def six_convolutions(scale: float = 1.0) -> TrunkFiles:
    """Return a trunk whose features are multiplied by `scale`."""
    load_tensorflow()
    from keras import Input, Model, layers

    x = image = Input((8, 8, 3), name="image")
    for i in range(6):
        x = layers.ReLU(6.0, name=f"relu{i}")(layers.Conv2D(8, 3, 1 + (i == 0), "same", name=f"conv{i}")(x))
    model = Model(image, x, name="six")
    draw = np.random.default_rng(0)
    weights = [draw.normal(0.05, 0.25, w.shape) for w in model.get_weights()]
    weights[-2:] = [scale * w for w in weights[-2:]]
    model.set_weights(weights)
    provenance = Provenance("made for a test", "0" * 64, "Apache-2.0", "nothing")
    return TrunkFiles(shave(Backbone("six", model, InputSpec(8, 8), provenance, "relu5")), "off")


@pytest.fixture(scope="module")
def files() -> TrunkFiles:
    return six_convolutions()


def data_for(files: TrunkFiles) -> Data:
    draw = np.random.default_rng(5)
    samples = [
        Sample((70 * (i % 3) + draw.integers(0, 80, (8, 8, 3))).astype(np.uint8), LABELS[i % 3], None, f"{i}.png")
        for i in range(60)
    ]
    spec = files.trunk.backbone.input.preprocessing
    found = featurize(files.as_float(), samples, spec)
    labels, classes = number_classes(found.samples)
    return Data(found.samples, labels, classes, split_samples(samples, (), 0), found.features, spec)


def fit_to(files: TrunkFiles, data: Data, order: Order) -> Fitted:
    trunks = lower(order, files, decode_calibration(data, 6, seed=0), silent)
    return fit(order, files, data, data.decode_held_out(), trunks, Steps(no_progress))


@pytest.fixture(scope="module")
def data(files: TrunkFiles) -> Data:
    return data_for(files)


@pytest.fixture(scope="module")
def held_out(data: Data) -> HeldOut:
    return data.decode_held_out()


@pytest.fixture(scope="module")
def calibration(data: Data) -> CalibrationSet:
    return decode_calibration(data, 6, seed=0)


@pytest.fixture(scope="module")
def fitted(files: TrunkFiles, data: Data) -> Fitted:
    return fit_to(files, data, order_of(BOARD))


def spoiled(fitted: Fitted) -> Fitted:
    """Return what was fitted, as if the int8 file had answered every image wrong."""
    (kind,) = fitted.judged
    judged = fitted.judged[kind]
    return replace(fitted, judged={kind: replace(judged, score=replace(judged.score, accuracy=0.0))})


class TestFindWays:
    def test_the_cheapest_first(self, files: TrunkFiles, calibration: CalibrationSet, fitted: Fitted) -> None:
        ways = list(find_ways(INT8, fitted.trunks[INT8], files, calibration, bound=False))
        assert [(w.trunk.scheme, w.what) for w in ways] == [
            ("int8", "60 calibration images"),  # five times as many, and each once more
            ("mixed", "2 layers in float32"),
            ("mixed", "2 layers in float32"),
            *(("int16x8", ""), ("float16", ""), ("dynamic", "")),
        ]

    def test_bound_to_int8_there_are_more_images_and_no_more(
        self, files: TrunkFiles, calibration: CalibrationSet, fitted: Fitted
    ) -> None:
        (way,) = find_ways(INT8, fitted.trunks[INT8], files, calibration, bound=True)
        assert (way.trunk.scheme, way.what) == ("int8", "60 calibration images")
        assert way.trunk.data != fitted.trunks[INT8].data

    def test_a_scheme_without_ranges_needs_no_images(
        self, files: TrunkFiles, calibration: CalibrationSet, fitted: Fitted
    ) -> None:
        ways = list(find_ways(("tflite", "dynamic"), fitted.trunks[INT8], files, calibration, bound=False))
        assert [(w.trunk.scheme, w.what) for w in ways] == [("float16", "")]


class TestProblems:
    def test_a_file_that_lost_too_much(self, fitted: Fitted) -> None:
        assert find_problems(fitted, 50) == {}
        ((kind, error),) = find_problems(spoiled(fitted), 50).items()
        assert kind.trunk == INT8
        assert "more than the 50 allowed" in str(error)

    def test_a_rung_has_the_files_figures(self, fitted: Fitted) -> None:
        (kind,) = fitted.judged
        judged = fitted.judged[kind]
        embeddings = judged.outputs.embeddings.copy()
        embeddings[:2] = 0
        blind = replace(judged, outputs=Outputs(judged.outputs.probabilities, embeddings))
        found = to_rung(replace(fitted, judged={kind: blind}), kind, "as asked", taken=True)
        assert (found.file, found.described(), found.taken) == ("model.tflite", "int8, as asked", True)
        assert (found.accuracy, found.bytes, found.blind) == (judged.score.accuracy, judged.file.info.bytes, 2)
        assert found.float_accuracy == fitted.reference.accuracy
        assert found.interval[0] < found.accuracy <= found.interval[1]
        assert to_rung(fitted, kind, "", taken=False).blind == 0


class TestClimb:
    def test_what_is_good_enough_stays(
        self, fitted: Fitted, data: Data, held_out: HeldOut, calibration: CalibrationSet
    ) -> None:
        order = order_of(BOARD, max_drop=50.0)
        found, rungs = climb(order, fitted, data, held_out, calibration, Steps(no_progress))
        assert (found, rungs) == (fitted, ())

    def test_what_is_not_is_made_in_another_way(
        self, fitted: Fitted, data: Data, held_out: HeldOut, calibration: CalibrationSet
    ) -> None:
        order = order_of(BOARD, max_drop=50.0)
        found, rungs = climb(order, spoiled(fitted), data, held_out, calibration, Steps(no_progress))
        assert [(r.what, r.taken) for r in rungs] == [("as asked", False), ("60 calibration images", True)]
        assert found.trunks[INT8].data != fitted.trunks[INT8].data
        assert [j.score.accuracy for j in found.judged.values()] == [rungs[-1].accuracy]

    def test_where_another_way_fails_what_was_tried_is_said(
        self,
        fitted: Fitted,
        data: Data,
        held_out: HeldOut,
        calibration: CalibrationSet,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(*_: object) -> Fitted:
            raise BuildError("the head does not learn")

        monkeypatch.setattr(ladder, "fit", fail)
        with pytest.raises(BuildError, match="the head does not learn") as caught:
            climb(order_of(BOARD, max_drop=50.0), spoiled(fitted), data, held_out, calibration, Steps(no_progress))
        (note,) = caught.value.__notes__
        assert note.endswith("files before lost more than --max-drop: int8, as asked: accuracy 0.000")

    def test_where_it_may_not_be_climbed_the_first_error_ends_it(
        self, fitted: Fitted, data: Data, held_out: HeldOut, calibration: CalibrationSet
    ) -> None:
        order = order_of(BOARD, max_drop=50.0, ladder=False)
        with pytest.raises(BuildError, match=r"accuracy 0\.000 is .* more than the 50 allowed"):
            climb(order, spoiled(fitted), data, held_out, calibration, Steps(no_progress))

    def test_where_nothing_is_good_enough_the_best_is_named(self) -> None:
        files = six_convolutions(1e-9)  # too little for any step of int8: the file sees nothing
        data, order = data_for(files), order_of(replace(BOARD, operations=OPERATIONS), max_drop=100.0)
        found, calibration = fit_to(files, data, order), decode_calibration(data, 6, seed=0)
        with pytest.raises(BuildError, match=r"none of 2 ways .* the best is int8, .*, with embeddings that are zero"):
            climb(order, found, data, data.decode_held_out(), calibration, Steps(no_progress))


class TestRefused:
    """An engine that does not take a trunk: here a file without its end, which is what it says no to."""

    def broken(self, fitted: Fitted) -> dict[TrunkKind, LoweredTrunk]:
        return {INT8: replace(fitted.trunks[INT8], data=fitted.trunks[INT8].data[:600])}

    def test_it_is_a_rung_that_failed_and_the_next_is_taken(
        self, files: TrunkFiles, fitted: Fitted, data: Data, held_out: HeldOut, calibration: CalibrationSet
    ) -> None:
        order, step = order_of(BOARD, max_drop=50.0), Steps(no_progress)
        ladder_ = Ladder(order, files, calibration)
        found = fit_or_climb(ladder_, data, held_out, self.broken(fitted), step)
        found, rungs = climb(order, found, data, held_out, calibration, step, ladder_)
        assert [(r.what, r.taken, r.refused is None) for r in rungs] == [
            ("as asked", False, False),
            ("60 calibration images", True, True),
        ]
        assert found.trunks[INT8].data != fitted.trunks[INT8].data
        assert "int8, as asked: refused (" in ladder_text(rungs)["model.tflite"]

    def test_where_it_may_not_be_climbed_it_says_what_a_build_has_to_offer(
        self, files: TrunkFiles, fitted: Fitted, data: Data, held_out: HeldOut, calibration: CalibrationSet
    ) -> None:
        tried = Ladder(order_of(BOARD, ladder=False), files, calibration)
        with pytest.raises(RefusedError, match=r"^model\.tflite \(int8\): .* cannot run .*; take --scheme") as told:
            fit_or_climb(tried, data, held_out, self.broken(fitted), Steps(no_progress))
        assert "--engine" not in str(told.value)
        assert len(told.value.tried) == 1

    def test_an_error_after_it_brings_along_what_was_tried(
        self, files: TrunkFiles, fitted: Fitted, data: Data, held_out: HeldOut, calibration: CalibrationSet
    ) -> None:
        order = order_of(replace(BOARD, model_bytes=10), max_drop=50.0)
        with pytest.raises(BuildError, match="10 of board") as told:
            fit_or_climb(Ladder(order, files, calibration), data, held_out, self.broken(fitted), Steps(no_progress))
        assert told.value.tried[0].startswith("model.tflite as int8, as asked: refused (")

    def test_what_a_converter_could_not_make_is_one_too(
        self, files: TrunkFiles, data: Data, held_out: HeldOut, calibration: CalibrationSet
    ) -> None:
        made = {INT8: LoweredTrunk(*INT8, b"", refused="the converter made a file that is not int8")}
        tried = Ladder(order_of(BOARD, max_drop=50.0), files, calibration)
        fit_or_climb(tried, data, held_out, made, Steps(no_progress))
        assert [(r.what, r.refused) for r in tried.rungs] == [
            ("as asked", "the converter made a file that is not int8")
        ]
