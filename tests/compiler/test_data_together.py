"""Several sources as one data set, and what was taught to a device as one of them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlc_edge.compiler.data.decode import decode_all
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.data.records import Dataset
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError, GalleryError, UsageError
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.records import ExampleSource


def picture(number: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def folder(root: Path, **classes: list[int]) -> str:
    for label, numbers in classes.items():
        (root / label).mkdir(parents=True)
        for number in numbers:
            (root / label / f"{number}.png").write_bytes(picture(number))
    return str(root)


def gallery(path: Path, *, thumbnails: bool = True, **classes: list[int]) -> str:
    """Examples as a device keeps them: the hash of what it was shown, and a smaller JPEG of that."""
    with Gallery.open(path, "f" * 64, 4, create=True) as opened:
        for label, numbers in classes.items():
            sources = []
            for number in numbers:
                small = io.BytesIO()
                Image.open(io.BytesIO(picture(number))).resize((8, 8)).save(small, "JPEG")
                sources.append(
                    ExampleSource(
                        sha(picture(number)), f"/home/pi/{number}.png", small.getvalue() if thumbnails else None
                    )
                )
            vectors = np.random.default_rng(1).normal(size=(len(numbers), 4)).astype(np.float32)
            opened.add(label, vectors, sources)
    return str(path)


@pytest.fixture
def load(tmp_path: Path):  # type: ignore[no-untyped-def]
    def run(*sources: str, **more: object) -> Dataset:
        origin = Origin(sources[0], more=sources[1:], cache=str(tmp_path / "cache"), **more)  # type: ignore[arg-type]
        return load_dataset(origin)

    return run


def test_a_gallery_alone(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = load(gallery(tmp_path / "pi.gallery", mug=[1, 2, 3], cup=[4, 5]))
    assert data.labels == ("cup", "mug")
    assert [s.name for s in data.samples] == ["mug/1-1.png", "mug/2-2.png", "mug/3-3.png", "cup/4-4.png", "cup/5-5.png"]
    assert "pi.gallery: what was taught on a device, 5 thumbnails; " in data.recognised
    assert len(decode_all(data.samples, Preprocessing(8, 8))[0]) == 5


def test_what_was_forgotten_is_not_data(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = gallery(tmp_path / "pi.gallery", mug=[1, 2], cup=[4, 5], spoon=[6])
    with Gallery.open(path, "f" * 64, 4) as opened:
        opened.forget("spoon")
    assert load(path).labels == ("cup", "mug")


def test_beside_photos(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    photos = folder(tmp_path / "photos", cup=[1, 2], plate=[3])
    taught = gallery(tmp_path / "pi.gallery", cup=[2, 8], mug=[9], plate=[1])
    data = load(photos, taught)
    assert data.labels == ("cup", "mug", "plate")
    assert [s.name for s in data.samples if s.label == "cup"] == ["cup/1.png", "cup/2.png", "pi.gallery/cup/2-8.png"]
    assert data.notes[-3:] == (
        "1 image known already from another --data",
        "1 image came under a label it did not have; the label it had stands:",
        "  pi.gallery/plate/4-1.png: cup here, plate there",
    )
    other = load(taught, photos)  # the label of the one named first stands
    assert [s.label for s in other.samples if s.sha256 == sha(picture(1))] == ["plate"]
    assert "  photos/cup/1.png: plate here, cup there" in other.notes


def test_names_stay_unique_and_those_of_the_first_source_as_they_are(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    sources = [folder(tmp_path / str(i) / "photos", cup=[10 * i + 1], mug=[10 * i + 2]) for i in range(3)]
    names = [s.name for s in load(*sources).samples]
    assert len(set(names)) == 6
    assert names[:3] == ["cup/1.png", "mug/2.png", "photos/cup/11.png"]
    assert names[4:] == ["photos 3/cup/21.png", "photos 3/mug/22.png"]


def test_one_class_in_each_is_enough(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert load(folder(tmp_path / "a", cup=[1, 2]), folder(tmp_path / "b", mug=[3, 4])).labels == ("cup", "mug")


def test_refusals(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    photos = folder(tmp_path / "photos", cup=[1], mug=[2])
    with pytest.raises(UsageError, match="one source; give one --data"):
        load(photos, photos, labels="l.csv", shape="2,2")
    with pytest.raises(DataError, match="none of its 2 examples has a thumbnail"):
        load(gallery(tmp_path / "bare.gallery", thumbnails=False, cup=[1], mug=[2]))
    (tmp_path / "no.gallery").write_bytes(b"no database")
    with pytest.raises(GalleryError):
        load(photos, str(tmp_path / "no.gallery"))
    with pytest.raises(DataError, match="nowhere: no such file"):
        load(photos, str(tmp_path / "nowhere"))
