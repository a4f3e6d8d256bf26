"""Unknown: false alarms against the stated rate, false accepts, and how well known and unknown are told apart.

    python benchmarks/unknown.py [--small]

Base classes come from a build, others are enrolled from 1, 3, 5 or 10 examples, and the same with a bundle without a
head, to which everything is taught on the device; `replay` makes the bundles, and the verdicts are those of the
device's own bank and limits. Asked are images of base and of enrolled classes (false alarms), of further classes of
the same data (false accepts, near) and of other data (far), and images of base classes as cameras and messengers
change them. The icons and the chess pieces are in ../shared/data; what is not there is skipped.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from few_shot_trials import SHARED, Trial, chess_files, digit_files, icon_files, icons, kinds, photos, spread
from numpy.typing import NDArray
from replay import Featurizer, Replayed, replay

from tlc_edge.compiler.data.looks import LOOKS
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.unknown import find_limits, is_unwanted

SHOTS = (1, 3, 5, 10)
RATES = (0.01, 0.05, 0.10)
STATED = 0.05
GROUPS = ("base", "enrolled", "near", "far")
NEIGHBOURS = 5
UNWANTED = 3
_DRAWS = 1000


def auroc(known: NDArray[np.float64], unknown: NDArray[np.float64]) -> float:
    """Chance that a known image scores higher than an unknown one."""
    a, b = known[:, None], unknown[None]
    return float(np.mean(a > b) + np.mean(a == b) / 2)


def shown(shares: Sequence[float]) -> str:
    """Return the mean of a share over trials, in %, with its 95 % bootstrap interval."""
    if not shares:
        return f"{'-':>17}"
    draws = np.random.default_rng(0).choice(np.array(shares), (_DRAWS, len(shares))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{100 * np.mean(shares):5.1f} [{100 * low:4.1f},{100 * high:5.1f}]"


class Tally:
    """Verdicts of one setting, a figure a trial: shares by rate and group, and the AUROC of near and far."""

    def __init__(self) -> None:
        self.unknown: dict[tuple[float, str], list[float]] = defaultdict(list)
        self.auroc: dict[str, list[float]] = defaultdict(list)

    def add(self, bundle: Replayed, bank: Bank, images: dict[str, NDArray[np.float32]]) -> None:
        """Ask at every rate."""
        near = {group: [bank.nearby(e, NEIGHBOURS) for e in some] for group, some in images.items() if len(some)}
        for rate in RATES:
            limits = find_limits(bundle.knownness, rate, bank)
            margins = {g: np.array([known - asked for known, asked in map(limits.judge, n)]) for g, n in near.items()}
            for group, some in margins.items():
                self.unknown[rate, group].append(float(np.mean(some < 0)))
            if rate == STATED:
                known = np.concatenate([margins.get(group, np.zeros(0)) for group in ("base", "enrolled")])
                for group in ("near", "far"):
                    self.auroc[group].append(auroc(known, margins[group]))

    def add_shown(self, bundle: Replayed, bank: Bank, images: dict[str, NDArray[np.float32]]) -> None:
        """Ask again, now that some examples of what must not pass were shown; none of those is asked about."""
        limits = find_limits(bundle.knownness, STATED, bank)
        for group, some in images.items():
            near = [bank.nearby(e, NEIGHBOURS) for e in some]
            said = [is_unwanted(n) or known < asked for n in near for known, asked in (limits.judge(n),)]
            if said:
                self.unknown[STATED, f"{group} after"].append(float(np.mean(said)))

    def shares(self, group: str, rate: float = STATED) -> list[float]:
        """Return the shares called unknown; of near and far those that were not."""
        found = self.unknown.get((rate, group), [])
        return [1 - share for share in found] if group.split()[0] in ("near", "far") else found

    def row(self, shots: int) -> str:
        """Return the figures at the stated rate as a line."""
        told = "  ".join(shown(self.shares(group)) for group in GROUPS)
        return f"  {shots:<9}{told}  {np.mean(self.auroc['near']):.3f} {np.mean(self.auroc['far']):.3f}"


def ask(trial: Trial, featurizer: Featurizer, far: list[Path], tallies: dict[tuple[str, int], Tally]) -> None:
    """Teach a bundle with a head and one without, step by step, and count."""
    old = {label for _, label in trial.base}
    asked = [p for p, label in trial.asked if label in old]
    images = {"base": asked, "enrolled": [p for p, label in trial.asked if label in trial.enroll]}
    images |= {"near": trial.near, "far": far}
    for head, title in ((True, "base and enrolled classes"), (False, "enrolled classes only")):
        bundle = replay(trial, featurizer, head=head)
        bank = bundle.bank()
        embedded = {group: bundle.embed(paths) for group, paths in images.items()}
        looked = {look: bundle.embed(asked, view) for look, view in LOOKS.items()} if head else {}
        done = 0
        for shots in (0, *SHOTS):
            if shots > max(map(len, trial.enroll.values())) or not (head or shots):
                continue
            for label, paths in trial.enroll.items():
                if paths[done:shots]:
                    bundle.enroll(bank, label, paths[done:shots])
            done = shots
            groups = {**embedded, **looked}
            gone = (["base"] if not head else []) + (["enrolled"] if not shots else [])
            tally = tallies[f"{trial.name}, {title}", shots]
            tally.add(bundle, bank, {group: some for group, some in groups.items() if group not in gone})
            ids = bundle.show(bank, [p for paths in trial.shown.values() for p in paths[:UNWANTED]])
            after = {group: embedded[group] for group in ("base", "enrolled", "near") if group not in gone}
            tally.add_shown(bundle, bank, after)
            bundle.take_back(bank, ids)


def over(tallies: Iterable[Tally], group: str, rate: float = STATED) -> list[float]:
    """Return a group's shares of all these."""
    return [share for tally in tallies for share in tally.shares(group, rate)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="chess, one trial")
    small = parser.parse_args().small
    rounds = 1 if small else 8
    tallies: dict[tuple[str, int], Tally] = defaultdict(Tally)
    with tempfile.TemporaryDirectory() as name:
        trials: list[Trial] = []
        sets: dict[str, list[Path]] = {}
        if (SHARED / "chess").is_dir():
            trials += photos("chess", chess_files(), 3, 2, 10, rounds)
            sets["chess"] = [p for files in chess_files().values() for p in files]
        if (SHARED / "icons").is_dir():
            trials += [] if small else [*icons(9, rounds), *kinds(rounds)]
            sets["icons"] = [p for files in icon_files().values() for p in files]
        if not trials:
            sys.exit(f"skipped: {SHARED} is not there")
        if not small:
            digits = digit_files(Path(name))
            trials += photos("digits", digits, 5, 3, 30, rounds)
            sets["digits"] = [p for files in digits.values() for p in files]
        featurizers = {kind: Featurizer(paths) for kind, paths in sets.items()}
        for trial in trials:
            own = trial.name.split(" in ")[0]
            far = [p for kind, paths in sets.items() if kind != own for p in spread(paths, 40)]
            ask(trial, featurizers[own], far, tallies)
    print_figures(tallies)


