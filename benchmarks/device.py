"""What a device costs beside TensorFlow, and what its own parts cost; everything in one run, as ratios.

    python benchmarks/device.py BUNDLE [--photos FOLDER] [--small]

BUNDLE must hold a TFLite model. The same file is run by ai-edge-litert (or tflite-runtime) through
tlc_edge.runtime and by TensorFlow's own tf.lite.Interpreter, with tf.io and tf.image for the picture, each in fresh
processes that take turns. Without `--photos` the pictures are 12-megapixel JPEGs made from golden samples.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlc_edge.runtime import Bundle, Classifier, Gallery
from tlc_edge.runtime.engines.golden import golden
from tlc_edge.runtime.engines.open import choose, open_model, outputs_for, threads_for
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.records import ExampleSource
from tlc_edge.runtime.images.load import load_image

TLC = """
import sys, time
start = time.perf_counter()
from tlc_edge.runtime import Classifier
with Classifier.open(sys.argv[1], gallery=sys.argv[2]) as classifier:
    classifier.predict(sys.argv[3])
    print(time.perf_counter() - start)
    from tlc_edge.runtime.doctor.memory import peak
    print(peak())
"""
TENSORFLOW = """
import sys, time
start = time.perf_counter()
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
interpreter = tf.lite.Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
(source,) = interpreter.get_input_details()
image = tf.io.decode_jpeg(tf.io.read_file(sys.argv[3]), channels=3)
image = tf.image.resize(image, source["shape"][1:3], antialias=True)
interpreter.set_tensor(source["index"], tf.cast(tf.round(image), tf.uint8)[None])
interpreter.invoke()
[interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
print(time.perf_counter() - start)
print(next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmHWM")))
"""

ALONE = """
import time
start = time.process_time()
import numpy, PIL.Image
print(time.process_time() - start)
"""
RUNTIME = """
import time
start = time.process_time()
from tlc_edge.runtime import Classifier
print(time.process_time() - start)
"""
FIRST = """
import sys, time
start = time.process_time()
from tlc_edge.runtime import Classifier
with Classifier.open(sys.argv[1], gallery=sys.argv[2]) as classifier:
    classifier.predict(sys.argv[3])
    print(time.process_time() - start)
"""
BARE = """
import importlib, sys, time
start = time.process_time()
import numpy, PIL.Image
interpreter = importlib.import_module(sys.argv[4]).Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
(source,) = interpreter.get_input_details()
height, width = (int(n) for n in source["shape"][1:3])
with PIL.Image.open(sys.argv[3]) as image:
    image.draft("RGB", (2 * width, 2 * height))
    pixels = numpy.asarray(image.convert("RGB").resize((width, height), PIL.Image.Resampling.BILINEAR))
interpreter.set_tensor(source["index"], pixels[None])
interpreter.invoke()
[interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
print(time.process_time() - start)
"""
COMMAND = """
import time
start = time.process_time()
from tlc_edge.cli import main
try:
    main()
finally:
    print(time.process_time() - start)
"""
CLICK = """
import time
start = time.process_time()
import click
print(time.process_time() - start)
"""

PROCESS = """
import sys
import numpy as np
from tlc_edge.runtime import Classifier
pixels = np.load(sys.argv[3])
with Classifier.open(sys.argv[1], gallery=sys.argv[2]) as classifier:
    classifier.predict(pixels)
    print(flush=True)
    sys.stdin.readline()
    for _ in range(int(sys.argv[4])):
        classifier.predict(pixels)
    print(flush=True)
    sys.stdin.readline()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--photos", help="a folder of JPEGs, looked through with its subfolders")
    parser.add_argument("--small", action="store_true", help="a tenth of the rounds and rows")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.bundle)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        photos = find_photos(arguments.photos) if arguments.photos else make_photos(bundle, where)
        few = arguments.small
        rows = [
            *against_tensorflow(bundle, where, photos[0], 3 if few else 9),
            *starting(bundle, where, photos[0], 5 if few else 25),
            *predicting(bundle, where, photos, 20 if few else 200),
            *many(bundle, where, photos, 8 if few else 48),
            *together(bundle, where, photos[0], 48 if few else 480),
            *enrolling(bundle, where, 20 if few else 200),
            *loading(bundle, where, 10_000 if few else 100_000),
        ]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        goal = f"  goal {row['goal']}" if row["goal"] else ""
        print(f"{row['what']:<66} {row['value']:>8.3f} {row['unit']}{goal}")
        print(f"    {row['parts']}")


def row(what: str, value: float, unit: str, goal: str, parts: str) -> dict[str, Any]:
    return {"what": what, "value": round(value, 4), "unit": unit, "goal": goal, "parts": parts}


def find_photos(folder: str) -> list[Path]:
    found = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise SystemExit(f"{folder}: no JPEG in it")
    return found


def make_photos(bundle: Bundle, folder: Path) -> list[Path]:
    file = next(m.file for m in bundle.manifest.models if m.format == "tflite")
    paths: list[Path] = []
    for i, pixels in enumerate(golden(bundle, file)[0][:4]):
        path = folder / f"photo{i}.jpg"
        Image.fromarray(pixels).resize((4000, 3000), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths


# --- start and memory, beside TensorFlow


def against_tensorflow(bundle: Bundle, folder: Path, photo: Path, rounds: int) -> list[dict[str, Any]]:
    model = folder / "model.tflite"
    model.write_bytes(bundle.read(next(m.file for m in bundle.manifest.models if m.format == "tflite")))
    with Classifier.open(bundle, folder / "none"):
        pass  # the self-test of the first time is not what is compared
    threads = min(int(bundle.manifest.target.get("threads") or 1), os.cpu_count() or 1)
    ways = {
        "tlc": [TLC, str(bundle.path), str(folder / "none"), str(photo)],
        "tf": [TENSORFLOW, str(model), str(threads), str(photo)],
    }
    for way in ways.values():
        fresh(way)  # file cache and bytecode are warm for both
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for name in shuffled(ways, rounds):
        taken[name].append(fresh(ways[name]))
    seconds = {n: statistics.median(s for s, _ in t) for n, t in taken.items()}
    megabytes = {n: statistics.median(m for _, m in t) / 1e6 for n, t in taken.items()}
    return [
        row(
            "import + open + first prediction / the same through tf.lite",
            seconds["tlc"] / seconds["tf"],
            "x",
            "<= 0.35",
            f"{seconds['tlc']:.2f} s, {seconds['tf']:.2f} s",
        ),
        row(
            "peak resident memory / the same through tf.lite",
            megabytes["tlc"] / megabytes["tf"],
            "x",
            "<= 0.35",
            f"{megabytes['tlc']:.0f} MB, {megabytes['tf']:.0f} MB",
        ),
    ]


def fresh(way: list[str]) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-P", "-c", *way], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), float(memory)


# --- what a start takes of the processor


def starting(bundle: Bundle, folder: Path, photo: Path, rounds: int) -> list[dict[str, Any]]:
    kind, found = choose(bundle.manifest.models)
    model = folder / found.file
    model.write_bytes(bundle.read(found.file))
    none = str(folder / "none")
    ways = {
        "alone": [ALONE],
        "runtime": [RUNTIME],
        "bare": [BARE, str(model), str(threads_for(bundle)), str(photo), kind.module],
        "first": [FIRST, str(bundle.path), none, str(photo)],
        "predict": [COMMAND, "predict", str(bundle.path), str(photo), "--gallery", none],
        "click": [CLICK],
        "help": [COMMAND, "--help"],
    }
    if kind.format != "tflite":
        del ways["bare"]  # which is written for its interpreters
    for way in ways.values():
        spent(way)  # file cache and bytecode are warm for all
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for name in shuffled(ways, rounds):
        taken[name].append(1e3 * spent(ways[name]))
    middle = {name: statistics.median(each) for name, each in taken.items()}
    least = {name: min(each) for name, each in taken.items()}

    def ratio(what: str, one: str, other: str, goal: str = "") -> dict[str, Any]:
        parts = (
            f"{middle[one]:.0f} ms, {middle[other]:.0f} ms of the processor; least {least[one]:.0f}, {least[other]:.0f}"
        )
        return row(what, middle[one] / middle[other], "x", goal, parts)

    return [
        ratio("importing the runtime / numpy and Pillow alone", "runtime", "alone", "<= 1.3"),
        *([ratio("first prediction / by the engine alone", "first", "bare")] if "bare" in ways else []),
        ratio("`tlc predict` / the same from Python", "predict", "first"),
        ratio("`tlc --help` / importing click alone", "help", "click"),
    ]


def spent(way: list[str]) -> float:
    """Return the seconds of processor time that a fresh process says it took."""
    done = subprocess.run([sys.executable, "-P", "-c", *way], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split()[-1])


@contextlib.contextmanager
def others() -> Generator[None]:
    """Have another program use each core while the block runs."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


# --- one frame


def predicting(bundle: Bundle, folder: Path, photos: list[Path], rounds: int) -> list[dict[str, Any]]:
    spec = bundle.manifest.preprocessing
    with Classifier.open(bundle, folder / "thousand.gallery", threads=1) as classifier:
        fill(bundle, folder / "thousand.gallery", 1000)
        kind, model = choose(bundle.manifest.models)
        outputs = outputs_for(bundle.manifest.labels)
        engine = open_model(kind, bundle.read(model.file), 1, outputs)
        pixels = load_image(photos[0], spec)
        data = photos[0].read_bytes()

        def bare() -> Any:
            engine.run(pixels)

        def plain() -> np.ndarray:
            """A 12-megapixel photo as a first script does it: open, convert, resize, invoke."""
            picture = Image.open(io.BytesIO(data)).convert("RGB")
            picture = picture.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
            return engine.run(np.asarray(picture))[-1]

        took = interleaved({"predict": partial(classifier.predict, pixels), "bare": bare}, rounds)
        with others():
            beside = interleaved({"predict": partial(classifier.predict, pixels), "bare": bare}, rounds)
        took |= interleaved({"photo": partial(classifier.predict, data), "plain": plain}, rounds)
        a, b = classifier.embed(data), plain()
        cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
        size = Image.open(photos[0]).size
    return [
        row(
            "predict on a decoded image, 1,000 rows in the gallery / bare engine",
            took["predict"] / took["bare"],
            "x",
            "<= 1.05",
            f"{took['predict']:.2f} ms, {took['bare']:.2f} ms, one thread",
        ),
        row(
            "the same while other programs use every core",
            beside["predict"] / beside["bare"],
            "x",
            "",
            f"{beside['predict']:.2f} ms, {beside['bare']:.2f} ms",
        ),
        row(
            f"open + resize + invoke the plain way / predict, {size[0]}x{size[1]} JPEG",
            took["plain"] / took["photo"],
            "x",
            ">= 3 at 12 megapixels",
            f"{took['plain']:.1f} ms, {took['photo']:.1f} ms; embeddings agree to cosine {cosine:.4f}",
        ),
    ]


def many(bundle: Bundle, folder: Path, photos: list[Path], count: int) -> list[dict[str, Any]]:
    paths = [photos[i % len(photos)] for i in range(count)]
    rows: list[dict[str, Any]] = []
    for threads in (1, None):
        with Classifier.open(bundle, folder / "none", threads=threads) as classifier:
            ways: dict[str, Callable[[], Any]] = {
                "many": partial(many_at_once, classifier, paths),
                "one": partial(one_by_one, classifier, paths),
            }
            took = interleaved(ways, 5)
        said = "1 thread" if threads == 1 else "the target's threads"
        rows.append(
            row(
                f"predict one by one / predict_many, {count} photos, {said}",
                took["one"] / took["many"],
                "x",
                "",
                f"{took['one'] / count:.1f} ms, {took['many'] / count:.1f} ms a photo, {os.cpu_count()} cores",
            )
        )
    return rows


def many_at_once(classifier: Classifier, paths: list[Path]) -> None:
    for _ in classifier.predict_many(paths):
        pass


def one_by_one(classifier: Classifier, paths: list[Path]) -> None:
    for path in paths:
        classifier.predict(path)


# --- threads and processes


def together(bundle: Bundle, folder: Path, photo: Path, count: int) -> list[dict[str, Any]]:
    """Predictions of a decoded image a second: one Classifier in n threads, and n processes with one each."""
    np.save(folder / "pixels.npy", load_image(photo, bundle.manifest.preprocessing))
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(3):
        for n in (1, 2, 4, 8):
            rates.setdefault(("threads", n), []).append(in_threads(bundle, folder, n, count))
            rates.setdefault(("processes", n), []).append(in_processes(bundle, folder, n, count))
    return [
        row(
            f"predictions a second, {n} threads / {n} processes",
            statistics.median(rates["threads", n]) / statistics.median(rates["processes", n]),
            "x",
            "",
            f"{statistics.median(rates['threads', n]):.0f}, {statistics.median(rates['processes', n]):.0f} a second",
        )
        for n in (1, 2, 4, 8)
    ]


def in_threads(bundle: Bundle, folder: Path, n: int, count: int) -> float:
    pixels = np.load(folder / "pixels.npy")
    with Classifier.open(bundle, folder / "none") as classifier, ThreadPoolExecutor(n) as pool:
        list(pool.map(lambda _: classifier.predict(pixels), range(4 * n)))  # as many copies as will be needed
        start = time.perf_counter()
        list(pool.map(lambda _: classifier.predict(pixels), range(count)))
        return count / (time.perf_counter() - start)


def in_processes(bundle: Bundle, folder: Path, n: int, count: int) -> float:
    way = [PROCESS, str(bundle.path), str(folder / "none"), str(folder / "pixels.npy"), str(count // n)]
    run = partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    started: list[Any] = [run([sys.executable, "-P", "-c", *way]) for _ in range(n)]
    taken = 0.0
    for word in ("ready", "done"):
        begin = time.perf_counter()
        for one in started:
            if not one.stdout.readline():
                raise SystemExit(f"a process ended before it was {word}")
        taken = time.perf_counter() - begin
        for one in started:
            one.stdin.write("\n")
            one.stdin.flush()
    for one in started:
        one.communicate()
    return count / taken


# --- the gallery


def enrolling(bundle: Bundle, folder: Path, rounds: int) -> list[dict[str, Any]]:
    spec = bundle.manifest.preprocessing
    rng = np.random.default_rng(0)
    base = load_image(golden(bundle, bundle.manifest.models[0].file)[0][0], spec).astype(int)
    pictures = [np.clip(base + rng.integers(-40, 40, base.shape), 0, 255).astype(np.uint8) for _ in range(rounds)]
    with Classifier.open(bundle, folder / "enroll.gallery", threads=1) as classifier:
        classifier.enroll("warm", [pictures[0]])
        more: list[float] = []
        for i, picture in enumerate(pictures):
            bare = timed(partial(classifier.embed, picture))
            more.append(timed(partial(classifier.enroll, f"class {i % 20}", [picture])) - bare)
    p50, p95 = np.percentile(more, [50, 95])
    parts = f"p95 {p95:.2f} ms; one image, thumbnail included, on disk when it returns"
    return [row("enrolment of one image, less its inference", float(p50), "ms", "<= 5", parts)]


def loading(bundle: Bundle, folder: Path, count: int) -> list[dict[str, Any]]:
    path = folder / "many.gallery"
    fill(bundle, path, count)
    took = interleaved(
        {
            "with": lambda: Classifier.open(bundle, path, threads=1).close(),
            "without": lambda: Classifier.open(bundle, folder / "none", threads=1).close(),
        },
        5,
    )
    seconds = (took["with"] - took["without"]) / 1e3
    megabytes = path.stat().st_size / 1e6
    parts = f"open with {took['with']:.0f} ms, without {took['without']:.0f} ms; the file {megabytes:.0f} MB"
    return [row(f"loading {count:,} examples", seconds, "s", "<= 1 for 100,000", parts)]


def fill(bundle: Bundle, path: Path, count: int) -> None:
    """Enroll so many examples in 50 classes: directions spread about one centre per class."""
    width = bundle.manifest.embedding_width
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(50, width))
    with Gallery.open(path, bundle.manifest.fingerprint, width, create=True) as gallery:
        gallery.limit(Limits(0, 0))
        for k in range(50):
            share = count // 50
            vectors = (centres[k] + 0.5 * rng.normal(size=(share, width))).astype(np.float32)
            sources = [ExampleSource(f"{k:08x}{i:056x}", f"{i}.jpg") for i in range(share)]
            gallery.add(f"class {k}", vectors, sources)


# --- the clock


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def interleaved(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return each way's median milliseconds; they take turns in random order."""
    for work in ways.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for name in shuffled(ways, rounds):
        taken[name].append(timed(ways[name]))
    return {name: statistics.median(times) for name, times in taken.items()}


def shuffled(names: Iterable[str], rounds: int) -> list[str]:
    rng = random.Random(0)
    order = list(names)
    out: list[str] = []
    for _ in range(rounds):
        rng.shuffle(order)
        out += order
    return out


if __name__ == "__main__":
    main()
