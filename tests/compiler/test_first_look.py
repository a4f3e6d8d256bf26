"""Images that are looked at while the network is on its way: seen as they would be later, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlc_edge.compiler.backbones.rows import likely_size, rows
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.seen import Seen, digest_of
from tlc_edge.compiler.first_look import FirstLook
from tlc_edge.compiler.options import DEFAULT, Asked
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.progress import silent

SPEC = Preprocessing(24, 32)
IMAGE = 24 * 32 * 3


class Elsewhere:
    """A file that is fetched when it is opened."""

    def __fspath__(self) -> str:
        raise AssertionError("it was opened")


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    draw = np.random.default_rng(0)
    found: list[Sample] = []
    for i in range(5):
        path = tmp_path / f"{i}.png"
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
        found.append(Sample(path, "a", None, str(i)))
    (tmp_path / "2.png").write_bytes(b"no image")
    return [*found, Sample(draw.integers(0, 256, (9, 9, 3), np.uint8), "a", None, "array")]


def look(samples: list[Sample], room: int, spec: Preprocessing | None = SPEC) -> FirstLook:
    first = FirstLook(room, spec, Seen(room))
    first.take(samples, 1, silent)
    return first


def test_each_is_seen_as_the_device_sees_it_and_what_cannot_be_read_is_left(samples: list[Sample]) -> None:
    seen = look(samples, 10 * IMAGE).fitting(SPEC)
    for i, sample in enumerate(samples):
        pixels, digest = seen.pixels(sample), seen.digest(sample)
        if i == 2:
            assert pixels is None
            assert digest is None
            continue
        content = sample.source if isinstance(sample.source, np.ndarray) else Path(sample.source).read_bytes()
        assert pixels is not None
        assert np.array_equal(pixels, load_image(sample.source, SPEC))
        assert digest == digest_of(content)


def test_no_more_than_there_is_room_for(samples: list[Sample]) -> None:
    seen = look(samples, 2 * IMAGE).fitting(SPEC)
    assert [seen.pixels(sample) is not None for sample in samples] == [True, True, False, False, False, False]


def test_for_another_input_nothing_was_seen(samples: list[Sample]) -> None:
    first = look(samples, 10 * IMAGE)
    for spec in (replace(SPEC, width=33), replace(SPEC, channels=1)):
        assert first.fitting(spec).pixels(samples[0]) is None
        assert first.fitting(spec).digest(samples[0]) is None
    assert look(samples, 10 * IMAGE, None).fitting(SPEC).pixels(samples[0]) is None


def test_what_would_have_to_be_fetched_is_not(samples: list[Sample]) -> None:
    there = [samples[0], Sample(Elsewhere(), "a", None, "there"), samples[1]]
    seen = look(there, 10 * IMAGE).fitting(SPEC)
    assert [seen.pixels(sample) is not None for sample in there] == [True, False, False]


def test_the_input_of_a_network_with_a_name_is_known_and_of_others_not() -> None:
    assert likely_size(DEFAULT, Asked()) == (224, 224)
    assert likely_size(DEFAULT, Asked(input_size=(96, 128))) == (96, 128)
    assert likely_size("model.keras", Asked(input_size=(96, 128))) is None
    assert all(likely_size(name, Asked()) == (row.size, row.size) for name, row in rows().items())
