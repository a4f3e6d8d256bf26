"""Near-duplicates are found among real images, and stay on one side of the split."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from tlc_edge.compiler.data import duplicates
from tlc_edge.compiler.data.duplicates import SIMILAR, count_groups, find_groups, list_groups
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.split import MIN_TRAIN, Split, split
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.images.nothing import thumbnail

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SPEC = Preprocessing(224, 224)


def thumbnails_of(images: list[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([thumbnail(load_image(image, SPEC)) for image in images])


def recompress(image: Image.Image) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=30)
    return Image.open(out)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda image: image.copy(),
    "recompressed": recompress,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.85),
}


@pytest.fixture(scope="module")
def chess() -> list[Image.Image]:
    if not SHARED.is_dir():
        pytest.skip("the photos of chess pieces are not beside the project")
    return [Image.open(str(s.source)).convert("RGB") for s in load_dataset(str(SHARED / "chess")).samples]


class TestPhotos:
    def test_photos_of_one_board_are_no_duplicates(self, chess: list[Image.Image]) -> None:
        assert find_groups(thumbnails_of(chess)).tolist() == list(range(90))

    @pytest.mark.parametrize("way", COPIES)
    def test_copies_are(self, way: str, chess: list[Image.Image]) -> None:
        own = chess[::6]
        groups = find_groups(thumbnails_of([*own, *map(COPIES[way], own)]))
        assert groups.tolist() == list(range(15)) * 2


@pytest.mark.skipif(not SHARED.is_dir(), reason="the drawings are not beside the project")
def test_drawings_of_one_thing_are_no_duplicates() -> None:
    samples = load_dataset(str(SHARED / "icons")).samples
    groups = find_groups(np.stack([thumbnail(load_image(s.source, SPEC)) for s in samples]))
    assert groups.tolist() == list(range(len(samples)))


def test_of_the_digits_few_are_alike(digits: dict[str, list[NDArray[np.uint8]]]) -> None:
    images = [image for own in digits.values() for image in own]
    groups = find_groups(np.stack([thumbnail(load_image(image, SPEC)) for image in images]))
    assert len(images) - len(set(groups.tolist())) <= 2


class TestGroups:
    def test_colour_counts_and_brightness_does_not(self) -> None:
        red = np.full((16, 16, 3), 255, np.uint8)
        red[4:12, 4:12] = (255, 0, 0)
        thumbnails = np.stack([red, red[:, :, ::-1], (red * 0.8).astype(np.uint8)])
        assert find_groups(thumbnails).tolist() == [0, 1, 0]

    def test_flat_ones_are_alike_only_where_they_are_equal(self) -> None:
        thumbnails = np.stack([np.full((16, 16, 3), value, np.uint8) for value in (0, 255, 0, 254, 255)])
        noisy = thumbnails[0] + np.random.default_rng(0).integers(0, 2, (16, 16, 3)).astype(np.uint8)
        assert find_groups(np.stack([*thumbnails, noisy])).tolist() == [0, 1, 0, 3, 1, 5]

    def test_none_one_and_grey(self) -> None:
        assert find_groups(np.zeros((0, 16, 16, 3), np.uint8)).tolist() == []
        assert find_groups(np.zeros((1, 16, 16, 1), np.uint8)).tolist() == [0]

    def test_the_hashes_lose_nothing(self) -> None:
        """The first comparison is in few dimensions; it must find what a full one finds."""
        generator = np.random.default_rng(5)
        rough = generator.integers(20, 230, (1200, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
        noise = generator.normal(0, 1, rough.shape) * generator.uniform(2, 9, (1200, 1, 1, 1))
        thumbnails = np.concatenate([rough, np.clip(rough + noise, 0, 255)]).astype(np.uint8)
        unit = thumbnails.reshape(2400, -1).astype(np.float64)
        unit -= unit.mean(axis=1, keepdims=True)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        alike = np.einsum("ij,ij->i", unit[:1200], unit[1200:])
        sure = np.abs(alike - SIMILAR) > 1e-5
        found = find_groups(thumbnails)[1200:] == np.arange(1200)
        assert 200 < np.count_nonzero(alike >= SIMILAR) < 1000
        assert (found == (alike >= SIMILAR))[sure].all()


@pytest.mark.parametrize("turning", [0.0, 0.005, 0.03, 0.1])
def test_a_film_is_as_all_its_frames_compared_and_costs_a_look_at_each(
    turning: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of a camera that stands still, that turns slowly, and so fast that every frame is a picture of its own."""
    draw = np.random.default_rng(3)
    scenes = 40 * np.kron(draw.normal(0, 1, (60, 4, 4, 3)), np.ones((1, 4, 4, 1)))
    at = np.arange(600) * turning
    there, part = at.astype(int) % 60, (at % 1)[:, None, None, None]
    frames = 128 + (1 - part) * scenes[there] + part * scenes[(there + 1) % 60] + draw.normal(0, 0.5, (600, 16, 16, 3))
    thumbnails = np.clip(frames, 0, 255).astype(np.uint8)[draw.permutation(600)]
    looked: list[int] = []
    unit = duplicates._unit

    def counted(flat: NDArray[np.uint8]) -> NDArray[np.float32]:
        looked.append(len(flat))
        return unit(flat)

    monkeypatch.setattr(duplicates, "_unit", counted)
    found = find_groups(thumbnails)
    assert sum(looked) < 600 * (4 if turning == 0 else 60)  # twice each for its place in the tree, too
    rows = unit(thumbnails.reshape(600, -1))
    alike = rows @ rows.T >= SIMILAR
    first = np.arange(600)
    while True:  # each takes the first of all that show what it shows, until nothing changes
        lower = np.where(alike, first, 600).min(axis=1)
        if (lower == first).all():
            break
        first = lower
    assert (found == first).all()


