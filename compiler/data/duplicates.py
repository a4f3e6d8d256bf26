"""Near-duplicates: one picture as several files, such as a photo and its smaller, brighter or recompressed copy.

A model that trained on one of them and is measured on another is measured on what it has seen. So they are
found, kept on one side of the split, and reported.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.records import Floats

from .records import Sample
from .split import Split

SIMILAR = 0.995
"""Correlation of two thumbnails from which on they show one picture.

Measured on photos, drawings and handwritten digits: copies recompressed (JPEG quality 30), halved, or 15 % darker
or brighter keep above 0.995 as a rule; the likest two that are not copies reach 0.982, 0.989 and 0.992. The usual
64-bit difference hash parts them less well: different digits have equal ones, copies of one differ in 7 to 14 bits.
"""
_FLAT = 2.0  # grey levels of standard deviation: below, noise decides the correlation
_SIEVE = 32  # dimensions of the first, quick comparison
_FEW = 2000  # thumbnails are compared in full at once
_ROWS = 512  # compared with all others at a time
_MANY = 20_000  # from so many on, only pairs whose perceptual hashes are near are compared
_ASKED = 64  # hashes whose neighbours are in memory at a time: a film's frames have thousands each
HASH_BYTES = 16
_STEPS = 100  # of a hash, from 0 to 1
_NEAR = _STEPS * (2 * (1 - SIMILAR)) ** 0.5 + HASH_BYTES**0.5  # each of two roundings may add half a step to a part


@dataclass(frozen=True)
class Group:
    """Images that show one picture."""

    images: tuple[str, ...]
    labels: tuple[str, ...]
    """Its classes; more than one means that a label is wrong."""
    parts: tuple[str, ...]
    """Where they went; more than one means that the split could not keep them together."""


def find_groups(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return for each of N thumbnails the index of the first that shows the same picture, [N].

    Two show the same where they correlate by SIMILAR over all pixels and colours, which is blind to
    brightness and contrast but not to colour; and what shows the same as a third is the same.
    """
    flat = thumbnails.reshape(len(thumbnails), int(np.prod(thumbnails.shape[1:])))
    if len(flat) >= _MANY:
        return _find_by_hash(flat, thumbnails.shape[-1])
    # Equal ones first: whoever has a thousand empty frames has them once from here on.
    _, first, inverse = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    group = first[inverse.reshape(-1)].astype(np.int64)
    rows = np.sort(first)
    centred = flat[rows].astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    clear = centred.std(axis=1) >= _FLAT
    rows, unit = rows[clear], centred[clear]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    leader = {int(i): int(i) for i in rows}
    for a, b in _alike(unit):
        one, two = _lead(leader, int(rows[a])), _lead(leader, int(rows[b]))
        leader[max(one, two)] = min(one, two)
    return np.array([_lead(leader, int(i)) if int(i) in leader else int(i) for i in group], np.int64)


def _alike(unit: Floats) -> list[tuple[int, int]]:
    """Return the pairs of rows [N, D] of length 1 whose cosine is SIMILAR or more.

    A projection brings rows nearer, never farther: so what is too far apart in a few dimensions is too
    far apart in all, and only the few pairs that are left are compared in full.
    """
    if len(unit) < 2:
        return []
    small = unit
    if len(unit) > _FEW:
        sample = unit[:: len(unit) // _FEW]
        _, axes = np.linalg.eigh(sample.T @ sample)
        small = unit @ axes[:, -_SIEVE:]
    lengths = np.einsum("ij,ij->i", small, small)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(unit), _ROWS):
        end = start + _ROWS
        apart = lengths[start:end, None] + lengths[None, start:] - 2 * small[start:end] @ small[start:].T
        near, others = np.nonzero(apart <= 2 * (1 - SIMILAR) + 1e-4)
        ordered = near < others
        a, b = near[ordered] + start, others[ordered] + start
        close = np.einsum("ij,ij->i", unit[a], unit[b]) >= SIMILAR
        pairs += zip(a[close].tolist(), b[close].tolist(), strict=True)
    return pairs


def perceptual_hash(thumbnail: NDArray[np.uint8]) -> bytes:
    """Return the hash of a thumbnail [SIDE, SIDE, C]: HASH_BYTES signed bytes, near where pictures are alike.

    They are the thumbnail's lowest frequencies (a discrete cosine transform of its light), after its mean was taken out
    and its length made 1. A projection brings vectors nearer, never farther: so two hashes of one picture differ by no
    more than `_NEAR`, and none is missed.
    """
    return bytes(hashes_of(thumbnail.reshape(1, -1), thumbnail.shape[-1])[0])


