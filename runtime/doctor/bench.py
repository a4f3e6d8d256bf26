"""How fast a bundle is on this device: every step of a prediction, the start in a fresh process, the memory."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from tlc_edge.runtime.apart import last_line, run_apart
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.engines.golden import golden
from tlc_edge.runtime.engines.open import threads_for
from tlc_edge.runtime.errors import EngineError, UsageError
from tlc_edge.runtime.images.each_image import each_image
from tlc_edge.runtime.images.load import Source, load_image, read_bytes, source_name
from tlc_edge.runtime.knn.prediction import Prediction
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.runtime.signing.policy import allowed

STEPS = ("decode", "resize", "inference", "search", "decision", "total")
_WARM = 3
_PHOTO = (4000, 3000)

_FRESH = Path(__file__).with_name("fresh_start.py")


@dataclass(frozen=True)
class Spread:
    """Milliseconds that half of the predictions, and all but a twentieth of them, took at most."""

    p50: float
    p95: float


@dataclass(frozen=True)
class Startup:
    """A fresh process up to its first answer: seconds, and bytes of memory (None where the system does not tell)."""

    imports: float
    opening: float
    first_prediction: float
    resident: int | None
    peak: int | None

    @property
    def total(self) -> float:
        """Seconds from the first import to the first answer; Python's own start is not in it."""
        return self.imports + self.opening + self.first_prediction


@dataclass(frozen=True)
class Published:
    """A figure that others published for the target: for comparison, of another model or program."""

    what: str
    milliseconds: float
    source: str


@dataclass(frozen=True)
class Bench:
    """What `bench` measured."""

    engine: str
    file: str
    scheme: str
    threads: int
    images: tuple[str, ...]
    rows: int
    """Stored examples that were searched."""
    runs: int
    milliseconds: Mapping[str, Spread]
    """By step, as STEPS lists them."""
    startup: Startup
    target: str
    published: tuple[Published, ...]


def bench(
    bundle: str | os.PathLike[str],
    images: Source | Sequence[Source] = (),
    *,
    gallery: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    threads: int | None = None,
    runs: int = 100,
    progress: Count = silent,
) -> Bench:
    """Time `runs` predictions, the images in turn; without any, a 12-megapixel JPEG made from a golden sample.

    The files are read beforehand: a memory card's speed is not in the figures.

    Raises:
        UsageError: `runs` is below 1.
        ImageError: an image cannot be read.
        TlcError: as `Classifier.open`.
    """
    if runs < 1:
        raise UsageError(f"runs is {runs}, expected at least 1")
    opened = Bundle.open(bundle)
    with Classifier.open(opened, gallery, engine, threads) as classifier:
        named = [(source_name(image), image) for image in each_image(images)]
        data = [_read(image, name, opened) for name, image in named] or [_photo(opened, classifier.model.file)]
        names = tuple(name for name, _ in named) or (f"{_PHOTO[0]}x{_PHOTO[1]} JPEG of a golden sample",)
        timed = _predict(classifier.predict, data, runs, progress)
        settings = (os.fspath(bundle), os.fspath(classifier.gallery_path), engine, threads, allowed())
        return Bench(
            engine=classifier.engine,
            file=classifier.model.file,
            scheme=classifier.model.scheme,
            threads=threads_for(opened, threads),
            images=names,
            rows=classifier.rows,
            runs=runs,
            milliseconds={step: _spread([one[step] for one in timed]) for step in STEPS},
            startup=_start_afresh(settings, data[0]),
            target=str(opened.manifest.target.get("title", "")),
            published=published(opened.manifest.target),
        )


def published(target: Mapping[str, Any]) -> tuple[Published, ...]:
    """Return the figures that a manifest's record of its target carries; what is no figure is left out."""
    found: Any = target.get("expect")
    figures: list[Published] = []
    for one in found if isinstance(found, list) else []:
        try:
            figure = Published(str(one["what"]), float(one["milliseconds"]), str(one["source"]))
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(figure.milliseconds):
            figures.append(figure)
    return tuple(figures)


def _read(image: Source, name: str, bundle: Bundle) -> bytes:
    """Return an image's bytes, once it is known that they can be decoded: what is timed has no name to be told by."""
    data = read_bytes(image, name)
    load_image(data, bundle.manifest.preprocessing, name=name)
    return data


def _predict(
    predict: Callable[[bytes], Prediction], data: Sequence[bytes], runs: int, progress: Count
) -> list[dict[str, float]]:
    for image in islice(cycle(data), max(_WARM, len(data))):
        predict(image)
    timed: list[dict[str, float]] = []
    for done, image in enumerate(islice(cycle(data), runs), 1):
        start = perf_counter()
        steps = predict(image).milliseconds
        timed.append({**steps, "total": (perf_counter() - start) * 1e3})
        progress(done, runs)
    return timed


def _spread(milliseconds: Sequence[float]) -> Spread:
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return Spread(float(p50), float(p95))


def _photo(bundle: Bundle, file: str) -> bytes:
    """Return a JPEG of a camera's size: a picture that the model knows, enlarged."""
    pixels = golden(bundle, file)[0][0]
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    out = io.BytesIO()
    picture.resize(_PHOTO, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def _start_afresh(settings: Sequence[Any], image: bytes) -> Startup:
    done = run_apart(_FRESH, json.dumps(settings), data=image)
    try:
        imports, opening, first, now, most = json.loads(done.stdout)
    except ValueError:
        reason = last_line(done.stderr, f"exit code {done.returncode}")
        raise EngineError(f"a fresh process could not predict ({reason}); try another --engine") from None
    return Startup(imports, opening, first, now, most)
