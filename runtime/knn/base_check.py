"""What enrolment costs the base classes, estimated on the device from the bundle's own exemplars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tlc_edge.runtime.bundle.manifest import Decision
from tlc_edge.runtime.vectors import unit_rows

from .decision import decide
from .unknown import is_unwanted

if TYPE_CHECKING:
    from .bank import Bank

_BESIDE = 5  # neighbours that a sample is judged by
_MOST = 300  # exemplars that are tried; more would cost time and tell little


def turned_away(bank: Bank) -> tuple[int, int]:
    """Return how many exemplars and enrolled examples were tried, and how many are nearer to what must not pass.

    Each is left out in turn, and asked about like an image; at most 300 are tried, evenly.
    """
    rows = np.arange(len(bank))
    if len(rows) > _MOST:
        rows = rows[np.linspace(0, len(rows) - 1, _MOST).astype(np.int64)]
    away = 0
    for row, embedding in zip(rows.tolist(), bank.embeddings(rows), strict=True):
        near = bank.nearby(embedding, _BESIDE + 1)
        others = [known for other, known in zip(near.rows, near.knownness, strict=True) if other != row]
        away += is_unwanted(near._replace(knownness=others[:_BESIDE]))
    return len(rows), away


def taken(bank: Bank, decision: Decision) -> tuple[int, int]:
    """Return how many exemplars were tried, and how many of them would be given to another class.

    Each is left out in turn, of the rows and of its class's mean; then the decision is made as always, with a
    head that is certain of the right class. So what is counted is what enrolled examples take, and nothing that
    the head gets wrong by itself. The neck was fitted to the exemplars too, so it is the least there will be.
    """
    own, enrolled = bank.counts()
    classes = bank.row_class[: bank.exemplars]
    rows = np.flatnonzero((own + enrolled)[classes] > 1)
    if len(rows) > _MOST:
        rows = rows[np.linspace(0, len(rows) - 1, _MOST).astype(np.int64)]
    if not enrolled.any():
        return len(rows), 0
    base = int(classes.max(initial=-1)) + 1
    sums, lost = bank.sums(), 0
    heard = bank.heard() if decision.means else None
    for row in rows.tolist():
        c = int(classes[row])
        unit = bank.take(np.array([row]))[0]
        near = bank.nearby(unit, decision.k + 1)
        others = [i for i, other in enumerate(near.rows) if other != row][: decision.k]
        rest = float(unit_rows((sums[c] - unit).astype(np.float32))[0] @ unit)
        to_means = [rest if near.classes[i] == c else near.to_means[i] for i in others]
        class_means = None if heard is None else bank.to_class_means(near.unit) + heard
        if class_means is not None:
            class_means[c] = rest
        head = np.zeros(base, np.float32)
        head[c] = 1.0
        ranking = decide(
            head,
            [near.cosines[i] for i in others],
            [near.classes[i] for i in others],
            [near.own[i] for i in others],
            len(bank.labels),
            decision,
            to_means,
            enrolled.tolist(),
            class_means,
        )
        lost += int(np.argmax(ranking.scores)) != c
    return len(rows), lost
