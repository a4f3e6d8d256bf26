"""Augmentation: it changes copies as asked, the same way every time, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.compiler.data.augment import copies
from tlc_edge.compiler.data.views import PLAIN
from tlc_edge.compiler.options import AUGMENTATIONS, DEFAULT_AUGMENT, parse_augment
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import ImageError, UsageError
from tlc_edge.runtime.images.load import Source

SPEC = Preprocessing(32, 48)


def picture(mode: str = "RGB", size: tuple[int, int] = (200, 120)) -> Image.Image:
    """Return a smooth picture that no mirror, turn or crop leaves as it is."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    stack = np.stack([200 * x, 200 * y, 100 + 80 * np.sin(9 * x * y)], axis=2)
    return Image.fromarray(stack.astype(np.uint8)).convert(mode)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def seen(kinds: tuple[str, ...], source: Source, count: int = 1, seed: int = 0) -> list[NDArray[np.uint8]]:
    return [view.load(source, SPEC) for view in copies(kinds, count, seed)]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_each_kind_changes_some_copy_and_none_twice_alike(kind: str, mode: str) -> None:
    source = png(picture(mode))
    plain = PLAIN.load(source, SPEC)
    given = seen((kind,), source, 8)
    assert {(g.shape, g.dtype.name) for g in given} == {((32, 48, 3), "uint8")}
    assert any(not np.array_equal(g, plain) for g in given)
    for a, b in zip(given, seen((kind,), source, 8), strict=True):
        np.testing.assert_array_equal(a, b)
    others = seen((kind,), source, 8, seed=1)
    assert any(not np.array_equal(a, b) for a, b in zip(given, others, strict=True))
    distances = [np.abs(g.astype(int) - plain).mean() for g in given]
    assert max(distances) < 70  # changed, not another picture


def test_a_mirror_is_a_mirror_about_half_of_the_time() -> None:
    source = np.asarray(picture(size=(48, 32)))
    mirrored = [np.array_equal(g, source[:, ::-1]) for g in seen(("mirror",), source, 40)]
    same = [np.array_equal(g, source) for g in seen(("mirror",), source, 40)]
    assert np.all(np.logical_xor(mirrored, same))
    assert 8 < sum(mirrored) < 32


def test_a_crop_shows_a_part_and_a_turn_keeps_the_middle() -> None:
    flat = np.zeros((120, 200, 3), np.uint8)
    flat[:, :, 0] = np.linspace(0, 255, 200).astype(np.uint8)
    for g in seen(("crop",), flat, 5):
        assert np.ptp(g[:, :, 0].astype(int)) < 255
        assert np.all(np.diff(g[16, :, 0].astype(int)) >= 0)
    dot = np.full((121, 121, 3), 10, np.uint8)
    dot[55:66, 55:66] = 250
    for g in seen(("rotate",), dot, 5):
        assert g[16, 24].min() > 200
        assert g[0, 0].max() <= 20  # the corners continue the edges


def test_colour_changes_light_and_leaves_shapes() -> None:
    source = np.asarray(picture(size=(48, 32)))
    for g in seen(("colour",), source, 5):
        assert np.corrcoef(g[:, :, 0].ravel(), source[:, :, 0].ravel())[0, 1] > 0.95


def test_resize_filters_differ_only_where_something_is_resized() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (320, 480, 3), np.uint8)
    spreads = {round(float(g.std()), 3) for g in seen(("resize-filter",), noise, 12)}
    assert len(spreads) == 4  # three filters and none against aliasing
    assert max(spreads) > 2 * min(spreads)
    small = noise[:32, :48]
    for g in seen(("resize-filter",), small, 4):
        np.testing.assert_array_equal(g, small)


def test_the_source_may_be_a_path_or_an_array_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(picture()))
    for a, b in zip(seen(AUGMENTATIONS, path, 2), seen(AUGMENTATIONS, np.asarray(picture()), 2), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ImageError, match="damaged"):
        seen(AUGMENTATIONS, png(picture())[:300])


def test_views_have_an_id_each_and_none_without_a_kind() -> None:
    views = [*copies(("mirror",), 3, 0), *copies(("mirror",), 3, 1), *copies(("crop",), 1, 0)]
    assert len({v.id for v in views}) == 7
    assert copies((), 5, 0) == []
    assert copies(DEFAULT_AUGMENT, 0, 0) == []


def test_names() -> None:
    assert parse_augment("colour, mirror") == ("mirror", "colour")
    assert parse_augment("none") == ()
    with pytest.raises(UsageError, match="unknown augmentation 'mirorr'; known: mirror"):
        parse_augment("mirorr")
    with pytest.raises(UsageError, match="--augment is empty"):
        parse_augment(" , ")
