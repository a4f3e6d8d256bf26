"""Inference engines behind one small seam: uint8 image in, named float32 vectors out.

ai-edge-litert and its predecessor tflite-runtime run `.tflite` files, onnxruntime runs `.onnx`. None is
imported before it is needed; which one runs is decided by what is installed and what the bundle holds.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.bundle.manifest import ModelFile
from tlc_edge.runtime.errors import BundleError, EngineError, UsageError, first_line, unknown_name
from tlc_edge.runtime.quiet import quiet

OUTPUTS = ("probabilities", "embedding")
MAX_THREADS = 128
"""More are refused: from about a thousand on, engines hang or crash."""


def outputs_for(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the outputs of a model that was built for `labels`; without any it has no probabilities."""
    return OUTPUTS if labels else OUTPUTS[1:]


class Engine(Protocol):
    """A model ready to run."""

    name: str
    version: str
    shape: tuple[int, ...]
    """Of the image it takes, [H, W, C]."""
    widths: tuple[int, ...]
    """Of the vectors it gives."""

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Run one image [H, W, C] and return one vector per output, in the order asked for at opening."""
        ...


class _Tflite:
    """A `.tflite` file through ai-edge-litert or tflite-runtime, whose interpreters are alike."""

    def __init__(self, name: str, module: str, model: bytes, threads: int, outputs: Sequence[str]) -> None:
        self.name, self.version = name, _version(name)
        with quiet():
            interpreter: Any = importlib.import_module(module).Interpreter(model_content=model, num_threads=threads)
            interpreter.allocate_tensors()
        (source,) = interpreter.get_input_details()
        found = {str(d["name"]): d for d in interpreter.get_output_details()}
        if source["dtype"] not in (np.uint8, np.int8):
            raise ValueError(f"its input is {np.dtype(source['dtype']).name}, expected uint8")
        self._interpreter = interpreter
        self._input = int(source["index"])
        self._signed = source["dtype"] is np.int8
        self.shape = tuple(int(n) for n in source["shape"][1:])
        details = [_output(found, name) for name in outputs]
        self.widths = tuple(int(d["shape"][-1]) for d in details)
        self._outputs = [int(d["index"]) for d in details]
        self._scales: list[tuple[float, int] | None] = [
            None if d["dtype"] is np.float32 else cast("tuple[float, int]", d["quantization"]) for d in details
        ]

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        # An int8 input has the same scale and a zero point 128 lower: the same bits with the top one flipped.
        data = (image ^ np.uint8(128)).view(np.int8) if self._signed else image
        self._interpreter.set_tensor(self._input, data[None])
        self._interpreter.invoke()
        return tuple(self._vector(i, s) for i, s in zip(self._outputs, self._scales, strict=True))

    def _vector(self, index: int, scale: tuple[float, int] | None) -> NDArray[np.float32]:
        raw = self._interpreter.get_tensor(index)[0]
        if scale is None:
            return cast("NDArray[np.float32]", raw)
        return np.asarray((raw.astype(np.float32) - scale[1]) * scale[0], np.float32)


class _Onnx:
    """An `.onnx` file through onnxruntime on the CPU."""

    def __init__(self, name: str, module: str, model: bytes, threads: int, outputs: Sequence[str]) -> None:
        self.name, self.version = name, _version(name)
        with quiet():
            ort: Any = importlib.import_module(module)
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._session: Any = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (source,) = self._session.get_inputs()
        if source.type != "tensor(uint8)":
            raise ValueError(f"its input is {source.type}, expected tensor(uint8)")
        self._input = str(source.name)
        self.shape = tuple(int(n) for n in source.shape[1:])
        found = {str(o.name): o for o in self._session.get_outputs()}
        self.widths = tuple(int(_output(found, name).shape[-1]) for name in outputs)
        self._outputs = list(outputs)

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        return tuple(o[0] for o in self._session.run(self._outputs, {self._input: image[None]}))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"  # put there by something other than pip


def _output(found: dict[str, Any], name: str) -> Any:
    if name not in found:
        raise ValueError(f"the model has no output {name!r}, only {', '.join(sorted(found))}")
    return found[name]


@dataclass(frozen=True)
class EngineKind:
    """An engine that tlc knows: its PyPI name, the format it runs, the module to import."""

    name: str
    format: str
    module: str
    make: Callable[[str, str, bytes, int, Sequence[str]], Engine]

    @property
    def installed(self) -> bool:
        """Whether it could be imported, judged without importing it."""
        try:
            return importlib.util.find_spec(self.module) is not None
        except (ImportError, ValueError):
            return False  # not there, or a part of it is broken


# In order of preference.
KINDS = (
    EngineKind("ai-edge-litert", "tflite", "ai_edge_litert.interpreter", _Tflite),
    EngineKind("tflite-runtime", "tflite", "tflite_runtime.interpreter", _Tflite),
    EngineKind("onnxruntime", "onnx", "onnxruntime", _Onnx),
)


def choose(models: Sequence[ModelFile], engine: str | None = None) -> tuple[EngineKind, ModelFile]:
    """Return the engine to use and the model file it runs.

    Raises:
        UsageError: `engine` is not the name of one.
        EngineError: it is not installed or nothing here runs any of the files.
    """
    if engine is not None and engine not in [k.name for k in KINDS]:
        raise unknown_name("engine", engine, [k.name for k in KINDS])
    wanted = [k for k in KINDS if engine in (None, k.name)]
    fitting = [(k, m) for k in wanted for m in models if m.format == k.format]
    formats = ", ".join(sorted({m.format for m in models}))
    if not fitting and engine is not None:
        raise UsageError(f"engine {engine} cannot run this bundle, which holds {formats}; choose another engine")
    if not fitting:
        raise EngineError(f"no engine known here runs {formats}; upgrade tlc on this device")
    for kind, model in fitting:
        if kind.installed:
            return kind, model
    first, *others = dict.fromkeys(k.name for k, _ in fitting)
    what = "no engine for this bundle" if engine is None else f"the engine {engine}"
    instead = f" (or: {', '.join(others)})" if others else ""
    raise EngineError(f"{what} is {'' if engine is None else 'not '}installed; run: pip install {first}{instead}")


def open_model(
    kind: EngineKind, model: bytes, threads: int, outputs: Sequence[str] = OUTPUTS, file: str = "the model"
) -> Engine:
    """Load a model into an engine; `threads` 0 means every core.

    Raises:
        UsageError: `threads` is out of range.
        EngineError: the engine cannot be imported or refuses the model.
    """
    if not 0 <= threads <= MAX_THREADS:
        raise UsageError(f"threads is {threads}, expected 0 (every core) to {MAX_THREADS}")
    try:
        return kind.make(kind.name, kind.module, model, threads or os.cpu_count() or 1, outputs)
    except (ImportError, ValueError, RuntimeError, AttributeError, OSError, TypeError, SystemError) as e:
        if kind.name == "tflite-runtime" and int(np.__version__.split(".")[0]) >= 2:
            raise EngineError(
                f"{kind.name} needs numpy below 2, and {np.__version__} is installed; run: pip install 'numpy<2'"
            ) from None
        raise EngineError(f"{kind.name} cannot run {file} ({first_line(e)}); try another --engine") from None
    except Exception as e:
        # onnxruntime raises types of its own that share no base but Exception.
        if type(e).__module__.startswith("onnxruntime"):
            raise EngineError(f"{kind.name} cannot run {file} ({e}); try another --engine") from None
        raise


def threads_for(bundle: Bundle, threads: int | None = None) -> int:
    """Return the threads to run a bundle with: those asked for, or the target's; 0 stands for one per core."""
    cores = os.cpu_count() or 1
    if threads is None:
        wanted: Any = bundle.manifest.target.get("threads", 0)
        # More threads than cores only wait for each other.
        return min(wanted, cores) if isinstance(wanted, int) and wanted > 0 else cores
    return threads or cores


def open_engine(bundle: Bundle, engine: str | None = None, threads: int | None = None) -> tuple[Engine, ModelFile]:
    """Load a bundle's model into the best engine here; `threads` None takes the target's number.

    Raises:
        UsageError, EngineError: as `choose` and `open_model`.
        BundleError: the model is not the one that the manifest describes.
    """
    kind, model = choose(bundle.manifest.models, engine)
    threads = threads_for(bundle, threads)
    spec, m = bundle.manifest.preprocessing, bundle.manifest
    opened = open_model(kind, bundle.read(model.file), threads, outputs_for(m.labels), model.file)
    widths = (len(m.labels), m.embedding_width) if m.labels else (m.embedding_width,)
    expected = ((spec.height, spec.width, spec.channels), widths)
    if (opened.shape, opened.widths) != expected:
        raise BundleError(
            f"{bundle.path}: {model.file} takes {list(opened.shape)} and gives {list(opened.widths)}, but the "
            f"manifest says {list(expected[0])} and {list(expected[1])}; build the bundle again"
        )
    return opened, model
