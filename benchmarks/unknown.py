"""Unknown: false alarms against the stated rate, false accepts, and how well known and unknown are told apart.

    python benchmarks/unknown.py [--small]

Every bundle is built as `tlc build` does and every verdict is that of the runtime's `Classifier`, with its int8
file: base classes from the build, others enrolled from 1, 3, 5 or 10 examples, and the same with a bundle without a
head, to which everything is taught on the device. Asked are images of base and of enrolled classes (false alarms),
of further classes of the same data (false accepts, near) and of other data (far). The icons and the chess pieces
are in ../shared/data; what is not there is skipped.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from few_shot_trials import SHARED, Trial, build_base, chess_files, digit_files, icons, photos, spread
from numpy.typing import NDArray

from tlc_edge.runtime import Classifier
from tlc_edge.runtime.knn.unknown import knownness_of

SHOTS = (1, 3, 5, 10)
RATES = (0.01, 0.05, 0.10)
GROUPS = ("base", "enrolled", "near", "far")


def auroc(known: NDArray[np.float64], unknown: NDArray[np.float64]) -> float:
    """Chance that a known image scores higher than an unknown one."""
    a, b = known[:, None], unknown[None]
    return float(np.mean(a > b) + np.mean(a == b) / 2)


class Tally:
    """Verdicts of one setting: a share a rate and group, and the AUROC of near and far, a figure a trial."""

    def __init__(self) -> None:
        self.shares: dict[tuple[float, str], list[float]] = defaultdict(list)
        self.auroc: dict[str, list[float]] = defaultdict(list)

    def add(self, bundle: Path, gallery: Path, images: dict[str, list[NDArray[np.float32]]]) -> None:
        """Ask a classifier at every rate, as `predict` does once it has an image's embedding."""
        for rate in RATES:
            above: dict[str, NDArray[np.float64]] = {}
            with Classifier.open(bundle, gallery, threads=1, unknown=rate, selftest=False) as classifier:
                k = classifier.bundle.manifest.decision.k
                with classifier._taught.up_to_date() as based:
                    for group, embeddings in images.items():
                        pairs = [knownness_of(based.bank.nearby(e, k), based.asked) for e in embeddings]
                        above[group] = np.array([known - threshold for known, threshold in pairs])
            for group, margins in above.items():
                if len(margins):
                    self.shares[rate, group].append(float(np.mean(margins < 0)))
            if rate == 0.05:
                known = np.concatenate([above.get(group, np.zeros(0)) for group in ("base", "enrolled")])
                for group in ("near", "far"):
                    self.auroc[group].append(auroc(known, above[group]))

    def row(self, shots: str) -> str:
        """Return the figures as a line."""
        parts: list[str] = []
        for rate in RATES:
            shares = {g: np.mean(v) for g in GROUPS if (v := self.shares.get((rate, g)))}
            shares |= {g: 1 - shares[g] for g in ("near", "far")}
            parts.append(" ".join(f"{100 * shares[g]:5.1f}" if g in shares else "    -" for g in GROUPS))
        return f"  {shots:<9}" + "  |  ".join(
            [*parts, " ".join(f"{np.mean(self.auroc[g]):.3f}" for g in ("near", "far"))]
        )


def taught(bundle: Path, gallery: Path, trial: Trial, shots: int, before: int) -> None:
    """Enroll the examples from `before` to `shots` of each class."""
    with Classifier.open(bundle, gallery, threads=1, selftest=False) as classifier:
        for label, paths in trial.enroll.items():
            if paths[before:shots]:
                classifier.enroll(label, paths[before:shots])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="chess, one trial")
    small = parser.parse_args().small
    tallies: dict[tuple[str, int], Tally] = defaultdict(Tally)
    with tempfile.TemporaryDirectory() as name:
        folder, trials = Path(name), list[Trial]()
        others: dict[str, list[Path]] = {}
        if (SHARED / "chess").is_dir():
            trials += photos("chess", chess_files(), 3, 2, 10, 1 if small else 3)
            others["chess"] = [p for files in chess_files().values() for p in files]
        if (SHARED / "icons").is_dir():
            trials += icons(9, 0 if small else 3)
            others["icons"] = [p for thing in sorted((SHARED / "icons").iterdir()) for p in sorted(thing.iterdir())]
        if not trials:
            sys.exit(f"skipped: {SHARED} is not there")
        if not small:
            digits = digit_files(folder)
            trials += photos("digits", digits, 5, 3, 30, 2)
            others["digits"] = [p for files in digits.values() for p in files]
        for trial in trials:
            far = [p for kind, paths in others.items() if kind != trial.name for p in spread(paths, 40)]
            old = {label for _, label in trial.base}
            images = {"base": [p for p, label in trial.asked if label in old]}
            images |= {"enrolled": [p for p, label in trial.asked if label in trial.enroll]}
            images |= {"near": trial.near, "far": far}
            for head in ("linear", "none"):
                bundle, gallery, done = build_base(trial, folder, head), folder / f"{head}.gallery", 0
                gallery.unlink(missing_ok=True)
                with Classifier.open(bundle, gallery, threads=1) as classifier:
                    embedded = {group: [classifier.embed(p) for p in paths] for group, paths in images.items()}
                if head == "none":
                    del embedded["base"]
                for shots in (0, *SHOTS):
                    if shots > max(map(len, trial.enroll.values())) or (head == "none" and not shots):
                        continue
                    taught(bundle, gallery, trial, shots, done)
                    done = shots
                    asked = embedded if shots else {**embedded, "enrolled": []}
                    title = (
                        f"{trial.name}, {'base and enrolled classes' if head == 'linear' else 'enrolled classes only'}"
                    )
                    tallies[title, shots].add(bundle, gallery, asked)
    print("in %: false alarms of base and enrolled classes, false accepts of near and far images")
    heads = "  |  ".join(f"stated {100 * rate:<3g}% of b e n f" for rate in RATES)
    print(f"  {'examples':<9}{heads}  |  AUROC near, far")
    for title in dict.fromkeys(t for t, _ in tallies):
        print(title)
        for (t, shots), tally in tallies.items():
            if t == title:
                print(tally.row(str(shots)))
    for rate in RATES:
        for group in ("base", "enrolled"):
            alarms = [x for t in tallies.values() for x in t.shares.get((rate, group), [])]
            print(f"goal, false alarms of {group} classes at a stated {100 * rate:g} %: {100 * np.mean(alarms):.1f} %")


if __name__ == "__main__":
    main()
