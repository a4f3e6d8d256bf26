"""The workstation's heavy libraries: are they here, and bring them in without their noise."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Generator

from tlc_edge.runtime.errors import BuildError, first_line
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.quiet import quiet

_NEEDED = {
    "tensorflow": "tensorflow",
    "tf2onnx": "tf2onnx",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "sklearn": "scikit-learn",
    "flatbuffers": "flatbuffers",
    "jinja2": "Jinja2",
    "ai_edge_litert": "ai-edge-litert",
}


_MEANWHILE = ("sklearn.linear_model", "sklearn.model_selection", "onnx", "onnxruntime", "ai_edge_litert.interpreter")
_OF_KERAS = ("tensorflow", "tf2onnx", "flatbuffers", "ai_edge_litert")


def require_toolchain(*, keras: bool = True) -> None:
    """Check that what a build imports is installed, without importing it; without `keras` a few will do.

    Raises:
        BuildError: something is missing; says the pip line that brings it.
    """
    needed = {module: package for module, package in _NEEDED.items() if keras or module not in _OF_KERAS}
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise BuildError(
            f"a build needs {', '.join(missing)}, which this install does not have; run: "
            f"{pip_line('compiler' if keras else 'onnx')}"
        )


@contextlib.contextmanager
def loading() -> Generator[None]:
    """Import what a build imports at once in this block; where a library is missing, all that are are told.

    Raises:
        BuildError: something is missing; says the pip line that brings it.
    """
    try:
        yield
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] != "tlc_edge":
            require_toolchain()
        raise


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found: dict[str, str] = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def load_tensorflow() -> None:
    """Import TensorFlow and Keras, which print dozens of lines at their first use.

    Raises:
        BuildError: they are installed and do not load.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        try:
            import keras
            import tensorflow as tf
        except ImportError as e:  # half installed, or made for another Python or machine
            raise BuildError(
                f"TensorFlow is installed and does not load ({first_line(e)[:200]}); install it again, in a new venv: "
                f"{pip_line('compiler')}"
            ) from None

        tf.get_logger().setLevel("ERROR")
        # The first tensor looks for accelerators and complains where there are none.
        keras.ops.zeros((1,))


def load_libraries() -> None:
    """Import what a build takes beside TensorFlow, which is loaded elsewhere; what is missing is told when needed."""
    for name in _MEANWHILE:
        with contextlib.suppress(ImportError), quiet():
            importlib.import_module(name)
