"""The device's face: open a bundle, predict, and learn new classes from a few examples."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.engines.open import open_engine
from tlc_edge.runtime.engines.selftest import selftest_once
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.labels import clean_label
from tlc_edge.runtime.gallery.path import default_gallery
from tlc_edge.runtime.gallery.records import BaseCheck, Change, ExampleSource
from tlc_edge.runtime.images.decode_ahead import Decoded, decode, decode_ahead
from tlc_edge.runtime.images.each_image import each_image
from tlc_edge.runtime.images.load import Source, load_image, read_bytes, source_name
from tlc_edge.runtime.knn.base_check import taken
from tlc_edge.runtime.knn.enroll_warnings import Doubts, NewExample, sharpness
from tlc_edge.runtime.knn.following import FollowingBank
from tlc_edge.runtime.knn.prediction import Basis, Prediction, answer, basis
from tlc_edge.runtime.knn.unknown import checked_rate, read_knownness
from tlc_edge.runtime.vectors import Floats

from .errors import GalleryError, ImageError, TlcError, UsageError, unknown_name

_THUMBNAIL_QUALITY = 90


class Classifier:
    """A bundle on a device, with the gallery of what it was taught. Use it as a context manager."""

    def __init__(
        self, bundle: Bundle, gallery: Path, engine: str | None, threads: int | None, rate: float | None
    ) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.gallery_path = gallery
        self._spec = manifest.preprocessing
        self._engine, self.model = open_engine(bundle, engine, threads)
        self._rate = manifest.unknown.rate if rate is None else checked_rate(rate)
        self._knownness = read_knownness(bundle)
        self._enrolled = FollowingBank(bundle.exemplars(), manifest.labels, self._knownness.shift)
        self._bank = self._enrolled.bank
        self._basis = self._weigh()
        self._gallery: Gallery | None = None
        self._doubts = Doubts(bundle)

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
            self._follow()
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
        if self._gallery is not None:
            self._gallery.close()
            self._gallery = None

    @property
    def engine(self) -> str:
        """Name and version of the engine in use."""
        return f"{self._engine.name} {self._engine.version}"

    @property
    def rows(self) -> int:
        """How many stored examples an image is compared with: the bundle's own and those enrolled."""
        self._follow()
        return len(self._bank)

    # Predicting

    def predict(self, image: Source, order: str = "RGB") -> Prediction:
        """Classify one image: a path, bytes, a file, a PIL image, or a uint8 array (`order="BGR"` for OpenCV's).

        Raises:
            ImageError: it cannot be read.
        """
        return self._answer(decode(image, self._spec, order))

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
        return self._answers(decode_ahead(each_image(images), self._spec, order), errors)

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
        return answer(probabilities, embedding, self._follow(), times)

    def embed(self, image: Source, order: str = "RGB") -> Floats:
        """Return one image's embedding, float32 [D], as the model gives it (not of unit length)."""
        return self._engine.run(load_image(image, self._spec, order))[-1]

    # Learning

    def enroll(
        self,
        label: str,
        images: Source | Iterable[Source],
        *,
        order: str = "RGB",
        thumbnails: bool = True,
        check_base: bool = False,
    ) -> Change:
        """Add examples of a class, new or known; on disk when this returns. All of them or none.

        One image alone, as `predict` takes it, is one example; an array [N, H, W, C] is N of them. What looks wrong
        about them (seen before, blurred, like another class) is in the result's `warnings`. With `check_base`, its
        `base` tells what they cost the base classes; that takes some hundred searches.

        Raises:
            ImageError: one of the images cannot be read.
            UsageError: no images, or the label cannot be used.
            GalleryError: the gallery cannot be written.
        """
        label = clean_label(label)  # before the work, and before a gallery is made for nothing
        new: list[NewExample] = []
        sources: list[ExampleSource] = []
        for image in each_image(images):
            name = source_name(image)
            data = image if isinstance(image, np.ndarray | Image.Image) else read_bytes(image, name)
            pixels = load_image(data, self._spec, order, name=name)
            # An image in memory has no bytes of its own to tell it by: its pixels do.
            digest = hashlib.sha256(data if isinstance(data, bytes) else pixels.tobytes()).hexdigest()
            new.append(NewExample(name, digest, self._engine.run(pixels)[-1], sharpness(pixels)))
            sources.append(ExampleSource(digest, name, _thumbnail(pixels) if thumbnails else None))
        if not new:
            raise UsageError(f"no images to enroll as {label!r}; give at least one")
        gallery = self._writable()
        self._follow()
        doubts = self._doubts.about(label, new, self._bank, gallery)
        before = taken(self._bank, self.bundle.manifest.decision)[1] if check_base else 0
        change = replace(gallery.add(label, np.stack([s.embedding for s in new]), sources), warnings=doubts)
        if not check_base:
            return change
        self._follow()
        exemplars, after = taken(self._bank, self.bundle.manifest.decision)
        return replace(change, base=BaseCheck(exemplars, before, after))

    def forget(self, label: str) -> Change:
        """Remove an enrolled class, or what was enrolled for a base class; `undo` brings it back.

        Raises:
            UsageError: nothing is enrolled under that name.
            GalleryError: the gallery cannot be written.
        """
        return self._writable(unknown_name("enrolled class", label, [])).forget(label)

    def rename(self, old: str, new: str, *, merge: bool = False) -> Change:
        """Give an enrolled class another name; with `merge`, that of another enrolled class, which it then joins.

        Raises:
            UsageError: nothing is enrolled under `old`.
            GalleryError: `new` is enrolled already and `merge` is not set, or the gallery cannot be written.
        """
        return self._writable(unknown_name("enrolled class", old, [])).rename(old, new, merge=merge)

    def undo(self) -> Change:
        """Take back the latest change that is not undone yet.

        Raises:
            GalleryError: there is none, or the gallery cannot be written.
        """
        return self._writable(GalleryError(f"{self.gallery_path}: nothing to undo: nothing was enrolled yet")).undo()

    def classes(self) -> dict[str, int]:
        """Return every class the answer can be, with the number of enrolled examples (0: only the head's)."""
        self._attach()
        enrolled = self._gallery.classes() if self._gallery is not None else {}
        return {label: enrolled.get(label, 0) for label in (*self.bundle.manifest.labels, *enrolled)}

    # The gallery

    def _attach(self) -> None:
        """Open the gallery for reading, if there is one by now."""
        # Path.exists raises for a name that is too long, where there can be no gallery.
        if self._gallery is None and os.path.exists(self.gallery_path):  # noqa: PTH110
            manifest = self.bundle.manifest
            self._gallery = Gallery.open_if_exists(
                self.gallery_path, manifest.fingerprint, manifest.embedding_width, read_only=True
            )

    def _writable(self, nothing: TlcError | None = None) -> Gallery:
        """Return the gallery opened for writing; where there is none, make it, or raise `nothing`."""
        self._attach()
        if self._gallery is None and nothing is not None:
            raise nothing
        if self._gallery is None or self._gallery.read_only:
            manifest = self.bundle.manifest
            fresh = Gallery.open(self.gallery_path, manifest.fingerprint, manifest.embedding_width, create=True)
            self.close()
            self._gallery = fresh
        return self._gallery

    def _follow(self) -> Basis:
        """Bring what answers are based on up to date with the gallery, whoever changed it."""
        if self._gallery is not None and self._gallery.was_replaced():
            self.close()  # the connection would go on reading a file that has no name any more
        self._attach()
        if self._enrolled.follow(self._gallery):
            self._basis = self._weigh()
        return self._basis

    def _weigh(self) -> Basis:
        return basis(self._bank, self.bundle.manifest.decision, self._knownness, self._rate)


def _thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """Return a small JPEG at the model's input size, from which another model can learn the same."""
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(out, "JPEG", quality=_THUMBNAIL_QUALITY)
    return out.getvalue()
