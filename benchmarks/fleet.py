"""The galleries of a fleet: merging many files, and a search over what comes of it; seconds and peak memory.

    python benchmarks/fleet.py BUNDLE [--files 100 1000 10000] [--rows 100000 1000000]

Makes galleries of BUNDLE's model with made vectors: each file has ten examples of five of a hundred classes, one in
fifty the same image. Each merge, and each search, runs in a process of its own, whose peak resident
memory is what is told, beside that of a process which only opens the bundle.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.packed import row_crc
from tlc_edge.runtime.gallery.records import ExampleSource
from tlc_edge.runtime.vectors import quantize_rows

CLASSES, EACH, SHARED = 100, 10, 50
PORTION = 20_000
STATUS = """
def status(name):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    return int(lines[name].split()[0]) / 1024
"""
MERGE = """
import sys, time
from pathlib import Path
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.gallery.merge import merge
bundle, folder, out = Bundle.open(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
before, start = status("VmHWM"), time.perf_counter()
done = merge(bundle, sorted(folder.iterdir()), out)
print(time.perf_counter() - start, before, status("VmHWM"), done.added, done.duplicates)
"""
SEARCH = """
import sys, time
from pathlib import Path
import numpy as np
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.knn import bank
from tlc_edge.runtime.knn.taught import Taught
bundle = Bundle.open(sys.argv[1])
before, start = status("VmHWM"), time.perf_counter()
bank._MEMINFO = Path(sys.argv[5])
taught = Taught(bundle, Path(sys.argv[2]), bundle.manifest.unknown.rate)
taught.follow()
opened = time.perf_counter() - start
queries = np.load(sys.argv[3])
times, found = [], []
with taught.up_to_date() as based:
    for query in queries:
        start = time.perf_counter()
        found.append(based.bank.nearest(query, 5))
        times.append(time.perf_counter() - start)
np.savez(sys.argv[4], ids=[based.bank.ids[rows] for rows, _ in found], cosines=[cosines for _, cosines in found])
print(opened, float(np.median(times)), before, status("VmHWM"), status("RssAnon"), len(based.bank))
"""


def vectors(rng: np.random.Generator, centres: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return made embeddings [N, D]: near to their class's centre, with noise that falls off as that of real ones."""
    width = centres.shape[1]
    fall = (1 / np.sqrt(1 + np.arange(width))).astype(np.float32)
    noise = rng.normal(size=(len(classes), width)).astype(np.float32) * fall * 4
    return (centres[classes] + noise).astype(np.float32)


def image(number: int) -> ExampleSource:
    """Return where a made example comes from."""
    return ExampleSource(hashlib.sha256(str(number).encode()).hexdigest(), f"photo-{number}.jpg")


def hurry(gallery: Gallery) -> None:
    """Do not wait for the disk: nothing of it is worth keeping."""
    with gallery.idle() as db:
        db.execute("PRAGMA synchronous = OFF")


def make_files(bundle: Bundle, folder: Path, count: int, centres: np.ndarray) -> None:
    """Write so many small galleries."""
    of, number = bundle.manifest, 0
    for n in range(count):
        rng = np.random.default_rng(n)
        with Gallery.open(folder / f"{n:05}.gallery", of.fingerprint, of.embedding_width, create=True) as gallery:
            hurry(gallery)
            for c in rng.choice(CLASSES, 5, replace=False).tolist():
                numbers = [number + i for i in range(EACH // 5)]
                number += len(numbers)
                sources = [image(0 if i % SHARED == 0 else i) for i in numbers]
                gallery.add(f"class {c}", vectors(rng, centres, np.full(len(numbers), c)), sources)


def make_one(bundle: Bundle, path: Path, rows: int, centres: np.ndarray) -> None:
    """Write one gallery with so many examples, straight into its tables."""
    of, rng = bundle.manifest, np.random.default_rng(1)
    pool = vectors(rng, np.zeros_like(centres), np.zeros(10_007, np.int64))
    at = "2026-01-01T00:00:00+00:00"
    with Gallery.open(path, of.fingerprint, of.embedding_width, create=True) as gallery:
        hurry(gallery)
        gallery.limit(Limits(0, 0))
        for start in range(0, rows, PORTION):
            count = min(PORTION, rows - start)
            classes = rng.integers(0, CLASSES, count)
            made = centres[classes] + pool[rng.integers(0, len(pool), count)] + pool[rng.integers(0, len(pool), count)]
            packed, scales = quantize_rows(made)
            found: list[tuple[object, ...]] = []
            for i in range(count):
                vector, scale, sha256 = packed[i].tobytes(), float(scales[i]), f"{start + i:064x}"
                crc = row_crc(vector, scale, sha256, "photo.jpg", at)
                found.append((f"class {classes[i]}", vector, scale, crc, sha256, "photo.jpg", at))
            with gallery.writing() as db:
                operation, _ = gallery.operation("add", "")
                db.executemany(
                    "INSERT INTO examples (label, vector, scale, crc, source_sha256, source_name, at, added_by) "
                    f"VALUES (?, ?, ?, ?, ?, ?, ?, {operation})",
                    found,
                )


def apart(code: str, *arguments: object) -> list[float]:
    """Run code in a process of its own; return the numbers that it printed."""
    command = [sys.executable, "-c", STATUS + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(word) for word in done.stdout.split()]


def rows_of(path: Path, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield ids and unit rows of a gallery in portions."""
    with Gallery.open_any(path) as gallery, gallery.reading() as db:
        found = db.execute("SELECT id, vector FROM examples WHERE removed_by IS NULL ORDER BY id")
        while part := found.fetchmany(PORTION):
            rows = np.frombuffer(b"".join(v for _, v in part), np.int8).reshape(len(part), width).astype(np.float32)
            yield np.array([i for i, _ in part]), rows / np.linalg.norm(rows, axis=1)[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--files", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--free", type=int, default=700, help="megabytes that are free, as the search is told")
    parser.add_argument("--in", dest="room", help="a folder for what is made")
    asked = parser.parse_args()
    bundle = Bundle.open(asked.bundle)
    width = bundle.manifest.embedding_width
    centres = np.random.default_rng(0).normal(size=(CLASSES, width)).astype(np.float32)
    for count in asked.files:
        with tempfile.TemporaryDirectory(dir=asked.room) as name:
            folder = Path(name) / "files"
            folder.mkdir()
            make_files(bundle, folder, count, centres)
            seconds, before, peak, added, known = apart(MERGE, asked.bundle, folder, Path(name) / "out")
            size = (Path(name) / "out").stat().st_size / 1e6
            print(
                f"{count} files: {added:.0f} added, {known:.0f} known, {seconds:.1f} s, peak {peak:.0f} MB "
                f"({before:.0f} MB before), file {size:.1f} MB",
                flush=True,
            )
    for count in asked.rows:
        with tempfile.TemporaryDirectory(dir=asked.room) as name:
            path, queries, found = Path(name) / "gallery", Path(name) / "queries.npy", Path(name) / "found.npz"
            start = time.perf_counter()
            make_one(bundle, path, count, centres)
            print(f"{count} rows made in {time.perf_counter() - start:.0f} s", flush=True)
            rng = np.random.default_rng(2)
            np.save(queries, vectors(rng, centres, rng.integers(0, CLASSES, 20)))
            memory = Path(name) / "meminfo"
            memory.write_text(f"MemAvailable: {asked.free << 10} kB\n", "ascii")
            opened, median, before, peak, own, rows = apart(SEARCH, asked.bundle, path, queries, found, memory)
            best: list[list[tuple[float, int]]] = [[] for _ in range(20)]
            for ids, unit in rows_of(path, width):
                cosines = unit @ (q := np.load(queries)).T / np.linalg.norm(q, axis=1)
                for i in range(20):
                    top = np.argsort(-cosines[:, i])[:5]
                    best[i] = sorted([*best[i], *((-cosines[t, i], int(ids[t])) for t in top)])[:5]
            told = np.load(found)
            own_ids = [[int(i) for i in ids if i] for ids in told["ids"]]
            right = np.mean([mine == [i for _, i in b][: len(mine)] for mine, b in zip(own_ids, best, strict=True)])
            print(
                json.dumps(
                    {
                        "rows": rows,
                        "open, s": round(opened, 1),
                        "search, ms": round(median * 1e3, 1),
                        "before, MB": round(before),
                        "peak, MB": round(peak),
                        "own, MB": round(own),
                        "as a full product": right,
                        "file, MB": round(path.stat().st_size / 1e6),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
