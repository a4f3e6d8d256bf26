"""Parity: what files made from one trained state give for the same images, beside the float graph and each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tlc_edge.compiler.lower.file_kinds import FileKind
from tlc_edge.compiler.records import Outputs

from .golden import choose_golden
from .judge import Judged
from .statistics import cosines, top_class

REFERENCE = "float graph"


@dataclass(frozen=True)
class Pair:
    """How nearly two files, or a file and the float graph, give the same."""

    one: str
    other: str
    lowest_cosine: float
    """Of the embeddings of any image."""
    mean_cosine: float
    largest_difference: float | None
    """Of any probability; None without a head."""
    agreement: float | None
    """Share of images with the same best class; None without a head."""


@dataclass(frozen=True)
class Parity:
    """Every two files, on the same images."""

    images: int
    pairs: tuple[Pair, ...] = ()

    @property
    def worst(self) -> Pair | None:
        """The pair with the lowest cosine."""
        return min(self.pairs, key=lambda pair: pair.lowest_cosine, default=None)


NONE = Parity(0)
"""Where nothing was compared."""


def compare(outputs: Mapping[str, Outputs]) -> Parity:
    """Compare what each file gave for the same images, every two of them, in the order in which they are given."""
    images = max((len(o.embeddings) for o in outputs.values()), default=0)
    return Parity(images, tuple(_pair(*names, outputs) for names in combinations(outputs, 2)))


def build_parity(reference: Outputs, judged: Mapping[FileKind, Judged]) -> Parity:
    """Compare a build's files, whatever their targets, and the float graph, on the golden images.

    Args:
        reference: the float graph on the held-out images.
        judged: each distinct file, with what it gave for these.
    """
    rows = choose_golden(reference.probabilities)
    names = _names([(kind, j.file.info.file, j.file.info.scheme) for kind, j in judged.items()])
    outputs = {REFERENCE: reference, **dict(zip(names, (j.outputs for j in judged.values()), strict=True))}
    return compare({name: Outputs(o.probabilities[rows], o.embeddings[rows]) for name, o in outputs.items()})


def _names(files: Sequence[tuple[FileKind, str, str]]) -> list[str]:
    """Return one name per file: with its scheme, and with what it takes and gives where that is not the usual."""
    usual = FileKind("", "")
    names: list[str] = []
    for kind, file, scheme in files:
        ends = [
            f"{dtype} {end}"
            for dtype, other, end in (
                (kind.input_dtype, usual.input_dtype, "in"),
                (kind.output_dtype, usual.output_dtype, "out"),
            )
            if dtype != other
        ]
        names.append(", ".join([f"{file} {scheme}", *ends]))
    return names


def _pair(one: str, other: str, outputs: Mapping[str, Outputs]) -> Pair:
    a, b = outputs[one], outputs[other]
    # What is no number is as far off as can be, and JSON has no word for it.
    near = np.nan_to_num(cosines(a.embeddings, b.embeddings), nan=0.0, posinf=0.0, neginf=0.0)
    apart = np.nan_to_num(np.abs(a.probabilities - b.probabilities), nan=1.0, posinf=1.0)
    headed = bool(a.probabilities.shape[1])
    return Pair(
        one,
        other,
        float(near.min()),
        float(near.mean()),
        float(apart.max()) if headed else None,
        float(np.mean(top_class(a) == top_class(b))) if headed else None,
    )
