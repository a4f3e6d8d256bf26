"""Many images: decoded ahead in threads, answered in order, none lost and nothing left running."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_classifier import told

from tlc_edge.runtime import Classifier, ImageError, Prediction
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.decode_ahead import Decoded, decode_ahead
from tlc_edge.runtime.images.load import load_image

SPEC = Preprocessing(4, 6)
MOST_AHEAD = 8
"""Twice as many as the most threads."""


def jpeg(value: int, size: tuple[int, int] = (90, 60)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(out, "JPEG", quality=95)
    return out.getvalue()


def greys(images: Iterator[Decoded | ImageError]) -> list[int | str]:
    """Return the grey that each image shows, or the error in its place."""
    return [str(one) if isinstance(one, ImageError) else int(one.pixels[0, 0, 0]) for one in images]


def decoders() -> int:
    return sum(t.name.startswith("decode") for t in threading.enumerate())


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert decoders() == 0


def test_order_is_kept_however_long_each_takes() -> None:
    sizes = [(3000, 2000), (30, 20), (2000, 1500), (8, 8)]
    images = [jpeg(8 * i, sizes[i % 4]) for i in range(24)]
    expected = [int(load_image(image, SPEC)[0, 0, 0]) for image in images]
    assert greys(decode_ahead(images, SPEC, "RGB")) == expected
    assert len(set(expected)) == 24


def test_every_kind_of_image_in_one_go(tmp_path: Path) -> None:
    data = jpeg(77)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    array = np.full((60, 90, 3), 77, np.uint8)
    images: list[Any] = [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), array]
    images += [Image.fromarray(array), array[:4, :6], array[:, :, 0]]
    assert greys(decode_ahead(images, SPEC, "RGB")) == [77] * len(images)
    blue = np.zeros((60, 90, 3), np.uint8)
    blue[..., 0] = 255
    for one in decode_ahead([blue, blue[:4, :6]], SPEC, "BGR"):
        assert isinstance(one, Decoded)
        assert one.pixels[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("shape", [(4, 6, 3), (50, 70, 3)], ids=["the model's size", "another size"])
def test_a_buffer_may_be_used_again(shape: tuple[int, int, int]) -> None:
    """As a camera does: every frame comes in the same memory."""

    def frames() -> Iterator[np.ndarray]:
        buffer = np.zeros(shape, np.uint8)
        for i in range(30):
            buffer[:] = i
            yield buffer

    assert greys(decode_ahead(frames(), SPEC, "RGB")) == list(range(30))


def test_what_the_iterable_closes_behind_itself_was_taken_before(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(9 * i))

    def files() -> Iterator[Any]:
        for i in range(12):
            with (tmp_path / f"{i}.jpg").open("rb") as file:
                yield file
            with Image.open(tmp_path / f"{i}.jpg") as picture:
                yield picture

    assert greys(decode_ahead(files(), SPEC, "RGB")) == [9 * i for i in range(12) for _ in range(2)]


def test_images_are_taken_lazily_and_only_a_few_ahead() -> None:
    taken: list[int] = []

    def endless() -> Iterator[bytes]:
        image = jpeg(5)
        while True:
            taken.append(1)
            yield image

    decoded = decode_ahead(endless(), SPEC, "RGB")
    assert taken == []
    for count in range(1, 30):
        next(decoded)
        assert count <= len(taken) <= count + MOST_AHEAD
    assert decoders() > 0
    decoded.close()
    assert decoders() == 0


def test_an_image_that_cannot_be_read_stands_in_its_place(tmp_path: Path) -> None:
    images: list[Any] = [
        jpeg(10),
        b"",
        jpeg(20),
        tmp_path / "gone.jpg",
        jpeg(30)[:90],
        None,
        np.zeros((2, 2)),
        jpeg(30),
    ]
    found = greys(decode_ahead(images, SPEC, "RGB"))
    assert [found[i] for i in (0, 2, 7)] == [10, 20, 30]
    assert [str(found[i]).split(":")[0] for i in (1, 3)] == ["image of 0 bytes", str(tmp_path / "gone.jpg")]
    assert all(isinstance(found[i], str) for i in (4, 5, 6))


def test_an_error_of_the_iterable_comes_after_what_it_gave() -> None:
    def breaks() -> Iterator[bytes]:
        for i in range(5):
            yield jpeg(10 * i)
        raise ConnectionError("the camera is gone")

    decoded = decode_ahead(breaks(), SPEC, "RGB")
    assert greys(next(decoded) for _ in range(5)) == [0, 10, 20, 30, 40]
    with pytest.raises(ConnectionError, match="the camera is gone"):
        next(decoded)


def test_what_came_before_a_source_that_blocks_is_not_held_back() -> None:
    """Nobody has written to the stream yet, and all earlier answers are there."""
    asked: list[int] = []

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(len(got))
            return super().read(size)

    got: list[int] = []
    for _ in decode_ahead([jpeg(1), jpeg(2), Slow(jpeg(3)), jpeg(4)], SPEC, "RGB"):
        got.append(1)
    assert asked[0] == 2
    assert len(got) == 4


# --- the classifier


def test_many_are_answered_as_one_by_one(bundle_path: Path, photos: Path) -> None:
    paths = [photos / label / f"{i}.png" for i in range(5) for label in "0123"]
    with Classifier.open(bundle_path) as classifier:
        many = list(classifier.predict_many(paths))
        assert [told(p) for p in many] == [told(classifier.predict(p)) for p in paths]
        assert all(set(p.milliseconds) == {"decode", "resize", "inference", "search", "decision"} for p in many)
        assert list(classifier.predict_many([])) == []


def test_a_bad_image_ends_it_or_stands_in_its_place_as_asked(bundle_path: Path, photos: Path) -> None:
    images: list[Any] = [photos / "0" / "0.png", b"no image", photos / "1" / "0.png"]
    with Classifier.open(bundle_path) as classifier:
        answers = classifier.predict_many(images)
        assert next(answers).label == "0"
        with pytest.raises(ImageError, match="image of 8 bytes: not an image"):
            next(answers)
        first, bad, last = classifier.predict_many(images, errors="return")
        assert isinstance(first, Prediction)
        assert isinstance(bad, ImageError)
        assert isinstance(last, Prediction)
        assert (first.label, last.label) == ("0", "1")
        with pytest.raises(ValueError, match="errors 'ignore', expected 'raise' or 'return'"):
            classifier.predict_many(images, errors="ignore")  # type: ignore[call-overload]


def test_abandoned_half_way_it_leaves_no_thread(bundle_path: Path, photos: Path) -> None:
    with Classifier.open(bundle_path) as classifier:
        for answer in classifier.predict_many([photos / "0" / "0.png"] * 50):
            assert answer.label == "0"
            break
        del answer
    assert decoders() == 0


def test_an_enrolment_between_two_answers_counts_from_the_next_one_on(bundle_path: Path, photos: Path) -> None:
    image = photos / "3" / "1.png"
    with Classifier.open(bundle_path) as classifier:
        answers = classifier.predict_many([image] * 20)
        before = next(answers)
        classifier.enroll("three", [image])
        after = next(answers)
        assert "three" not in [r.label for r in before.ranked]
        assert "three" in [r.label for r in after.ranked]
