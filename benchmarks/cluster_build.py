"""Whole builds on a cluster against one machine: what is killed, what each process takes, how it grows.

    python benchmarks/cluster_build.py kills --images 20000     three Ray nodes and a bucket; a node and the driver die
    python benchmarks/cluster_build.py workers --images 12000   one process beside Ray with 1 and 2 workers
    python benchmarks/cluster_build.py growth --grow 10000 50000 200000

Images are the 5,000 digits of `sample:digits`, moved, turned and dimmed at random, in ten classes, and where a folder
per class is named with `--photos`, a fifth of all are crops of these. Needs Linux, the extras compiler, cluster and
sample, and for `kills` moto[server]. Processor seconds and peaks are those that /proc tells of each process, looked at
four times a second; the peak counts mapped files and Ray's shared memory too.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NODES = Path(__file__).parents[1] / "tests" / "ray_nodes.py"
BOUNDS = {"driver": 2000, "alone": 2000, "worker": 500, "nodes": 300}
"""MB that a process may take at its peak: the build, on a cluster and alone; what makes shards; Ray's own."""
_MARK = "TLC_BENCHMARK_ROLE"
_TICK = os.sysconf("SC_CLK_TCK")


def draw_images(root: Path, images: int, photos: Path | None) -> None:
    """Write a folder per class: PNG files of digits, JPEG files of photos."""
    from tlc_edge.compiler.data.load import load_dataset

    draw = np.random.default_rng(0)
    digits = load_dataset("sample:digits").samples
    files = [] if photos is None else sorted(path for path in photos.glob("*/*") if path.is_file())
    of_photos = images // 5 if files else 0
    for i in range(images - of_photos):
        sample = digits[i * 7919 % len(digits)]  # spread over the classes
        picture = Image.fromarray(np.asarray(sample.source, np.uint8).reshape(28, 28)).resize((40, 40))
        turned = picture.rotate(draw.uniform(-20, 20), translate=tuple(draw.integers(-4, 5, 2).tolist()))
        noisy = np.asarray(turned, np.float32) * draw.uniform(0.6, 1) + draw.normal(0, 8, (40, 40))
        path = root / f"digit-{sample.label}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path)
    opened = [Image.open(path).convert("RGB") for path in files]
    for i in range(of_photos):
        picture, source = opened[i % len(files)], files[i % len(files)]
        side = int(min(picture.size) * draw.uniform(0.5, 0.9))
        left, top = (int(draw.integers(0, n - side)) for n in picture.size)
        crop = picture.crop((left, top, left + side, top + side)).resize((160, 160))
        path = root / source.parent.name / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.rotate(draw.uniform(-15, 15)).save(path, quality=90)


@dataclass
class Seen:
    """A process: what it is, its seconds of processor, its peak in MB."""

    role: str
    processor: float = 0.0
    peak: float = 0.0


