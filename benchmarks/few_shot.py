"""Few-shot: base classes from a build, others enrolled on the device from 1, 2, 3 or 5 examples.

    python benchmarks/few_shot.py [--small]

Every bundle is built as `tlc build` does, and every answer of "ours" is that of the runtime's `Classifier`, with
its int8 file. Beside it, on the same images: k nearest neighbours alone (k = 5), the nearest class mean and
imprinting (Qi et al. 2018) on the same embeddings, and a balanced logistic regression retrained on the 1,280
float features of everything that trained the bundle or was enrolled, its strength chosen in its favour. Needs the
compiler extra; the icons and the chess pieces are in ../shared/data, and what is not there is skipped.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from few_shot_trials import SHARED, Trial, build_base, chess_files, digit_files, icons, parts, photos
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.features.featurize import featurize, trunk_file
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
from tlc_edge.runtime import Classifier, Preprocessing
from tlc_edge.runtime.vectors import unit_rows

SHOTS = (1, 2, 3, 5)
WAYS = ("ours", "KNN alone", "nearest mean", "imprinting", "retrained")


class Features:
    """Float pooled features of images, each computed once."""

    def __init__(self) -> None:
        trunk = shave(load_backbone("efficientnet-lite0"))
        self._file = trunk_file(lower_trunk_tflite(trunk, "float32"), trunk.width)
        self._known: dict[Path, NDArray[np.float32]] = {}

    def __call__(self, paths: list[Path]) -> NDArray[np.float32]:
        missing = [p for p in dict.fromkeys(paths) if p not in self._known]
        if missing:
            samples = [Sample(p, "", None, p.name) for p in missing]
            found = featurize(self._file, samples, Preprocessing(224, 224)).features
            self._known.update(zip(missing, found, strict=True))
        return np.stack([self._known[p] for p in paths])


def retrained(features: Features, train: list[tuple[Path, str]], asked: list[tuple[Path, str]]) -> list[str]:
    """Answers of a balanced logistic regression on everything; of three strengths the one that does best here."""
    from sklearn.linear_model import LogisticRegression

    x, y = features([p for p, _ in train]).astype(np.float64), [label for _, label in train]
    mean = x.mean(axis=0)
    scale = np.sqrt(np.square(x - mean).mean())
    query = (features([p for p, _ in asked]) - mean) / scale
    best: list[str] = []
    for strength in (0.03, 0.3, 3.0):
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300).fit((x - mean) / scale, y)
        found = model.predict(query).tolist()
        if not best or right(found, asked) > right(best, asked):
            best = found
    return best


def on_embeddings(
    base: tuple[NDArray[np.float32], list[str]], new: tuple[NDArray[np.float32], list[str]], asked: NDArray[np.float32]
) -> dict[str, list[str]]:
    """Answers of KNN, the nearest mean and imprinting, from unit embeddings."""
    from sklearn.linear_model import LogisticRegression

    rows, labels = np.concatenate([base[0], new[0]]), np.array(base[1] + new[1])
    names = sorted(set(labels.tolist()))
    near = np.argsort(-(asked @ rows.T), axis=1, kind="stable")[:, :5]
    votes = [labels[n].tolist() for n in near]
    knn = [max(v, key=lambda c: (v.count(c), -v.index(c))) for v in votes]
    means = unit_rows(np.stack([rows[labels == c].mean(axis=0) for c in names]))
    head = LogisticRegression(C=10.0, max_iter=300, fit_intercept=False).fit(base[0], base[1])
    weights = head.coef_ if len(head.classes_) > 2 else np.concatenate([-head.coef_, head.coef_])
    told = dict(zip(head.classes_.tolist(), unit_rows(weights.astype(np.float32)), strict=True))
    imprinted = np.stack([told.get(c, means[i]) for i, c in enumerate(names)])
    return {
        "KNN alone": knn,
        "nearest mean": [names[i] for i in (asked @ means.T).argmax(axis=1)],
        "imprinting": [names[i] for i in (asked @ imprinted.T).argmax(axis=1)],
    }


def right(found: list[str], asked: list[tuple[Path, str]]) -> float:
    """Share of right answers."""
    return float(np.mean([f == label for f, (_, label) in zip(found, asked, strict=True)]))


def measure(trial: Trial, bundle: Path, features: Features, folder: Path) -> Iterator[tuple[int, str, list[float]]]:
    """Yield shots, way, and its accuracy over all, base and enrolled classes, and how that of base changed."""
    (folder / "gallery").unlink(missing_ok=True)
    base = {label for _, label in trial.base}
    trained = [(path, label) for path, label, use in parts(trial.base) if use == "train"]
    is_base = np.array([label in base for _, label in trial.asked])
    with Classifier.open(bundle, folder / "gallery", threads=1) as classifier:

        def embeddings(paths: list[Path]) -> NDArray[np.float32]:
            return unit_rows(np.stack([classifier.embed(p) for p in paths]))

        exemplars = classifier.bundle.exemplars()
        stored = exemplars.vectors, [classifier.bundle.manifest.labels[c] for c in exemplars.labels]
        query = embeddings([p for p, _ in trial.asked])
        before = np.mean([classifier.predict(p).label == label for p, label in trial.asked if label in base])
        done = 0
        for shots in SHOTS:
            for label, paths in trial.enroll.items():
                if paths[done:shots]:
                    classifier.enroll(label, paths[done:shots])
            done = shots
            new = [(p, label) for label, paths in trial.enroll.items() for p in paths[:shots]]
            answers = {"ours": [classifier.predict(p).label for p, _ in trial.asked]}
            added = embeddings([p for p, _ in new]), [label for _, label in new]
            answers |= on_embeddings(stored, added, query)
            answers["retrained"] = retrained(features, trained + new, trial.asked)
            for way in WAYS:
                hit = np.array([f == label for f, (_, label) in zip(answers[way], trial.asked, strict=True)])
                yield shots, way, [hit.mean(), hit[is_base].mean(), hit[~is_base].mean(), hit[is_base].mean() - before]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one trial of each kind")
    few = parser.parse_args().small
    found: dict[tuple[str, int, str], list[list[float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        worlds: list[tuple[str, Trial, int | None]] = []
        if (SHARED / "icons").is_dir():
            worlds += [("icons", t, n) for t in icons(None, 1 if few else 5) for n in (5, None)]
        if (SHARED / "chess").is_dir():
            worlds += [("chess", t, None) for t in photos("chess", chess_files(), 4, 2, 10, 1 if few else 4)]
        if not worlds:
            sys.exit(f"skipped: {SHARED} is not there")
        if not few:
            worlds += [("digits", t, None) for t in photos("digits", digit_files(folder), 6, 4, 30, 2)]
        features, last = Features(), None
        for kind, trial, count in worlds:
            if trial is not last:
                bundle, last = build_base(trial, folder), trial
            chosen = trial if count is None else trial.only(count)
            title = f"{kind}, {len({c for _, c in trial.base})} base classes and {len(chosen.enroll)} enrolled"
            for shots, way, figures in measure(chosen, bundle, features, folder):
                found[title, shots, way].append(figures)
    for title in dict.fromkeys(t for t, _, _ in found):
        print(f"{title} ({len(found[title, 1, 'ours'])} trials)")
        print(f"  {'examples':<9}{'':<14}{'all':>7}{'base':>7}{'enrolled':>10}{'base lost':>11}")
        for shots in SHOTS:
            for way in WAYS:
                a, b, c, d = np.mean(found[title, shots, way], axis=0)
                print(f"  {shots:<9}{way:<14}{a:7.3f}{b:7.3f}{c:10.3f}{0.0 - 100 * d:9.1f} pt")
    mean = {w: np.mean([np.mean(v, axis=0)[0] for (_, _, way), v in found.items() if way == w]) for w in WAYS}
    print("mean over all of these: " + ", ".join(f"{w} {mean[w]:.3f}" for w in WAYS))
    print(f"goal, over all classes: at least retrained: {mean['ours'] - mean['retrained']:+.3f}")
    if five := [v for (t, s, w), v in found.items() if t.endswith(" 5 enrolled") and s == 5 and w == "ours"]:
        lost = -100 * np.mean(five[0], axis=0)[3]
        print(f"goal, base loses at most 2 points when 5 classes of 5 examples are added: {lost:.1f}")


if __name__ == "__main__":
    main()
