"""Read a PyTorch checkpoint without PyTorch, and without running anything that is in it.

A checkpoint is a pickle, and a pickle can call any function. The unpickler here knows the few globals
that plain arrays need and refuses every other by name before anything is called. Both layouts are
read: the legacy stream (`torch.save` before 1.6) and the ZIP archive since.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import BuildError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ByteStorage": "|u1",
}


@dataclass(frozen=True)
class _StorageType:
    dtype: str


@dataclass(eq=False)
class _Storage:
    """A flat array; in the legacy layout its numbers come after the pickle that names it."""

    dtype: str
    length: int
    values: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        values = self.storage.values
        if values is None:
            raise ValueError("a tensor's numbers are missing")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or last >= len(values):
            raise ValueError("a tensor reaches outside its storage")
        if not self.shape:
            return np.array(values[self.offset])
        # The strides matter: these tensors are often not contiguous (channels-last layouts).
        steps = [s * values.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps).copy()


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_rest: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _PlainArrays(pickle.Unpickler):
    """An unpickler for dictionaries of tensors and nothing else."""

    def __init__(self, file: BinaryIO, path: Path, storage: Callable[[str, str, int], _Storage]) -> None:
        super().__init__(file)
        self._path = path
        self._storage = storage

    def find_class(self, module: str, name: str, /) -> Any:
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise BuildError(
            f"{self._path}: the checkpoint names {module}.{name}, which is not a plain array; "
            "it was refused without running it: use a file that holds weights only (a state_dict)"
        )

    def persistent_load(self, pid: Any, /) -> _Storage:
        kind, storage_type, key, _location, length = pid[:5]
        if pid[5:] not in ((), (None,)):
            raise ValueError("a view of another storage")  # before PyTorch 0.4
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise ValueError(f"unexpected reference {kind!r}")
        return self._storage(str(key), storage_type.dtype, int(length))


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Return a checkpoint's arrays by name, contiguous, in PyTorch's axis order (conv: O, I, H, W).

    Raises:
        BuildError: the file is missing, damaged, or holds anything but plain arrays.
    """
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                return _read_zip(file, path)
            file.seek(0)
            return _read_legacy(file, path)
    except OSError as e:
        raise BuildError(f"{path}: cannot be read ({e.strerror or e})") from None
    except (
        pickle.UnpicklingError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        EOFError,
        AttributeError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,  # zipfile's word for encrypted entries; and NotImplementedError
        MemoryError,
        UnicodeDecodeError,
        OverflowError,
    ) as e:
        raise BuildError(f"{path}: not a PyTorch checkpoint, or a damaged one ({e})") from None


def _read_legacy(file: BinaryIO, path: Path) -> dict[str, NDArray[Any]]:
    storages: dict[str, _Storage] = {}

    def storage(key: str, dtype: str, length: int) -> _Storage:
        return storages.setdefault(key, _Storage(dtype, length))

    def load() -> Any:
        return _PlainArrays(file, path, storage).load()

    if load() != _LEGACY_MAGIC:
        raise ValueError("no PyTorch magic number")
    load()  # protocol version
    if load().get("little_endian") is not True:
        raise ValueError("a big-endian checkpoint")
    tensors = load()
    for key in load():
        held = storages[str(key)]
        (length,) = struct.unpack("<q", file.read(8))
        if length != held.length:
            raise ValueError(f"storage {key} has {length} numbers, expected {held.length}")
        data = file.read(length * np.dtype(held.dtype).itemsize)
        held.values = np.frombuffer(data, held.dtype)
        if len(held.values) != length:
            raise ValueError("the file ends too early")
    return _arrays(tensors)


def _read_zip(file: BinaryIO, path: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(file) as archive:
        pickles = [n for n in archive.namelist() if n.endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError("no data.pkl in the archive")
        root = pickles[0].removesuffix("data.pkl")
        order = f"{root}byteorder"  # written since PyTorch 2.1
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("a big-endian checkpoint")
        storages: dict[str, _Storage] = {}

        def storage(key: str, dtype: str, length: int) -> _Storage:
            if key not in storages:
                values = np.frombuffer(archive.read(f"{root}data/{key}"), dtype)
                if len(values) < length:
                    raise ValueError(f"storage {key} is short")
                storages[key] = _Storage(dtype, length, values)
            return storages[key]

        return _arrays(_PlainArrays(io.BytesIO(archive.read(pickles[0])), path, storage).load())


def _arrays(tensors: Any) -> dict[str, NDArray[Any]]:
    if not isinstance(tensors, dict):
        raise ValueError(f"holds a {type(tensors).__name__}, expected a dictionary of tensors")
    return {str(name): t.array() for name, t in tensors.items() if isinstance(t, _Tensor)}


def folded(
    weights: Mapping[str, NDArray[Any]], conv: str, norm: str, epsilon: float, depthwise: bool = False
) -> list[NDArray[np.float32]]:
    """Return a bias-free convolution's kernel [H, W, I, O] and bias with its batch norm folded in.

    The batch norm only ever runs in inference mode here, where it is an affine map per channel; folded,
    every lowering starts from the same plain convolutions. `conv` and `norm` are the layers' names in `weights`.

    Raises:
        BuildError: an array is missing.
    """
    try:
        kernel = weights[f"{conv}.weight"].astype(np.float64)
        gamma, beta = (weights[f"{norm}.{k}"].astype(np.float64) for k in ("weight", "bias"))
        mean, variance = (weights[f"{norm}.running_{k}"].astype(np.float64) for k in ("mean", "var"))
    except KeyError as e:
        raise BuildError(f"the weights file has no array {e}; it is of another network") from None
    factor = gamma / np.sqrt(variance + epsilon)
    kernel *= factor[:, None, None, None]
    axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
    return [
        np.ascontiguousarray(kernel.transpose(axes), np.float32),
        (beta - mean * factor).astype(np.float32),
    ]
