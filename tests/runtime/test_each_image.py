"""One image where several are expected is one image, whatever could be taken out of it one by one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlc_edge.runtime import Classifier, ImageError
from tlc_edge.runtime.images.each_image import each_image

ONE: dict[str, Callable[[Path], Any]] = {
    "text": str,
    "path": Path,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "stream": lambda path: io.BytesIO(path.read_bytes()),
    "PIL": Image.open,
    "grey array": lambda path: np.asarray(Image.open(path).convert("L")),
    "array": lambda path: np.asarray(Image.open(path).convert("RGB")),
}


class Numbered:
    """A data set that has numbered items only."""

    def __init__(self, *items: Any) -> None:
        self._items = items

    def __getitem__(self, number: int) -> Any:
        return self._items[number]


@pytest.mark.parametrize("way", ONE)
def test_one_image_is_one_prediction_and_one_example(bundle_path: Path, photos: Path, way: str) -> None:
    path = photos / "1" / "0.png"
    with Classifier.open(bundle_path) as classifier:
        (prediction,) = classifier.predict_many(ONE[way](path))
        assert prediction.ranked == classifier.predict(path).ranked
        change = classifier.enroll("cup", ONE[way](path))
        assert (change.added, change.skipped) == (1, 0)
        (prediction,) = classifier.predict_many(ONE[way](path), errors="return")
        assert not isinstance(prediction, ImageError)
        assert prediction.label == "cup"


def test_an_open_file_is_one_image_not_its_lines(bundle_path: Path, photos: Path) -> None:
    path = photos / "1" / "0.png"
    with Classifier.open(bundle_path) as classifier, path.open("rb") as file:
        assert classifier.enroll("cup", file).added == 1


def test_a_frame_of_a_camera_is_one_example(bundle_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    with Classifier.open(bundle_path) as classifier:
        assert classifier.enroll("cup", frame, order="BGR").added == 1
        turned = np.ascontiguousarray(frame[..., ::-1])
        assert classifier.enroll("cup", turned).skipped == 1  # the order was heeded
        assert classifier.classes()["cup"] == 1


def test_several_stay_several(bundle_path: Path, photos: Path) -> None:
    paths = [photos / c / "0.png" for c in "012"]
    stack = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])

    def generated() -> Iterator[Path]:
        yield from paths

    many: list[Any] = [paths, tuple(paths), dict.fromkeys(paths), generated(), stack, np.array([str(p) for p in paths])]
    many += [np.array(paths, object), Numbered(*paths)]
    with Classifier.open(bundle_path) as classifier:
        expected = [classifier.predict(path).ranked for path in paths]
        for images in many:
            assert [p.ranked for p in classifier.predict_many(images)] == expected, type(images)
        assert classifier.enroll("cup", stack).added == 3
        assert list(classifier.predict_many([])) == []
        assert list(classifier.predict_many(stack[:0])) == []


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ("missing.png", r"missing\.png: no such file"),
        (b"text", "image of 4 bytes: not an image"),
        (None, "NoneType is not an image; give a path"),  # as cv2.imread gives for a file that it cannot read
        (np.zeros((3, 48, 64), np.uint8), r"array of uint8 \[3, 48, 64\], expected uint8 \[H, W\]"),
        (np.zeros(900, np.uint8), r"array of uint8 \[900\], expected uint8 \[H, W\]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_that_is_none_is_told_as_a_whole(bundle_path: Path, images: Any, said: str) -> None:
    with Classifier.open(bundle_path) as classifier:
        with pytest.raises(ImageError, match=said):
            classifier.enroll("cup", images)
        (error,) = classifier.predict_many(images, errors="return")
        assert isinstance(error, ImageError)
        assert not classifier.gallery_path.exists()


def test_an_iterable_is_handed_on_untouched() -> None:
    taken: list[int] = []

    def frames() -> Iterator[bytes]:
        taken.append(1)
        yield b""

    images = frames()
    assert each_image(images) is images
    assert taken == []
