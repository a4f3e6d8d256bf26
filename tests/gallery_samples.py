"""Small galleries for the tests: an image is a word, and its vector follows from the word."""

from __future__ import annotations

import hashlib

import numpy as np

from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.records import Change, ExampleSource

PRINT = "0123456789ab" + "c" * 52
WIDTH = 8


def source(key: str, thumbnail: bytes | None = None) -> ExampleSource:
    return ExampleSource(hashlib.sha256(key.encode()).hexdigest(), f"{key}.jpg", thumbnail)


def vectors(*keys: str, width: int = WIDTH) -> np.ndarray:
    """One vector per image, decided by its name."""
    seeds = [int.from_bytes(hashlib.sha256(k.encode()).digest()[:4], "big") for k in keys]
    rows = [np.random.default_rng(s).normal(size=width) for s in seeds]
    return np.array(rows, np.float32).reshape(len(keys), width)


def add(gallery: Gallery, label: str, *keys: str) -> Change:
    return gallery.add(label, vectors(*keys), [source(k) for k in keys])


def held(gallery: Gallery) -> list[tuple[str, str]]:
    return [(e.label, e.source_name.removesuffix(".jpg")) for e in gallery.examples()]


def digest(examples: list[tuple[str, str]]) -> str:
    return hashlib.sha256(repr(sorted(examples)).encode()).hexdigest()[:16]
