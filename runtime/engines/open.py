"""Inference engines behind one small seam: uint8 image in, named float32 vectors out.

None is imported before it is needed; which one runs is decided by what is installed and what the bundle holds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.bundle.manifest import ModelFile
from tlc_edge.runtime.errors import BundleError, EngineError, UsageError, first_line, unknown_name

from .engine import Engine as Engine
from .pool import EnginePool
from .table import KINDS as KINDS
from .table import EngineKind as EngineKind
from .table import engine_names

OUTPUTS = ("probabilities", "embedding")
MAX_THREADS = 128
"""More are refused: from about a thousand on, engines hang or crash."""


def outputs_for(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the outputs of a model that was built for `labels`; without any it has no probabilities."""
    return OUTPUTS if labels else OUTPUTS[1:]


def choose(models: Sequence[ModelFile], engine: str | None = None) -> tuple[EngineKind, ModelFile]:
    """Return the engine to use and the model file it runs.

    Raises:
        UsageError: `engine` is not the name of one.
        EngineError: it is not installed or nothing here runs any of the files.
    """
    if engine is not None and engine not in engine_names():
        raise unknown_name("engine", engine, engine_names())
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
        if kind.old_numpy and int(np.__version__.split(".")[0]) >= 2:
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

    The engine may be used from any number of threads, and in the children of a fork.

    Raises:
        UsageError, EngineError: as `choose` and `open_model`.
        BundleError: the model is not the one that the manifest describes.
    """
    kind, model = choose(bundle.manifest.models, engine)
    threads = threads_for(bundle, threads)
    spec, m = bundle.manifest.preprocessing, bundle.manifest
    data, outputs = bundle.read(model.file), outputs_for(m.labels)

    def another() -> Engine:
        return open_model(kind, data, threads, outputs, model.file)

    opened = another()
    widths = (len(m.labels), m.embedding_width) if m.labels else (m.embedding_width,)
    expected = ((spec.height, spec.width, spec.channels), widths)
    if (opened.shape, opened.widths) != expected:
        raise BundleError(
            f"{bundle.path}: {model.file} takes {list(opened.shape)} and gives {list(opened.widths)}, but the "
            f"manifest says {list(expected[0])} and {list(expected[1])}; build the bundle again"
        )
    return EnginePool(opened, another, threads, model.file, shared=kind.shared), model
