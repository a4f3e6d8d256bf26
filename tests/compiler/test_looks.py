"""Looks: what cameras and messengers make of a picture, the same each time, and what whitening makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlc_edge.compiler.bundle.unknown import measure_knownness
from tlc_edge.compiler.data.looks import LOOKS
from tlc_edge.compiler.records import Looks, Neck
from tlc_edge.compiler.train.whiten import whiten
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.load import load_image

SPEC = Preprocessing(96, 96)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
        (400, 300), Image.Resampling.BICUBIC
    )
    noisy = np.clip(np.asarray(coarse) + rng.normal(0, 12, (300, 400, 3)), 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("looks") / "photo.png"
    Image.fromarray(noisy).save(path)
    return path


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_changes_a_picture_a_little_and_the_same_each_time(photo: Path, look: str) -> None:
    plain, changed = load_image(photo, SPEC).astype(int), LOOKS[look].load(photo, SPEC).astype(int)
    assert changed.shape == plain.shape
    assert (LOOKS[look].load(photo, SPEC) == changed).all()
    assert 0.2 < np.abs(plain - changed).mean() < 60
    if look == "darker":
        assert changed.mean() == pytest.approx(0.7 * plain.mean(), rel=0.03)
    else:
        assert changed.mean() == pytest.approx(plain.mean(), rel=0.03)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("spec", [Preprocessing(32, 32, 1), Preprocessing(32, 32)])
@pytest.mark.parametrize("shape", [(8, 8), (1, 300), (8, 8, 3), (700, 3)])
def test_pictures_of_any_size_and_of_grey(look: str, spec: Preprocessing, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert LOOKS[look].load(image, spec).shape == (32, 32, spec.channels)


def test_each_has_an_id_of_its_own() -> None:
    assert len({view.id for view in LOOKS.values()}) == len(LOOKS)


# Images whose changed copies all move in one direction, which tells nothing about their class.
WIDTH, CLASSES, EACH = 12, 5, 12
RNG = np.random.default_rng(2)
CENTRES = RNG.normal(size=(CLASSES, WIDTH)) * 3
TRUTH = np.repeat(np.arange(CLASSES), EACH)
COMPRESSED = 6 * np.eye(WIDTH)[0]


def features(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (CENTRES[TRUTH] + rng.normal(size=(len(TRUTH), WIDTH))).astype(np.float32)


def as_looked(x: np.ndarray) -> np.ndarray:
    return (x + COMPRESSED).astype(np.float32)


TRAIN = features(3)
PLAIN = Neck("pca", WIDTH, np.eye(WIDTH, dtype=np.float32), -TRAIN.mean(axis=0))
SOME = np.arange(0, len(TRUTH), 2)
SEEN = Looks(SOME, (as_looked(TRAIN[SOME]),))


def test_whitening_that_has_seen_them_brings_changed_copies_near() -> None:
    def cosine(neck: Neck) -> float:
        a, b = neck.project(features(4)), neck.project(as_looked(features(4)))
        return float(np.mean(np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)))

    blind, seeing = whiten(PLAIN, [TRAIN], TRUTH), whiten(PLAIN, [TRAIN], TRUTH, SEEN)
    assert cosine(seeing) > cosine(blind) + 0.05


def test_what_is_measured_of_them_is_kept_apart_and_where_there_is_none_it_is_no_number() -> None:
    found = measure_knownness(PLAIN, [TRAIN], TRAIN, TRUTH, np.arange(len(TRUTH)), 0, SEEN).measured
    assert found is not None
    assert found.claimed.shape == found.lengths.shape == (len(TRUTH), 2)
    assert np.isfinite(found.claimed[:, 0]).all()
    assert np.flatnonzero(np.isfinite(found.claimed[:, 1])).tolist() == SOME.tolist()
    assert np.mean(found.claimed[SOME, 1]) < np.mean(found.claimed[:, 0])