class Watch(threading.Thread):
    """Looks at the processes that were started with a role in their environment, and those that they start."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: dict[tuple[int, str], Seen] = {}
        self._roles: dict[int, str] = {}
        self._stop_it = threading.Event()

    def run(self) -> None:
        """Look, until `stop`."""
        while not self._stop_it.wait(0.25):
            for path in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError, StopIteration, IndexError):
                    self._look(path)

    def stop(self) -> None:
        """Look no more."""
        self._stop_it.set()
        self.join()

    def _look(self, path: Path) -> None:
        fields = (path / "stat").read_text().rpartition(")")[2].split()
        pid, parent, started = int(path.name), int(fields[1]), fields[19]
        found = self.seen.get((pid, started))
        if found is None:
            mark = f"{_MARK}=".encode()
            said = next((v for v in (path / "environ").read_bytes().split(b"\0") if v.startswith(mark)), b"")
            role = said.removeprefix(mark).decode() or self._roles.get(parent, "")
            if not role or pid == os.getpid():
                return
            self._roles[pid] = role
            found = self.seen[pid, started] = Seen(role)
        words = (path / "cmdline").read_bytes().split(b"\0")
        if found.role == "nodes" and any(w.startswith(b"ray::") or w.endswith(b"default_worker.py") for w in words):
            found.role = "worker"
        found.processor = (int(fields[11]) + int(fields[12])) / _TICK
        status = (path / "status").read_text().splitlines()
        found.peak = next(int(line.split()[1]) / 1e3 for line in status if line.startswith("VmHWM"))

    def processor(self, *roles: str) -> float:
        """Return the seconds of the processes with these roles."""
        return sum(s.processor for s in self.seen.values() if s.role in roles)

    def report(self) -> None:
        """Print a line for each role."""
        for role in sorted({s.role for s in self.seen.values()}):
            of_role = [s for s in self.seen.values() if s.role == role]
            peaks = max(s.peak for s in of_role)
            used = sum(s.processor for s in of_role)
            most = f" of {BOUNDS[role]:,}" if role in BOUNDS else ""
            say(f"  {role}: {len(of_role)} processes, {used:.1f} s of processor, the largest {peaks:.0f}{most} MB")

    def check(self) -> None:
        """Check that each process stayed within its bound."""
        over = [s for s in self.seen.values() if s.peak > BOUNDS.get(s.role, s.peak)]
        assert not over, over


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def environment(home: Path, role: str, **more: str) -> dict[str, str]:
    """Return what a process of a role is started with."""
    return {
        **os.environ,
        **{_MARK: role, "HOME": str(home), "RAY_TMPDIR": "/tmp", "RAY_AUTH_MODE": "token", "TLC_CACHE": "off"},
        **{"RAY_USAGE_STATS_ENABLED": "0", "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"},
        **{"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", **more},
    }


@contextlib.contextmanager
def nodes(env: Mapping[str, str], count: int, log: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Yield Ray nodes of one core each, and their address."""
    token = Path(env["HOME"], ".ray", "auth_token")
    token.parent.mkdir(0o700, exist_ok=True)
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o600)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    began = time.monotonic()
    with (
        log.open("w") as noise,
        subprocess.Popen([sys.executable, str(NODES), str(count)], env=dict(env), stderr=noise, **pipes) as process,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        address = process.stdout.readline().strip()
        assert address, log.read_text()[-2000:]
        say(f"{count} nodes: up after {time.monotonic() - began:.1f} s")
        yield process, address
        process.stdin.close()
        process.wait(120)


@contextlib.contextmanager
def bucket(home: Path, images: Path) -> Generator[dict[str, str]]:
    """Yield the environment in which `s3://bucket/images` are these."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    more = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment(home, "bucket", **more), **quiet) as server:
        try:
            until(lambda: _answers(port))
            script = "import s3fs, sys; fs = s3fs.S3FileSystem(); fs.mkdir('bucket')\n"
            script += "fs.put(sys.argv[1], 'bucket/images', recursive=True)"
            began = time.monotonic()
            subprocess.run(
                [sys.executable, "-c", script, str(images)], env=environment(home, "put", **more), check=True
            )
            say(f"images in the bucket after {time.monotonic() - began:.0f} s")
            yield more
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(holds: Callable[[], bool], seconds: float = 1200, every: float = 0.2) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(every)


def command(data: str, out: Path, given: argparse.Namespace, *more: str) -> list[str]:
    """Return a build as it is typed."""
    out.parent.mkdir(exist_ok=True)
    size = ["--input-size", str(given.size)] if given.size else []
    trunk = ["--target", "rpi", "--backbone", given.backbone, *size, "--max-drop", "90"]
    run = "from tlc_edge.cli import main; main()"
    return [sys.executable, "-c", run, "build", "--data", data, *trunk, "-o", str(out), "--json", *more]


def run(words: Sequence[str], env: Mapping[str, str], log: Path) -> dict[str, Any]:
    """Build, and return what it says; say how long it took."""
    began = time.monotonic()
    with log.open("w") as noise:
        done = subprocess.run(words, env=dict(env), stdout=subprocess.PIPE, stderr=noise, check=False)
    assert done.returncode == 0, log.read_text()[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    slow = {name: round(s, 1) for name, s in found["seconds"].items() if s >= 0.5}
    say(f"  {time.monotonic() - began:.1f} s on the clock; {slow}")
    return found


def contents(path: Path) -> dict[str, bytes]:
    """Return what a bundle holds, but for when it was made."""
    with zipfile.ZipFile(path) as file:
        found = {name: file.read(name) for name in file.namelist() if name != "manifest.sha256"}
    manifest = json.loads(found["manifest.json"])
    return {**found, "manifest.json": json.dumps({**manifest, "created": ""}).encode()}


def compare(one: Path, other: Path) -> None:
    """Say whether two bundles are the same."""
    a, b = contents(one), contents(other)
    differ = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    assert not differ, differ
    say("the bundles: the same bytes, but for when they were made")


def kills(given: argparse.Namespace, folder: Path) -> None:
    """Build from a bucket on three nodes; kill the driver, then a node; compare with one machine."""
    images = folder / "images"
    draw_images(images, given.images, given.photos)
    watch = Watch()
    watch.start()
    with (
        bucket(folder, images) as more,
        nodes(environment(folder, "nodes", **more), 3, folder / "nodes.log") as (ray, at),
    ):
        os.environ.update(environment(folder, "", **more))
        import s3fs  # type: ignore[import-untyped]

        def made() -> int:
            files = s3fs.S3FileSystem(use_listings_cache=False)
            return len(files.ls("bucket/store/shards")) if files.exists("bucket/store/shards") else 0

        out = folder / "spread" / "x.tlc"
        words = command("s3://bucket/images", out, given, "--cluster", at, "--features", "s3://bucket/store")
        words += ["--shards", str(given.shards)]
        with (folder / "first.log").open("w") as noise:
            driver = subprocess.Popen(words, env=environment(folder, "driver", **more), stdout=noise, stderr=noise)
            until(lambda: made() >= given.shards // 4 or driver.poll() is not None)
        assert driver.poll() is None, (folder / "first.log").read_text()[-2000:]
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        say(f"the driver killed at {made()} of {given.shards} shards of the first pass")
        ended: list[BaseException | None] = []

        def again() -> None:
            try:
                run(words, environment(folder, "driver", **more), folder / "second.log")
                ended.append(None)
            except BaseException as e:
                ended.append(e)

        second = threading.Thread(target=again)
        second.start()
        until(lambda: made() >= given.shards // 2 or bool(ended))
        assert ray.stdin is not None
        assert ray.stdout is not None
        ray.stdin.write("kill\n")
        ray.stdin.flush()
        assert ray.stdout.readline().strip() == "killed"
        say(f"a node killed at {made()} of {given.shards}")
        second.join()
        assert ended == [None], ended
        assert not any(name.startswith("Traceback") for name in (folder / "second.log").read_text().splitlines())
    say("one machine, the same images in a folder")
    run(command(str(images), folder / "alone" / "x.tlc", given), environment(folder, "alone"), folder / "alone.log")
    watch.stop()
    watch.report()
    watch.check()
    compare(folder / "alone" / "x.tlc", folder / "spread" / "x.tlc")


ALONE = """
import sys
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.features.featurize import featurize
from tlc_edge.compiler.shards.records import read_plan
from tlc_edge.compiler.shards.run import trunk_of
from tlc_edge.compiler.shards.store import Store
store = Store(sys.argv[1])
plan, passes = read_plan(store)
samples = load_dataset(sys.argv[2]).samples
print(len(featurize(trunk_of(store, passes[0].looks[0]), samples, plan.preprocessing, int(sys.argv[3])).samples))
"""
SPREAD = """
import sys
from tlc_edge.compiler.shards.cluster import ray_runner
from tlc_edge.compiler.shards.records import read_plan
from tlc_edge.compiler.shards.store import Store
from tlc_edge.runtime.progress import silent
store = Store(sys.argv[1])
plan, passes = read_plan(store)
ray_runner(sys.argv[2])(store, plan, passes[0], silent)
"""


def workers(given: argparse.Namespace, folder: Path) -> None:
    """Compare all images once through the float trunk: in one process, and as tasks of 1 and 2 nodes of one core.

    Both at once, so that what else the machine does slows them alike; one process has a thread for each node.
    """
    from tlc_edge.compiler.shards.store import Store
    from tlc_edge.compiler.shards.stored import states

    images = folder / "images"
    draw_images(images, given.images, given.photos)
    script = "from tlc_edge.cli import main; main()"
    size = ["--input-size", str(given.size)] if given.size else []
    words = [sys.executable, "-c", script, "features", "plan", str(folder / "1"), "--data", str(images)]
    words += ["--backbone", given.backbone, *size, "--shards", str(given.shards)]
    subprocess.run(words, env=environment(folder, "plan"), check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(folder / "1", folder / "2")

    for count in (1, 2):
        store = str(folder / str(count))
        # Ray gives its workers the niceness 15, and on a busy machine they would wait where one process does not.
        env = environment(folder, "nodes", RAY_worker_niceness="0")
        with nodes(env, count, folder / "nodes.log") as (_, at):
            started = Watch()
            started.start()
            time.sleep(10)  # what the nodes take until they are up
            started.stop()
            before = started.processor("nodes", "worker")
            alone = [ALONE, str(folder / "1"), str(images), str(count)]
            took, watch = at_once(folder, {"alone": alone, "driver": [SPREAD, store, at]})
        single, used = watch.processor("alone"), watch.processor("nodes", "worker", "driver") - before
        (state,) = states(Store(store))
        say(f"one process, {count} threads: {given.images / took['alone']:.1f} images/s, {single:.1f} s of processor")
        say(f"Ray, {count} workers: {given.images / took['driver']:.1f} images/s, {used:.1f} s of processor")
        say(f"  {state.processor:.1f} s of it in shards; the start of nodes {before:.1f} s more")
        of_clock, of_processor = took["alone"] / took["driver"], single / used
        say(f"  {of_clock:.2f} of one process on the clock, {of_processor:.2f} in processor seconds")
        watch.report()


def at_once(folder: Path, scripts: Mapping[str, Sequence[str]]) -> tuple[dict[str, float], Watch]:
    """Run scripts at once, each in its role; return how long each took, and what was seen of all."""
    watch = Watch()
    watch.start()
    began = time.monotonic()
    running = {
        role: subprocess.Popen([sys.executable, "-c", *words], env=environment(folder, role), stdout=subprocess.DEVNULL)
        for role, words in scripts.items()
    }
    took: dict[str, float] = {}
    while running:
        for role in [role for role, process in running.items() if process.poll() is not None]:
            assert running.pop(role).returncode == 0, role
            took[role] = time.monotonic() - began
        time.sleep(0.1)
    time.sleep(1)
    watch.stop()
    return took, watch


def growth(given: argparse.Namespace, folder: Path) -> None:
    """Build from stores of more and more images, each in a process of its own."""
    for images in given.grow:
        at = folder / str(images)
        real = min(images, given.real)
        draw_images(at / "images", real, given.photos)
        drawn = sorted((at / "images").glob("*/*"))
        for i in range(real, images):  # the same files under other names: what is looked at is simulated
            path = drawn[i % real]
            os.link(path, path.with_name(f"{i}-{path.name}"))
        words = [sys.executable, __file__, "one", "--images", str(images), "--real", str(given.real), "--keep", str(at)]
        words += ["--backbone", given.backbone, "--size", str(given.size)]
        done = subprocess.run(words, env=environment(at, ""), stdout=subprocess.PIPE, check=True, text=True)
        kind = "simulated" if images > given.real else "made"
        say(f"{images:,} images, features {kind}: {done.stdout.splitlines()[-1]}")


def one(given: argparse.Namespace, folder: Path) -> None:
    """Plan, make shards, build; say what each took and the peak of memory of the build."""
    from tlc_edge.compiler import Options, build
    from tlc_edge.compiler.options import Asked
    from tlc_edge.compiler.shards import run as shards
    from tlc_edge.compiler.spread import plan_features

    asked = Asked(input_size=(given.size, given.size) if given.size else None)
    real = given.images <= given.real
    options = Options(
        data=str(folder / "images"), targets=("rpi",), output=folder / "x.tlc", backbone=given.backbone, asked=asked,
        max_drop=90.0 if real else 100.0,  # the head of simulated features knows nothing of pixels
        cache="off",
    )  # fmt: skip
    store = str(folder / "store")
    if not real:
        shards.featurize = simulated
    took: dict[str, float] = {}

    def step(name: str, work: Callable[[], Any]) -> Any:
        began, before = time.monotonic(), time.process_time()
        found = work()
        took[name] = round(time.monotonic() - began, 1)
        took[f"{name}, processor"] = round(time.process_time() - before, 1)
        return found

    count = max(32, given.images // 1000)
    step("plan", lambda: plan_features(options, store, count))
    step("shards", lambda: shards.run_shards(store))
    again = replace(options, data="", features=store)
    step("second plan", lambda: plan_features(again, store))
    step("second shards", lambda: shards.run_shards(store))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    found = step("build", lambda: build(again))
    took |= {name: round(seconds, 1) for name, seconds in found.seconds.items() if seconds >= 1}
    status = Path("/proc/self/status").read_text().splitlines()
    took["MB"] = next(int(line.split()[1]) // 1000 for line in status if line.startswith("VmHWM"))
    print(json.dumps(took))


def simulated(trunk: Any, samples: Sequence[Any], preprocessing: Any, _threads: int = 0, **_more: Any) -> Any:
    """Return features that were drawn around a centre of each class, and thumbnails of nothing that there is."""
    from tlc_edge.compiler.features.featurize import Featurized
    from tlc_edge.compiler.features.half import rounded
    from tlc_edge.runtime.images.nothing import SIDE

    paths = [os.fspath(sample.source) for sample in samples]
    seeds = [int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") for path in paths]
    classes = [int.from_bytes(hashlib.sha256(sample.label.encode()).digest()[:4], "big") for sample in samples]
    centres = {c: np.random.default_rng(c).normal(0, 1, trunk.width) for c in set(classes)}
    features = np.empty((len(samples), trunk.width), np.float32)
    thumbnails = np.empty((len(samples), SIDE, SIDE, preprocessing.channels), np.uint8)
    for i, (seed, label) in enumerate(zip(seeds, classes, strict=True)):
        draw = np.random.default_rng(seed)
        features[i] = np.maximum(centres[label] + draw.normal(0, 1.5, trunk.width), 0)
        coarse = draw.integers(0, 256, (4, 4, 1)).repeat(4, 0).repeat(4, 1)
        thumbnails[i] = np.clip(coarse + draw.normal(0, 9, thumbnails[i].shape), 0, 255)
    digests = tuple(hashlib.sha256(path.encode()).digest() for path in paths)
    return Featurized(tuple(samples), rounded(features), thumbnails, (), 0, digests=digests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "workers", "growth", "one"])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--photos", type=Path, help="folder per class")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument(
        "--size", type=int, default=0, help="input size in pixels; the backbone's own where none is given"
    )
    parser.add_argument("--shards", type=int, default=32)
    parser.add_argument("--keep", type=Path, help="folder that is kept, in the place of a temporary one")
    parser.add_argument("--grow", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    parser.add_argument("--real", type=int, default=10_000, help="of more images than that the features are simulated")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        {"kills": kills, "workers": workers, "growth": growth, "one": one}[given.what](given, folder)


if __name__ == "__main__":
    main()
