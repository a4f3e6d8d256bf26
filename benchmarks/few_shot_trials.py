"""What the benchmarks of few examples share: which images train, which are enrolled, which are asked about."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.data.load import load_dataset

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
Labelled = list[tuple[Path, str]]

# Icons by one maker look alike; the two of each pair are siblings, so both are held out.
MAKERS = (("twemoji",), ("noto", "noto-v1"), ("fluent-emoji", "fluent-emoji-flat"), ("emojione",), ("fxemoji",))
# The same things as six classes whose images have little in common.
KINDS = {
    "animal": ("cat-face", "dog-face", "elephant", "fish", "octopus", "penguin", "snail", "turtle"),
    "vehicle": ("ambulance", "automobile", "bicycle", "helicopter", "locomotive", "rocket", "ship"),
    "food": (
        *("banana", "beer-mug", "doughnut", "hamburger", "pineapple", "pizza"),
        *("red-apple", "strawberry", "watermelon"),
    ),
    "music": ("guitar", "trumpet", "violin", "bell"),
    "plant": ("cactus", "rose", "sunflower"),
    "thing": ("battery", "books", "camera", "key", "radio", "television", "balloon"),
}


@dataclass(frozen=True)
class Trial:
    """One choice of base classes, classes to enroll, and images that neither has seen."""

    name: str
    base: Labelled
    """Images that the bundle is built from."""
    enroll: dict[str, list[Path]]
    """Examples of each class to enroll, in order."""
    asked: Labelled
    """Images of base and enrolled classes."""
    near: list[Path]
    """Images of other classes of the same data."""
    shown: dict[str, list[Path]] = field(default_factory=dict[str, list[Path]])
    """Further images of these classes, to show as what must not pass."""

    def only(self, count: int) -> Trial:
        """Return it with `count` of the classes to enroll; what is asked of the others is left out."""
        kept = dict(list(self.enroll.items())[:count])
        asked = [a for a in self.asked if a[1] in kept or a[1] not in self.enroll]
        return replace(self, enroll=kept, asked=asked)


def icons(enrolled: int | None, folds: int, seed: int = 0) -> Iterator[Trial]:
    """Twenty base things, `enrolled` others, and the makers of the images asked about never seen."""
    files = icon_files()
    for fold in range(folds):
        held = MAKERS[fold % len(MAKERS)]
        draw = random.Random(seed + fold)
        things = draw.sample(list(files), len(files))
        seen = {t: draw.sample(s, len(s)) for t in things if (s := [f for f in files[t] if f.stem not in held])}
        base = [t for t in things if len(seen[t]) >= 5][:20]  # fewer images make no class of a build
        new = [t for t in things if t not in base][:enrolled]
        asked = [(f, t) for t in base + new for f in files[t] if f.stem in held]
        near = [f for t in things if t not in base + new for f in files[t] if f.stem in held]
        shown = {t: seen[t] for t in things if t not in base + new}
        yield Trial("icons", [(f, t) for t in base for f in seen[t]], {t: seen[t] for t in new}, asked, near, shown)


def kinds(rounds: int, seed: int = 0) -> Iterator[Trial]:
    """Three base kinds of icons with fifteen images each, two others enrolled, makers as in `icons`."""
    files = {kind: [f for thing in things for f in icon_files()[thing]] for kind, things in KINDS.items()}
    for n in range(rounds):
        held = MAKERS[n % len(MAKERS)]
        draw = random.Random(seed + n)
        names = draw.sample(list(files), len(files))
        order = {kind: draw.sample(files[kind], len(files[kind])) for kind in names}
        seen = {kind: [f for f in order[kind] if f.stem not in held] for kind in names}
        old, new, rest = names[:3], names[3:5], names[5:]
        asked = [(f, kind) for kind in old + new for f in order[kind] if f.stem in held]
        near = [f for kind in rest for f in order[kind] if f.stem in held]
        base = [(f, kind) for kind in old for f in seen[kind][:15]]
        shown = {kind: seen[kind] for kind in rest}
        yield Trial("icons in six kinds", base, {kind: seen[kind][:10] for kind in new}, asked, near, shown)


def icon_files() -> dict[str, list[Path]]:
    """Return the icons by what they show."""
    return {folder.name: sorted(folder.iterdir()) for folder in sorted((SHARED / "icons").iterdir())}


def photos(
    name: str, files: dict[str, list[Path]], base: int, enrolled: int, train: int, rounds: int, seed: int = 0
) -> Iterator[Trial]:
    """`base` classes with `train` images each, `enrolled` others, ten images of each at most to enroll."""
    for n in range(rounds):
        draw = random.Random(seed + n)
        classes = draw.sample(list(files), len(files))
        order = {c: draw.sample(files[c], len(files[c])) for c in classes}
        old, new, rest = classes[:base], classes[base : base + enrolled], classes[base + enrolled :]
        asked = [(f, c) for c in old for f in order[c][train : train + 30]]
        asked += [(f, c) for c in new for f in order[c][10:40]]
        near = [f for c in rest for f in order[c][10:40]]
        shown = {c: order[c][:10] for c in rest}
        base_images = [(f, c) for c in old for f in order[c][:train]]
        yield Trial(name, base_images, {c: order[c][:10] for c in new}, asked, near, shown)


def chess_files() -> dict[str, list[Path]]:
    """Return the photos of chess pieces by class."""
    return {folder.name: sorted(folder.iterdir()) for folder in sorted((SHARED / "chess").iterdir())}


def digit_files(folder: Path) -> dict[str, list[Path]]:
    """Write 1,000 handwritten digits as files; return them by class."""
    found: dict[str, list[Path]] = {}
    for i, sample in enumerate(load_dataset("sample:digits", limit=1000).samples):
        assert isinstance(sample.source, np.ndarray)
        path = folder / f"{sample.label}-{i}.png"
        Image.fromarray(sample.source).save(path)
        found.setdefault(sample.label, []).append(path)
    return found


def parts(base: Labelled) -> list[tuple[Path, str, str]]:
    """Return the base images with what each is for: the last two of a class are held out, as every build must."""
    found: list[tuple[Path, str, str]] = []
    for label in dict.fromkeys(label for _, label in base):
        own = [path for path, its in base if its == label]
        uses = ["train"] * (len(own) - 2) + ["validation", "test"]
        found += [(path, label, use) for path, use in zip(own, uses, strict=True)]
    return found


def build_base(trial: Trial, folder: Path, head: str = "linear") -> Path:
    """Build the trial's bundle for `rpi`; with no head it is the model alone, and every class is enrolled."""
    listed = folder / "base.csv"
    with listed.open("w", newline="") as out:
        csv.writer(out).writerows(
            [("path", "label", "split"), *((p.resolve(), *rest) for p, *rest in parts(trial.base))]
        )
    path = folder / f"{head}.tlc"
    build(Options(data=str(listed), targets=("rpi",), output=path, head=head, max_drop=100.0, force=True))
    return path


def spread(paths: list[Path], count: int) -> list[Path]:
    """Return `count` of the paths at most, spread over them."""
    chosen: NDArray[np.int64] = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(np.int64))
    return [paths[i] for i in chosen.tolist()]
