"""Several sources as one data set: an image that is in two of them is taken once, and conflicts are told."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.files import file_sha256

from .records import Sample, Skipped

_SHOWN = 10


@dataclass(frozen=True, eq=False)
class Part:
    """What came of one source."""

    source: str
    samples: Sequence[Sample]
    skipped: Sequence[Skipped]


def put_together(parts: Sequence[Part], skipped: list[Skipped], notes: list[str]) -> list[Sample]:
    """Return the images of all parts; the names of those after the first part say where they are from.

    The parts rank as they are named: an image that comes again under its label is left out, and one that comes under
    another label too, as in `tlc gallery merge`. Within a part nothing is compared.

    Raises:
        DataError: a file cannot be read.
    """
    labels: dict[str, set[str]] = {}
    samples: list[Sample] = []
    known, conflicts = 0, list[str]()
    names = _names(parts)
    for part, name in zip(parts, names, strict=True):
        theirs: dict[str, set[str]] = {}
        for sample in part.samples:
            digest = _digest(sample)
            held = labels.get(digest, set())
            if not held:
                theirs.setdefault(digest, set()).add(sample.label)
                samples.append(replace(sample, name=f"{name}{sample.name}"))
            elif sample.label in held:
                known += 1
            else:
                conflicts.append(f"  {name}{sample.name}: {', '.join(sorted(held))} here, {sample.label} there")
        labels |= {digest: labels.get(digest, set()) | found for digest, found in theirs.items()}
        skipped += [replace(one, name=f"{name}{one.name}") for one in part.skipped]
    if known:
        notes.append(f"{_images(known)} known already from another --data")
    if conflicts:
        it = "it" if len(conflicts) == 1 else "they"
        notes.append(f"{_images(len(conflicts))} came under a label {it} did not have; the label {it} had stands:")
        notes += conflicts[:_SHOWN]
        notes += [f"  … and {len(conflicts) - _SHOWN} more"] if len(conflicts) > _SHOWN else []
    return samples


def _names(parts: Sequence[Part]) -> list[str]:
    """Return what stands before the names of each part's images: nothing for the first, then each another."""
    found: list[str] = []
    for number, part in enumerate(parts):
        name = Path(part.source.rstrip("/")).name or "data"
        taken = f"{name}/" in found
        found.append("" if not number else f"{name} {number + 1}/" if taken else f"{name}/")
    return found


def _digest(sample: Sample) -> str:
    """Return the SHA-256 of an image: of its file, or of what a device was shown."""
    if sample.sha256 is not None:
        return sample.sha256
    if not isinstance(sample.source, np.ndarray):
        try:
            return file_sha256(Path(sample.source))
        except OSError as e:
            raise DataError(f"{sample.name}: cannot be read ({e.strerror or e})") from None
    return hashlib.sha256(np.ascontiguousarray(sample.source).tobytes()).hexdigest()


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
