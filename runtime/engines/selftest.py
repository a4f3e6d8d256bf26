"""The self-test: a bundle carries a few images with the answers they must give, and the device tries them.

Engines round int8 differently, so agreement is judged by the embedding's cosine, by the probabilities, and by the
label where the expected answer is clear. How images are prepared is judged by the pixels of the test card, which no
engine has a part in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.bundle import CARD, Bundle
from tlc_edge.runtime.bundle.manifest import ModelFile
from tlc_edge.runtime.vectors import Floats

from .golden import golden, golden_name, read_card
from .open import Engine
from .versions import version_of

# Least cosine of an embedding to the expected one, and largest difference of a probability. Measured for
# EfficientNet-Lite0 int8 between ai-edge-litert 2.3 and tflite-runtime 2.14, over 150 digits and 90 photos of chess
# pieces: cosine 0.970 at worst, 0.994 in the mean; probabilities 0.113 at most. Float files differ by rounding only.
TOLERANCE = {"float32": 0.9999, "float16": 0.999}
INT8_TOLERANCE = 0.95
DIFFERENCE = {"float32": 0.01, "float16": 0.03}
INT8_DIFFERENCE = 0.25
_CLEAR = 0.25  # lead of the best class over the second from which the label must be the same
# In the mean over the card's pixels. Every Pillow from 9.4 to 13 gave 0; bicubic gave 1.3, no anti-alias 13.
IMAGE_TOLERANCE = 0.5


@dataclass(frozen=True)
class Sample:
    """What one sample gave on this device."""

    name: str
    cosine: float
    difference: float
    """The largest of any probability."""
    expected: str | None
    """The label; None without a head."""
    answer: str | None
    """None also where the engine gave no numbers."""
    clear: bool
    """Whether the expected label leads so far that the answer must be the same."""
    passed: bool


@dataclass(frozen=True)
class Selftest:
    """What the golden samples gave on this device."""

    engine: str
    file: str
    images: int
    """Golden samples; the test card comes on top."""
    lowest_cosine: float
    tolerance: float
    largest_difference: float
    """Of any probability."""
    wrong_labels: int
    """Images with a clear expected answer that came out as another class."""
    difference_tolerance: float = 1.0
    image_difference: float | None = None
    """Of the test card's pixels from what they must be, in the mean, of 255; None without a card."""
    image_tolerance: float = IMAGE_TOLERANCE
    samples: tuple[Sample, ...] = ()

    @property
    def prepared(self) -> bool:
        """Whether images are prepared as where the bundle was built."""
        return self.image_difference is None or self.image_difference <= self.image_tolerance

    @property
    def passed(self) -> bool:
        """Whether images are prepared right and every sample is within the tolerances."""
        return (
            self.prepared
            and self.lowest_cosine >= self.tolerance
            and self.largest_difference <= self.difference_tolerance
            and self.wrong_labels == 0
        )


def selftest(bundle: Bundle, engine: Engine, model: ModelFile) -> Selftest:
    """Run the golden samples and the test card.

    Raises:
        BundleError: the bundle has none for this model.
    """
    images, probabilities, embeddings = golden(bundle, model.file)
    card = read_card(bundle, model.file)
    runs = [(golden_name(i), *r) for i, r in enumerate(zip(images, probabilities, embeddings, strict=True))]
    if card is not None:
        runs.append((CARD, card.wanted, card.expected.probabilities[0], card.expected.embeddings[0]))
    limits = TOLERANCE.get(model.scheme, INT8_TOLERANCE), DIFFERENCE.get(model.scheme, INT8_DIFFERENCE)
    samples = tuple(_run(engine, *run, labels=bundle.manifest.labels, limits=limits) for run in runs)
    return Selftest(
        engine=f"{engine.name} {engine.version}",
        file=model.file,
        images=len(images),
        lowest_cosine=min(s.cosine for s in samples),
        tolerance=limits[0],
        largest_difference=max(s.difference for s in samples),
        wrong_labels=sum(s.clear and s.answer != s.expected for s in samples),
        difference_tolerance=limits[1],
        image_difference=None if card is None else _apart(card.drawn, card.wanted),
        samples=samples,
    )


def _run(
    engine: Engine,
    name: str,
    image: NDArray[np.uint8],
    probabilities: Floats,
    embedding: Floats,
    labels: tuple[str, ...],
    limits: tuple[float, float],
) -> Sample:
    *head, found = engine.run(image)
    cosine = _cosine(found, embedding)
    if not labels:
        return Sample(name, cosine, 0.0, None, None, False, cosine >= limits[0])
    differences = np.abs(head[0] - probabilities)
    # Not nan_to_num: see `_flatten_deep` in images/load.py.
    difference = float(np.max(np.where(np.isfinite(differences), differences, np.float32(1))))
    second, first = np.sort(probabilities)[-2:] if len(labels) > 1 else (0.0, probabilities[0])
    expected = labels[int(np.argmax(probabilities))]
    # An engine that gives no numbers agrees with no class.
    answer = labels[int(np.argmax(head[0]))] if np.all(np.isfinite(head[0])) else None
    clear = bool(first - second >= _CLEAR)
    passed = cosine >= limits[0] and difference <= limits[1] and (answer == expected or not clear)
    return Sample(name, cosine, difference, expected, answer, clear, passed)


def failure(bundle: Bundle, result: Selftest) -> str:
    """Say in one sentence how the self-test failed."""
    if not result.prepared:
        return (
            f"{bundle.path}: images are prepared otherwise on this device than where the bundle was built (the test "
            f"card's pixels differ by {result.image_difference:.1f} of 255 in the mean, at most "
            f"{result.image_tolerance} expected) with Pillow {version_of('Pillow')}; install tlc and Pillow again"
        )
    return (
        f"{bundle.path}: {result.file} gives other answers on this device than where it was built "
        f"(embedding cosine {result.lowest_cosine:.4f}, expected at least {result.tolerance}; probabilities differ by "
        f"up to {result.largest_difference:.3f}, expected at most {result.difference_tolerance}; "
        f"{result.wrong_labels} of {len(result.samples)} labels differ) with {result.engine}; try another --engine"
    )


def _cosine(a: Floats, b: Floats) -> float:
    product = float(np.dot(a, b))
    lengths = float(np.sqrt(np.dot(a, a)) * np.sqrt(np.dot(b, b)))
    cosine = product / lengths if lengths else float(np.array_equal(a, b))
    return cosine if np.isfinite(cosine) else -1.0  # an engine that gives NaN must not pass


def _apart(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.mean(np.abs(a.astype(np.int16) - b)))
