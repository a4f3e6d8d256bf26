"""The golden samples of a bundle: a few images with the answers that its models gave where it was built.

`golden/00.png`, … are images at the model's input size. `card/card.png` is a drawn picture larger than that, and
`card/input.png` what preparing it must give: the one sample that shows how images are decoded and resized.
`golden/expected.npz` holds, for each model file, what it gave for each of them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.arrays import read_arrays
from tlc_edge.runtime.bundle.bundle import CARD, CARD_INPUT, EXPECTED, Bundle
from tlc_edge.runtime.errors import BundleError
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.vectors import Floats


@dataclass(frozen=True, eq=False)
class Expected:
    """What one model gave for N images."""

    probabilities: Floats
    """[N, C]; C is 0 for a model without a head."""
    embeddings: Floats
    """[N, D]"""


@dataclass(frozen=True, eq=False)
class Card:
    """The test card."""

    drawn: NDArray[np.uint8]
    """As this device prepares it, [H, W, C]."""
    wanted: NDArray[np.uint8]
    """As it must come out."""
    expected: Expected
    """For `wanted`; N is 1."""


def golden(bundle: Bundle, file: str) -> tuple[list[NDArray[np.uint8]], Floats, Floats]:
    """Return the golden images, and the probabilities [N, C] and embeddings [N, D] expected of `file`.

    Raises:
        BundleError: the bundle has none for this file.
    """
    found = _expected(bundle, file, "")
    if found is None:
        raise BundleError(f"{bundle.path}: no golden samples for {file}; build the bundle again")
    images = [
        load_image(bundle.read(golden_name(i)), bundle.manifest.preprocessing, name=golden_name(i))
        for i in range(len(found.embeddings))
    ]
    return images, found.probabilities, found.embeddings


def read_card(bundle: Bundle, file: str) -> Card | None:
    """Return the test card and what is expected of `file` for it; None in a bundle without one.

    Raises:
        BundleError: it does not fit the manifest.
    """
    found = _expected(bundle, file, "card:") if CARD in bundle.manifest.files else None
    if found is None:
        return None
    spec = bundle.manifest.preprocessing
    drawn, wanted = (load_image(bundle.read(name), spec, name=name) for name in (CARD, CARD_INPUT))
    return Card(drawn, wanted, found)


def pack_expected(outputs: Mapping[str, tuple[Floats, Floats]], cards: Mapping[str, tuple[Floats, Floats]]) -> bytes:
    """Return `golden/expected.npz`: probabilities [N, C] and embeddings [N, D] of each model file, for the golden
    images and, with N of 1, for the test card."""
    arrays: dict[str, Floats] = {}
    for kind, given in (("", outputs), ("card:", cards)):
        for file, (probabilities, embeddings) in sorted(given.items()):
            arrays[f"{file}:{kind}probabilities"], arrays[f"{file}:{kind}embedding"] = probabilities, embeddings
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def golden_name(index: int) -> str:
    """Return the file name of a golden image."""
    return f"golden/{index:02d}.png"


def _expected(bundle: Bundle, file: str, kind: str) -> Expected | None:
    try:
        data = read_arrays(bundle.read(EXPECTED))
        probabilities = np.asarray(data[f"{file}:{kind}probabilities"], np.float32)
        embeddings = np.asarray(data[f"{file}:{kind}embedding"], np.float32)
    except Exception:
        # Besides files that lack it: numpy's reader fails in many ways on what is no archive of arrays.
        return None
    manifest = bundle.manifest
    count = len(embeddings)
    fits = probabilities.shape == (count, len(manifest.labels))
    if not count or not fits or embeddings.shape != (count, manifest.embedding_width):
        raise BundleError(
            f"{bundle.path}: the golden samples for {file} have shapes {list(probabilities.shape)} and "
            f"{list(embeddings.shape)}, which do not fit the manifest; build the bundle again"
        )
    return Expected(probabilities, embeddings)
