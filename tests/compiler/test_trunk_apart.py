"""A build whose worker loads and lowers: as one that does all itself, in what it gives and in how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from small_networks import small_backbone

from tlc_edge.runtime.bundle.bundle import Bundle

BUILD = """
import os, signal, sys
from pathlib import Path
from tlc_edge.compiler import Options, build, worker
from tlc_edge.runtime.errors import TlcError
data, backbone, out, cache, threads, shave, lost = sys.argv[1:]
worker.cores, worker.free_memory = lambda: 2, lambda: 1e12

def look(step, done, total):
    if step == lost:
        (pid,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        os.kill(int(pid), signal.SIGKILL)

asked = Options(
    data, ("rpi", "web", "android"), Path(out, "small.tlc"), backbone=backbone, cache=cache, max_drop=100,
    threads=int(threads), shave=shave or None,
)
try:
    build(asked, look)
except TlcError as e:
    print(type(e).__name__, e, e.step, e.after)
print("tensorflow" in sys.modules)
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "small.keras"
    small_backbone().model.save(path)
    return path


def start(
    photos: Path, network: Path, out: Path, threads: int, shave: str = "", lost: str = ""
) -> subprocess.Popen[str]:
    out.mkdir()
    words = [photos, network, out, out.with_name(f"cache of {out.name}"), threads, shave, lost]
    command = [sys.executable, "-c", BUILD, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out.strip()


def content(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return the files of each bundle in a folder, without the time at which it was made."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.iterdir()):
        files = dict(Bundle.open(path).files)
        created = json.loads(files["manifest.json"])["created"].encode()
        found[path.name] = {name: data.replace(created, b"") for name, data in files.items()}
    return found


def children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.slow
def test_the_same_bytes_for_all_targets_with_a_worker_without_and_with_one_that_is_lost(
    photos: Path, network: Path, tmp_path: Path
) -> None:
    alone, beside, lost = (tmp_path / name for name in ("alone", "beside", "lost"))
    assert finish(start(photos, network, alone, 1)) == "True"
    assert finish(start(photos, network, beside, 0)) == "False"
    assert finish(start(photos, network, lost, 0, lost="calibrate")) == "True"
    assert len(content(alone)) == 3
    assert content(alone) == content(beside) == content(lost)


@pytest.mark.slow
def test_other_images_on_a_known_trunk_are_lowered_for_in_the_worker_and_the_same_ones_without(
    photos: Path, network: Path, tmp_path: Path
) -> None:
    assert finish(start(photos, network, tmp_path / "before", 0)) == "False"
    other = tmp_path / "other"
    for path in sorted(photos.rglob("*.png")):
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            ImageOps.flip(image).save(other / path.parent.name / path.name)
    made: list[dict[str, dict[str, bytes]]] = []
    for threads, loaded in ((1, "True"), (0, "False")):
        out = tmp_path / str(threads)
        shutil.copytree(tmp_path / "cache of before", tmp_path / f"cache of {out.name}")
        assert finish(start(other, network, out, threads)) == loaded
        made.append(content(out))
    assert made[0] == made[1]
    shutil.copytree(tmp_path / "cache of 0", tmp_path / "cache of again")
    again = start(other, network, tmp_path / "again", 0, lost="train head")
    assert "not enough values to unpack" in again.communicate(timeout=600)[1]  # there is no worker to be lost


@pytest.mark.slow
def test_an_error_in_the_worker_is_the_same_sentence_of_the_same_step(
    photos: Path, network: Path, tmp_path: Path
) -> None:
    said = [finish(start(photos, network, tmp_path / str(n), n, "nowhere")).splitlines() for n in (1, 0)]
    assert said[0][0].startswith("UsageError")
    assert "nowhere" in said[0][0]
    assert said[0][0] == said[1][0]
    assert [lines[1] for lines in said] == ["True", "False"]
    assert not any((tmp_path / n / "small.tlc").exists() for n in ("0", "1"))


def running(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_ctrl_c_ends_the_worker_and_leaves_nothing(photos: Path, network: Path, tmp_path: Path) -> None:
    process = start(photos, network, tmp_path / "out", 0)
    while not (there := children(process.pid)):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGINT
    # Pressed while the worker is being started, it finds out by itself that nobody is left.
    while any(running(pid) for pid in there):
        time.sleep(0.05)
    assert list((tmp_path / "out").iterdir()) == []
