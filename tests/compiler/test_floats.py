"""Which images the float trunk has to see, and what stands for its features where it saw none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tlc_edge.compiler import Options, floats
from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.data.prepared import Data, number_classes, split_samples
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.split import Split
from tlc_edge.compiler.features.featurize import featurize
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.options import FineTune
from tlc_edge.compiler.order import Order, check
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.progress import silent

SKETCH = Path(__file__).parents[1] / "data" / "tfjs_sketch"


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return check(Options("photos", ("rpi",), tmp_path / "b.tlc", cache="off"))


def listed(train: int) -> tuple[list[Sample], Split]:
    """Return images of which so many train, and ten are held out: every seventh."""
    n = train + 10
    samples = [Sample(np.zeros((4, 4, 3), np.uint8), "a", None, f"a/{i}") for i in range(n)]
    out = np.arange(0, 70, 7)
    return samples, Split(np.setdiff1d(np.arange(n), out), out[:5], out[5:])


def test_of_many_training_images_some_are_needed_and_all_held_out_ones(order: Order) -> None:
    samples, parts = listed(floats.FEW)
    found = floats.needed(order, "tflite", samples, parts)
    assert found is not None
    assert found[parts.held_out].all()
    assert np.count_nonzero(found[parts.train]) == floats.ALIGNED
    other = floats.needed(replace(order, options=replace(order.options, seed=1)), "tflite", samples, parts)
    assert other is not None
    assert (found != other).any()


def test_an_image_less_changes_one_of_them_at_most(order: Order) -> None:
    samples, parts = listed(floats.FEW + 1)
    before = floats.needed(order, "tflite", samples, parts)
    after = floats.needed(order, "tflite", samples, replace(parts, train=np.delete(parts.train, 17)))
    assert before is not None
    assert after is not None
    assert np.count_nonzero(before != after) <= 2


@pytest.mark.parametrize(
    ("options", "train"),
    [
        ({}, floats.FEW - 1),
        ({"scheme": "float32"}, floats.FEW),
        ({"scheme": "float16"}, floats.FEW),
        ({"fine_tune": FineTune("auto")}, floats.FEW),
    ],
)
def test_elsewhere_all_are(order: Order, options: dict[str, object], train: int) -> None:
    asked = check(replace(order.options, **options))  # type: ignore[arg-type]
    assert floats.needed(asked, "tflite", *listed(train)) is None
    assert floats.needed(order, "tflite", *listed(floats.FEW)) is not None


class TestComplete:
    """What near-duplicates moved among the held-out images goes through the trunk as well; what it saw beyond counts
    for nothing."""

    @pytest.fixture
    def case(self, order: Order, photos: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Order, TrunkFiles, Data]:
        monkeypatch.setattr(floats, "FEW", 10)
        monkeypatch.setattr(floats, "ALIGNED", 5)
        sketch = load_backbone(str(SKETCH))
        files = TrunkFiles(shave(sketch, None, "flatten"), "off")
        samples = load_dataset(str(photos)).samples
        found = featurize(files.as_float(), samples, sketch.input.preprocessing)
        labels, classes = number_classes(samples)
        parts = split_samples(samples, (), 0)
        return order, files, Data(samples, labels, classes, parts, found.features, sketch.input.preprocessing)

    def test_it_is_the_same_whatever_was_seen_before(self, case: tuple[Order, TrunkFiles, Data]) -> None:
        order, files, data = case
        made: list[Data] = []
        for only in (None, np.zeros(len(data.samples), np.bool_), np.arange(len(data.samples)) % 2 == 0):
            found = featurize(files.as_float(), data.samples, data.preprocessing, only=only)
            made.append(floats.complete(order, files, found, replace(data, features=found.features), silent))
        for one in made:
            assert one.seen is not None
            assert len(one.seen) == 5
            assert made[0].seen is not None
            assert one.seen.tolist() == made[0].seen.tolist()
            assert (one.held_out.features == data.held_out.features).all()
            assert (one.train.features[one.seen] == data.train.features[one.seen]).all()

    def test_all_are_seen_where_a_lowered_trunk_sees_something_else(self, case: tuple[Order, TrunkFiles, Data]) -> None:
        order, files, data = case
        none = np.zeros(len(data.samples), np.bool_)
        found = featurize(files.as_float(), data.samples, data.preprocessing, only=none)
        some = floats.complete(order, files, found, replace(data, features=found.features), silent)
        assert np.isnan(some.train.features).any()
        every = floats.see_all(order, files, some, silent)
        assert every.seen is None
        assert (every.train.features == data.train.features).all()
        floats_of, noise = data.train.features, np.random.default_rng(0).normal(size=data.train.features.shape)
        near, far = (floats_of + np.float32(s) * floats_of.std(axis=0) * noise.astype("f") for s in (0.1, 1.0))
        assert floats.explained(floats_of, near) >= floats.ALIKE > floats.explained(floats_of, far)

    def test_an_image_that_is_gone_is_named(self, case: tuple[Order, TrunkFiles, Data], tmp_path: Path) -> None:
        order, files, data = case
        i = int(data.parts.test[0])
        gone = replace(data.samples[i], source=tmp_path / "gone.png")
        none = np.zeros(len(data.samples), np.bool_)
        found = featurize(files.as_float(), data.samples, data.preprocessing, only=none)
        broken = replace(data, samples=(*data.samples[:i], gone, *data.samples[i + 1 :]))
        with pytest.raises(DataError, match=gone.name):
            floats.complete(order, files, found, broken, silent)
