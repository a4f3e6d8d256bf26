"""Strangers' HDF5 files: what they name is not opened, what they ask for is bounded, and a crash is a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.weights import code
from tlc_edge.compiler.weights.read_confined import read_content
from tlc_edge.runtime.errors import BuildError

h5py: Any = pytest.importorskip("h5py")


def written(path: Path, fill: Callable[[Any], object]) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": []})
        fill(file.create_group("model_weights"))
    return path


def test_plain_arrays_come_as_they_are(tmp_path: Path) -> None:
    kinds = {
        "f": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
        "i": np.arange(4),
        "b": np.array([True, False]),
    }
    big = np.arange(3, dtype=">f4")
    scalar, empty = np.float64(2.5), np.zeros((0, 4), np.float16)

    def fill(group: Any) -> None:
        for name, array in {**kinds, "big": big, "scalar": scalar, "empty": empty}.items():
            group[f"layer/{name}"] = array

    path = written(tmp_path / "net.h5", fill)
    for content in (read_content(path), read_content(path, path.read_bytes())):
        assert set(content.arrays) == {f"layer/{n}" for n in (*kinds, "big", "scalar", "empty")}
        for name, array in {**kinds, "big": big, "scalar": scalar, "empty": empty}.items():
            np.testing.assert_array_equal(content.arrays[f"layer/{name}"], array)
        assert json.loads(content.attributes["model_config"])["class_name"] == "Sequential"
    assert read_content(path, arrays=False).arrays == {}


def ladder(group: Any) -> None:
    below = group.create_group("l0")
    for i in range(1, 24):
        here = group.create_group(f"x{i}")
        here["a"] = here["b"] = below
        below = here


def ring(group: Any) -> None:
    inner = group.create_group("a/b")
    inner["c"] = group["a"]


def bomb(group: Any) -> None:
    group.create_dataset("c/kernel", shape=(1 << 30,), dtype="f4", chunks=(1 << 22,), compression="gzip")


def many_bombs(group: Any) -> None:
    for i in range(40):
        group.create_dataset(f"c{i}/kernel", shape=(1 << 22,), dtype="f4", chunks=(1 << 20,), compression="gzip")


def outside(group: Any) -> None:
    group.create_dataset("c/kernel", shape=(4,), dtype="u1", external=[("/etc/hostname", 0, 4)])


def virtual(group: Any) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="u1")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(4,))
    group.create_virtual_dataset("kernel", layout)


def linked(group: Any) -> None:
    group["kernel"] = h5py.ExternalLink("/etc/hostname", "/x")


def listed_link(group: Any) -> None:
    group["far"] = h5py.ExternalLink("/etc/hostname", "/x")
    group.attrs["layer_names"] = ["far/kernel"]


def soft(group: Any) -> None:
    group["kernel"] = h5py.SoftLink("/elsewhere")


def texts(group: Any) -> None:
    group["kernel"] = "a text"


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (ladder, "is there under another name as well"),
        (ring, "is there under another name as well"),
        (bomb, "more than a file of its size can need"),
        (many_bombs, "more than a file of its size can need"),
        (outside, "keeps its numbers in another file"),
        (virtual, "keeps its numbers in another file"),
        (linked, "is a link to another place or file"),
        (listed_link, "is a link to another place or file"),
        (soft, "is a link to another place or file"),
        (texts, "expected plain numbers"),
    ],
)
def test_what_is_no_plain_array_is_refused_by_its_name(
    tmp_path: Path, fill: Callable[[Any], object], reason: str
) -> None:
    path = written(tmp_path / "net.h5", fill)
    with pytest.raises(BuildError, match=f"net.h5: .*{reason}; it was refused$"):
        read_content(path)


def test_damage_anywhere_is_a_sentence_or_harmless(tmp_path: Path) -> None:
    good = written(tmp_path / "net.h5", lambda g: [g.create_dataset(f"l{i}/k", data=np.ones((8, 8))) for i in range(9)])
    data, generator = good.read_bytes(), np.random.default_rng(4)
    said: list[str] = []
    for _ in range(6):
        changed = bytearray(data)
        for at in generator.integers(8, 4000, 60):
            changed[at] = int(generator.integers(256))
        (tmp_path / "bad.h5").write_bytes(changed)
        try:
            read_content(tmp_path / "bad.h5")
        except BuildError as e:
            said.append(str(e))
    assert said
    assert all(text.isprintable() and len(text) < 600 + len(str(tmp_path)) for text in said)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.h5")
    with pytest.raises(BuildError, match="not a file"):
        read_content(tmp_path / "net.h5")


def test_a_process_that_is_confined_opens_and_sends_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("secret")
    script = (
        "import json, os, socket, sys\n"
        "from tlc_edge.compiler.weights.confine import confine\n"
        "confine(memory=64 << 20, seconds=20)\n"
        "tries = {'read': lambda: open(sys.argv[1] + '/there'), 'write': lambda: open(sys.argv[1] + '/new', 'w'),\n"
        "  'socket': lambda: socket.socket(), 'pipe': os.pipe, 'memory': lambda: bytearray(1 << 30)}\n"
        "found = {}\n"
        "for name, attempt in tries.items():\n"
        "  try: attempt(); found[name] = True\n"
        "  except (OSError, MemoryError): found[name] = False\n"
        "print(json.dumps(found))"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout) == dict.fromkeys(("read", "write", "socket", "pipe", "memory"), False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there"]


def test_the_time_it_may_take_is_of_the_processor() -> None:
    script = (
        "from tlc_edge.compiler.weights.confine import confine\nconfine(memory=64 << 20, seconds=1)\nwhile True: pass"
    )
    before = time.process_time()
    ran = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, check=False)
    assert ran.returncode < 0
    assert time.process_time() - before < 60


@pytest.mark.parametrize("kind", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_layers_that_read_files_are_refused_in_every_format(kind: str) -> None:
    layer = {"class_name": kind, "config": {"name": "words", "vocabulary": "/etc/passwd"}}
    with pytest.raises(BuildError, match=f"layer words is a {kind}, which reads a file of words"):
        code.refuse_foreign({"class_name": "Sequential", "config": {"layers": [layer]}}, "net")
    code.refuse_foreign({"class_name": "Dense", "module": "keras.layers", "config": {"units": 3}}, "net")
