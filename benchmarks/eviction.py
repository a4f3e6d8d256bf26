"""Which examples a full class lets go: accuracy and coverage of what stays, against oldest-first and random.

    python benchmarks/eviction.py EMBEDDINGS.npz

EMBEDDINGS.npz is made by benchmarks/embeddings.py with a set `digits` and, where there are, `chess` and `icons`
(chess: sample:digits and folders of photos; icons: one maker per file name). Examples come one by one; above
the limit one of the class goes. The tests are images that never came. `drift` brings a class in the order of
its first principal coordinate, `bursts` repeats some images with slight noise, up to twelve times.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tlc_edge.runtime.gallery.thinning import give_way
from tlc_edge.runtime.vectors import unit_rows

Stream = dict[str, Sequence[int]]
SEEDS = 5


def oldest(_unit: np.ndarray, _stands_for: list[int], _rng: np.random.Generator) -> tuple[int, int]:
    return 0, 1


def at_random(unit: np.ndarray, _stands_for: list[int], rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(len(unit))), -1


def covered(unit: np.ndarray, stands_for: list[int], _rng: np.random.Generator) -> tuple[int, int]:
    return give_way(unit, stands_for, 1)[0]


def nearest_pair(unit: np.ndarray, _stands_for: list[int], _rng: np.random.Generator) -> tuple[int, int]:
    return give_way(unit, [1] * len(unit), 1)[0]


METHODS = {"oldest": oldest, "random": at_random, "nearest pair": nearest_pair, "tlc": covered}


def keep(
    rows: Iterable[int], unit: np.ndarray, limit: int, method: Callable[..., tuple[int, int]], seed: int
) -> list[int]:
    rng, kept, stands_for = np.random.default_rng(seed), list[int](), list[int]()
    for row in rows:
        kept.append(row)
        stands_for.append(1)
        if len(kept) > limit:
            gone, heir = method(unit[kept], stands_for, rng)
            stands_for[heir] += stands_for[gone]
            del kept[gone], stands_for[gone]
    return kept


def judge(unit: np.ndarray, labels: np.ndarray, kept: list[int], test: np.ndarray) -> tuple[float, float]:
    """Return the accuracy of five neighbours' votes, and the mean cosine to the nearest kept row of the class."""
    similar = unit[test] @ unit[kept].T
    names = labels[kept]
    right = cover = 0.0
    for row, label in zip(similar, labels[test], strict=True):
        near = np.argsort(-row, kind="stable")[:5]
        votes = {c: np.exp((row[near] - row.max()) / 0.05)[names[near] == c].sum() for c in names[near]}
        right += max(votes, key=lambda c: votes[c]) == label
        cover += row[names == label].max()
    return right / len(test), cover / len(test)


def compare(
    name: str, unit: np.ndarray, labels: np.ndarray, streams: list[Stream], test: np.ndarray, limits: Iterable[int]
) -> None:
    for limit in limits:
        whole = [judge(unit, labels, [r for s in stream.values() for r in s], test)[0] for stream in streams]
        cells = [f"all {np.mean(whole):.3f}"]
        for method, rule in METHODS.items():
            found = [
                judge(unit, labels, [r for s in stream.values() for r in keep(s, unit, limit, rule, i)], test)
                for i, stream in enumerate(streams)
            ]
            accuracy, cover = np.mean(found, axis=0)
            cells.append(f"{method} {accuracy:.3f} ({cover:.3f})")
        print(f"{name:<16} {limit:>3}  {'  '.join(cells)}", flush=True)


def digits(embeddings: np.ndarray, labels: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    order = {c: rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)}
    test = np.concatenate([rows[:100] for rows in order.values()])
    pool = {c: rows[100:300] for c, rows in order.items()}
    unit = unit_rows(embeddings)
    shuffled = [{c: np.random.default_rng(s).permutation(rows) for c, rows in pool.items()} for s in range(SEEDS)]
    compare("digits, shuffled", unit, labels, shuffled, test, (10, 20, 50))

    def drifting(rows: np.ndarray) -> np.ndarray:
        centred = unit[rows] - unit[rows].mean(axis=0)
        return rows[np.argsort(centred @ np.linalg.svd(centred, full_matrices=False)[2][0])]

    ways: list[Stream] = [{c: drifting(rows)[::way] for c, rows in pool.items()} for way in (1, -1)]
    compare("digits, drift", unit, labels, ways, test, (10, 20, 50))

    deviation = embeddings.std(axis=0)
    more, names, burst = [embeddings], [labels], dict[int, list[int]]()
    count = len(embeddings)
    for c, rows in pool.items():
        for row in rows[:60]:
            copies = int(rng.choice([1, 1, 2, 12]))
            more.append(embeddings[row] + rng.normal(size=(copies, embeddings.shape[1])) * deviation * 0.15)
            names.append(np.full(copies, c))
            burst[int(row)] = list(range(count, count + copies))
            count += copies
    bursts: list[Stream] = [
        {
            c: [i for row in np.random.default_rng(s).permutation(rows[:60]) for i in burst[int(row)]]
            for c, rows in pool.items()
        }
        for s in range(SEEDS)
    ]
    compare(
        "digits, bursts",
        unit_rows(np.concatenate(more).astype(np.float32)),
        np.concatenate(names),
        bursts,
        test,
        (10, 20, 50),
    )


def folders(name: str, embeddings: np.ndarray, labels: np.ndarray, is_test: np.ndarray, limits: Sequence[int]) -> None:
    streams: list[Stream] = [
        {
            c: np.random.default_rng(s).permutation(np.flatnonzero((labels == c) & ~is_test))
            for c in np.unique(labels[is_test])
        }
        for s in range(2 * SEEDS)
    ]
    compare(name, unit_rows(embeddings), labels, streams, np.flatnonzero(is_test), limits)


def main() -> None:
    data = np.load(sys.argv[1])
    print("set           limit  accuracy (coverage) of what stays")
    digits(data["digits"], data["digits_y"])
    if "chess" in data.files:
        order = np.random.default_rng(0).permutation(len(data["chess"]))
        folders("chess", data["chess"], data["chess_y"], order % 3 == 0, (3, 5))
    if "icons" in data.files:
        for makers in (("noto", "noto-v1"), ("twemoji",), ("fluent-emoji", "fluent-emoji-flat")):
            is_test = np.isin(data["icons_file"], makers)
            folders(f"icons, {makers[0]}", data["icons"], data["icons_y"], is_test, (2, 3))


if __name__ == "__main__":
    main()
