"""Training: how much faster than the textbook, and what the head should be trained on.

    python benchmarks/training.py [speed] [heads] [views] [handmade] [--small]

`speed`: a build of 2,000 digits with an empty cache, the same with other heads, the same where only the backbone is
known to the cache, and the textbook's way: the frozen backbone in Keras' training loop for 20 epochs. Goals, at the
same accuracy or better: the first build at least 8 times as fast as the textbook, 15 times of a known backbone, another
head in at most 0.15 of the first build. `heads`: int8 accuracy of linear and mlp by cross-validation, on chess in 5
folds, on icons with a maker (and its sibling) held out in turn. `views`: the same for a head trained on the float
trunk's features, on the int8 trunk's, on both, and on augmented copies too; judged on the int8 trunk's, also for images
resized without anti-aliasing, as phones do. `handmade`: the trunk's features against HOG and a bag of visual words.
Needs the compiler, sample and dev extras, and for chess and icons the photos in ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
SIBLINGS = {"noto": ("noto", "noto-v1"), "fluent-emoji": ("fluent-emoji", "fluent-emoji-flat")}
MAKERS = ("emojione", "fluent-emoji", "fxemoji", "noto", "twemoji")
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


class Set:
    """Images, their classes, and how to hold some of them out."""

    def __init__(self, name: str, small: bool) -> None:
        from tlc_edge.compiler.data.load import load_dataset

        source = "sample:digits" if name == "digits" else str(SHARED / name)
        self.name = name
        self.samples = load_dataset(source, limit=300 if small else 1500 if name == "digits" else None).samples
        self.labels = tuple(sorted({s.label for s in self.samples}))
        self.truth = np.array([self.labels.index(s.label) for s in self.samples], np.int64)
        self._small = small

    def folds(self) -> Iterator[Fold]:
        from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

        rows = np.arange(len(self.truth))
        if self.name == "icons":
            makers = np.array([Path(s.name).stem for s in self.samples])
            for maker in MAKERS[:1] if self._small else MAKERS:
                held = np.isin(makers, SIBLINGS.get(maker, (maker,)))
                yield rows[~held], rows[held]
        elif self.name == "digits":
            yield next(StratifiedShuffleSplit(1, train_size=1 / 3, random_state=0).split(rows, self.truth))
        else:
            yield from StratifiedKFold(2 if self._small else 5, shuffle=True, random_state=0).split(rows, self.truth)


def sets(small: bool) -> list[Set]:
    names = ["digits"] + [n for n in ("chess", "icons") if (SHARED / n).is_dir()]
    return [Set(name, small) for name in names]


class Seen:
    """A set as the float trunk sees it, and the int8 trunk of each fold."""

    def __init__(self, data: Set) -> None:
        from tlc_edge.compiler.backbones.find import load_backbone
        from tlc_edge.compiler.backbones.shave import shave
        from tlc_edge.compiler.features.featurize import featurize
        from tlc_edge.compiler.features.trunk_files import TrunkFiles
        from tlc_edge.runtime import Preprocessing

        self.data = data
        self.trunk = shave(load_backbone("efficientnet-lite0"))
        self.spec = Preprocessing(self.trunk.backbone.input.height, self.trunk.backbone.input.width)
        self.float = featurize(TrunkFiles(self.trunk, "off").as_float(), data.samples, self.spec).features

    def device(self, train: NDArray[np.int64]) -> Any:
        """Return the int8 trunk, calibrated on training images."""
        from tlc_edge.compiler.data.calibration_set import choose_calibration
        from tlc_edge.compiler.data.decode import images_of
        from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite

        chosen = choose_calibration(self.data.truth, train, 100, 0)
        return lower_trunk_tflite(self.trunk, "int8", images_of([self.data.samples[i] for i in chosen], self.spec))

    def features(self, device: Any, rows: NDArray[np.int64], view: Any = None) -> NDArray[np.float32]:
        """Return what the int8 trunk gives."""
        from tlc_edge.compiler.data.views import PLAIN
        from tlc_edge.compiler.features.featurize import featurize, trunk_file

        samples = [self.data.samples[i] for i in rows]
        return featurize(trunk_file(device, self.trunk.width), samples, self.spec, view=view or PLAIN).features


def speed(small: bool) -> None:
    limit, epochs = (100, 2) if small else (2000, 20)
    with tempfile.TemporaryDirectory() as folder:
        first, accuracy = timed_build(folder, "first", "sample:digits", limit)
        print(f"first build: {first:.1f} s, int8 accuracy {accuracy:.3f}", flush=True)
        again = {head: timed_build(folder, "first", "sample:digits", limit, head) for head in ("prototype", "mlp")}
        for head, (seconds, accuracy) in again.items():
            print(f"again with --head {head}: {seconds:.1f} s, int8 accuracy {accuracy:.3f}", flush=True)
        mirrored(Path(folder, "mirrored"), 100)
        timed_build(folder, "known", f"{folder}/mirrored", 100)
        known, accuracy = timed_build(folder, "known", "sample:digits", limit)
        print(
            f"first build of these images, of a known backbone: {known:.1f} s, int8 accuracy {accuracy:.3f}", flush=True
        )
    start = time.perf_counter()
    accuracy = textbook(limit, epochs)
    seconds = time.perf_counter() - start
    print(f"textbook, {epochs} epochs: {seconds:.1f} s, float accuracy {accuracy:.3f}")
    print(f"textbook / first build: {seconds / first:.1f} (goal: at least 8)")
    print(f"textbook / first build of a known backbone: {seconds / known:.1f} (goal: at least 15)")
    for head, (took, _) in again.items():
        print(f"again with --head {head} / first build: {took / first:.2f} (goal: at most 0.15)")


def timed_build(folder: str, cache: str, data: str, limit: int, head: str = "linear") -> tuple[float, float]:
    """Build for a Raspberry Pi; return the seconds and the int8 accuracy."""
    words = ["build", "--target", "rpi", "--data", data, "--limit", str(limit), "--head", head, "--max-drop", "20"]
    start = time.perf_counter()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("tlc")), *words, "-o", f"{folder}/x.tlc", "--force", "--json"],
        capture_output=True,
        check=True,
        env={**os.environ, "TLC_CACHE": f"{folder}/{cache}"},
    )
    return time.perf_counter() - start, json.loads(done.stdout)["accuracy"]["model.tflite"]


def mirrored(folder: Path, limit: int) -> None:
    """Write other images: digits, mirrored."""
    from PIL import Image

    from tlc_edge.compiler.data.load import load_dataset

    for i, sample in enumerate(load_dataset("sample:digits", limit=limit).samples):
        (folder / sample.label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(sample.source)[:, ::-1].squeeze()).save(folder / sample.label / f"{i}.png")


def textbook(limit: int, epochs: int) -> float:
    """Train a dense layer on the frozen backbone in Keras, from pixels, and return the accuracy on the rest."""
    import keras
    import tensorflow as tf

    from tlc_edge.compiler.backbones.find import load_backbone
    from tlc_edge.compiler.backbones.shave import shave
    from tlc_edge.compiler.data.load import load_dataset
    from tlc_edge.compiler.data.split import split

    trunk = shave(load_backbone("efficientnet-lite0"))
    samples = load_dataset("sample:digits", limit=limit).samples
    labels = sorted({s.label for s in samples})
    truth = np.array([labels.index(s.label) for s in samples])
    parts = split([s.label for s in samples], 0, names=[s.name for s in samples])
    images = np.stack([np.asarray(s.source) for s in samples]).reshape(len(samples), 28, 28, 1)
    spec = trunk.backbone.input

    def batches(rows: NDArray[np.int64], shuffle: bool) -> Any:
        data = tf.data.Dataset.from_tensor_slices((images[rows], truth[rows]))
        data = data.shuffle(len(rows), seed=0) if shuffle else data

        def prepare(image: Any, label: Any) -> Any:
            large = tf.image.resize(tf.image.grayscale_to_rgb(image), (spec.height, spec.width))
            return (large - spec.mean) / spec.std, label

        return data.map(prepare, tf.data.AUTOTUNE).batch(32).prefetch(tf.data.AUTOTUNE)

    trunk.model.trainable = False
    model = keras.Sequential([trunk.model, keras.layers.Dense(len(labels), "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    held_out = np.concatenate([parts.validation, parts.test])
    model.fit(batches(parts.train, True), epochs=epochs, verbose=0)
    return float(model.evaluate(batches(held_out, False), verbose=0)[1])


def heads(small: bool) -> None:
    from tlc_edge.compiler.data.decode import images_of
    from tlc_edge.compiler.lower.tflite_lower import tflite_model
    from tlc_edge.compiler.records import Fused
    from tlc_edge.compiler.train.heads import train_head
    from tlc_edge.compiler.train.neck import make_neck
    from tlc_edge.compiler.verify.judge import run_engine
    from tlc_edge.compiler.verify.statistics import top_class, wilson
    from tlc_edge.runtime.engines.open import KINDS, open_model

    print("int8 accuracy  linear  mlp     95 % of linear")
    for data in sets(small):
        seen = Seen(data)
        right = {"linear": 0, "mlp": 0}
        total = 0
        for train, test in data.folds():
            device = seen.device(train)
            again = seen.features(device, train)
            images = images_of([data.samples[i] for i in test], seen.spec)
            total += len(test)
            for kind in right:
                head = train_head(kind, [seen.float[train], again], data.truth[train], data.labels, 0)
                fused = Fused(seen.trunk, make_neck(seen.trunk, seen.float[train]), head, data.labels, seen.spec)
                file = tflite_model(device, fused, again)
                answers = top_class(run_engine(open_model(KINDS[0], file.data, 0), images))
                right[kind] += int((answers == data.truth[test]).sum())
        low, high = wilson(right["linear"], total)
        shares = "  ".join(f"{n / total:.4f}" for n in right.values())
        print(f"{data.name:13}  {shares}  {low:.3f} to {high:.3f}  ({total} images)", flush=True)


def views(small: bool) -> None:
    from tlc_edge.compiler.data.augment import copies
    from tlc_edge.compiler.train.heads import train_head

    ways = ("float", "int8", "both", "both and copies")
    print("trained on       " + "  ".join(f"{way:15}" for way in ways) + "(int8 images; resized as phones do)")
    for data in sets(small):
        seen = Seen(data)
        plain, phone = np.zeros(len(ways)), np.zeros(len(ways))
        total = 0
        for train, test in data.folds():
            device = seen.device(train)
            again = seen.features(device, train)
            (copy,) = copies(("resize-filter",), 1, 0)
            copied = seen.features(device, train, copy)
            given = (
                [seen.float[train]],
                [again],
                [seen.float[train], again],
                [copied, seen.float[train], again],
            )
            judged = seen.features(device, test), seen.features(device, test, unfiltered())
            total += len(test)
            for i, features in enumerate(given):
                head = train_head("linear", features, data.truth[train], data.labels, 0)
                for count, x in zip((plain, phone), judged, strict=True):
                    count[i] += int((head.probabilities(x).argmax(axis=1) == data.truth[test]).sum())
        shares = "  ".join(f"{p / total:.4f}; {q / total:.4f}" for p, q in zip(plain, phone, strict=True))
        print(f"{data.name:15}  {shares}", flush=True)


def unfiltered() -> Any:
    """Return a view that resizes by the four nearest pixels only."""
    from PIL import Image

    from tlc_edge.compiler.data.views import View, as_the_device

    def change(image: Any, spec: Any) -> NDArray[np.uint8]:
        size = (spec.width, spec.height)
        flat = image.transform(size, Image.Transform.EXTENT, (0, 0, *image.size), Image.Resampling.BILINEAR)
        return as_the_device(flat, spec)

    return View("without anti-aliasing", change)


def handmade(small: bool) -> None:
    print("accuracy  trunk   HOG     visual words")
    for data in sets(small):
        seen = Seen(data)
        grey = grey_images(data)
        hog = hogs(grey)
        words = descriptors(grey)
        right = np.zeros(3)
        total = 0
        for train, test in data.folds():
            total += len(test)
            bags = visual_words(words, train)
            for i, x in enumerate((seen.float, hog, bags)):
                right[i] += int((linear(x[train], data.truth[train], x[test]) == data.truth[test]).sum())
        print(f"{data.name:8}  " + "  ".join(f"{n / total:.4f}" for n in right), flush=True)


def grey_images(data: Set) -> NDArray[np.float64]:
    from tlc_edge.compiler.data.decode import images_of
    from tlc_edge.runtime import Preprocessing

    images = images_of(list(data.samples), Preprocessing(128, 128))
    return images.astype(np.float64).mean(axis=3) / 255


def hogs(images: NDArray[np.float64]) -> NDArray[np.float64]:
    from skimage.feature import hog

    return np.stack([hog(i, 9, (16, 16), (2, 2)) for i in images])


def descriptors(images: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return a dense grid of DAISY descriptors for each image, [n, D]."""
    from skimage.feature import daisy

    return [daisy(i, step=8, radius=12, rings=2, histograms=6, orientations=8).reshape(-1, 104) for i in images]


