"""The self-test: a bundle carries a few images with the answers they must give, and the device tries them.

`golden/00.png`, … are images at the model's input size; `golden/expected.npz` holds, for each model file,
the outputs it gave when it was built. Engines round int8 differently, so agreement is judged by the
embedding's cosine and by the label where the expected answer is clear.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .engines import Engine
from .errors import BundleError, SelftestError
from .images import load_image
from .manifest import ModelFile

Floats = NDArray[np.float32]
EXPECTED = "golden/expected.npz"
# Least cosine of an embedding to the expected one. Measured for EfficientNet-Lite0 int8 between ai-edge-litert 2.3 and
# tflite-runtime 2.14, over 110 images: 0.970 at worst, 0.992 in the mean; float files differ by rounding only.
TOLERANCE = {"float32": 0.9999, "float16": 0.999}
INT8_TOLERANCE = 0.95
_CLEAR = 0.25  # lead of the best class over the second from which the label must be the same


@dataclass(frozen=True)
class Selftest:
    """What the golden samples gave on this device."""

    engine: str
    file: str
    images: int
    lowest_cosine: float
    tolerance: float
    largest_difference: float
    """Of any probability."""
    wrong_labels: int
    """Images with a clear expected answer that came out as another class."""

    @property
    def passed(self) -> bool:
        """Whether every sample is within the tolerance."""
        return self.lowest_cosine >= self.tolerance and self.wrong_labels == 0


def selftest(bundle: Bundle, engine: Engine, model: ModelFile) -> Selftest:
    """Run the golden samples.

    Raises:
        BundleError: the bundle has none for this model.
    """
    images, probabilities, embeddings = golden(bundle, model.file)
    lowest, largest, wrong = 1.0, 0.0, 0
    for image, p, e in zip(images, probabilities, embeddings, strict=True):
        *head, got_e = engine.run(image)
        lowest = min(lowest, _cosine(got_e, e))
        if len(p):
            got_p = head[0]
            differences = np.abs(got_p - p)
            # Not nan_to_num: see `_flatten_deep` in images.py.
            largest = max(largest, float(np.max(np.where(np.isfinite(differences), differences, np.float32(1)))))
            second, first = np.sort(p)[-2:] if len(p) > 1 else (0.0, p[0])
            wrong += bool(first - second >= _CLEAR and _best(got_p) != _best(p))
    return Selftest(
        engine=f"{engine.name} {engine.version}",
        file=model.file,
        images=len(images),
        lowest_cosine=lowest,
        tolerance=TOLERANCE.get(model.scheme, INT8_TOLERANCE),
        largest_difference=largest,
        wrong_labels=wrong,
    )


def selftest_once(bundle: Bundle, engine: Engine, model: ModelFile) -> None:
    """Run the self-test unless it has passed here before with this model and engine.

    Raises:
        SelftestError: the model gives other answers here than where it was built.
    """
    mark = _mark(bundle, engine, model)
    if mark is not None and os.path.exists(mark):  # noqa: PTH110 - Path.exists raises where it may not look
        return
    result = selftest(bundle, engine, model)
    if not result.passed:
        raise SelftestError(failure(bundle, result))
    if mark is not None:
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        except OSError:
            pass  # it only costs the same moment again next time


def failure(bundle: Bundle, result: Selftest) -> str:
    """Say in one sentence how the self-test failed."""
    return (
        f"{bundle.path}: {result.file} gives other answers on this device than where it was built "
        f"(embedding cosine {result.lowest_cosine:.4f}, expected at least {result.tolerance}; "
        f"{result.wrong_labels} of {result.images} labels differ) with {result.engine}; try another --engine"
    )


def golden(bundle: Bundle, file: str) -> tuple[list[NDArray[np.uint8]], Floats, Floats]:
    """Return the golden images, and the probabilities [N, C] and embeddings [N, D] expected of `file`.

    Raises:
        BundleError: the bundle has none for this file.
    """
    try:
        with np.load(io.BytesIO(bundle.read(EXPECTED)), allow_pickle=False) as data:
            probabilities = np.asarray(data[f"{file}:probabilities"], np.float32)
            embeddings = np.asarray(data[f"{file}:embedding"], np.float32)
    except Exception:
        # Besides files that lack it: numpy's reader fails in many ways on what is no archive of arrays.
        raise BundleError(f"{bundle.path}: no golden samples for {file}; build the bundle again") from None
    manifest = bundle.manifest
    count = len(embeddings)
    fits = probabilities.shape == (count, len(manifest.labels))
    if not count or not fits or embeddings.shape != (count, manifest.embedding_width):
        raise BundleError(
            f"{bundle.path}: the golden samples for {file} have shapes {list(probabilities.shape)} and "
            f"{list(embeddings.shape)}, which do not fit the manifest; build the bundle again"
        )
    images = [
        load_image(bundle.read(golden_name(i)), manifest.preprocessing, name=golden_name(i)) for i in range(count)
    ]
    return images, probabilities, embeddings


def pack_expected(outputs: Mapping[str, tuple[Floats, Floats]]) -> bytes:
    """Return `golden/expected.npz` for the outputs (probabilities, embeddings) of each model file."""
    arrays: dict[str, Floats] = {}
    for file, (probabilities, embeddings) in sorted(outputs.items()):
        arrays[f"{file}:probabilities"], arrays[f"{file}:embedding"] = probabilities, embeddings
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def golden_name(index: int) -> str:
    """Return the file name of a golden image."""
    return f"golden/{index:02d}.png"


def _cosine(a: Floats, b: Floats) -> float:
    product = float(np.dot(a, b))
    lengths = float(np.sqrt(np.dot(a, a)) * np.sqrt(np.dot(b, b)))
    cosine = product / lengths if lengths else float(np.array_equal(a, b))
    return cosine if np.isfinite(cosine) else -1.0  # an engine that gives NaN must not pass


def _best(probabilities: Floats) -> int:
    """Return the answer; -1 where it is no number, which agrees with no class."""
    return int(np.argmax(probabilities)) if np.all(np.isfinite(probabilities)) else -1


def _mark(bundle: Bundle, engine: Engine, model: ModelFile) -> Path | None:
    """Return the file whose presence says that this has passed here; None where there is no home."""
    what = "\n".join(
        (
            bundle.manifest.files[model.file],
            bundle.manifest.files.get(EXPECTED, ""),
            engine.name,
            engine.version,
            sys.version,
        )
    )
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        home = Path(base).expanduser()
    except RuntimeError:
        return None
    return home / "tlc" / "selftest" / hashlib.sha256(what.encode()).hexdigest()[:32]