def parts_of(parts: Split) -> dict[int, str]:
    return {i: part for part in ("train", "validation", "test") for i in getattr(parts, part).tolist()}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(1, 4), min_size=7, max_size=12), min_size=1, max_size=4), st.integers(0, 1000))
def test_groups_stay_together_and_every_image_lands_once(classes: list[list[int]], seed: int) -> None:
    labels: list[str] = []
    groups: list[int] = []
    for name, sizes in enumerate(classes):
        for size in sizes:
            labels += [f"c{name}"] * size
            groups += [len(groups)] * size
    parts = split(labels, seed, groups=np.array(groups))
    where = parts_of(parts)
    assert sorted(where) == list(range(len(labels)))
    assert all(where[i] == where[group] for i, group in enumerate(groups))
    for name in set(labels):
        own = [where[i] for i in range(len(labels)) if labels[i] == name]
        assert own.count("train") >= MIN_TRAIN
        assert {"validation", "test"} <= set(own)


def test_without_groups_nothing_changes() -> None:
    labels = ["a"] * 20 + ["b"] * 9
    plain, alone = split(labels, 3), split(labels, 3, groups=np.arange(29))
    assert parts_of(plain) == parts_of(alone)


def test_a_group_may_reach_into_two_classes() -> None:
    labels = ["a"] * 20 + ["b"] * 20
    groups = np.arange(40)
    for i in range(10):
        groups[20 + i] = i
    where = parts_of(split(labels, 1, groups=groups))
    assert all(where[i] == where[20 + i] for i in range(10))
    assert len({where[i] for i in range(10)}) > 1


def test_a_class_of_one_picture_is_split_all_the_same_and_told() -> None:
    labels = ["a"] * 6 + ["b"] * 10
    groups = np.array([0] * 6 + list(range(6, 16)))
    parts = split(labels, 0, groups=groups)
    assert [sum(parts_of(parts)[i] == p for i in range(6)) for p in ("train", "validation", "test")] == [4, 1, 1]
    samples = [Sample(np.zeros((1, 1), np.uint8), label, None, str(i)) for i, label in enumerate(labels)]
    (found,) = list_groups(samples, groups, parts)
    assert (len(found.images), found.labels, set(found.parts)) == (6, ("a",), {"train", "validation", "test"})
    counted = {"groups": 1, "images": 6, "in_several_classes": 0, "in_several_parts": 1}
    assert count_groups([found]) == counted


def test_given_parts_stay_and_draw_the_undecided_to_them() -> None:
    part_names = ["train"] * 8 + ["test"] * 3 + ["validation"] * 2 + [None] * 3
    groups = np.arange(16)
    groups[[13, 14, 15]] = [8, 11, 0]  # undecided copies of a test, a validation and a training image
    groups[1] = 9  # a training image that is a copy of a test image: the data set's own doing
    where = parts_of(split(["a"] * 16, 0, given=part_names, groups=groups))
    assert [where[i] for i in (13, 14, 15)] == ["test", "validation", "train"]
    assert all(where[i] == part for i, part in enumerate(part_names) if part)


def test_wrong_groups() -> None:
    with pytest.raises(ValueError, match="9 labels, 8 groups"):
        split(["a"] * 9, 0, groups=np.arange(8))


def test_what_is_doubtful_comes_first() -> None:
    labels = ["a", "a", "b", "b", "a", "c", "a"]
    samples = [Sample(np.zeros((1, 1), np.uint8), label, None, f"{i}") for i, label in enumerate(labels)]
    parts = Split(np.array([0, 1, 2, 4, 5]), np.array([3]), np.array([6]))
    found = list_groups(samples, np.array([0, 0, 2, 2, 4, 4, 6]), parts)
    assert [(g.images, g.labels) for g in found] == [
        (("4", "5"), ("a", "c")),
        (("2", "3"), ("b",)),
        (("0", "1"), ("a",)),
    ]
    assert count_groups(found) == {"groups": 3, "images": 6, "in_several_classes": 1, "in_several_parts": 1}
