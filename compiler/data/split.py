"""Which images train, which choose among models, and which only measure.

Each class is split on its own, in the order of a hash of seed, class and image name. So a class's
split depends neither on the other classes nor on the order of the files, and an image added later
leaves the others nearly where they were.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.runtime.errors import DataError

PARTS = ("train", "validation", "test")
MIN_TRAIN = 3
MIN_IMAGES = MIN_TRAIN + 2
"""A class needs three images to train on, one for validation and one for test."""


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into the samples, int64 and ascending; together they are all samples, each once."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def held_out(self) -> NDArray[np.int64]:
        """Validation and test, ascending."""
        return np.sort(np.concatenate([self.validation, self.test]))


def split(
    labels: Sequence[str] | NDArray[np.integer[Any]],
    seed: int,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    given: Sequence[str | None] | None = None,
    *,
    names: Sequence[str] | None = None,
    skipped: Mapping[str, int] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> Split:
    """Split samples into train, validation and test by `fractions`, class by class.

    `given` names parts already decided (`train`, `validation`, `test`, or None). A class with no given
    validation or test images gets them out of its undecided images first, then out of its train ones;
    what is undecided after that trains. `names` makes the split independent of the samples' order;
    without it, a sample is known by its place in its class. `skipped` counts a class's unusable files.

    `groups` [N] gives images that must not be parted the same number: each group goes to one part whole, an
    undecided image to where its group was given. Given parts stay as they are; and a class whose images
    cannot be shared out so (most of them in one group) is split as if it had no groups.

    Raises:
        DataError: a class has fewer than five images, or fewer than three are left to train on.
        ValueError: arguments that do not fit together.
    """
    if not math.isclose(sum(fractions), 1.0) or min(fractions) < 0:
        raise ValueError(f"fractions {fractions}, expected three from 0 to 1 with the sum 1")
    classes = [str(label) for label in labels]
    parts = list(given) if given is not None else [None] * len(classes)
    if len(parts) != len(classes) or (names is not None and len(names) != len(classes)):
        raise ValueError(f"{len(classes)} labels, {len(parts)} given parts, {len(names or classes)} names")
    if not {part for part in parts if part is not None} <= set(PARTS):
        raise ValueError(f"given parts {sorted(set(map(str, parts)))}, expected {PARTS} or None")
    members: dict[str, list[int]] = {label: [] for label in skipped or ()}
    for index, label in enumerate(classes):
        members.setdefault(label, []).append(index)
    _check_sizes(members, skipped or {})
    together = np.arange(len(classes)).tolist() if groups is None else groups.tolist()
    if len(together) != len(classes):
        raise ValueError(f"{len(classes)} labels, {len(together)} groups")
    parts = _join(parts, together)
    placed: dict[int, str] = {}  # where a group went that reaches into more classes than one
    chosen: dict[str, list[int]] = {part: [] for part in PARTS}
    for label, indices in sorted(members.items()):
        keys = [str(place) if names is None else names[index] for place, index in enumerate(indices)]
        ranked = [index for _, index in sorted(zip(_ranks(seed, label, keys), indices, strict=True))]
        for part, own in _split_class(label, ranked, parts, fractions, together, placed).items():
            chosen[part] += own
            for index in own:
                placed.setdefault(together[index], part)
    return Split(*(np.array(sorted(chosen[part]), np.int64) for part in PARTS))


def _ranks(seed: int, label: str, keys: Sequence[str]) -> list[bytes]:
    """Return one hash per key: sorting by it is a shuffle that is the same in every numpy and Python."""
    head = f"{seed}\0{label}\0".encode()
    return [hashlib.sha256(head + key.encode("utf-8", "backslashreplace")).digest() for key in keys]


def _join(parts: Sequence[str | None], groups: Sequence[int]) -> list[str | None]:
    """Give an undecided image the part of its group, where that has one; test before train: it must not leak."""
    given = {part: {g for g, p in zip(groups, parts, strict=True) if p == part} for part in PARTS}
    order = ("test", "validation", "train")
    return [p or next((o for o in order if g in given[o]), None) for p, g in zip(parts, groups, strict=True)]


def _split_class(
    label: str,
    ranked: list[int],
    parts: Sequence[str | None],
    fractions: tuple[float, float, float],
    groups: Sequence[int],
    placed: Mapping[int, str],
) -> dict[str, list[int]]:
    given = {part: [index for index in ranked if parts[index] == part] for part in PARTS}
    pool = [index for index in ranked if parts[index] is None] + given["train"]
    needed = [part for part in ("validation", "test") if not given[part]]
    if len(pool) < MIN_TRAIN + len(needed):
        need = " and ".join([f"{MIN_TRAIN} to train on", *(f"1 for {part}" for part in needed)])
        raise DataError(
            f"class {label!r}: {len(pool)} images are left beside its given validation and test images, "
            f"expected at least {need}; add images or change the splits"
        )
    sizes = _sizes(len(pool), needed, dict(zip(PARTS, fractions, strict=True)))
    out = _share(pool, needed, sizes, groups, placed)
    if len(out["train"]) < MIN_TRAIN or not all(out[part] for part in needed):
        out = _share(pool, needed, sizes, {index: index for index in pool}, {})
    return {**given, **out}


def _share(
    pool: Sequence[int],
    needed: Sequence[str],
    sizes: Mapping[str, int],
    groups: Sequence[int] | Mapping[int, int],
    placed: Mapping[int, str],
) -> dict[str, list[int]]:
    """Share the pool out in whole groups, in its order: to each needed part up to its size, the rest to train."""
    units: dict[int, list[int]] = {}
    for index in pool:
        units.setdefault(groups[index], []).append(index)
    out: dict[str, list[int]] = {"train": []}
    for part in needed:
        out[part] = [index for group in units if placed.get(group) == part for index in units[group]]
    free = {group: unit for group, unit in units.items() if placed.get(group) not in needed}
    for part in needed:
        for group, unit in list(free.items()):
            if group not in placed and len(out[part]) + len(unit) <= sizes[part]:
                out[part] += free.pop(group)
        if not out[part] and (loose := [group for group in free if group not in placed]):
            out[part] = free.pop(min(loose, key=lambda group: len(free[group])))
    out["train"] = [index for unit in free.values() for index in unit]
    return out


def _sizes(count: int, needed: Sequence[str], fractions: Mapping[str, float]) -> dict[str, int]:
    """Share `count` images between train and the needed parts by largest remainders, minima kept."""
    shared = ("train", *needed)
    whole = sum(fractions[part] for part in shared) or 1.0
    exact = {part: count * fractions[part] / whole for part in shared}
    sizes = {part: math.floor(exact[part] + 1e-9) for part in shared}
    # A tie goes to test: a better measure is worth more than one more image to train on.
    by_remainder = sorted(shared, key=lambda p: (round(sizes[p] - exact[p], 9), -PARTS.index(p)))
    for part in by_remainder[: count - sum(sizes.values())]:
        sizes[part] += 1
    sizes = {part: max(sizes[part], MIN_TRAIN if part == "train" else 1) for part in shared}
    while sum(sizes.values()) > count:
        spare = {part: sizes[part] - (MIN_TRAIN if part == "train" else 1) for part in shared}
        sizes[max(shared, key=lambda part: spare[part])] -= 1
    return sizes


def _check_sizes(members: Mapping[str, Sequence[int]], skipped: Mapping[str, int]) -> None:
    small = [label for label in sorted(members) if len(members[label]) < MIN_IMAGES]
    if not small:
        return
    label, others = small[0], small[1:]
    lost = f" ({skipped[label]} more were skipped)" if skipped.get(label) else ""
    also = f"; too small as well: {', '.join(map(repr, others[:8]))}" + ("…" if len(others) > 8 else "")
    raise DataError(
        f"class {label!r} has {len(members[label])} images{lost}, expected at least {MIN_IMAGES}; "
        f"add images or remove the class{also if others else ''}"
    )
