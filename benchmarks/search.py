"""How fast the search is beside what limits it and what else there is; everything interleaved in one run.

    python benchmarks/search.py EMBEDDINGS.npz [--rows 1000 10000 100000] [--million] [--tfjs FOLDER]

EMBEDDINGS.npz is made by benchmarks/embeddings.py. A bank of more rows than that is made of mixes of two real
embeddings of a class with noise of a quarter of the deviation. Queries are embeddings that the bank never saw.
The read limit is np.max over the same bytes. One thread. faiss and ai-edge-litert are measured where they are
installed, tfjs's knn-classifier where `--tfjs` names a folder with it in node_modules.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from tlc_edge.runtime.bundle.bundle import Exemplars  # noqa: E402
from tlc_edge.runtime.gallery.records import GalleryRows  # noqa: E402
from tlc_edge.runtime.knn import bank as bank_module  # noqa: E402
from tlc_edge.runtime.knn.bank import Bank  # noqa: E402
from tlc_edge.runtime.knn.search import BoundedRows, FloatRows  # noqa: E402
from tlc_edge.runtime.vectors import quantize_rows, unit_rows  # noqa: E402

K = 5
QUERIES = 200
Search = Callable[[np.ndarray], Any]


def load(path: str) -> tuple[np.ndarray, np.ndarray]:
    data = np.load(path)
    names = [n for n in data.files if f"{n}_y" in data.files]
    labels = np.concatenate([np.char.add(f"{n}/", data[f"{n}_y"]) for n in names])
    return np.concatenate([data[n] for n in names]).astype(np.float32), np.unique(labels, return_inverse=True)[1]


def make_bank(embeddings: np.ndarray, classes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return int8 rows, their classes, and float queries."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(embeddings))
    queries, known = embeddings[order[:QUERIES]], order[QUERIES:]
    members = {c: known[classes[known] == c] for c in np.unique(classes[known])}
    deviation = embeddings.std(axis=0)
    rows, labels = np.empty((count, embeddings.shape[1]), np.int8), np.empty(count, np.int64)
    for start in range(0, count, 50_000):
        n = min(50_000, count - start)
        one = rng.choice(known, n)
        other = np.array([rng.choice(members[classes[i]]) for i in one])
        share = rng.uniform(0, 0.5, (n, 1)).astype(np.float32)
        noise = rng.normal(size=(n, rows.shape[1])).astype(np.float32) * deviation * 0.25
        rows[start : start + n] = quantize_rows(embeddings[one] * (1 - share) + embeddings[other] * share + noise)[0]
        labels[start : start + n] = classes[one]
    return rows, labels, queries


def loaded(rows: np.ndarray, labels: np.ndarray, many: int, first: int = 1) -> Bank:
    bank_module.MANY = many
    width = rows.shape[1]
    bank = Bank(Exemplars(np.zeros((0, width), np.float32), np.zeros(0, np.int64)), ())
    bank.append(as_gallery(rows, labels, first))
    return bank


def as_gallery(rows: np.ndarray, labels: np.ndarray, first: int) -> GalleryRows:
    names = tuple(map(str, labels.tolist()))
    return GalleryRows(np.arange(first, first + len(rows)), names, rows, np.ones(len(rows), np.float32), 0)


def fully_connected(rows: np.ndarray) -> Search:
    """int8 rows through the engine's own kernel, made exact by multiplying out all that could be among the best."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    count, width = rows.shape

    def tensor(name: str, shape: list[int], kind: int) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, kind, 0
        if kind == schema.TensorType.INT8:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [1.0], [0]
        return made

    model, graph, operator, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 3
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    floats = schema.TensorType.FLOAT32
    graph.tensors = [
        tensor("query", [1, width], floats),
        tensor("rows", [count, width], schema.TensorType.INT8),
        tensor("products", [1, count], floats),
    ]
    graph.operators, graph.inputs, graph.outputs = [operator], [0, 1], [2]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = Interpreter(model_content=bytes(builder.Output()), num_threads=1)
    interpreter.allocate_tensors()
    source, bank = (d["index"] for d in interpreter.get_input_details())
    result = interpreter.get_output_details()[0]["index"]
    interpreter.set_tensor(bank, rows)
    inverse = 1 / np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.int32)).astype(np.float32)

    def search(query: np.ndarray) -> Any:
        unit = query / np.linalg.norm(query)
        interpreter.set_tensor(source, unit[None])
        interpreter.invoke()
        products = interpreter.get_tensor(result)[0]
        products *= inverse
        scale = np.abs(unit).max() / 127
        error = np.linalg.norm(unit - np.rint(unit / scale) * scale)
        kth = np.partition(products, count - K)[count - K]
        near = np.flatnonzero(products >= kth - 2 * error)
        exact = (rows[near].astype(np.float32) @ unit) * inverse[near]
        best = np.argsort(-exact)[:K]
        return near[best], exact[best]

    return search


def faiss_flat(rows: np.ndarray) -> Search:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(rows.shape[1])
    for start in range(0, len(rows), 50_000):
        index.add(unit_rows(rows[start : start + 50_000]))
    return lambda query: index.search((query / np.linalg.norm(query))[None], K)


