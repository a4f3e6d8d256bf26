"""What lies in a file's place where it was cloned without Git LFS, or where a download gave a web page."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tlc_edge.compiler.backbones.find import find_backbone
from tlc_edge.compiler.data.decode import decode_all
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.options import Asked
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError, ImageError, UsageError
from tlc_edge.runtime.files import stand_in
from tlc_edge.runtime.images.load import load_image

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>"
BOTH = pytest.mark.parametrize(
    ("content", "said"), [(POINTER, "what Git LFS leaves.*git lfs pull"), (PAGE, "a web page.*fetch the file itself")]
)


@BOTH
@pytest.mark.parametrize(
    "name", ["net.h5", "net.keras", "net.onnx", "saved/saved_model.pb", "tfjs/model.json", "converted_keras.zip"]
)
def test_of_a_network(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    with pytest.raises(UsageError, match=f"{file.name}: {said}"):
        find_backbone(str(file.parent if "/" in name else file))


def test_of_the_numbers_of_a_network(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    (tmp_path / "variables" / "variables.data-00000-of-00001").write_bytes(POINTER)
    with pytest.raises(UsageError, match="00001: what Git LFS leaves"):
        find_backbone(str(tmp_path))
    (tmp_path / "net.weights.h5").write_bytes(POINTER)
    with pytest.raises(UsageError, match="h5: what Git LFS leaves"):
        find_backbone("keras:MobileNetV2", Asked(weights=str(tmp_path / "net.weights.h5")))


@BOTH
def test_of_an_archive(content: bytes, said: str, tmp_path: Path) -> None:
    for name in ("photos.zip", "photos.tar.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: {said}"):
            load_dataset(Origin(str(tmp_path / name), cache=str(tmp_path / "cache")))


@BOTH
def test_of_an_image(content: bytes, said: str, tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i in range(2):
            Image.effect_noise((8, 8), 60 + i).save(tmp_path / label / f"{i}.png")
    (tmp_path / "cat" / "2.jpg").write_bytes(content)
    _, _, skipped = decode_all(load_dataset(str(tmp_path)).samples, Preprocessing(8, 8))
    assert [s.name for s in skipped] == ["cat/2.jpg"]
    with pytest.raises(ImageError, match=said):
        load_image(tmp_path / "cat" / "2.jpg", Preprocessing(8, 8))


@pytest.mark.parametrize("content", [b"", b"version 2", b"<svg></svg>", b"\x89PNG", b"PK\x03\x04<html>"])
def test_what_is_something_else_is_left_to_its_reader(content: bytes) -> None:
    assert stand_in(content) is None
