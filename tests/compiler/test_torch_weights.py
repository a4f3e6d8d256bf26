"""Checkpoints written by hand, opcode by opcode: what a plain state_dict holds is read, all else is refused."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.rows import rows
from tlc_edge.compiler.weights.pins import arrays_sha256, from_package, pinned
from tlc_edge.compiler.weights.torch_pickle import read_state_dict
from tlc_edge.runtime.errors import BuildError

# --- a writer for both layouts of torch.save

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage", "<i8": "LongStorage"}


def plain(value: object) -> bytes:
    """Return the opcodes that put a plain value on the unpickler's stack."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(
    key: str, length: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, dtype: str = "<f4"
) -> bytes:
    """Return the opcodes of one tensor over the storage `key`, as torch.save writes them."""
    storage = b"(" + plain("storage") + b"ctorch\n" + STORAGES[dtype].encode() + b"\n"
    storage += plain(key) + plain("cpu") + plain(length) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = storage + plain(offset) + plain(shape) + plain(strides) + plain(False) + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def state_dict(tensors: dict[str, bytes]) -> bytes:
    """Return the whole pickle of a dictionary of tensors."""
    items = b"".join(plain(name) + body + b"s" for name, body in tensors.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R" + items + b"."


def legacy(path: Path, body: bytes, storages: dict[str, NDArray[np.generic]], head: bytes = b"") -> Path:
    """Write the layout before PyTorch 1.6: five pickles, then the numbers."""
    system = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [head or pickle.dumps(MAGIC, 2), pickle.dumps(PROTOCOL, 2), pickle.dumps(system, 2), body]
    parts.append(pickle.dumps(sorted(storages), 2))
    parts += [struct.pack("<q", len(storages[key])) + storages[key].tobytes() for key in sorted(storages)]
    path.write_bytes(b"".join(parts))
    return path


def zipped(path: Path, body: bytes, storages: dict[str, NDArray[np.generic]], **more: bytes) -> Path:
    """Write the layout since: a ZIP with the pickle and one file a storage."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", body)
        for name, content in more.items():
            archive.writestr(f"archive/{name}", content)
        for key, values in storages.items():
            archive.writestr(f"archive/data/{key}", values.tobytes())
    return path


Writer = Callable[[Path, bytes, dict[str, NDArray[np.generic]]], Path]
both_layouts = pytest.mark.parametrize("write", [legacy, zipped])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


NUMBERS = np.arange(24, dtype="<f4")

# --- what is read


@both_layouts
def test_arrays_come_back_by_name(path: Path, write: Writer) -> None:
    steps = np.array([7, -8], "<i8")
    body = state_dict({"w": tensor("0", 24, (2, 3, 4), (12, 4, 1)), "n": tensor("1", 2, (2,), (1,), dtype="<i8")})
    found = read_state_dict(write(path, body, {"0": NUMBERS, "1": steps}))
    assert list(found) == ["w", "n"]
    np.testing.assert_array_equal(found["w"], NUMBERS.reshape(2, 3, 4))
    np.testing.assert_array_equal(found["n"], steps)
    assert (found["w"].dtype, found["n"].dtype) == (np.float32, np.int64)


@both_layouts
def test_strides_and_offsets_are_honoured(path: Path, write: Writer) -> None:
    body = state_dict(
        {
            "channels_last": tensor("0", 24, (2, 3, 2, 2), (12, 1, 6, 3)),
            "transposed": tensor("0", 24, (4, 3), (1, 4), offset=12),
            "row": tensor("0", 24, (4,), (1,), offset=20),
            "scalar": tensor("0", 24, (), (), offset=23),
            "empty": tensor("0", 24, (0, 4), (4, 1)),
        }
    )
    found = read_state_dict(write(path, body, {"0": NUMBERS}))
    np.testing.assert_array_equal(found["channels_last"], NUMBERS.reshape(2, 2, 2, 3).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(found["transposed"], NUMBERS[12:].reshape(3, 4).T)
    assert found["row"].tolist() == [20, 21, 22, 23]
    assert (found["scalar"].shape, float(found["scalar"])) == ((), 23.0)
    assert found["empty"].shape == (0, 4)
    assert all(array.flags.c_contiguous for array in found.values())


@both_layouts
def test_every_float_width(path: Path, write: Writer) -> None:
    values = {dtype: np.array([0.5, -2.0], dtype) for dtype in ("<f2", "<f4", "<f8")}
    body = state_dict({dtype: tensor(dtype, 2, (2,), (1,), dtype=dtype) for dtype in values})
    found = read_state_dict(write(path, body, dict(values)))
    assert {name: (array.dtype.str, array.tolist()) for name, array in found.items()} == {
        dtype: (dtype, [0.5, -2.0]) for dtype in values
    }


def test_the_package_file() -> None:
    file = from_package(rows()["efficientnet-lite0"].files[0])
    assert file is not None
    found = read_state_dict(file)
    assert found["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert found["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert found["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)
    assert found["_conv_head.weight"].shape == (1280, 320, 1, 1)
    assert found["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(array).all() for array in found.values())
    assert min(float(found[name].min()) for name in found if name.endswith("running_var")) >= 0
    # The published size of the network: what was learned, without the running statistics.
    learned = [a.size for name, a in found.items() if not name.endswith(("running_mean", "running_var", "tracked"))]
    assert sum(learned) == 4_652_008


# --- what is refused


class Hostile:
    """Pickles as a call of `function` with `argument`."""

    def __init__(self, function: Callable[..., object], argument: str) -> None:
        self.call = (function, (argument,))

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return self.call


def hostile(mark: Path) -> dict[str, bytes]:
    """Return whole pickles that would create `mark`, by the global that each names."""
    return {
        f"{os.system.__module__}.system": pickle.dumps(Hostile(os.system, f"touch {mark}"), 2),
        "builtins.eval": pickle.dumps(Hostile(eval, f"open({str(mark)!r}, 'w')"), 4),
        "__builtin__.exec": pickle.dumps(Hostile(exec, f"open({str(mark)!r}, 'w').close()"), 2),
    }


@pytest.mark.parametrize("name", list(hostile(Path())))
class TestHostile:
    def test_the_payload_would_run(self, tmp_path: Path, name: str) -> None:
        # Else the tests below would prove nothing.
        mark = tmp_path / "ran"
        given = pickle.loads(hostile(mark)[name])
        if isinstance(given, io.IOBase):
            given.close()
        assert mark.exists()

    @both_layouts
    def test_as_the_whole_dictionary(self, path: Path, write: Writer, name: str) -> None:
        self.refused(write(path, hostile(path.with_name("ran"))[name], {}), name)

    @both_layouts
    def test_among_good_tensors(self, path: Path, write: Writer, name: str) -> None:
        call = hostile(path.with_name("ran"))[name]
        inner = call[call.index(b"c") if call[1] == 2 else 11 : -1]  # without protocol, frame and the final stop
        body = state_dict({"w": tensor("0", 24, (24,), (1,)), "x": inner})
        self.refused(write(path, body, {"0": NUMBERS}), name)

    def test_before_anything_else(self, path: Path, name: str) -> None:
        body = state_dict({"w": tensor("0", 24, (24,), (1,))})
        self.refused(legacy(path, body, {"0": NUMBERS}, head=hostile(path.with_name("ran"))[name]), name)

    def refused(self, path: Path, name: str) -> None:
        with pytest.raises(BuildError, match=f"names {name}, which is not a plain array; it was refused"):
            read_state_dict(path)
        assert not path.with_name("ran").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy.core.multiarray", "_reconstruct"),
    ],
)
def test_a_global_beside_the_few_is_refused_by_name(path: Path, module: str, name: str) -> None:
    body = b"\x80\x04" + plain(module) + plain(name) + b"\x93."
    with pytest.raises(BuildError, match=f"names {module}.{name}, which is not a plain array"):
        read_state_dict(zipped(path, body, {}))


def test_a_view_of_another_storage(path: Path) -> None:
    whole = tensor("0", 24, (24,), (1,))
    assert whole.count(b"tQ") == 1
    body = state_dict({"w": whole.replace(b"tQ", plain(("1", 0, 12)) + b"tQ")})
    with pytest.raises(BuildError, match="a view of another storage"):
        read_state_dict(legacy(path, body, {"0": NUMBERS}))
    body = state_dict({"w": whole.replace(b"tQ", b"NtQ")})  # as the legacy layout has it where there is none
    assert read_state_dict(legacy(path, body, {"0": NUMBERS}))["w"].tolist() == NUMBERS.tolist()


@both_layouts
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((25,), (1,), 0),
        ((24,), (1,), 1),
        ((2, 3), (24, 1), 0),
        ((2,), (-1,), 4),
        ((2,), (1,), -1),
        ((), (), 24),
        ((), (), -1),
        ((-2,), (1,), 0),
        ((3, 3), (1,), 0),
        ((2**40, 2**40), (2**40, 1), 0),
    ],
)
def test_a_tensor_outside_its_storage(
    path: Path, write: Writer, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    body = state_dict({"w": tensor("0", 24, shape, strides, offset)})
    with pytest.raises(BuildError, match="not a PyTorch checkpoint, or a damaged one"):
        read_state_dict(write(path, body, {"0": NUMBERS}))


@both_layouts
def test_a_file_cut_short_anywhere(path: Path, write: Writer) -> None:
    whole = write(path, state_dict({"w": tensor("0", 24, (24,), (1,))}), {"0": NUMBERS}).read_bytes()
    for length in {*range(0, len(whole), 23), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(BuildError, match="damaged"):
            read_state_dict(path)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([legacy, zipped]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damage_is_told_or_harmless(tmp_path_factory: pytest.TempPathFactory, write: Writer, changes: list) -> None:
    path = tmp_path_factory.mktemp("damaged") / "weights.pth"
    data = bytearray(write(path, state_dict({"w": tensor("0", 24, (24,), (1,))}), {"0": NUMBERS}).read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(data)
    # Nothing but a BuildError may come out; a changed number or name is what the pinned hash is for.
    with contextlib.suppress(BuildError):
        assert all(isinstance(array, np.ndarray) for array in read_state_dict(path).values())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged"),
        (b"not a checkpoint\n", "damaged"),
        (pickle.dumps({"w": [1.0]}), "magic number"),
        (pickle.dumps(MAGIC, 2) + pickle.dumps(PROTOCOL, 2) + pickle.dumps({"little_endian": False}, 2), "big-endian"),
    ],
)
def test_not_a_checkpoint(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(BuildError, match=reason):
        read_state_dict(path)


def test_a_zip_of_something_else(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    with pytest.raises(BuildError, match=r"no data\.pkl"):
        read_state_dict(path)


@both_layouts
def test_a_list_in_place_of_a_dictionary(path: Path, write: Writer) -> None:
    with pytest.raises(BuildError, match="holds a list, expected a dictionary of tensors"):
        read_state_dict(write(path, pickle.dumps([1, 2], 2), {}))


def test_a_big_endian_archive(path: Path) -> None:
    body = state_dict({"w": tensor("0", 24, (24,), (1,))})
    with pytest.raises(BuildError, match="big-endian"):
        read_state_dict(zipped(path, body, {"0": NUMBERS}, byteorder=b"big"))
    assert read_state_dict(zipped(path, body, {"0": NUMBERS}, byteorder=b"little"))["w"].shape == (24,)


def test_an_archive_whose_storage_is_short(path: Path) -> None:
    with pytest.raises(BuildError, match="storage 0 is short"):
        read_state_dict(zipped(path, state_dict({"w": tensor("0", 24, (24,), (1,))}), {"0": NUMBERS[:23]}))


def test_no_such_file(path: Path) -> None:
    with pytest.raises(BuildError, match="No such file"):
        read_state_dict(path)


# --- the pinned hash


def test_pinned(path: Path) -> None:
    path.write_bytes(b"weights")
    pinned(path, "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c")
    path.write_bytes(b"Weights")
    with pytest.raises(BuildError, match="SHA-256 is 147ec1549866…, expected 9a129038d9a0…; it was changed"):
        pinned(path, "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c")


def test_pinned_but_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="No such file"):
        pinned(tmp_path / "weights.pth", "0" * 64)


def test_arrays_are_hashed_with_shape_and_dtype() -> None:
    flat = np.arange(4, dtype=np.float32)
    others = [flat.reshape(2, 2), flat.astype(np.float64), flat.view(np.int32), flat + 1]
    hashes = [arrays_sha256([a]) for a in (flat, *others)]
    assert len(set(hashes)) == 5
    assert arrays_sha256([flat.copy()]) == hashes[0]
    assert arrays_sha256([np.asfortranarray(others[0])]) == hashes[1]
