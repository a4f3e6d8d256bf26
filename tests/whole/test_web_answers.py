"""The runtime in JavaScript beside the one in Python: the same answers to the same situations."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from numpy.typing import NDArray

from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.bundle.manifest import Decision
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.cut import Measured
from tlc_edge.runtime.knn.prediction import Prediction, answer, basis
from tlc_edge.runtime.knn.unknown import Knownness, pack_knownness
from tlc_edge.runtime.labels import NONE_OF_THESE
from tlc_edge.runtime.vectors import quantize_row, quantize_rows, unit_rows

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not here")
TOLERANCE = 1e-4


class Situation:
    """A bundle's numbers, a gallery's rows and some images' outputs."""

    def __init__(self, seed: int, rows: int | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.width = int(rng.choice([2, 5, 16, 64]))
        base = int(rng.integers(0, 5)) if rows is None else 3
        self.labels = tuple(f"base{i}" for i in range(base))
        centres = rng.normal(size=(base + 4, self.width))
        self.exemplar_labels = rng.integers(0, base, size=6 * base if base else 0)
        # As bundles have them: int8 rows.
        rough = self._near(rng, centres, self.exemplar_labels)
        self.exemplars = np.array([quantize_row(v)[0] for v in rough], np.float32).reshape(-1, self.width)
        self.lengths = rng.uniform(0.5, 3, len(self.exemplars)).astype(np.float32)
        count = int(rng.choice([0, 1, 2, 7, 40])) if rows is None else rows
        if not base:
            count = max(count, 1)
        classes = rng.integers(0, base + 4, size=count)
        if not base:
            classes[0] = 0  # there is a class at all
        vectors = self._near(rng, centres, classes) * rng.uniform(0.5, 3, (count, 1)).astype(np.float32)
        if count > 2:
            vectors[1], vectors[2] = vectors[0], vectors[0]  # ties
        packed = [quantize_row(v) for v in vectors]
        self.rows = np.array([r for r, _ in packed], np.int8).reshape(count, self.width)
        self.scales = [float(s) for _, s in packed]
        # Every third situation has merged rows.
        others = np.random.default_rng(seed + 1_000_000)
        self.stand_for = others.choice([1, 1, 2, 30], size=count) if seed % 3 == 0 else np.ones(count, np.int64)
        # A base class's own name among them: examples of it speak beside its head.
        # And what must not pass, now and then.
        names = [*self.labels, *(f"new {c} ü" for c in range(base, base + 3)), NONE_OF_THESE]
        self.row_labels = tuple(names[c] for c in classes)
        self.decision = Decision(
            int(rng.integers(1, 6)),
            float(rng.uniform(0.01, 0.1)),
            float(rng.choice([0, 0.5])),
            float(rng.choice([0, 1])),
            float(rng.choice([0, 0.7])),
            float(rng.uniform(0.02, 0.1)),
        )
        steps = np.sort(rng.uniform(-0.5, 1, (4, 11)), axis=1).astype(np.float32)
        measured = bool(rng.integers(0, 4))
        self.knownness = Knownness(
            shift=(rng.normal(size=self.width) * 0.3).astype(np.float32),
            base=np.sort(rng.uniform(0, 1, 30)).astype(np.float32) if measured else np.zeros(0, np.float32),
            examples=np.array([1, 2, 5, 20]) if measured else np.zeros(0, np.int64),
            enrolled=steps if measured else np.zeros((0, 2), np.float32),
            measured=self._measured(rng) if measured and rng.integers(0, 4) else None,
            unwanted=self._unwanted(seed, centres),
        )
        self.rate = float(rng.choice([0, 0.05, 0.3, 0.6, 0.9]))
        asked = self._near(rng, centres, rng.integers(0, base + 4, size=6))
        asked[0] = 0  # a model that gives nothing at all
        if count:
            asked[1] = vectors[0]
        self.queries = asked
        heads = rng.uniform(0, 1, (6, base)).astype(np.float32)
        self.probabilities = np.where(rng.uniform(size=(6, 1)) < 0.1, np.float32(0), heads).astype(np.float32)

    def _unwanted(self, seed: int, centres: NDArray[Any]) -> NDArray[np.float32] | None:
        """Return what must not pass and travels with the bundle, as the file has it; of every second bundle."""
        if seed % 2:
            return None
        rows = self._near(np.random.default_rng(seed), centres, np.arange(len(centres)).repeat(2)[: seed % 7])
        packed, scales = quantize_rows(rows)
        return np.multiply(packed, scales[:, None], dtype=np.float32)

    def _measured(self, rng: np.random.Generator) -> Measured:
        """Return what a cut is found from; a tenth of the looks are not there."""
        count = len(self.exemplars) or 12
        claimed = rng.uniform(-0.2, 1, (count, 3)).astype(np.float32)
        claimed[rng.uniform(size=claimed.shape) < 0.1] = np.nan
        lengths = rng.normal(size=claimed.shape).astype(np.float32)
        few = np.sort(rng.uniform(-0.5, 1, (4, 11)), axis=1).astype(np.float32)
        return Measured(np.array([1, 2, 5, 20]), few, claimed, lengths)

    @staticmethod
    def _near(rng: np.random.Generator, centres: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.float32]:
        found = centres[classes] + rng.normal(size=(len(classes), centres.shape[1])) * 0.4
        return found.astype(np.float32)

    def answers(self) -> list[Prediction]:
        """Answer with Python."""
        exemplars = Exemplars(unit_rows(self.exemplars).reshape(-1, self.width), self.exemplar_labels, self.lengths)
        bank = Bank(exemplars, self.labels, self.knownness.shift, self.knownness.unwanted)
        if len(self.rows):
            ids = np.arange(1, len(self.rows) + 1)
            scales = np.array(self.scales, np.float32)
            bank.append(GalleryRows(ids, self.row_labels, self.rows, scales, 0, stands_for=self.stand_for))
        based = basis(bank, self.decision, self.knownness, self.rate)
        return [answer(p, q, based, {}) for p, q in zip(self.probabilities, self.queries, strict=True)]

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        return {
            "width": self.width,
            "labels": self.labels,
            "exemplars": _text(self.exemplars),
            "exemplarLabels": self.exemplar_labels.tolist(),
            "lengths": _text(self.lengths),
            "rows": _text(self.rows),
            "scales": self.scales,
            "standFor": self.stand_for.tolist(),
            "rowLabels": self.row_labels,
            "decision": {
                "k": self.decision.k,
                "temperature": self.decision.temperature,
                "mean": self.decision.mean,
                "balance": self.decision.balance,
                "means": self.decision.means,
                "meansTemperature": self.decision.means_temperature,
            },
            "base": _text(self.knownness.base),
            "knownness": base64.b64encode(pack_knownness(self.knownness)).decode(),
            "rate": self.rate,
            "queries": _text(self.queries),
            "probabilities": _text(self.probabilities),
        }


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def answered(situations: Sequence[Situation], folder: Path) -> list[list[dict[str, Any]]]:
    """Answer with JavaScript."""
    asked = folder / "situations.json"
    asked.write_text(json.dumps([s.document() for s in situations]), encoding="utf-8")
    assert NODE is not None
    script = str(ROOT / "tests" / "web" / "answers.mjs")
    done = subprocess.run([NODE, script, str(asked)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[list[dict[str, Any]]] = json.loads(done.stdout)
    return found


def compare(here: Prediction, there: dict[str, Any]) -> None:
    """Check that both are the same answer; where two classes tie, either may come first."""
    scores = {r.label: r.score for r in here.ranked}
    assert {r["label"] for r in there["ranked"]} == scores.keys()
    for ranked in there["ranked"]:
        assert ranked["score"] == pytest.approx(scores[ranked["label"]], abs=TOLERANCE)
    assert there["label"] == here.label or abs(scores[there["label"]] - here.score) < TOLERANCE
    assert there["knownness"] == pytest.approx(here.knownness, abs=TOLERANCE)
    if np.isfinite(here.threshold):
        assert there["threshold"] == pytest.approx(here.threshold, abs=TOLERANCE)
    else:
        assert there["threshold"] is None
    assert there["noneOfThese"] == here.none_of_these
    assert there["unknown"] == here.unknown or abs(here.knownness - here.threshold) < TOLERANCE
    assert [n["similarity"] for n in there["neighbours"]] == pytest.approx(
        [n.similarity for n in here.neighbours], abs=TOLERANCE
    )


def test_both_runtimes_give_the_same_answers(tmp_path: Path) -> None:
    situations = [Situation(seed) for seed in range(120)]
    cuts = sum(s.knownness.measured is not None and s.rate > 0 for s in situations)
    assert 20 < cuts < 100  # some have a cut, and some the thresholds of before
    assert 20 < sum(s.knownness.unwanted is not None for s in situations) < 100
    compared = unknown = 0
    for situation, there in zip(situations, answered(situations, tmp_path), strict=True):
        for here, other in zip(situation.answers(), there, strict=True):
            compare(here, other)
            compared += 1
            unknown += here.unknown
    assert compared >= 500
    assert 0.05 < unknown / compared < 0.95  # both kinds of answer are among them


def test_twenty_thousand_rows(tmp_path: Path) -> None:
    situation = Situation(7, rows=20_000)
    (there,) = answered([situation], tmp_path)
    here = situation.answers()
    assert len(here) == len(there) == len(situation.queries)
    assert len({one.label for one in here}) > 1
    assert any(n.id > 15_000 for one in here for n in one.neighbours)  # the last rows are searched as the first
    for one, other in zip(here, there, strict=True):
        compare(one, other)
