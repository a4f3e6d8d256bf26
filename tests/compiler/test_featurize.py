"""Features once: what the cache answers is neither decoded nor run, and is the same to the bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.views import View, as_the_device
from tlc_edge.compiler.features.featurize import HELD, Featurized, TrunkFile, featurize, look, trunk_file
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.network.fingerprint import fingerprint
from tlc_edge.compiler.records import Backbone, InputSpec, LoweredTrunk, Provenance, Trunk
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.progress import silent

SPEC = Preprocessing(32, 32)
TINY = """
import numpy as np
from keras import Model, initializers, layers, utils
utils.set_random_seed(3)
image = layers.Input((32, 32, 3))
x = layers.Conv2D(8, 3, strides=2, activation="relu")(image)
model = Model(image, layers.Conv2D(12, 3, strides=2, activation="relu")(x))
"""


def tiny_trunk(pool: str = "avg", mean: float = 127.0) -> Trunk:
    """A trunk of two layers; Keras gives them other names at each call."""
    load_tensorflow()
    names: dict[str, Any] = {}
    exec(TINY, names)
    model = names["model"]
    spec = InputSpec(32, 32, 3, mean=mean)
    backbone = Backbone("tiny", model, spec, Provenance("", "", "", ""), model.layers[-1].name)
    return shave(backbone, None, pool)


@pytest.fixture(scope="module")
def lowered() -> LoweredTrunk:
    return TrunkFiles(tiny_trunk(), "off").get("tflite", "float32")


@pytest.fixture(scope="module")
def trunk(lowered: LoweredTrunk) -> TrunkFile:
    return trunk_file(lowered, 12)


@pytest.fixture
def samples(photos: Path, tmp_path: Path) -> tuple[Sample, ...]:
    """Forty digits as PNG files, and an array."""
    own = tmp_path / "photos"
    for sample in load_dataset(str(photos)).samples:
        (own / sample.name).parent.mkdir(parents=True, exist_ok=True)
        (own / sample.name).write_bytes((photos / sample.name).read_bytes())
    array = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    return (*load_dataset(str(own)).samples, Sample(array, "0", None, "array"))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FeatureCache]:
    with FeatureCache(tmp_path / "cache") as opened:
        yield opened


def refuse_to_load() -> LoweredTrunk:
    raise AssertionError("the trunk was asked for")


def refuse_to_decode(image: Image.Image, spec: Preprocessing) -> NDArray[np.uint8]:
    raise AssertionError("an image was decoded")


def cached_only(trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache, **options: Any) -> Featurized:
    blind = options.pop("view", View(change=refuse_to_decode))
    return featurize(replace(trunk, load=refuse_to_load), samples, SPEC, cache=cache, view=blind, **options)


def same(a: Featurized, b: Featurized) -> bool:
    return (
        [s.name for s in a.samples] == [s.name for s in b.samples]
        and a.features.tobytes() == b.features.tobytes()
        and a.thumbnails.tobytes() == b.thumbnails.tobytes()
    )


def test_images_with_nothing_on_them_are_skipped_cached_or_not(
    trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache, tmp_path: Path
) -> None:
    odd = {"dot.png": Image.new("RGB", (1, 1), "red"), "flat.jpg": Image.new("RGB", (64, 48), (90, 20, 60))}
    for name, image in odd.items():
        image.save(tmp_path / name)
    noise = Image.effect_noise((32, 32), 50)
    noise.save(tmp_path / "camera.dng", "TIFF", tiffinfo={254: 1})
    more = tuple(Sample(tmp_path / name, "0", None, name) for name in (*odd, "camera.dng"))
    first = featurize(trunk, (*more, *samples), SPEC, cache=cache)
    again = featurize(trunk, (*more, *samples), SPEC, cache=cache)
    for found in (first, again):
        assert [(s.name, s.reason.split()[0], s.label) for s in found.skipped] == [
            ("dot.png", "one", "0"),
            ("flat.jpg", "one", "0"),
            ("camera.dng", "a", "0"),
        ]
    assert same(first, featurize(trunk, samples, SPEC))
    assert (first.cached, again.cached) == (0, 41)


def test_the_second_time_nothing_is_decoded_or_run(
    trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache
) -> None:
    first = featurize(trunk, samples, SPEC, cache=cache)
    assert (first.features.shape, first.thumbnails.shape, first.cached) == ((41, 12), (41, 16, 16, 3), 0)
    assert len(np.unique(first.features, axis=0)) > 35
    again = cached_only(trunk, samples, cache)
    assert again.cached == 41
    assert same(first, again)


def test_threads_and_cache_change_no_bit(trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache) -> None:
    seen: list[tuple[int, int]] = []
    first = featurize(trunk, samples, SPEC, 1, lambda done, of: seen.append((done, of)))
    assert seen == [(i, 41) for i in range(1, 42)]
    for threads in (2, 5):
        assert same(first, featurize(trunk, samples, SPEC, threads, cache=cache))
    assert featurize(trunk, [], SPEC).features.shape == (0, 12)


def test_a_new_image_is_run_and_the_others_are_not(
    trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache
) -> None:
    before = featurize(trunk, samples[1:], SPEC, cache=cache)
    after = featurize(trunk, samples, SPEC, cache=cache)
    assert after.cached == 40
    assert after.features[1:].tobytes() == before.features.tobytes()


def test_an_image_goes_by_its_bytes_not_by_its_name(
    trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache
) -> None:
    first = featurize(trunk, samples, SPEC, cache=cache)
    one, two = samples[0].source, samples[1].source
    assert isinstance(one, Path)
    assert isinstance(two, Path)
    one_bytes, two_bytes = one.read_bytes(), two.read_bytes()
    one.write_bytes(two_bytes)
    two.write_bytes(one_bytes)
    swapped = cached_only(trunk, samples, cache)
    assert (swapped.features[0] == first.features[1]).all()
    assert (swapped.features[1] == first.features[0]).all()


@pytest.mark.parametrize("change", ["trunk", "preprocessing", "view"])
def test_what_decides_the_features_is_part_of_the_key(
    change: str, trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache
) -> None:
    first = featurize(trunk, samples, SPEC, cache=cache)
    spec, view, other = SPEC, View(), trunk
    if change == "trunk":
        other = replace(trunk, fingerprint="another")
    elif change == "preprocessing":
        spec = replace(SPEC, background=(0, 0, 0))
    else:
        view = View("mirror", lambda image, to: np.ascontiguousarray(as_the_device(image, to)[:, ::-1]))
    second = featurize(other, samples, spec, cache=cache, view=view)
    assert second.cached == 0
    assert same(first, second) == (change != "view")
    assert featurize(other, samples, spec, cache=cache, view=view).cached == 41
    assert cached_only(trunk, samples, cache).cached == 41


def test_the_same_network_has_the_same_fingerprint_in_any_process(lowered: LoweredTrunk) -> None:
    prints = [fingerprint(tiny_trunk()) for _ in range(2)]
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + (
        "from test_featurize import fingerprint, tiny_trunk; print(fingerprint(tiny_trunk()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*prints, done.stdout.split()[-1]} == {prints[0]}
    others = [fingerprint(tiny_trunk("max")), fingerprint(tiny_trunk(mean=0.0)), trunk_file(lowered, 12).fingerprint]
    assert len({prints[0], *others}) == 4


def test_an_unreadable_image_is_reported_and_tried_again(
    trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache
) -> None:
    whole, gone = samples[3].source, samples[5].source
    assert isinstance(whole, Path)
    assert isinstance(gone, Path)
    good = whole.read_bytes()
    whole.write_bytes(good[:60])
    gone.unlink()
    found = featurize(trunk, samples, SPEC, cache=cache)
    assert [s.name for s in found.skipped] == [samples[3].name, samples[5].name]
    assert found.skipped[0].reason.startswith(("damaged", "not an image"))
    assert found.skipped[1].reason == "no such file"
    assert (len(found.samples), found.features.shape[0], found.cached) == (39, 39, 0)
    blind = replace(trunk, load=refuse_to_load)
    again = featurize(blind, samples, SPEC, cache=cache)  # for what cannot be read no trunk is needed
    assert [s.name for s in again.skipped] == [s.name for s in found.skipped]
    whole.write_bytes(good)
    assert featurize(trunk, samples, SPEC, cache=cache).cached == 39


def test_when_nothing_can_be_read(trunk: TrunkFile, tmp_path: Path, cache: FeatureCache) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    bad = [Sample(tmp_path / "x.png", "a", None, f"{i}") for i in range(3)]
    found = featurize(trunk, bad, SPEC, cache=cache)
    assert (len(found.skipped), found.features.shape, found.cached) == (3, (0, 12), 0)


def test_what_was_done_before_an_interruption_is_kept(
    trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        featurize(trunk, samples, SPEC, 2, interrupt, cache=cache)
    assert 20 <= featurize(trunk, samples, SPEC, cache=cache).cached < 41


@pytest.mark.parametrize("held", [HELD, 0])
def test_looked_at_first_and_featurized_later_they_are_the_same_images_and_features(
    trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache, tmp_path: Path, held: int
) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    Image.new("RGB", (64, 48), (90, 20, 60)).save(tmp_path / "flat.jpg")
    more = (*samples[:9], *(Sample(tmp_path / name, "0", None, name) for name in ("x.png", "flat.jpg")), *samples[9:])
    featurize(trunk, samples[:20], SPEC, cache=cache)
    calls: list[str] = []

    def load() -> LoweredTrunk:
        calls.append("trunk")
        return trunk.load()

    first = look(replace(trunk, load=load), more, SPEC, cache=cache, held=held)
    calls.append("looked")
    found = first.featurize(silent, cache)
    assert calls == (["looked", "trunk"] if held else ["trunk", "looked"])
    whole = featurize(trunk, more, SPEC)
    assert same(found, whole)
    assert (found.digests, found.cached) == (whole.digests, 20)
    assert (first.samples, first.digests) == (whole.samples, whole.digests)
    for skipped in (first.skipped, found.skipped):
        assert [(s.name, s.reason, s.label) for s in skipped] == [(s.name, s.reason, s.label) for s in whole.skipped]
    assert (first.thumbnails == whole.thumbnails).all()
    assert cached_only(trunk, samples, cache).cached == 41


def test_where_all_is_cached_or_nothing_can_be_read_looking_asks_for_no_trunk(
    trunk: TrunkFile, samples: tuple[Sample, ...], cache: FeatureCache, tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    bad = Sample(tmp_path / "x.png", "a", None, "x.png")
    whole = featurize(trunk, samples, SPEC, cache=cache)
    blind = replace(trunk, load=refuse_to_load)
    assert same(look(blind, (bad, *samples), SPEC, cache=cache).featurize(silent, cache), whole)
    nothing = look(blind, [bad], SPEC, cache=cache)
    assert (nothing.samples, nothing.thumbnails.shape, len(nothing.skipped)) == ((), (0, 16, 16, 3), 1)
    assert nothing.featurize(silent, cache).features.shape == (0, 12)


def test_an_error_of_a_view_is_that_of_its_image(trunk: TrunkFile, samples: tuple[Sample, ...]) -> None:
    def picky(image: Image.Image, spec: Preprocessing) -> NDArray[np.uint8]:
        pixels = as_the_device(image, spec)
        if pixels.mean() > 60:
            raise ImageError("too bright")
        return pixels

    found = featurize(trunk, samples, SPEC, view=View("picky", picky))
    assert {s.reason for s in found.skipped} == {"too bright"}
    assert "array" in [s.name for s in found.skipped]
    assert len(found.samples) + len(found.skipped) == 41


def test_a_grey_model_has_grey_thumbnails(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    from tlc_edge.runtime.images.nothing import thumbnail

    image = load_image(samples[0].source, Preprocessing(32, 32, 1))
    assert thumbnail(image).shape == (16, 16, 1)
    Image.fromarray(thumbnail(image)[:, :, 0]).save(tmp_path / "t.png")
