"""Verify: how each file does on held-out images, against the labels and against the float graph."""

from __future__ import annotations

import math
import os
import queue
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.data.decode import Images, bounded_images
from tlc_edge.compiler.data.prepared import HeldOut
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.records import Floats, Fused, Lowered, Outputs, Score
from tlc_edge.runtime.bundle.manifest import ModelFile, Preprocessing
from tlc_edge.runtime.engines.open import KINDS, OUTPUTS, Engine, open_model
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.runtime.vectors import unit_rows

from .golden import choose_golden
from .statistics import cosines, top_class
from .tail import Tail

_PROVED = 26  # held-out images that a whole file is run on where its tail is run on all; and the golden ones
_FEW = 2  # of each other set


@dataclass(frozen=True, eq=False)
class Answers:
    """How outputs become answers: by the head, or for a model without one by the nearest training image."""

    train: Floats
    """Embeddings of the training images, [M, D]."""
    classes: NDArray[np.int64]
    """[M]"""

    def __call__(self, outputs: Outputs) -> NDArray[np.int64]:
        """Return class indices, [N]."""
        if outputs.probabilities.shape[1]:
            return top_class(outputs)
        similar = unit_rows(outputs.embeddings) @ unit_rows(self.train).T
        return np.asarray(self.classes[np.argmax(similar, axis=1)], np.int64)


@dataclass(frozen=True, eq=False)
class Reference:
    """The float graph, and what it gives for the held-out images: what every file is measured against."""

    fused: Fused
    held_out: HeldOut
    outputs: Outputs
    answer: Answers
    """How outputs become answers, also those of a file."""

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        """Class indices, [N]."""
        return self.answer(self.outputs)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(np.mean(self.answers == self.held_out.truth))


@dataclass(frozen=True, eq=False)
class Judged:
    """A lowered file, ready to run, with what it gave on the held-out images and how good that is."""

    file: Lowered
    engines: tuple[Engine, ...]
    """Of one thread each, one for each core."""
    outputs: Outputs
    answers: NDArray[np.int64]
    score: Score
    tail: Tail | None = None
    """Where it was seen to give what the whole file gives."""

    def embed(self, samples: Sequence[Sample], spec: Preprocessing, images: Images | None = None) -> Floats:
        """Return the embeddings of more images, [N, D]; `images` are those, where they are there."""
        return self.embed_views(samples, spec, (PLAIN,), images)[0]

    def embed_views(
        self, samples: Sequence[Sample], spec: Preprocessing, views: Sequence[View], images: Images | None = None
    ) -> list[Floats]:
        """Return the embeddings of more images in each of `views`, [N, D]; `images` as they are in the only one."""
        if not len(samples):
            return [self.outputs.embeddings[:0] for _ in views]
        every = range(len(samples))
        features = None if self.tail is None else self.tail.features(samples, views)
        embedded: list[Floats] = []
        for i, view in enumerate(views):

            def whole(rows: Sequence[int], view: View = view) -> Outputs:
                if images is not None:
                    return run_engines(self.engines, _some(images, rows))
                return run_engines(self.engines, _seen([samples[i] for i in rows], spec, view))

            found = None
            if self.tail is not None and features is not None:
                found = self.tail.proved(features[i], whole, every[:_FEW])
            embedded.append((found or whole(every)).embeddings)
        return embedded


def judge(file: Lowered, reference: Reference, threads: int = 0, tail: Tail | None = None) -> Judged:
    """Run a lowered file in the engine of its format over held-out images and compare with the float graph.

    Its `tail` stands for it with most of the images, where both give the same for the others.
    """
    held_out = reference.held_out
    kind = next(k for k in KINDS if k.format == file.info.format)
    # Engines of one thread, one per core: no core waits for another.
    count = min(threads or os.cpu_count() or 1, len(held_out.images))
    names = output_names(reference.outputs)
    engines = [open_model(kind, file.data, 1, names, file.info.file) for _ in range(count)]

    def whole(rows: Sequence[int]) -> Outputs:
        return run_engines(engines, _some(held_out.images, rows))

    outputs = None
    if tail is not None:
        features = tail.features(held_out.samples, (PLAIN,))
        outputs = None if features is None else tail.proved(features[0], whole, looked_at(reference.outputs))
        tail = tail if outputs else None
    outputs = outputs or run_engines(engines, held_out.images)
    answers = reference.answer(outputs)
    scored = score(file.info, kind.name, answers, held_out.truth, outputs, (reference.answers, reference.outputs))
    return Judged(file, tuple(engines), outputs, answers, scored, tail)


def output_names(outputs: Outputs) -> tuple[str, ...]:
    """Return the names of the outputs of a model that gives such."""
    return OUTPUTS if outputs.probabilities.shape[1] else OUTPUTS[1:]