def hashes_of(flat: NDArray[np.uint8], channels: int) -> NDArray[np.int8]:
    """Return the hashes of thumbnails [N, SIDE * SIDE * C], [N, HASH_BYTES]."""
    x = flat.astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return np.asarray(np.rint(_STEPS * (x @ _waves(flat.shape[1] // channels, channels))), np.int8)


@cache
def _waves(pixels: int, channels: int) -> Floats:
    """Return the lowest frequencies of a square, [pixels * channels, HASH_BYTES], of length 1 and at right angles."""
    side = math.isqrt(pixels)
    at = (np.arange(side) + 0.5) * np.pi / side
    one = np.array([np.cos(k * at) / np.linalg.norm(np.cos(k * at)) for k in range(side)])
    lowest = sorted(((u, v) for u in range(side) for v in range(side)), key=lambda w: (w[0] ** 2 + w[1] ** 2, w))
    waves = [np.outer(one[u], one[v]).reshape(-1) for u, v in lowest[1 : HASH_BYTES + 1]]
    return np.asarray(np.repeat(np.array(waves).T, channels, axis=0) / np.sqrt(channels), np.float32)


def _find_by_hash(flat: NDArray[np.uint8], channels: int) -> NDArray[np.int64]:
    """Do what `find_groups` does for many thumbnails [N, P], which may lie on a disk: a few are in memory at a time.

    Candidates come from a tree over the hashes, and each is confirmed by the same correlation.
    """
    from scipy.spatial import cKDTree

    count = len(flat)
    group = np.arange(count, dtype=np.int64)
    points = np.empty((count, HASH_BYTES), np.int8)
    clear = np.empty(count, np.bool_)
    first: dict[bytes, int] = {}
    for start in range(0, count, _ROWS):
        part = np.asarray(flat[start : start + _ROWS])
        points[start : start + _ROWS] = hashes_of(part, channels)
        clear[start : start + _ROWS] = part.astype(np.float32).std(axis=1) >= _FLAT
        for i, row in enumerate(part, start):
            group[i] = first.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), i)
    rows = np.flatnonzero((group == np.arange(count)) & clear)
    leader = {int(i): int(i) for i in rows}
    tree: Any = cKDTree(points[rows].astype(np.float64))
    for start in range(0, len(rows), _ASKED):
        found = tree.query_ball_point(points[rows[start : start + _ASKED]].astype(np.float64), _NEAR + 1e-6)
        for i, near in enumerate(found, start):
            others = np.sort(np.array([j for j in near if j > i], np.int64))
            for some in np.array_split(others, len(others) // _ROWS + 1):
                if len(some):
                    unit = _unit(flat[rows[np.concatenate([[i], some])]])
                    close = np.einsum("ij,ij->i", np.broadcast_to(unit[:1], unit[1:].shape), unit[1:]) >= SIMILAR
                    for j in some[close].tolist():
                        one, two = _lead(leader, int(rows[i])), _lead(leader, int(rows[j]))
                        leader[max(one, two)] = min(one, two)
    return np.array([_lead(leader, int(i)) if int(i) in leader else int(i) for i in group], np.int64)


def _unit(flat: NDArray[np.uint8]) -> Floats:
    centred = flat.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    return centred


def join_groups(groups: NDArray[np.int64], samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Return groups [N] in which also what was cut out of one photo is together."""
    leader = {int(group): int(group) for group in groups}
    first: dict[str, int] = {}
    for sample, group in zip(samples, groups.tolist(), strict=True):
        if sample.group is not None:
            one, two = _lead(leader, first.setdefault(sample.group, group)), _lead(leader, group)
            leader[max(one, two)] = min(one, two)
    return np.array([_lead(leader, group) for group in groups.tolist()], np.int64)


def _lead(leader: dict[int, int], index: int) -> int:
    while leader[index] != index:
        leader[index] = index = leader[leader[index]]
    return index


def list_groups(samples: Sequence[Sample], groups: NDArray[np.int64], parts: Split) -> tuple[Group, ...]:
    """Return the groups of more than one image, the doubtful ones first, else by name."""
    part_of: dict[int, str] = {}
    for part in ("train", "validation", "test"):
        part_of |= dict.fromkeys(getattr(parts, part).tolist(), part)
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(index)
    found = [
        Group(
            tuple(sorted(samples[i].name for i in own)),
            tuple(sorted({samples[i].label for i in own})),
            tuple(dict.fromkeys(part_of[i] for i in own)),
        )
        for own in members.values()
        if len(own) > 1
    ]
    return tuple(sorted(found, key=lambda g: (-len(g.labels), -len(g.parts), g.images)))


def count_groups(found: Sequence[Group]) -> dict[str, Any]:
    """Return the figures for the manifest."""
    return {
        "groups": len(found),
        "images": sum(len(g.images) for g in found),
        "in_several_classes": sum(len(g.labels) > 1 for g in found),
        "in_several_parts": sum(len(g.parts) > 1 for g in found),
    }