def print_figures(tallies: dict[tuple[str, int], Tally]) -> None:
    """Print the table, and what the goals are about."""
    print(f"at a stated {100 * STATED:g} %: false alarms of base and enrolled classes, accepted near and far, in %")
    print(f"  {'examples':<9}" + "  ".join(f"{group:>17}" for group in GROUPS) + "  AUROC near, far")
    for title in dict.fromkeys(t for t, _ in tallies):
        print(title)
        for (t, shots), tally in tallies.items():
            if t == title:
                print(tally.row(shots))
    print("false alarms of base classes as they are and in other looks")
    for title in dict.fromkeys(t for t, _ in tallies if "base" in t):
        of = [tally for (t, _), tally in tallies.items() if t == title]
        print(f"  {title}: " + ", ".join(f"{look} {shown(over(of, look))}" for look in ("base", *LOOKS)))
    every = list(tallies.values())
    for rate in RATES:
        for group in ("base", "enrolled"):
            print(f"goal, false alarms of {group} classes at {100 * rate:g} %: {shown(over(every, group, rate))} %")
    plain = [tally for (t, _), tally in tallies.items() if "six kinds" not in t]
    known = over(plain, "base after") + over(plain, "enrolled after")
    print(f"goal, near accepted after {UNWANTED} of each as none of these: {shown(over(plain, 'near after'))} %")
    print(f"goal, false alarms then: {shown(known)} %")
    mixed = [tally for (t, _), tally in tallies.items() if "six kinds" in t and "base" in t]
    print(f"goal, near accepted on chess, icons, digits: {shown(over(plain, 'near'))} %")
    print(f"goal, far accepted on chess, icons, digits: {shown(over(plain, 'far'))} %")
    if mixed:
        print(f"goal, far accepted on icons in six kinds, base and enrolled: {shown(over(mixed, 'far'))} %")


if __name__ == "__main__":
    main()