def looked_at(outputs: Outputs) -> list[int]:
    """Return the held-out images that the whole of each file is run on: the golden ones, and some evenly from all."""
    count = len(outputs.embeddings)
    golden = choose_golden(outputs.probabilities)
    return [int(i) for i in np.union1d(golden, np.linspace(0, count - 1, min(_PROVED, count)).astype(np.int64))]


def _some(images: Images, rows: Sequence[int]) -> Images:
    if len(rows) == len(images):
        return images
    return images[list(rows)] if isinstance(images, np.ndarray) else np.stack([images[i] for i in rows])


def _seen(samples: Sequence[Sample], spec: Preprocessing, view: View) -> Images:
    if view is PLAIN:
        return bounded_images(samples, spec)
    return np.stack([view.load(sample.source, spec) for sample in samples])


def run_engine(engine: Engine, images: Images, progress: Count = silent) -> Outputs:
    """Run a fused file over images [N, H, W, C]."""
    return run_engines([engine], images, progress)


def run_engines(engines: Sequence[Engine], images: Images, progress: Count = silent) -> Outputs:
    """Run a fused file over images [N, H, W, C], opened once for each thread that shall run it."""
    free: queue.SimpleQueue[Engine] = queue.SimpleQueue()
    for engine in engines:
        free.put(engine)

    def run(image: NDArray[np.uint8]) -> tuple[Floats, ...]:
        engine = free.get()
        try:
            return engine.run(image)
        finally:
            free.put(engine)

    probabilities: list[Floats] = []
    embeddings: list[Floats] = []
    with ThreadPoolExecutor(len(engines)) as pool:
        for i, given in enumerate(_in_order(pool, run, images, 4 * len(engines))):
            progress(i + 1, len(images))
            probabilities.append(given[0] if len(given) == 2 else given[0][:0])
            embeddings.append(given[-1])
    return Outputs(np.stack(probabilities), np.stack(embeddings))


def _in_order(
    pool: ThreadPoolExecutor, run: Callable[[NDArray[np.uint8]], tuple[Floats, ...]], images: Images, ahead: int
) -> Iterator[tuple[Floats, ...]]:
    """Yield what `run` gives for each image, at most `ahead` of them in memory at a time."""
    waiting: deque[Future[tuple[Floats, ...]]] = deque()
    try:
        for image in images:
            waiting.append(pool.submit(run, image))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def score(
    model: ModelFile,
    engine: str,
    answers: NDArray[np.int64],
    truth: NDArray[np.int64],
    outputs: Outputs,
    reference: tuple[NDArray[np.int64], Outputs] | None,
) -> Score:
    """Judge a model's answers by the truth and, where there is one, by the float reference's answers and outputs."""
    agreement = cosine = None
    if reference is not None:
        agreement = float(np.mean(answers == reference[0]))
        cosine = float(np.mean(cosines(outputs.embeddings, reference[1].embeddings)))
    return Score(model.file, engine, model.scheme, model.bytes, float(np.mean(answers == truth)), agreement, cosine)


def check_drop(scores: Sequence[Score], reference: float, images: int, max_drop: float) -> None:
    """Fail where a file is more than `max_drop` points of accuracy below the float graph.

    On n images accuracy moves in steps of 100/n points, so one image alone never fails a build that
    allows any drop at all: it could be chance.

    Raises:
        BuildError: names the file, its accuracy, the float graph's, and the limit.
    """
    allowed = max(math.floor(max_drop / 100 * images + 1e-9), 1 if max_drop > 0 else 0)
    for s in scores:
        lost = round((reference - s.accuracy) * images)
        if lost > allowed:
            drop = 100 * lost / images
            raise BuildError(
                f"{s.file} ({s.scheme}): accuracy {s.accuracy:.3f} is {drop:.1f} points below the float graph's "
                f"{reference:.3f} on {images} held-out images, more than the {max_drop:g} allowed; "
                "try --scheme float32, more images, or a larger --max-drop"
            )


def check_embeddings(judged: Sequence[Judged]) -> None:
    """Fail where a file gives embeddings that nothing can be compared with; accuracy alone may not show it.

    Raises:
        BuildError: names the file, how many of its embeddings are zero or not finite, and the next step.
    """
    for j in judged:
        embeddings = j.outputs.embeddings
        useless = ~np.isfinite(embeddings).all(axis=1) | ~embeddings.any(axis=1)
        if useless.any():
            info = j.file.info
            raise BuildError(
                f"{info.file} ({info.scheme}): the embedding is zero or not finite for {np.count_nonzero(useless)} of "
                f"{len(embeddings)} held-out images, so it tells nothing apart; this network does not bear "
                f"{info.scheme}: try --scheme float32, another backbone, or another --shave"
            )
