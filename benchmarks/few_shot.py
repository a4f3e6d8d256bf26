"""Few-shot: base classes from a build, others enrolled on the device from 1, 2, 3, 5 or 10 examples.

    python benchmarks/few_shot.py [--small] [--plot FILE.svg]

`replay` makes the bundles, 8 of each kind; every answer of "ours" is that of the device's own bank and rule on what the
int8 file gives. Beside it, on the same images: k nearest neighbours alone (k = 5), the nearest class mean and
imprinting (Qi et al. 2018) on the same embeddings, and a balanced logistic regression retrained on the 1,280
float features of everything that trained the bundle or was enrolled, its strength chosen in its favour. 95 % intervals
are bootstrap over the draws. Needs the compiler extra; the icons and the chess pieces are in ../shared/data, and
what is not there is skipped.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from few_shot_trials import SHARED, Trial, chess_files, digit_files, icon_files, icons, parts, photos
from numpy.typing import NDArray
from replay import Featurizer, replay

from tlc_edge.runtime.vectors import unit_rows

SHOTS = (1, 2, 3, 5, 10)
MEANT = SHOTS[:4]
"""What the mean is over; of the icons there are no ten."""
WAYS = ("ours", "KNN alone", "nearest mean", "imprinting", "retrained")
ROUNDS = 8
_DRAWS = 1000
Found = dict[tuple[str, int, str], list[list[float]]]
"""By kind of trial, examples and way: accuracy over all, base and enrolled classes, and what base gained, by draw."""


def retrained(features: Featurizer, train: list[tuple[Path, str]], asked: list[tuple[Path, str]]) -> list[str]:
    """Answers of a balanced logistic regression on everything; of three strengths the one that does best here."""
    from sklearn.linear_model import LogisticRegression

    x, y = features.as_float([p for p, _ in train]).astype(np.float64), [label for _, label in train]
    mean = x.mean(axis=0)
    scale = np.sqrt(np.square(x - mean).mean())
    # Weights lie in the span of what they are fitted to: in its axes the fit is the same, and several times as fast.
    axes = np.linalg.qr((x - mean).T)[0]
    x, query = ((rows - mean) @ axes / scale for rows in (x, features.as_float([p for p, _ in asked])))
    best: list[str] = []
    for strength in (0.03, 0.3, 3.0):
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300).fit(x, y)
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


def right(found: list[str], asked: list[tuple[Path, str]], some: NDArray[np.bool_] | None = None) -> float:
    """Return the share of right answers, of `some` [N] or of all."""
    hits = np.array([f == label for f, (_, label) in zip(found, asked, strict=True)])
    return float(np.mean(hits if some is None else hits[some]))


def measure(
    trial: Trial, counts: Sequence[int | None], features: Featurizer
) -> Iterator[tuple[str, int, str, list[float]]]:
    """Yield what it is about, shots, way, and its accuracy over all, base and enrolled classes, and how base changed.

    A bundle is made once; each of `counts` is a number of classes that are enrolled, None for all.
    """
    trained = [(path, label) for path, label, use in parts(trial.base) if use == "train"]
    bundle = replay(replace(trial, base=trained), features, trained=True)
    base = set(bundle.labels)
    stored = unit_rows(bundle.exemplars), [bundle.labels[c] for c in bundle.exemplar_classes]
    for count in counts:
        chosen = trial if count is None else trial.only(count)
        title = f"{trial.name}, {len(base)} + {len(chosen.enroll)}"
        asked, paths = chosen.asked, [p for p, _ in chosen.asked]
        is_base = np.array([label in base for _, label in asked])
        bank, query = bundle.bank(), unit_rows(bundle.embed(paths))
        before = right(bundle.answers(bank, paths), asked, is_base)
        done = 0
        for shots in SHOTS:
            if max(map(len, chosen.enroll.values())) < shots:
                break
            for label, examples in chosen.enroll.items():
                if examples[done:shots]:
                    bundle.enroll(bank, label, examples[done:shots])
            done = shots
            new = [(p, label) for label, examples in chosen.enroll.items() for p in examples[:shots]]
            answers = {"ours": bundle.answers(bank, paths)}
            added = unit_rows(bundle.embed([p for p, _ in new])), [label for _, label in new]
            answers |= on_embeddings(stored, added, query)
            answers["retrained"] = retrained(features, trained + new, asked)
            for way in WAYS:
                every, old, others = (right(answers[way], asked, some) for some in (None, is_base, ~is_base))
                yield title, shots, way, [every, old, others, old - before]


def shown(figures: Sequence[float], digits: int = 3) -> str:
    """Return the mean over draws with its 95 % bootstrap interval."""
    draws = np.random.default_rng(0).choice(np.array(figures), (_DRAWS, len(figures))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{np.mean(figures):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="chess, one draw")
    parser.add_argument("--plot", metavar="FILE.svg", help="draw accuracy against examples, ours beside retraining")
    given = parser.parse_args()
    rounds = 1 if given.small else ROUNDS
    found: Found = defaultdict(list)
    head = ("base and enrolled", "examples", *WAYS, "base lost, ours", "base lost, retrained")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    with tempfile.TemporaryDirectory() as name:
        sets: dict[str, tuple[list[Path], Sequence[int | None], Iterator[Trial]]] = {}
        if (SHARED / "icons").is_dir() and not given.small:
            sets["icons"] = [p for files in icon_files().values() for p in files], (5, None), icons(None, rounds)
        if (SHARED / "chess").is_dir():
            files = chess_files()
            sets["chess"] = [p for f in files.values() for p in f], (None,), photos("chess", files, 4, 2, 10, rounds)
        if not sets:
            sys.exit(f"skipped: {SHARED} is not there")
        if not given.small:
            files = digit_files(Path(name))
            sets["digits"] = [p for f in files.values() for p in f], (None,), photos("digits", files, 6, 4, 30, rounds)
        for kind, (paths, counts, trials) in sets.items():
            features = Featurizer(paths)
            for trial in trials:
                for title, shots, way, figures in measure(trial, counts, features):
                    found[title, shots, way].append(figures)
            print_rows(found, kind)
    print_goals(found)
    if given.plot:
        Path(given.plot).write_text(drawn(found), encoding="utf-8")


def print_rows(found: Found, kind: str) -> None:
    """Print the table's rows about a kind of images."""
    for title in dict.fromkeys(title for title, _, _ in found if title.startswith(kind)):
        for shots in [n for n in SHOTS if (title, n, "ours") in found]:
            of = {way: np.array(found[title, shots, way]) for way in WAYS}
            cells = [title if shots == 1 else "", str(shots), shown(of["ours"][:, 0].tolist())]
            cells += [f"{of[way][:, 0].mean():.3f}" for way in WAYS[1:]]
            cells += [shown((-100 * of["ours"][:, 3]).tolist(), 1), f"{0.0 - 100 * of['retrained'][:, 3].mean():.1f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


def print_goals(found: Found) -> None:
    """Print what the goals are about."""
    titles = list(dict.fromkeys(title for title, _, _ in found))
    over = {
        way: np.mean([[f[0] for f in found[t, n, way]] for t in titles for n in MEANT if (t, n, way) in found], axis=0)
        for way in WAYS
    }
    print("mean over 1 to 5 examples of all of these: " + ", ".join(f"{w} {shown(over[w].tolist())}" for w in WAYS))
    print(f"goal, over all classes: at least retrained: {shown((over['ours'] - over['retrained']).tolist())}")
    for title in titles:
        if title.endswith(" + 5") and (title, 5, "ours") in found:
            lost = [-100 * figures[3] for figures in found[title, 5, "ours"]]
            print(f"goal, base loses at most 2 points when 5 classes of 5 examples are added: {shown(lost, 1)}")


def drawn(found: Found) -> str:
    """Return the curves as SVG: accuracy over all classes against examples, ours and retrained, one panel a set."""
    titles = list(dict.fromkeys(title for title, _, _ in found))
    left, top, width, height, gap, low = 42, 26, 150, 150, 24, 0.5
    whole = left + len(titles) * (width + gap)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{top + height + 62}" '
        'font-family="sans-serif" font-size="11" fill="#333">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for panel, title in enumerate(titles):
        x0 = left + panel * (width + gap)
        parts.append(f'<text x="{x0}" y="{top - 10}" font-weight="bold">{title}</text>')
        for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
            y = top + height * (1 - (share - low) / (1 - low))
            parts.append(f'<path d="M{x0} {y:.1f}h{width}" stroke="#ddd"/>')
            if not panel:
                parts.append(f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end">{share:.1f}</text>')
        for i, shots in enumerate(SHOTS):
            x = x0 + 12 + i * (width - 24) / (len(SHOTS) - 1)
            parts.append(f'<text x="{x:.1f}" y="{top + height + 16}" text-anchor="middle">{shots}</text>')
        for way, colour in (("retrained", "#b5651d"), ("ours", "#1f5fa8")):
            points = []
            for i, shots in enumerate(SHOTS):
                if (title, shots, way) not in found:
                    continue
                some = np.array([figures[0] for figures in found[title, shots, way]])
                x = x0 + 12 + i * (width - 24) / (len(SHOTS) - 1)
                mean, spread = float(some.mean()), 1.96 * float(some.std()) / max(1, len(some)) ** 0.5
                y, above, below = (
                    top + height * (1 - (min(1.0, max(low, v)) - low) / (1 - low))
                    for v in (mean, mean + spread, mean - spread)
                )
                points.append(f"{x:.1f} {y:.1f}")
                parts.append(f'<path d="M{x:.1f} {above:.1f}V{below:.1f}" stroke="{colour}"/>')
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>')
            parts.append(f'<path d="M{"L".join(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    below = top + height + 42
    parts.append(f'<text x="{left}" y="{below}">Share of right answers by examples of each enrolled class.</text>')
    for i, (text, colour) in enumerate((("on the device", "#1f5fa8"), ("retrained", "#b5651d"))):
        x = left + 330 + i * 120
        parts.append(f'<path d="M{x} {below - 4}h18" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 24}" y="{below}">{text}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
