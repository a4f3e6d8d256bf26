"""Each image is read and decoded once, however many steps and views look at it; and what they see is the same."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.augment import copies
from tlc_edge.compiler.data.decode import Undecoded, bounded_images
from tlc_edge.compiler.data.looks import LOOKS
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.seen import Seen, digest_of
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.features import trunk_run
from tlc_edge.compiler.features.exact import exact_features
from tlc_edge.compiler.features.featurize import TrunkFile, decode_ahead, featurize, featurize_views, look, trunk_file
from tlc_edge.compiler.records import LoweredTrunk
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.progress import silent

SPEC = Preprocessing(24, 32)
SAID = 0x0112  # which way an image is up
VIEWS: list[View] = [PLAIN, *copies(("resize-filter", "crop"), 2, 0), *LOOKS.values()]
RNG = np.random.default_rng(0)


def picture(width: int, height: int, mode: str, form: str, way: int | None = None) -> bytes:
    pixels = RNG.integers(0, 256, (height, width, 4), np.uint8)
    image = Image.fromarray(pixels, "RGBA").convert(mode)
    exif = Image.Exif()
    if way is not None:
        exif[SAID] = way
    out = io.BytesIO()
    image.save(out, form, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("passes", ["", "tall-vertical"])
def test_what_is_decoded_for_all_views_gives_what_each_decodes_for_itself(channels: int, passes: str) -> None:
    spec = Preprocessing(24, 32, channels, passes=passes)
    made: list[Any] = [picture(w, h, m, "PNG") for w, h in ((32, 24), (7, 300), (300, 7)) for m in ("RGB", "RGBA", "P")]
    made += [picture(901, 640, m, "JPEG", way) for m in ("RGB", "L") for way in (None, 1, 3, 6, 8)]
    made += [RNG.integers(0, 256, shape, np.uint8) for shape in ((24, 32, 3), (24, 32), (50, 9, 4), (24, 32, 1))]
    for source in made:
        one = trunk_run.decode_image(source, spec)
        before = one.tobytes()
        for view in VIEWS:
            assert np.array_equal(view.change(one, spec), view.load(source, spec)), view.id
        assert one.tobytes() == before
        assert np.array_equal(PLAIN.load(source, spec), load_image(source, spec))


@pytest.fixture(scope="module")
def trunk() -> TrunkFile:
    """A mean of each channel and of its upper half, in ONNX."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["all"], axes=[1, 2], keepdims=0),
        helper.make_node("Slice", ["x", "from", "to", "axis"], ["top"]),
        helper.make_node("ReduceMean", ["top"], ["upper"], axes=[1, 2], keepdims=0),
        helper.make_node("Concat", ["all", "upper"], ["features"], axis=1),
    ]
    numbers = [helper.make_tensor(n, TensorProto.INT64, [1], [v]) for n, v in (("from", 0), ("to", 12), ("axis", 1))]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 24, 32, 3])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 6])
    graph = helper.make_graph(nodes, "means", [image], [features], numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return trunk_file(LoweredTrunk("onnx", "float32", model.SerializeToString()), 6)


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    made: list[Sample] = []
    for i in range(9):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(picture(120 + i, 90, "RGB", "JPEG"))
        made.append(Sample(path, "ab"[i % 2], None, path.name))
    return (*made, Sample(RNG.integers(0, 256, (50, 60, 3), np.uint8), "a", None, "array"))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often an image is decoded."""
    calls: list[int] = []
    real = trunk_run.decode_image

    def count(*given: Any) -> Image.Image:
        calls.append(1)
        return real(*given)

    monkeypatch.setattr(trunk_run, "decode_image", count)
    return calls


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kept", [True, False])
def test_all_views_in_one_pass_are_those_of_a_pass_each(
    trunk: TrunkFile, samples: tuple[Sample, ...], decoded: list[int], tmp_path: Path, threads: int, kept: bool
) -> None:
    rows = np.array([0, 3, 9])
    asked = [(view, None if i < 2 else rows) for i, view in enumerate(VIEWS)]
    with FeatureCache(tmp_path / "cache") as cache:
        kept_in = cache if kept else None
        found = featurize_views(trunk, samples, asked, SPEC, threads, cache=kept_in)
        assert len(decoded) == len(samples)
        exact = exact_features(trunk, samples, VIEWS, SPEC, threads, cache=kept_in)
        again = featurize_views(trunk, samples, asked, SPEC, threads, cache=kept_in)
    assert len(decoded) == (2 if kept else 3) * len(samples)
    assert exact is not None
    for (view, some), features, twice, bits in zip(asked, found, again, exact, strict=True):
        one = featurize(trunk, samples if some is None else [samples[i] for i in some], SPEC, view=view).features
        assert np.array_equal(features, one)
        assert np.array_equal(features, twice)
        np.testing.assert_allclose(bits if some is None else bits[some], one, rtol=1e-3)
    assert len({features[0].tobytes() for features in found}) == len(VIEWS)


def test_what_was_looked_at_is_neither_read_nor_decoded_again_and_is_not_more_than_there_is_room_for(
    trunk: TrunkFile, samples: tuple[Sample, ...]
) -> None:
    size = 24 * 32 * 3
    whole = featurize(trunk, samples, SPEC).features
    images = [load_image(sample.source, SPEC) for sample in samples]
    seen = Seen(5 * size + 1)
    looked = look(trunk, samples, SPEC, 1, seen=seen)
    assert sum(seen.pixels(sample) is not None for sample in samples) == 5
    assert [seen.digest(sample) for sample in samples] == list(looked.digests)
    for sample in samples[:5]:
        Path(str(sample.source)).unlink()
    (found,) = featurize_views(trunk, samples, [(PLAIN, None)], SPEC, seen=seen)
    assert np.array_equal(found, whole)
    held = bounded_images(samples, SPEC, seen)
    assert isinstance(held, Undecoded)
    for _ in range(2):
        assert np.array_equal(np.stack(list(held)), np.stack(images))
        for sample in samples[5:9]:  # looked at once, they are kept by who looked
            Path(str(sample.source)).unlink(missing_ok=True)


@pytest.mark.parametrize("room", [10**9, 7 * 24 * 32 * 3 + 1, 0])
@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_decoded_ahead_is_what_is_seen_later_as_far_as_there_is_room(
    trunk: TrunkFile, samples: tuple[Sample, ...], decoded: list[int], room: int, threads: int
) -> None:
    rows = np.array([0, 3, 9])
    asked = [(view, None if i == 1 else rows) for i, view in enumerate(VIEWS) if i]
    whole = featurize_views(trunk, samples, asked, SPEC)
    seen = Seen(room)
    decode_ahead(samples, asked, SPEC, seen, threads, silent)
    assert not any(seen.take(sample, view) is not None for sample in samples for view in VIEWS)  # none was looked at
    for sample in samples:
        content = sample.source if isinstance(sample.source, np.ndarray) else Path(str(sample.source)).read_bytes()
        seen.note(sample, digest_of(content))
    counts: list[int] = []
    decode_ahead(samples, asked, SPEC, seen, threads, lambda done, _all: counts.append(done))
    before = len(decoded)
    found = featurize_views(trunk, samples, asked, SPEC, seen=seen)
    assert all(np.array_equal(a, b) for a, b in zip(found, whole, strict=True))
    if room == 10**9:
        assert counts[-1] == len(samples)
        assert len(decoded) == before
        assert seen.keep(samples[0], PLAIN, np.zeros(room, np.uint8))  # what was taken is forgotten


def test_images_are_told_apart_by_more_than_their_names(trunk: TrunkFile, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(picture(40, 40, "RGB", "PNG"))
    one, two = (Sample(tmp_path / name / "x.png", "a", None, "x.png") for name in ("one", "two"))
    seen = Seen(10**6)
    features = [featurize(trunk, [sample], SPEC, seen=seen).features for sample in (one, two)]
    assert not np.array_equal(features[0], features[1])
    assert np.array_equal(features[1], featurize(trunk, [two], SPEC).features)


def test_an_image_that_was_changed_since_it_was_looked_at_stops_the_build(
    trunk: TrunkFile, samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    seen = Seen()
    with FeatureCache(tmp_path / "cache") as cache:
        featurize(trunk, samples, SPEC, cache=cache, seen=seen)
        Path(str(samples[2].source)).write_bytes(picture(64, 64, "RGB", "JPEG"))
        (kept,) = featurize_views(trunk, samples, [(PLAIN, None)], SPEC, cache=cache, seen=seen)
        assert len(kept) == len(samples)  # as they were looked at
        with pytest.raises(DataError, match=r"2\.jpg.*changed while it was read; build again"):
            featurize_views(trunk, samples, [(VIEWS[1], None)], SPEC, cache=cache, seen=seen)


def test_a_digest_is_of_the_bytes_of_a_file_and_of_an_array_with_its_shape() -> None:
    flat = np.arange(12, dtype=np.uint8)
    assert digest_of(flat.tobytes()) != digest_of(flat)
    assert digest_of(flat.reshape(3, 4)) != digest_of(flat.reshape(4, 3))
    assert digest_of(flat.reshape(3, 4)) == digest_of(np.asfortranarray(flat.reshape(3, 4)))