def visual_words(words: Sequence[NDArray[np.float64]], train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each image's histogram over 200 words that are found in training images, [N, 200], its root."""
    from sklearn.cluster import MiniBatchKMeans

    generator = np.random.default_rng(0)
    pool = np.concatenate([words[i] for i in train])
    pool = pool[generator.permutation(len(pool))[:20_000]]
    means = MiniBatchKMeans(200, random_state=0, n_init=1).fit(pool)
    counts = np.stack([np.bincount(means.predict(w), minlength=200) for w in words]).astype(np.float64)
    return np.sqrt(counts / counts.sum(axis=1, keepdims=True))


def linear(x: NDArray[Any], truth: NDArray[np.int64], others: NDArray[Any]) -> NDArray[np.int64]:
    """Train tlc's linear head and answer for `others`."""
    from tlc_edge.compiler.train.heads import train_head

    head = train_head("linear", [x.astype(np.float32)], truth, list(map(str, range(int(truth.max()) + 1))), 0)
    return np.asarray(head.probabilities(others.astype(np.float32)).argmax(axis=1), np.int64)


def run(parts: Mapping[str, Callable[[bool], None]], doc: str | None) -> None:
    """Run the parts of a benchmark that the command line names, or all; `doc` is what `--help` says."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; all by default")
    parser.add_argument("--small", action="store_true", help="few images and folds, to see that it runs")
    given = parser.parse_args()
    unknown = set(given.parts) - set(parts)
    if unknown:
        parser.error(f"no part {unknown.pop()!r}; there are {', '.join(parts)}")
    from tlc_edge.compiler.toolchain import load_tensorflow

    load_tensorflow()
    for name in given.parts or parts:
        print(f"\n{name}")
        parts[name](given.small)


if __name__ == "__main__":
    run({"speed": speed, "heads": heads, "views": views, "handmade": handmade}, __doc__)
