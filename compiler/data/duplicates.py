"""Near-duplicates: one picture as several files, such as a photo and its smaller, brighter or recompressed copy.

A model that trained on one of them and is measured on another is measured on what it has seen. So they are
found, kept on one side of the split, and reported.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
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
_ROWS = 512  # thumbnails in memory at a time
_ASKED = 64  # points whose neighbours are in memory at a time: a film's frames have thousands each
HASH_BYTES = 16
_STEPS = 100  # of a hash, from 0 to 1
_FREQUENCIES = 64  # the principal directions are sought among so many of the lowest
_DIRECTIONS = 12
_DRAWN = 2000  # thumbnails that tell the directions
_LEAF = 32  # points of the tree that are compared one by one
_NEAR = (2 * (1 - SIMILAR)) ** 0.5 + 1e-4  # apart, where two show one picture; and what float32 may add


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

    Candidates come from a tree over what the thumbnails' light comes to along the directions in which these thumbnails
    differ most, and each is confirmed by the correlation. A projection brings vectors nearer, never farther, so none is
    missed. The thumbnails may lie on a disk: a few are in memory at a time.
    """
    flat = thumbnails.reshape(len(thumbnails), int(np.prod(thumbnails.shape[1:])))
    count = len(flat)
    group = np.arange(count, dtype=np.int64)
    directions = _directions(flat, thumbnails.shape[-1])
    points = np.empty((count, directions.shape[1]), np.float32)
    clear = np.empty(count, np.bool_)
    first: dict[bytes, int] = {}  # whoever has a thousand empty frames has them once from here on
    for start in range(0, count, _ROWS):
        part = np.asarray(flat[start : start + _ROWS])
        points[start : start + _ROWS] = _unit(part) @ directions
        clear[start : start + _ROWS] = part.astype(np.float32).std(axis=1) >= _FLAT
        for i, row in enumerate(part, start):
            group[i] = first.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), i)
    rows = np.flatnonzero((group == np.arange(count)) & clear)
    leader = np.arange(count, dtype=np.int64)
    leader[rows] = rows[_Near(flat, rows, points).leaders()]
    return leader[group]


class _Near:
    """Thumbnails whose groups are sought: what is in one is not looked for again.

    So a film whose frames all show one picture costs a look at each, not at every two.
    """

    def __init__(self, flat: NDArray[np.uint8], rows: NDArray[np.int64], points: Floats) -> None:
        self._flat, self._rows, self._points = flat, rows, points[rows].astype(np.float64)
        self._leader = np.full(len(rows), -1)
        self._plant()

    def leaders(self) -> NDArray[np.int64]:
        """Return for each of the rows the first of its group, by their places among them."""
        for start in range(0, len(self._rows), _ASKED):
            free = start + np.flatnonzero(self._leader[start : start + _ASKED] < 0)
            for seed, near in zip(free.tolist(), self._candidates(free), strict=True):
                if self._leader[seed] < 0:  # all before it are in groups, none of which it belongs to
                    self._leader[seed] = seed
                    self._grow(seed, near)
        return self._leader

    def _grow(self, seed: int, near: NDArray[np.int64]) -> None:
        waiting = deque(self._join(seed, seed, near))
        while waiting:
            some = np.array([waiting.popleft() for _ in range(min(_ASKED, len(waiting)))])
            for i, others in zip(some.tolist(), self._candidates(some), strict=True):
                waiting.extend(self._join(seed, i, others))

    def _join(self, seed: int, i: int, near: NDArray[np.int64]) -> list[int]:
        """Put into the group of `seed` those of `near` that show what its member i shows; return them."""
        joined: list[int] = []
        for start in range(0, len(near), _ROWS):
            some = near[start : start + _ROWS]
            some = some[self._leader[some] < 0]
            if len(some):
                unit = _unit(self._flat[self._rows[np.concatenate([[i], some])]])
                close = some[unit[1:] @ unit[0] >= SIMILAR]
                self._leader[close] = seed
                joined += close.tolist()
        return joined

    def _candidates(self, asked: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return for each of the rows those with a point near its own; most of them in no group yet."""
        if 2 * np.count_nonzero(self._leader[self._there] >= 0) > len(self._there):
            self._plant()
        found = self._tree.query_ball_point(self._points[asked], _NEAR)
        return [np.sort(self._there[np.array(near, np.int64)]) for near in found]

    def _plant(self) -> None:
        from scipy.spatial import cKDTree

        self._there = np.flatnonzero(self._leader < 0)
        self._tree: Any = cKDTree(self._points[self._there], _LEAF)


def _unit(flat: NDArray[np.uint8]) -> Floats:
    centred = flat.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return centred


def _directions(flat: NDArray[np.uint8], channels: int) -> Floats:
    """Return the directions in which thumbnails [N, P] differ most, [P, D], of length 1 and at right angles.

    Along the lowest frequencies alone they differ less, and a tree over these has to look at most of its leaves.
    """
    waves = _waves(flat.shape[1] // channels, channels, _FREQUENCIES)
    drawn = np.linspace(0, len(flat) - 1, min(len(flat), _DRAWN)).astype(np.int64)
    seen = (_unit(np.asarray(flat[drawn])) @ waves).astype(np.float64)
    seen -= seen.mean(axis=0) if len(seen) else 0.0
    principal = np.linalg.eigh(seen.T @ seen)[1][:, ::-1][:, :_DIRECTIONS]
    return np.asarray(waves @ principal, np.float32)


def perceptual_hash(thumbnail: NDArray[np.uint8]) -> bytes:
    """Return the hash of a thumbnail [SIDE, SIDE, C]: HASH_BYTES signed bytes, near where pictures are alike.

    They are the thumbnail's lowest frequencies (a discrete cosine transform of its light), after its mean was taken out
    and its length made 1.
    """
    return bytes(hashes_of(thumbnail.reshape(1, -1), thumbnail.shape[-1])[0])


def hashes_of(flat: NDArray[np.uint8], channels: int) -> NDArray[np.int8]:
    """Return the hashes of thumbnails [N, SIDE * SIDE * C], [N, HASH_BYTES]."""
    waves = _waves(flat.shape[1] // channels, channels, HASH_BYTES)
    return np.asarray(np.rint(_STEPS * (_unit(flat) @ waves)), np.int8)


@cache
def _waves(pixels: int, channels: int, count: int) -> Floats:
    """Return the lowest frequencies of a square, [pixels * channels, count], of length 1 and at right angles."""
    side = math.isqrt(pixels)
    at = (np.arange(side) + 0.5) * np.pi / side
    one = np.array([np.cos(k * at) / np.linalg.norm(np.cos(k * at)) for k in range(side)])
    lowest = sorted(((u, v) for u in range(side) for v in range(side)), key=lambda w: (w[0] ** 2 + w[1] ** 2, w))
    waves = [np.outer(one[u], one[v]).reshape(-1) for u, v in lowest[1 : count + 1]]
    return np.asarray(np.repeat(np.array(waves).T, channels, axis=0) / np.sqrt(channels), np.float32)


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
