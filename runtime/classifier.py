"""The device's face: open a bundle, predict, and learn new classes from a few examples."""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.engines.open import open_engine
from tlc_edge.runtime.engines.selftest_once import selftest_once
from tlc_edge.runtime.forks import Forks
from tlc_edge.runtime.gallery.path import default_gallery
from tlc_edge.runtime.images.decode_ahead import Decoded, decode, decode_ahead
from tlc_edge.runtime.images.each_image import each_image
from tlc_edge.runtime.images.load import Source, load_image, read_bytes, source_name
from tlc_edge.runtime.knn.prediction import Neighbour, Prediction, answer
from tlc_edge.runtime.knn.taught import Taught
from tlc_edge.runtime.knn.unknown import checked_rate
from tlc_edge.runtime.labels import NONE_OF_THESE, clean_label
from tlc_edge.runtime.vectors import Floats

from .errors import GalleryError, ImageError, UsageError, unknown_name
from .late import load_late

if TYPE_CHECKING:
    from tlc_edge.runtime.gallery.records import Change, Example
    from tlc_edge.runtime.knn.enroll_warnings import Doubts

_THUMBNAIL_QUALITY = 90


class Explanation(NamedTuple):
    """An answer, and what it came from."""

    prediction: Prediction
    near: tuple[tuple[Neighbour, Example | None, bytes | None], ...]
    """The nearest stored examples, best first: with what is known of it and its JPEG, where it was enrolled."""
    seen: bytes
    """A JPEG of the image, as the model sees it."""


