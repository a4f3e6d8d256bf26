"""What only TensorFlow or onnxruntime can do with a stranger's file is done once beforehand, in a confined process.

TensorFlow checks a graph with assertions that end the process, and both compute what is constant in it. Done here at
once, that would be a crash or a machine without memory; done there first, it is a sentence. Only what went well there
is done here, and gives the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.errors import BuildError, TlcError, first_line

from .confine import bound_memory, confine_to_reading

SECONDS = 300
"""Longest wait for it, and the most processor time that it gets."""
_LEAST_MEMORY = 4 << 30
_THREAD = 256 << 20  # of address space, for each core: TensorFlow has threads for all
_MOST = 64 << 10  # bytes of an answer


def memory_for(size: int) -> int:
    """Return the bytes that work on files of `size` bytes may allocate."""
    return _LEAST_MEMORY + 8 * size + _THREAD * (os.cpu_count() or 1)


def rehearse(module: str, request: Mapping[str, Any], where: str, size: int) -> None:
    """Run a module of tlc that ends in `answer`; `request` is JSON, `where` names the file and `size` is its bytes.

    Raises:
        BuildError: what the module's own work raised; or it crashed, or took too long or too much.
    """
    # Keras makes a folder of its own where there is none; here it could not.
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_HOME": "/proc/none"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, json.dumps({**request, "memory": memory_for(size)})],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=quiet,
    )
    timer = threading.Timer(SECONDS, process.kill)
    try:
        timer.start()
        assert process.stdout is not None
        with process.stdout as pipe:
            said = pipe.read(_MOST)
        late = not timer.is_alive()
        code = process.wait(SECONDS)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    try:
        error = json.loads(said)["error"]
    except (ValueError, KeyError, TypeError):
        how = f"took more than {SECONDS} seconds" if late or -code == signal.SIGXCPU else _how(code)
        raise BuildError(
            f"{where}: reading it {how} in the process that strangers' files are tried in; it is damaged, or made to "
            "do harm: save the network again"
        ) from None
    if error is not None:
        raise BuildError(str(error))


def _how(code: int) -> str:
    """Say how a process ended that did not answer."""
    try:
        return f"ended with {signal.Signals(-code).name}"
    except ValueError:
        return "came to no answer"


def answer(work: Callable[[Mapping[str, Any]], None], libraries: Callable[[], object] | None = None) -> None:
    """Do the work that was asked for, confined, and say what came of it; to be called as all that a module does.

    `libraries` imports what the work takes, whose memory is not counted; by default TensorFlow.
    """
    request: Mapping[str, Any] = json.loads(sys.argv[1])
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    tempfile.tempdir = "/proc/none"  # libraries ask for one at import, and there is none to write in
    confine_to_reading(SECONDS)
    (libraries or load_tensorflow)()
    bound_memory(int(request["memory"]))
    error: str | None = None
    try:
        work(request)
    except BuildError as e:
        error = str(e)
    except TlcError:
        pass  # of what was asked for, not of the file: the work itself will say so
    except MemoryError:
        error = f"{request['where']}: asks for more memory than a file of its size can need; it was refused"
    except Exception as e:  # whatever a damaged file makes TensorFlow raise
        error = f"{request['where']}: cannot be read ({first_line(e)})"
    os.write(out, json.dumps({"error": error}).encode())
    os._exit(0)  # no thread of TensorFlow is waited for
