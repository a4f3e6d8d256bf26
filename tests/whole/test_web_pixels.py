"""Images become the model's input in JavaScript as in Python, to the byte: any size and contents, alpha, grey, SIMD."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.images.load import load_image

NODE = shutil.which("node")
SIDES = (1, 2, 3, 17, 60, 96, 224, 300, 700, 1280)
SIZES = ((224, 224), (96, 96), (8, 8), (50, 30), (1, 1), (30, 224))


def picture(rng: np.random.Generator, kind: int) -> NDArray[np.uint8]:
    """Return RGBA pixels: noise, black and white, a ramp, or one colour; half of them with alpha."""
    height, width = rng.choice(SIDES[:-1]), rng.choice(SIDES[: 8 if kind % 2 else None])
    if kind % 5 == 0:
        height, width = 1280, rng.choice([30, 224, 300])  # so high that the vertical pass comes first
    shape = (int(height), int(width), 4)
    contents = (
        rng.integers(0, 256, shape),
        rng.integers(0, 2, shape) * 255,
        np.indices(shape).sum(axis=0) % 256,
        np.full(shape, rng.integers(0, 256)),
    )[kind % 4]
    pixels = contents.astype(np.uint8)
    pixels[..., 3] = 255 if kind % 2 else rng.integers(0, 256, shape[:2])
    return pixels


def pictures(count: int) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Return what Python makes of pictures, and the pictures as scripts of tests/web read them."""
    rng = np.random.default_rng(0)
    wanted: list[bytes] = []
    asked: list[dict[str, Any]] = []
    for kind in range(count):
        rgba = picture(rng, kind)
        width, height = SIZES[int(rng.integers(len(SIZES)))]
        colour = (int(rng.integers(256)), 255, 0)
        spec = Preprocessing(height, width, 3 if kind % 3 else 1, background=colour)
        wanted.append(load_image(Image.fromarray(rgba), spec).tobytes())
        asked.append(
            {
                "rgba": base64.b64encode(rgba.tobytes()).decode(),
                "from": {"width": rgba.shape[1], "height": rgba.shape[0]},
                "spec": {
                    "width": width,
                    "height": height,
                    "channels": spec.channels,
                    "passes": spec.passes,
                    "background": colour,
                },
            }
        )
    return wanted, asked


@pytest.mark.skipif(NODE is None, reason="node is not here")
def test_the_pixels_are_those_of_python_with_simd_and_without(tmp_path: Path) -> None:
    wanted, asked = pictures(160)
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(asked), encoding="utf-8")
    assert NODE is not None
    command = [NODE, str(ROOT / "tests" / "web" / "pixels.mjs"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for one, (plain, simd), of in zip(wanted, said["found"], asked, strict=True):
        assert base64.b64decode(plain) == one, of["spec"] | of["from"]
        assert base64.b64decode(simd) == one, ("SIMD", of["spec"] | of["from"])
    assert said["without"] is None
