"""The ranges of activations that set int8 scales, found with the device's engine instead of TensorFlow's calibrator.

The calibrator runs each image in plain kernels on one core, nine times as long as the device's engine. So it is given
one image, which says what it measures and what it comes to there; over all images that is measured in engines that give
every tensor away, one per core. Where an operation writes over what it reads, the calibrator takes both for one tensor,
so its ranges may be wider than the truth. Where they do not hold what the engine finds on that one image, or most of
them are others, the calibrator does it all.
"""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.worker import cores

from .tflite_file import only_graph, pack_tflite, read_tflite

Sample = list[NDArray[Any]]
Ranges = tuple[NDArray[np.float64], NDArray[np.float64]]
"""The least and the largest value of each tensor, [T] each."""
_SAME = 1e-4
"""Of a tensor's largest value: what sums in another order come to."""
_MOST = 0.5
_LEAST = float(np.finfo(np.float32).tiny)
"""What the calibrator takes for the largest value where all are below."""


@contextlib.contextmanager
def quick_ranges() -> Generator[None]:
    """Have TensorFlow's converters calibrate with the device's engine in this block."""
    from tensorflow.lite.python.optimize import calibrator

    kind: Any = getattr(calibrator, "Calibrator", None)
    slow: Any = getattr(kind, "calibrate", None)
    if slow is None or not hasattr(kind, "_feed_tensors"):  # another TensorFlow
        yield
        return

    def calibrate(given: Any, samples: Callable[[], Iterator[Sample]]) -> bytes:
        found = _calibrated(given, samples)
        return bytes(slow(given, samples)) if found is None else found

    kind.calibrate = calibrate
    try:
        yield
    finally:
        kind.calibrate = slow


def _calibrated(given: Any, samples: Callable[[], Iterator[Sample]]) -> bytes | None:
    """Return the calibrator's file with the ranges over all samples; None where they are left to it."""
    first = next(samples(), None)
    if first is None:
        return None
    given._feed_tensors(lambda: iter([first]), True)
    try:
        return widened(bytearray(given._calibrator.Calibrate()), bytes(given._model_content), samples)
    except (RuntimeError, ValueError, AttributeError):  # what the engine does not take, the calibrator may
        return None


def widened(calibrated: bytearray, plain: bytes, samples: Callable[[], Iterator[Sample]]) -> bytes | None:
    """Return a file that was calibrated with the first of some samples as all of them would have it.

    Args:
        calibrated: the file with ranges.
        plain: the same without.
        samples: gives the inputs of one run after the other, the same at each call.

    Returns:
        None where a graph is of another kind, or the engine does not come to the same ranges with the first sample.
    """
    told = _told(calibrated)
    if not told:
        return None
    tensors = list(told)
    lows, highs = (np.array([float(told[tensor][i][0]) for tensor in tensors]) for i in (0, 1))
    over = _measure(plain, tensors, samples)
    first = next(over, None)
    if first is None:
        return None
    near = _SAME * np.maximum(np.abs(lows), np.abs(highs)) + 1e-6
    held = (lows <= first[0] + near) & (first[1] <= highs + near)
    same = held & (first[0] <= lows + near) & (highs <= np.maximum(first[1], _LEAST) + near)
    if not held.all() or np.mean(same) < _MOST:
        return None
    lows, highs = first
    for low, high in over:
        lows, highs = np.minimum(lows, low), np.maximum(highs, high)
    if not np.isfinite(lows).all() or not np.isfinite(highs).all():
        return None
    highs = np.maximum(highs, _LEAST)
    for tensor, low, high in zip(tensors, lows, highs, strict=True):
        told[tensor][0][0], told[tensor][1][0] = low, high
    return bytes(calibrated)


def _told(calibrated: bytearray) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the ranges that a file has, by tensor, as views of its bytes; none where its graph keeps a state."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(calibrated, 0)
    if model.SubgraphsLength() != 1:
        return {}
    graph: Any = model.Subgraphs(0)
    told: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        ranges = tensor.Quantization()
        if tensor.IsVariable():
            return {}
        if ranges is None or not ranges.MinLength():
            continue
        if ranges.MinLength() != 1 or ranges.MaxLength() != 1 or tensor.Type() != schema.TensorType.FLOAT32:
            return {}
        told[i] = ranges.MinAsNumpy(), ranges.MaxAsNumpy()
    return told


def _measure(plain: bytes, tensors: Sequence[int], samples: Callable[[], Iterator[Sample]]) -> Iterator[Ranges]:
    """Yield the ranges of `tensors` with each sample, in order."""
    engines: queue.SimpleQueue[_Engine] = queue.SimpleQueue()
    count = cores()
    data = _giving(plain, tensors)
    for _ in range(count):
        engines.put(_Engine(data, tensors))

    def measure(sample: Sample) -> Ranges:
        engine = engines.get()
        try:
            return engine.ranges(sample)
        finally:
            engines.put(engine)

    waiting: deque[Future[Ranges]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for sample in samples():
                waiting.append(pool.submit(measure, sample))
                if len(waiting) > 2 * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _giving(plain: bytes, tensors: Sequence[int]) -> bytes:
    """Return a file that gives `tensors` away, but for its inputs: no operation is run as a part of another then."""
    model = read_tflite(plain)
    graph = only_graph(model)
    inputs = {int(i) for i in graph.inputs}
    graph.outputs = [tensor for tensor in tensors if tensor not in inputs]
    model.signatureDefs = []
    return pack_tflite(model)


class _Engine:
    """A file that gives its tensors away, in the device's engine."""

    def __init__(self, data: bytes, tensors: Sequence[int]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_content=data, num_threads=1)
        self._inputs = [int(d["index"]) for d in self._interpreter.get_input_details()]
        self._tensors = tensors
        self._shapes: list[tuple[int, ...]] = []

    def ranges(self, sample: Sample) -> Ranges:
        """Return the ranges of the tensors for the inputs of one run."""
        shapes = [value.shape for value in sample]
        if shapes != self._shapes:
            for place, shape in zip(self._inputs, shapes, strict=True):
                self._interpreter.resize_tensor_input(place, shape)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for place, value in zip(self._inputs, sample, strict=True):
            self._interpreter.set_tensor(place, value)
        self._interpreter.invoke()
        given = dict(zip(self._inputs, sample, strict=True))
        values = [given[t] if t in given else self._interpreter.tensor(t)() for t in self._tensors]
        return np.array([v.min() for v in values], np.float64), np.array([v.max() for v in values], np.float64)
