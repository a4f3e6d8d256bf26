"""Odd picture files in the browser: the pixels that Python reads, or a sentence; never others without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from sites import in_node

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.load import load_image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not here"),
]
SPEC = Preprocessing(24, 32, 3)
REFUSED = {"clear.png": "transparent", "clear.webp": "transparent", "grey12.png": "16 bits", "grey8.png": "16 bits"}
"""What a browser cannot give as it is in the file."""


def write_pictures(folder: Path) -> None:
    rows, columns = np.mgrid[0:60, 0:90]
    rgb = np.stack([columns * 2, rows * 4, rows + columns], -1).astype(np.uint8)
    image, alpha = Image.fromarray(rgb), (columns * 2 + 1).astype(np.uint8)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        image.save(folder / f"turned{turn}.jpg", exif=exif, subsampling=0)
        image.save(folder / f"turned{turn}.png", exif=exif)
        image.save(folder / f"turned{turn}.webp", exif=exif, lossless=True)
    for kind in ("png", "webp"):
        lossless: dict[str, Any] = {"lossless": True, "exact": True} if kind == "webp" else {}
        Image.fromarray(np.dstack([rgb, alpha])).save(folder / f"alpha.{kind}", **lossless)
        Image.fromarray(np.dstack([rgb, alpha * 0])).save(folder / f"clear.{kind}", **lossless)
        Image.fromarray(rgb[:1, :1]).save(folder / f"one.{kind}", **lossless)
    image.convert("L").save(folder / "grey.jpg")
    image.convert("LA").save(folder / "grey.png")
    image.quantize(16).save(folder / "palette.png", transparency=3)
    image.quantize(16).save(folder / "film.gif", save_all=True, append_images=[image.rotate(90).quantize(16)])
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.save(folder / "progressive.jpg", progressive=True)
    for bits in (8, 12, 16):
        Image.fromarray((columns * ((1 << bits) - 1) // 89).astype(np.uint16)).save(folder / f"grey{bits}.png")
    whole = (folder / "alpha.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "none.webp").write_bytes(b"RIFF\x40\0\0\0WEBPVP8X" + bytes(60))


def test_odd_pictures_are_those_of_python_or_refused(chromium: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "web" / "runtime", tmp_path / "runtime")
    (tmp_path / "index.html").write_text("<!doctype html><title>odd</title>", encoding="utf-8")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    write_pictures(pictures)
    spec = {"width": SPEC.width, "height": SPEC.height, "channels": 3, "passes": SPEC.passes, "background": (255,) * 3}
    found = in_node("odd.mjs", chromium, tmp_path, json.dumps(spec))
    read = {name: said["pixels"] for name, said in found.items() if "pixels" in said}
    errors = {name: said["error"] for name, said in found.items() if "error" in said}
    assert set(errors) == {*REFUSED, "half.png", "none.webp"}
    assert all(name in errors[name] and why in errors[name] for name, why in REFUSED.items())
    assert len(read) == 24 + 9 + 2
    for name, pixels in read.items():
        assert bytes(pixels) == load_image(pictures / name, SPEC).tobytes(), name
