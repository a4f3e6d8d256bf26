"""Strangers' HDF5 files, read in a process of their own that can neither open, write nor send anything.

HDF5 is a large library in C that follows what a file says. It is handed the open file and gives back plain arrays
and texts over a pipe; what it gives back is checked here like any other file. A crash there is a sentence here.
"""

from __future__ import annotations

import json
import math
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError, first_line

_CHILD = "tlc_edge.compiler.weights.read_hdf5"
SECONDS = 300
"""Longest wait for it, whatever it does."""
_MOST = 64 << 20  # bytes of the texts it gives back
_KINDS = frozenset("fiub")


@dataclass(frozen=True, eq=False)
class Content:
    """What an HDF5 file of Keras holds, and nothing else that such a file can."""

    arrays: dict[str, NDArray[Any]]
    """By layer and variable, in the order in which Keras wrote them."""
    ordered: bool
    """Whether the file says that order; the names alone, as HDF5 sorts them, have conv_10 before conv_2."""
    attributes: Mapping[str, str]
    """The texts attached to the file itself."""

    @property
    def count(self) -> int:
        """How many numbers the arrays have."""
        return sum(array.size for array in self.arrays.values())


def read_content(path: Path, inside: bytes | None = None, *, arrays: bool = True) -> Content:
    """Return what is in an HDF5 file, read in a confined process; without `arrays` only its attributes.

    `inside` is the file's content, where the HDF5 lies within another file.

    Raises:
        BuildError: the file is missing, damaged, holds anything but plain arrays of numbers, or asks for more memory
            or time than a file of its size can need.
    """
    try:
        source = _opened(path)
    except OSError as e:
        raise BuildError(f"{path}: cannot be read ({e.strerror or e})") from None
    with source:
        size = os.fstat(source.fileno()).st_size if inside is None else len(inside)
        budget = budget_for(size)
        command = [sys.executable, "-P", "-m", _CHILD, str(budget), str(int(arrays)), str(int(inside is not None))]
        quiet = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}  # no threads, no plug-ins
        process = subprocess.Popen(
            command,
            stdin=source if inside is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=quiet,
        )
        late = threading.Event()
        timer = threading.Timer(SECONDS, _end, (process, late))
        feeder = threading.Thread(target=_feed, args=(process.stdin, inside or b""), daemon=True)
        try:
            timer.start()
            if process.stdin is not None:
                feeder.start()
            assert process.stdout is not None
            with process.stdout:
                return _received(process.stdout, path, budget)
        except (ValueError, KeyError, TypeError, RecursionError):
            process.kill()
            how = "time" if late.is_set() else _how(process.wait())
            raise BuildError(f"{path}: {_SENTENCES.get(how, _SENTENCES[''] + (f' ({how})' if how else ''))}") from None
        finally:
            timer.cancel()
            process.kill()
            process.wait()


_SENTENCES = {
    "": (
        "reading it ended the process that strangers' files are read in; it is damaged, or made to do harm: "
        "save the network again"
    ),
    "time": f"reading it took more than {SECONDS} seconds and was ended; it is damaged, or made to do harm",
}


def budget_for(size: int) -> int:
    """Return the bytes that the arrays of a file of `size` bytes may have together; compression has its limits."""
    return max(256 << 20, 16 * size)


def _opened(path: Path) -> IO[bytes]:
    # A pipe that nobody writes to would be waited for.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError("not a file")
    return os.fdopen(number, "rb")


def _end(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _feed(pipe: IO[bytes], data: bytes) -> None:
    try:
        with pipe:
            pipe.write(data)
    except OSError:
        pass  # it has ended; the other end of it tells why


def _received(pipe: IO[bytes], path: Path, budget: int) -> Content:
    length = int.from_bytes(_exactly(pipe, 8), "little")
    if length > _MOST:
        raise ValueError("too long a header")
    header: Any = json.loads(_exactly(pipe, length))
    if "error" in header:
        raise BuildError(f"{path}: {first_line(ValueError(str(header['error'])))[:400]}")
    arrays: dict[str, NDArray[Any]] = {}
    for name, kind, shape in header["arrays"]:
        dtype = np.dtype(str(kind))
        sizes = tuple(int(n) for n in shape)
        count = math.prod(sizes) * dtype.itemsize
        budget -= count
        if dtype.kind not in _KINDS or min(sizes, default=0) < 0 or budget < 0:
            raise ValueError("no plain array")
        arrays[str(name)] = np.frombuffer(_exactly(pipe, count), dtype).reshape(sizes)
    return Content(arrays, bool(header["ordered"]), {str(k): str(v) for k, v in header["attributes"].items()})


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) != count:
        raise ValueError("it ended early")
    return data


def _how(code: int) -> str:
    """Name the signal that ended a process; empty where it was us, or none."""
    if code >= 0 or -code == signal.SIGKILL:
        return ""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
