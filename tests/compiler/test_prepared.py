"""A data set that was looked at: its parts, their images, and the calibration set that is drawn from it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tlc_edge.compiler.data.calibration_set import decode_calibration
from tlc_edge.compiler.data.prepared import Data, number_classes, split_samples
from tlc_edge.compiler.data.records import Sample, Skipped
from tlc_edge.compiler.data.split import Split
from tlc_edge.compiler.report.settings import Settings, to_manifest
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError


def sample(i: int, label: str, split: str | None = None) -> Sample:
    return Sample(np.full((4, 4, 3), i, np.uint8), label, split, f"{label}/{i}")


@pytest.fixture(scope="module")
def data() -> Data:
    """Ten images of two classes; image i is of brightness i, and so is its feature."""
    samples = tuple(sample(i, "cup" if i % 2 else "bowl") for i in range(10))
    labels, classes = number_classes(samples)
    parts = Split(np.array([0, 1, 3, 6, 8, 9]), np.array([4, 7]), np.array([2, 5]))
    return Data(samples, labels, classes, parts, np.arange(10, dtype=np.float32)[:, None], Preprocessing(4, 4))


def test_classes_are_numbered_in_the_order_of_their_labels(data: Data) -> None:
    assert data.labels == ("bowl", "cup")
    assert data.classes.tolist() == [0, 1] * 5


def test_parts_hold_samples_features_and_classes_of_the_same_images(data: Data) -> None:
    train = data.train
    assert [s.name for s in train.samples] == ["bowl/0", "cup/1", "cup/3", "bowl/6", "bowl/8", "cup/9"]
    assert train.features[:, 0].tolist() == [0, 1, 3, 6, 8, 9]
    assert train.classes.tolist() == [0, 1, 1, 0, 0, 1]
    assert data.held_out.features[:, 0].tolist() == [2, 4, 5, 7]  # validation and test, ascending
    assert data.counts == Counter(train=6, validation=2, test=2)


def test_held_out_images_are_decoded_in_the_order_of_their_features(data: Data) -> None:
    held_out = data.decode_held_out()
    assert held_out.images[:, 0, 0, 0].tolist() == data.held_out.features[:, 0].tolist()
    assert held_out.is_test.tolist() == [True, False, True, False]
    assert held_out.truth.tolist() == [0, 0, 1, 1]
    assert [s.name for s in held_out.samples] == ["bowl/2", "bowl/4", "cup/5", "cup/7"]


def test_a_calibration_set_is_of_training_images_alone(data: Data) -> None:
    few = decode_calibration(data, 2, seed=0)
    assert few.images.shape == (2, 4, 4, 3)
    all_of_them = decode_calibration(data, 100, seed=0)
    assert sorted(all_of_them.images[:, 0, 0, 0].tolist()) == [0, 1, 3, 6, 8, 9]


def test_more_calibration_images_are_five_times_as_many_and_each_twice(data: Data) -> None:
    more = decode_calibration(data, 1, seed=0).more()
    assert more.shape == (10, 4, 4, 3)
    first, copies = more[:5, 0, 0, 0], more[5:, 0, 0, 0]
    assert len(set(first.tolist())) == 5
    np.testing.assert_allclose(copies, first, atol=1)  # of one brightness all over, whatever the filter


def test_a_given_part_and_the_skipped_files_reach_the_split() -> None:
    samples = [sample(i, "cup") for i in range(8)] + [sample(8, "cup", "test")]
    assert 8 in split_samples(samples, (), 0).test
    with pytest.raises(DataError, match=r"class 'cup' has 4 images \(2 more were skipped\)"):
        split_samples(samples[:4], [Skipped("a", "", "cup"), Skipped("b", "", "cup"), Skipped("c", "")], 0)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (
            Settings(seed=3, max_drop=2.0, calibration=66),
            {"seed": 3, "max_drop": 2.0, "calibration": 66, "augment": "none", "copies": 0, "fine_tune": "none"},
        ),
        (
            Settings(0, 2.0, 9, ("mirror", "crop"), 2, "auto", False, {"model.tflite": "int8: 0.9"}),
            {
                **{"seed": 0, "max_drop": 2.0, "calibration": 9, "augment": "mirror, crop", "copies": 2},
                **{"fine_tune": "auto", "fine_tuned": False, "ladder": {"model.tflite": "int8: 0.9"}},
            },
        ),
        (
            Settings(0, 2.0, 9, (), 1, "2", True),  # copies of nothing are none
            {
                **{"seed": 0, "max_drop": 2.0, "calibration": 9, "augment": "none", "copies": 0},
                **{"fine_tune": "2", "fine_tuned": True},
            },
        ),
    ],
)
def test_settings_as_the_manifest_has_them(settings: Settings, shown: dict[str, object]) -> None:
    assert list(to_manifest(settings).items()) == list(shown.items())
