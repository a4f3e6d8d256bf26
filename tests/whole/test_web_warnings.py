"""What looks wrong about new examples: the browser warns where Python does, and of the same."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sites import in_node
from test_web_answers import Situation

from tlc_edge.runtime import Bundle
from tlc_edge.runtime.bundle.bundle import Exemplars
from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.gallery.records import GalleryRows
from tlc_edge.runtime.images import nothing
from tlc_edge.runtime.knn.bank import Bank
from tlc_edge.runtime.knn.enroll_warnings import Doubts, NewExample, blur_limit, sharpness
from tlc_edge.runtime.labels import NONE_OF_THESE
from tlc_edge.runtime.vectors import unit_rows

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")
GOLDEN = [-0.4, -0.5, -0.6, -0.45, -0.55]


def pictures() -> list[NDArray[np.uint8]]:
    """Noise, blurred noise, darkness, one colour with a little on it: of many sizes, RGB and grey."""
    rng = np.random.default_rng(0)
    found: list[NDArray[np.uint8]] = []
    for i in range(60):
        side = int(rng.choice([1, 2, 8, 17, 32, 50, 96, 128]))
        noise = rng.integers(0, 256, (side, side + i % 2, 3)).astype(np.uint8)
        blurred = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(i % 4)))
        level = int(rng.integers(0, 250))
        pixels = (noise, blurred, np.full_like(noise, level), level + noise // 200)[i % 4].astype(np.uint8)
        found.append(pixels[..., : 1 if i % 3 == 0 else 3])
    return found


class Held:
    """A gallery as `Doubts` asks it; a stored picture stands for its sharpness."""

    def __init__(self, situation: Situation, held: dict[str, list[str]]) -> None:
        self._labels, self._held = situation.row_labels, held

    def labels_of(self, sha256: Sequence[str]) -> list[tuple[str, ...]]:
        return [tuple(self._held.get(one, ())) for one in sha256]

    def classes(self) -> set[str]:
        return set(self._labels)

    def examples(self, label: str) -> list[Any]:
        return [Id(i) for i, name in enumerate(self._labels) if name == label]

    def thumbnail(self, example: int) -> bytes | None:
        return bytes([example % 30]) if example % 3 else None


class Id:
    """An example, of which only the id is asked."""

    def __init__(self, number: int) -> None:
        self.id = number


def steps(seed: int, situation: Situation) -> list[dict[str, Any]]:
    """Return three enrolments, as JSON takes them."""
    rng = np.random.default_rng(seed)
    names = [*situation.labels, *situation.row_labels, "new", NONE_OF_THESE]
    return [
        {
            "label": str(rng.choice(names)),
            "examples": [
                {
                    "name": f"{step}.{i}",
                    "sha256": f"{int(rng.integers(6)):064x}",
                    "query": int(rng.integers(len(situation.queries))),
                    "sharpness": None if rng.integers(8) == 0 else round(float(rng.normal(-0.5, 0.5)), 3),
                    "isBlank": bool(rng.integers(8) == 0),
                }
                for i in range(int(rng.integers(1, 7)))
            ],
        }
        for step in range(3)
    ]


def python_warns(
    situation: Situation, asked: list[dict[str, Any]], held: dict[str, list[str]], bundle: Bundle
) -> list[Any]:
    exemplars = Exemplars(
        unit_rows(situation.exemplars).reshape(-1, situation.width), situation.exemplar_labels, situation.lengths
    )
    bank = Bank(exemplars, situation.labels, np.zeros(situation.width, np.float32))
    if len(situation.rows):
        ids = np.arange(1, len(situation.rows) + 1)
        scales = np.array(situation.scales, np.float32)
        bank.append(GalleryRows(ids, situation.row_labels, situation.rows, scales, 0))
    doubts = Doubts(bundle)
    gallery = cast(Gallery, Held(situation, held))
    said: list[Any] = []
    for step in asked:
        new = [
            NewExample(e["name"], e["sha256"], situation.queries[e["query"]], e["sharpness"], e["isBlank"])
            for e in step["examples"]
        ]
        warnings = doubts.about(step["label"], new, bank, gallery)
        said.append([{"kind": w.kind, "image": w.image, "label": w.label} for w in warnings])
    return said


def test_both_runtimes_warn_of_the_same(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Files are the browser's and Pillow's to decode: here each stands for its sharpness.
    def stands_for(files: Sequence[bytes]) -> list[float]:
        return GOLDEN if len(files) and len(files[0]) > 1 else [f[0] / -10 for f in files]

    monkeypatch.setattr("tlc_edge.runtime.knn.enroll_warnings.sharpness_of_files", stands_for)
    situations = [Situation(seed) for seed in range(60)]
    held = [{f"{i:064x}": sorted({*s.row_labels[:i]})[:2] for i in range(3)} for s in situations]
    asked = [steps(seed, s) for seed, s in enumerate(situations)]
    rng = np.random.default_rng(1)
    references = [np.round(rng.normal(-0.5, 0.3, int(n)), 3).tolist() for n in rng.integers(0, 12, 20)]
    shown = pictures()
    document = {
        "golden": GOLDEN,
        "pictures": [
            {
                "pixels": base64.b64encode(np.ascontiguousarray(p).tobytes()).decode(),
                "height": p.shape[0],
                "width": p.shape[1],
                "channels": p.shape[2],
            }
            for p in shown
        ],
        "references": references,
        "situations": [s.document() | {"held": h, "steps": a} for s, h, a in zip(situations, held, asked, strict=True)],
    }
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    found = in_node("doubts.mjs", path)

    for picture, looks in zip(shown, found["looks"], strict=True):
        wanted = sharpness(picture)
        assert looks["sharpness"] == (None if wanted is None else pytest.approx(wanted, abs=1e-4))
        assert looks["isBlank"] == nothing.is_one_colour(nothing.thumbnail(picture))
    assert {looks["isBlank"] for looks in found["looks"]} == {True, False}
    for one, limit in zip(references, found["limits"], strict=True):
        assert limit == (pytest.approx(blur_limit(one), abs=1e-6) if len(one) >= 4 else None)
    kinds: set[str] = set()
    for situation, a, h, there in zip(situations, asked, held, found["warnings"], strict=True):
        here = python_warns(situation, a, h, bundle)
        assert there == here
        kinds |= {w["kind"] for said in here for w in said}
    assert kinds == {"duplicate", "blank", "blur", "alike"}