class Classifier:
    """A bundle on a device, with the gallery of what it was taught. Use it as a context manager.

    One object may be used from any number of threads, and in the children of a fork; the answers are those of one.
    """

    def __init__(
        self, bundle: Bundle, gallery: Path, engine: str | None, threads: int | None, rate: float | None
    ) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.gallery_path = gallery
        self._spec = manifest.preprocessing
        self._memory = manifest.image_memory
        self._engine, self.model = open_engine(bundle, engine, threads)
        self._taught = Taught(bundle, gallery, manifest.unknown.rate if rate is None else checked_rate(rate))
        self._doubts: Doubts | None = None
        _all.add(self)

    @classmethod
    def open(
        cls,
        bundle: str | os.PathLike[str] | Bundle,
        gallery: str | os.PathLike[str] | None = None,
        engine: str | None = None,
        threads: int | None = None,
        *,
        unknown: float | None = None,
        selftest: bool = True,
    ) -> Classifier:
        """Open a bundle and, where there is one, its gallery.

        Args:
            bundle: path of the bundle, or an opened one.
            gallery: path of the gallery; by default `<bundle>.gallery` beside the bundle. It is made at
                the first enrolment, not before.
            engine: `ai-edge-litert`, `tflite-runtime` or `onnxruntime`; by default what is installed.
            threads: by default the target's number; 0 means every core.
            unknown: false-alarm rate for `unknown`, 0 to 1, in place of the bundle's; 0 switches it off.
            selftest: check the golden samples the first time that this model meets this engine.

        Raises:
            BundleError, EngineError, SelftestError: the bundle cannot be used.
            FingerprintError, GalleryError: the gallery cannot be used.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        where = Path(gallery) if gallery is not None else default_gallery(opened.path)
        self = cls(opened, where, engine, threads, unknown)
        try:
            if selftest:
                selftest_once(opened, self._engine, self.model)
            self._taught.follow()
        except BaseException:
            self.close()
            raise
        return self

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the gallery."""
        self._taught.close()

    @property
    def engine(self) -> str:
        """Name and version of the engine in use."""
        return f"{self._engine.name} {self._engine.version}"

    @property
    def rows(self) -> int:
        """How many stored examples an image is compared with: the bundle's own and those enrolled."""
        with self._taught.up_to_date() as based:
            return len(based.bank)

    # Predicting

    def predict(self, image: Source, order: str = "RGB") -> Prediction:
        """Classify one image: a path, bytes, a file, a PIL image, or a uint8 array (`order="BGR"` for OpenCV's).

        Raises:
            ImageError: it cannot be read.
        """
        return self._answer(decode(image, self._spec, order, memory=self._memory))

    @overload
    def predict_many(self, images: Source | Iterable[Source], order: str = "RGB") -> Iterator[Prediction]: ...

    @overload
    def predict_many(
        self, images: Source | Iterable[Source], order: str = "RGB", *, errors: Literal["raise", "return"]
    ) -> Iterator[Prediction | ImageError]: ...

    def predict_many(
        self, images: Source | Iterable[Source], order: str = "RGB", *, errors: Literal["raise", "return"] = "raise"
    ) -> Iterator[Prediction | ImageError]:
        """Classify images one after the other, in order; the next ones are decoded meanwhile, in threads.

        A few images are taken ahead of the one that is answered, so live frames that must be answered at
        once are for `predict`. One image alone, as `predict` takes it, gives one prediction; an array [N, H, W, C]
        is N images. With `errors="return"` an image that cannot be read gives its ImageError in its place and
        the others go on; by default it is raised there, which ends the iteration.

        Raises:
            ImageError: an image cannot be read.
        """
        if errors not in ("raise", "return"):
            raise ValueError(f"errors {errors!r}, expected 'raise' or 'return'")
        return self._answers(decode_ahead(each_image(images), self._spec, order, self._memory), errors)

    def _answers(
        self, decoded: Generator[Decoded | ImageError], errors: Literal["raise", "return"]
    ) -> Iterator[Prediction | ImageError]:
        with closing(decoded):
            for one in decoded:
                if isinstance(one, Decoded):
                    yield self._answer(one)
                elif errors == "return":
                    yield one
                else:
                    raise one

    def _answer(self, image: Decoded) -> Prediction:
        start = perf_counter()
        *head, embedding = self._engine.run(image.pixels)
        probabilities = head[0] if head else np.zeros(0, np.float32)
        times = {"decode": image.decode, "resize": image.resize, "inference": (perf_counter() - start) * 1e3}
        with self._taught.up_to_date() as based:
            return answer(probabilities, embedding, based, times)

    def embed(self, image: Source, order: str = "RGB") -> Floats:
        """Return one image's embedding, float32 [D], as the model gives it (not of unit length)."""
        return self._engine.run(load_image(image, self._spec, order, memory=self._memory))[-1]

    def explain(self, image: Source, order: str = "RGB") -> Explanation:
        """Classify one image, and tell which stored examples are nearest to it, with their pictures.

        Raises:
            ImageError: it cannot be read.
        """
        decoded = decode(image, self._spec, order, memory=self._memory)
        found = self._answer(decoded)
        gallery = self._taught.read()
        enrolled = [n.id for n in found.neighbours if n.id]
        held = gallery.examples_of(enrolled) if gallery is not None and enrolled else {}
        stored = (held.get(n.id, (None, None)) for n in found.neighbours)
        near = tuple((n, example, picture) for n, (example, picture) in zip(found.neighbours, stored, strict=True))
        return Explanation(found, near, thumbnail(decoded.pixels))

    # Learning

    def enroll(
        self,
        label: str,
        images: Source | Iterable[Source],
        *,
        order: str = "RGB",
        name: str | None = None,
        thumbnails: bool = True,
        check_base: bool = False,
    ) -> Change:
        """Add examples of a class, new or known; on disk when this returns. All of them or none.

        One image alone, as `predict` takes it, is one example; an array [N, H, W, C] is N of them. What looks wrong
        about them (seen before, blurred, like another class) is in the result's `warnings`. With `check_base`, its
        `base` tells what they cost the base classes; that takes some hundred searches. `name` is kept, in place of its
        own, as where an image came from.

        Raises:
            ImageError: one of the images cannot be read.
            UsageError: no images, or the label cannot be used.
            GalleryError: the gallery cannot be written.
        """
        with self._taught.loading:  # what no prediction needs
            import hashlib

            from tlc_edge.runtime.gallery.records import BaseCheck, ExampleSource
            from tlc_edge.runtime.images import nothing
            from tlc_edge.runtime.knn.base_check import taken, turned_away
            from tlc_edge.runtime.knn.enroll_warnings import Doubts, NewExample, sharpness

            self._doubts = doubted = self._doubts or Doubts(self.bundle)
        label = clean_label(label)  # before the work, and before a gallery is made for nothing
        new: list[NewExample] = []
        sources: list[ExampleSource] = []
        for image in each_image(images):
            called = source_name(image) if name is None else name
            data = image if isinstance(image, np.ndarray | Image.Image) else read_bytes(image, called)
            pixels = load_image(data, self._spec, order, name=called, memory=self._memory)
            # An image in memory has no bytes of its own to tell it by: its pixels do.
            digest = hashlib.sha256(data if isinstance(data, bytes) else pixels.tobytes()).hexdigest()
            blank = nothing.is_one_colour(nothing.thumbnail(pixels))
            new.append(NewExample(called, digest, self._engine.run(pixels)[-1], sharpness(pixels), blank))
            sources.append(ExampleSource(digest, called, thumbnail(pixels) if thumbnails else None))
        if not new:
            raise UsageError(f"no images to enroll as {label!r}; give at least one")
        rule = self.bundle.manifest.decision
        with self._taught.changing() as gallery:
            with self._taught.up_to_date() as based:
                doubts = doubted.about(label, new, based.bank, gallery)
                before = taken(based.bank, rule)[1] if check_base else 0
                away = turned_away(based.bank)[1] if check_base else 0
            change = gallery.add(label, np.stack([s.embedding for s in new]), sources)
        change = replace(change, warnings=doubts)
        if not check_base:
            return change
        if label == NONE_OF_THESE:
            with self._taught.up_to_date() as based:
                tried, after = turned_away(based.bank)
            change = replace(change, turned_away=BaseCheck(tried, away, after))
        exemplars, after = self.taken_from_base()
        return replace(change, base=BaseCheck(exemplars, before, after))

    def enroll_not(
        self,
        images: Source | Iterable[Source],
        *,
        order: str = "RGB",
        name: str | None = None,
        thumbnails: bool = True,
        check_base: bool = False,
    ) -> Change:
        """Add examples of what must not pass for known: images clearly nearer to one of them are unknown.

        They are kept under the label `none of these`, to be forgotten, moved and renamed like any other. With
        `check_base`, the result's `turned_away` tells what they cost in false alarms.

        Raises:
            ImageError, UsageError, GalleryError: as `enroll`.
        """
        return self.enroll(NONE_OF_THESE, images, order=order, name=name, thumbnails=thumbnails, check_base=check_base)

    def taken_from_base(self) -> tuple[int, int]:
        """Return how many exemplars of the base classes were tried, and how many are taken for something enrolled."""
        with self._taught.loading:
            from tlc_edge.runtime.knn.base_check import taken

        with self._taught.up_to_date() as based:
            return taken(based.bank, self.bundle.manifest.decision)

    def forget(self, label: str) -> Change:
        """Remove an enrolled class, or what was enrolled for a base class; `undo` brings it back.

        Raises:
            UsageError: nothing is enrolled under that name.
            GalleryError: the gallery cannot be written.
        """
        with self._taught.changing(unknown_name("enrolled class", label, [])) as gallery:
            return gallery.forget(label)

    def rename(self, old: str, new: str, *, merge: bool = False) -> Change:
        """Give an enrolled class another name; with `merge`, that of another enrolled class, which it then joins.

        Raises:
            UsageError: nothing is enrolled under `old`.
            GalleryError: `new` is enrolled already and `merge` is not set, or the gallery cannot be written.
        """
        with self._taught.changing(unknown_name("enrolled class", old, [])) as gallery:
            return gallery.rename(old, new, merge=merge)

    def remove(self, examples: Sequence[int]) -> Change:
        """Remove single enrolled examples, by their ids; `undo` brings them back.

        Raises:
            UsageError: none is given, or one is not there.
            GalleryError: the gallery cannot be written.
        """
        with self._taught.changing(UsageError("nothing is enrolled, so there is no example to remove")) as gallery:
            return gallery.remove(examples)

    def move(self, examples: Sequence[int], label: str) -> Change:
        """Give single enrolled examples, by their ids, to another class, new or known; `undo` takes it back.

        Raises:
            UsageError: none is given, one is not there, or the label cannot be used.
            GalleryError: all are in that class already, or the gallery cannot be written.
        """
        with self._taught.changing(UsageError("nothing is enrolled, so there is no example to move")) as gallery:
            return gallery.move(examples, label)

    def undo(self, only: int | None = None) -> Change:
        """Take back the latest change that is not undone yet; with `only`, a change's `operation`, no other.

        Raises:
            GalleryError: there is none, it is another, or the gallery cannot be written.
        """
        nothing = GalleryError(f"{self.gallery_path}: nothing to undo: nothing was enrolled yet")
        with self._taught.changing(nothing) as gallery:
            return gallery.undo(only)

    def classes(self) -> dict[str, int]:
        """Return every class the answer can be, with the number of enrolled examples (0: only the head's)."""
        gallery = self._taught.read()
        enrolled = {} if gallery is None else gallery.classes()
        return {label: enrolled.get(label, 0) for label in (*self.bundle.manifest.labels, *enrolled)}


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """Return a small JPEG at the model's input size, from which another model can learn the same."""
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(out, "JPEG", quality=_THUMBNAIL_QUALITY)
    return out.getvalue()


_all: Forks[Classifier] = Forks(7, lambda _: load_late(), lambda _: None, lambda _: None)
