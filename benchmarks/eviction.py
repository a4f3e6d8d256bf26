"""What stays of a full class: answers when examples are merged, against when the oldest, any or the likest one goes.

    python benchmarks/eviction.py [--small]

Base classes come from a build, others are enrolled one by one in a gallery that keeps a few of each class; `replay`
makes the bundles, and the answers are those of the device's own bank, decision and limits. "One of a pair goes" is what
tlc did before it merged: the one whose number times distance to its nearest is least, which then stands for it too.
The icons and the chess pieces are in ../shared/data; what is not there is skipped.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from few_shot_trials import SHARED, Labelled, Trial, chess_files, digit_files, icon_files, icons, kinds
from numpy.typing import NDArray
from replay import Featurizer, Replayed, replay

from tlc_edge.compiler.bundle.assemble import DECISION
from tlc_edge.compiler.train.linear import make
from tlc_edge.compiler.train.training import Training
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.limits import Limits
from tlc_edge.runtime.gallery.records import ExampleSource, GalleryRows
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.prediction import answer, basis
from tlc_edge.runtime.progress import silent
from tlc_edge.runtime.vectors import quantize_rows, unit_rows

SEEDS = 8
RATE = 0.05
FIGURES = ("enrolled", "base", "false alarms enrolled", "false alarms base", "near accepted")
_DRAWS = 1000
Vectors = NDArray[np.float32]


def oldest(_unit: Vectors, _stand_for: list[int], _rng: np.random.Generator) -> tuple[int, int]:
    return 0, 1


def at_random(unit: Vectors, _stand_for: list[int], rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(len(unit))), -1


def one_of_a_pair(unit: Vectors, stand_for: list[int], _rng: np.random.Generator) -> tuple[int, int]:
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    costs = np.array(stand_for) * np.maximum(1 - similar.max(axis=1).astype(np.float64), 1e-9)
    row = int(costs.argmin())
    return row, int(similar[row].argmax())


GOING: dict[str, Callable[[Vectors, list[int], np.random.Generator], tuple[int, int]]] = {
    "oldest goes": oldest,
    "random goes": at_random,
    "one of a pair goes": one_of_a_pair,
}
WAYS = ("all kept", *GOING, "merged")


def kept(vectors: Vectors, limit: int, way: str) -> Vectors:
    """Return what is left of examples that come one after the other, where they go."""
    rng, stay, stand_for = np.random.default_rng(zlib.crc32(vectors.tobytes())), list[int](), list[int]()
    for row in range(len(vectors)):
        stay.append(row)
        stand_for.append(1)
        if len(stay) > limit and way in GOING:
            gone, heir = GOING[way](unit_rows(vectors[stay]), stand_for, rng)
            stand_for[heir] += stand_for[gone]
            del stay[gone], stand_for[gone]
    return vectors[stay]


def merged(examples: dict[str, Vectors], limit: int, bundle: Replayed) -> GalleryRows:
    """Return what a gallery keeps of examples that come one after the other."""
    with (
        tempfile.TemporaryDirectory() as name,
        Gallery.open(Path(name) / "gallery", "f" * 64, bundle.neck.width, create=True) as gallery,
    ):
        gallery.limit(Limits(limit, 0))
        for label, vectors in examples.items():
            for i, vector in enumerate(vectors):
                gallery.add(label, vector[None], [ExampleSource(f"{i:064x}", "")])
        return gallery.load()


def taught(bundle: Replayed, examples: dict[str, Vectors], limit: int, way: str) -> Bank:
    """Return the bank of a device that was taught so."""
    bank = bundle.bank()
    if way == "merged":
        bank.append(merged(examples, limit, bundle))
        return bank
    for label, vectors in examples.items():
        rows, scales = quantize_rows(kept(vectors, limit, way))
        first = len(bank) + 1
        bank.append(GalleryRows(np.arange(first, first + len(rows)), (label,) * len(rows), rows, scales, 0))
    return bank


def ask(trial: Trial, bundle: Replayed, limit: int) -> Iterator[tuple[str, list[float]]]:
    """Yield the figures of each way."""
    paths, classes = [p for p, _ in trial.base], [bundle.labels.index(label) for _, label in trial.base]
    device = bundle.alignment.apply(bundle.featurizer.as_int8(paths))
    views = [bundle.featurizer.as_float(paths), device]
    head = make(Training("linear", views, np.array(classes, np.int64), bundle.labels, 0, silent))
    asked = [p for p, _ in trial.asked]
    probabilities = head.probabilities(bundle.alignment.apply(bundle.featurizer.as_int8(asked)))
    embedded, near = bundle.embed(asked), bundle.embed(trial.near)
    examples = {label: bundle.embed(paths) for label, paths in trial.enroll.items()}
    is_base = np.array([label in bundle.labels for _, label in trial.asked])
    for way in WAYS:
        based = basis(taught(bundle, examples, limit, way), DECISION, bundle.knownness, RATE)
        said = [answer(p, e, based, {}) for p, e in zip(probabilities, embedded, strict=True)]
        strange = [answer(probabilities[0], e, based, {}).unknown for e in near]
        right = np.array([s.label == label for s, (_, label) in zip(said, trial.asked, strict=True)])
        unknown = np.array([s.unknown for s in said])
        figures = [right[~is_base], right[is_base], unknown[~is_base], unknown[is_base], ~np.array(strange)]
        yield way, [float(f.mean()) for f in figures]


def many(name: str, files: dict[str, list[Path]], sizes: tuple[int, int, int, int], rounds: int) -> Iterator[Trial]:
    """`sizes`: base classes, images that train each, enrolled classes, examples of each; asked are others."""
    base, train, enrolled, pool = sizes
    for n in range(rounds):
        draw = random.Random(n)
        classes = draw.sample(list(files), len(files))
        order = {c: draw.sample(files[c], len(files[c])) for c in classes}
        old, new, rest = classes[:base], classes[base : base + enrolled], classes[base + enrolled :]
        asked: Labelled = [(f, c) for c in old for f in order[c][train : train + 30]]
        asked += [(f, c) for c in new for f in order[c][pool : pool + 30]]
        near = [f for c in rest for f in order[c][:30]]
        images = [(f, c) for c in old for f in order[c][:train]]
        yield Trial(name, images, {c: order[c][:pool] for c in new}, asked, near)


def shown(values: list[float]) -> str:
    """Return the mean with its 95 % bootstrap interval over the seeds."""
    draws = np.random.default_rng(0).choice(np.array(values), (_DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{np.mean(values):.3f} [{low:.3f},{high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="chess, one seed")
    small = parser.parse_args().small
    seeds = 1 if small else SEEDS
    found: dict[tuple[str, int, str], list[list[float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        worlds: list[tuple[Iterator[Trial], tuple[int, ...], list[Path]]] = []
        if (SHARED / "chess").is_dir():
            chess = chess_files()
            worlds += [(many("chess", chess, (3, 10, 2, 10), seeds), (2, 5), [p for f in chess.values() for p in f])]
        if (SHARED / "icons").is_dir() and not small:
            paths = [p for files in icon_files().values() for p in files]
            worlds += [(icons(9, seeds), (2, 3), paths), (kinds(seeds), (3, 5), paths)]
        if not worlds:
            sys.exit(f"skipped: {SHARED} is not there")
        if not small:
            digits = digit_files(Path(name))
            trials = many("digits", digits, (5, 30, 3, 40), seeds)
            worlds += [(trials, (3, 10), [p for files in digits.values() for p in files])]
        for trials, limits, paths in worlds:
            featurizer = Featurizer(paths)
            for trial in trials:
                bundle = replay(trial, featurizer)
                for limit in limits:
                    for way, figures in ask(trial, bundle, limit):
                        found[f"{trial.name}, {limit} kept", limit, way].append(figures)
    print(f"{'':<54}" + "  ".join(f"{figure:<21}" for figure in FIGURES))
    for title, limit in dict.fromkeys((t, n) for t, n, _ in found):
        for way in WAYS:
            columns = zip(*found[title, limit, way], strict=True)
            print(f"{title:<34}{way:<20}" + "  ".join(shown(list(values)) for values in columns))


if __name__ == "__main__":
    main()