class Tfjs:
    """The knn-classifier in a process of its own, which tells how long each `predictClass` took."""

    def __init__(self, folder: str, rows: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> None:
        self._folder = tempfile.TemporaryDirectory()
        files = [Path(self._folder.name) / n for n in ("rows", "labels", "queries")]
        unit_rows(rows).tofile(files[0])
        labels.astype(np.int32).tofile(files[1])
        unit_rows(queries).tofile(files[2])
        script = Path(__file__).with_name("search_tfjs.js")
        words = ["node", str(script), folder, *map(str, files), str(rows.shape[1]), str(K)]
        self._child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        assert self._child.stdout.readline().startswith("ready")

    def seconds(self, query: int, add: bool = False) -> float:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{query} {int(add)}\n")
        self._child.stdin.flush()
        return float(self._child.stdout.readline()) / 1e3

    def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait()
        self._folder.cleanup()


def measure(rows: np.ndarray, labels: np.ndarray, queries: np.ndarray, rounds: int, tfjs: str | None) -> dict[str, Any]:
    """Return median microseconds of everything that can be measured, and ratios to the limits."""
    count = len(rows)
    extra = rows[:: max(1, count // 512)][:512]
    limit8, searches = rows.reshape(-1).view(np.uint8), dict[str, Search]()
    bounded = loaded(rows, labels, 0)
    assert isinstance(bounded._rows, BoundedRows)
    searches["bound"] = lambda q: bounded.nearest(q, K)
    if count <= 200_000:
        plain = loaded(rows, labels, 10**9)
        assert isinstance(plain._rows, FloatRows)
        searches["float32"] = lambda q: plain.nearest(q, K)
        searches["float32, products alone"] = plain.similarities
        matrix = unit_rows(rows).reshape(-1).view(np.uint8)
        searches["read float32"] = lambda _: matrix.max()
    for name, make in (("faiss IndexFlatIP", faiss_flat), ("int8 fully connected", fully_connected)):
        if name.startswith("int8") or count <= 200_000:
            try:
                searches[name] = make(rows)
            except ImportError as e:
                print(f"{name}: left out ({e})")
    searches["read int8"] = lambda _: limit8.max()
    agree(searches, queries)
    node = Tfjs(tfjs, rows, labels, queries) if tfjs and count <= 10_000 else None
    times: dict[str, list[float]] = {}
    rng, added = random.Random(0), 0
    for i in range(rounds):
        query = queries[i % len(queries)]
        for name in rng.sample(sorted(searches), len(searches)):
            times.setdefault(name, []).append(timed(searches[name], query))
        for name, bank in [("bound", bounded)] + ([("float32", plain)] if count <= 200_000 else []):
            if i % 4 == 0:
                row = extra[added % len(extra)][None]
                start = time.perf_counter()
                bank.append(as_gallery(row, np.zeros(1, int), 10**7 + added))
                bank.enrolled_scores()
                times.setdefault(f"{name}: add", []).append(time.perf_counter() - start)
                times.setdefault(f"{name}: first after an add", []).append(timed(partial(bank.nearest, k=K), query))
                added += 1
        if node is not None:
            times.setdefault("tfjs knn-classifier", []).append(node.seconds(i % len(queries)))
            if i % 20 == 0:
                times.setdefault("tfjs: first after an add", []).append(node.seconds(i % len(queries), add=True))
    if node is not None:
        node.close()
    return {name: 1e6 * statistics.median(t) for name, t in sorted(times.items())}


def timed(search: Search, query: np.ndarray) -> float:
    start = time.perf_counter()
    search(query)
    return time.perf_counter() - start


def agree(searches: dict[str, Search], queries: np.ndarray) -> None:
    """Make sure that all find the same similarities before they are timed."""
    for query in queries[:20]:
        expected = searches["bound"](query)[1]
        for name in ("float32", "int8 fully connected"):
            if name in searches:
                np.testing.assert_allclose(searches[name](query)[1], expected, atol=2e-5, err_msg=name)
        if "faiss IndexFlatIP" in searches:
            found = searches["faiss IndexFlatIP"](query)[0][0]
            np.testing.assert_allclose(found, expected, atol=2e-5, err_msg="faiss")


def show(count: int, found: dict[str, float]) -> None:
    base = "float32" if "float32" in found else "bound"
    print(f"\n{count:,} rows")
    for name, us in found.items():
        ratios = [
            f"{us / found[limit]:6.2f} x {limit}" for limit in ("read float32", "read int8", base) if limit in found
        ]
        print(f"  {name:<32} {us:12,.1f} us   {'  '.join(ratios)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embeddings")
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 10_000, 20_000, 100_000])
    parser.add_argument("--million", action="store_true", help="also 1,000,000 rows")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--tfjs", metavar="FOLDER")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    embeddings, classes = load(options.embeddings)
    results: dict[str, Any] = {}
    for count in [*options.rows, *([1_000_000] if options.million else [])]:
        bank = make_bank(embeddings, classes, count)
        rounds = max(20, min(options.rounds, 10_000_000 // count))
        results[str(count)] = measure(*bank, rounds, options.tfjs)
        show(count, results[str(count)])
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
