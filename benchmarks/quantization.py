"""Quantization: what int8 costs and brings, and how it is best calibrated.

    python benchmarks/quantization.py [backbones] [calibration] [--small]

`backbones`: EfficientNet-Lite0 and Lite1 and MobileNetV2 on digits, chess and icons: the float32 and int8 files in
TFLite and ONNX with one head and neck, over the images of held-out folds. Accuracy with its 95 % interval, label
agreement and mean embedding cosine with the float32 TFLite file, bytes, and the median milliseconds of an image at 1
and 2 threads, all files in turn. Goals: int8 within 1.0 point of float on each, agreement at least 0.98 and cosine at
least 0.985 (MobileNetV2: agreement 0.97), at most 30 % of the bytes; int8 ONNX at least 1.6 times as fast as float ONNX
(x86). `calibration`: images and methods on Lite0, its biases as they were trained: cosine of the int8 trunk's features
to the float trunk's on held-out images, and agreement of a head trained on float features.
Needs the compiler and sample extras, and for chess and icons the photos in ../shared/data.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from training import SHARED, Set, run

GOALS = {"efficientnet-lite0": (0.98, 0.985), "efficientnet-lite1": (0.98, 0.985), "mobilenet-v2": (0.97, 0.0)}
"""By backbone: label agreement and embedding cosine, at least."""
BACKBONES = tuple(GOALS)
FILES = tuple((form, scheme) for form in ("tflite", "onnx") for scheme in ("float32", "int8"))
FOLDS = 3
File = tuple[str, str]


def sets(small: bool) -> list[Set]:
    for name in ("chess", "icons"):
        if not (SHARED / name).is_dir():
            print(f"{name} is skipped: {SHARED / name} is not here")
    return [Set(name, small) for name in ("digits", "chess", "icons") if name == "digits" or (SHARED / name).is_dir()]


class Trained:
    """A backbone's four files for one fold of a set, with one head and neck."""

    def __init__(self, data: Set, files: Any, spec: Any, train: NDArray[np.int64]) -> None:
        from tlc_edge.compiler.data.calibration_set import choose_calibration
        from tlc_edge.compiler.data.decode import images_of
        from tlc_edge.compiler.features.align import align
        from tlc_edge.compiler.features.featurize import featurize, trunk_file
        from tlc_edge.compiler.lower.onnx_lower import onnx_model
        from tlc_edge.compiler.lower.tflite_lower import tflite_model
        from tlc_edge.compiler.records import Fused
        from tlc_edge.compiler.train.heads import train_head
        from tlc_edge.compiler.train.neck import make_neck
        from tlc_edge.compiler.train.whiten import whiten

        trunk = files.trunk
        samples = [data.samples[i] for i in train]
        chosen = choose_calibration(data.truth, train, 100, 0)
        calibration = images_of([data.samples[i] for i in chosen], spec)
        trunks = {file: files.get(*file, calibration) for file in FILES}
        floats = featurize(files.as_float(), samples, spec).features
        raw: dict[File, Any] = {("tflite", "float32"): floats, ("onnx", "float32"): floats}
        for file in (("tflite", "int8"), ("onnx", "int8")):
            raw[file] = featurize(trunk_file(trunks[file], trunk.width), samples, spec).features
        neck = make_neck(trunk, floats, root=True)
        aligned = {file: align(x, floats, neck.root) for file, x in raw.items()}
        int8 = [file for file in FILES if file[1] == "int8"]
        seen = [floats, *(aligned[file].apply(raw[file]) for file in int8)]
        truth = data.truth[train]
        head = train_head("linear", seen, truth, data.labels, 0)
        neck = whiten(neck, [floats, *(aligned[file].for_neck(raw[file]) for file in int8)], truth)
        fused = Fused(trunk, neck, head, data.labels, spec)
        self.models = {
            key: tflite_model(file, own, raw[key]) if file.format == "tflite" else onnx_model(file, own)
            for key, file in trunks.items()
            for own in (aligned[key].fold(fused),)
        }

    def engines(self, threads: int) -> dict[File, Any]:
        from tlc_edge.runtime.engines.open import KINDS, open_model

        kinds = {kind.format: kind for kind in reversed(KINDS)}
        return {file: open_model(kinds[file[0]], model.data, threads) for file, model in self.models.items()}


def backbones(small: bool) -> None:
    from tlc_edge.compiler.backbones.find import load_backbone
    from tlc_edge.compiler.backbones.shave import shave
    from tlc_edge.compiler.features.trunk_files import TrunkFiles
    from tlc_edge.runtime import Preprocessing

    head = ("backbone", "set", "file", "accuracy", "95 %", "agreement", "cosine", "bytes", "ms, 1", "ms, 2 threads")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    met: list[tuple[str, bool]] = []
    for name in BACKBONES[:1] if small else BACKBONES:
        try:
            trunk = shave(load_backbone(name))
        except Exception as e:  # its weights may not be on this machine
            print(f"{name} is skipped: {e}")
            continue
        spec = Preprocessing(trunk.backbone.input.height, trunk.backbone.input.width)
        files = TrunkFiles(trunk, "off")
        for data in sets(small):
            met += judge(name, data, files, spec, 1 if small else FOLDS)
    print()
    for goal in dict.fromkeys(goal for goal, _ in met):
        reached = [ok for g, ok in met if g == goal]
        print(f"goal, {goal}: reached in {sum(reached)} of {len(reached)}")


def judge(name: str, data: Set, files: Any, spec: Any, folds: int) -> list[tuple[str, bool]]:
    """Print one row per file; return the goals, and whether they were reached."""
    from tlc_edge.compiler.data.decode import images_of
    from tlc_edge.compiler.verify.judge import run_engine
    from tlc_edge.compiler.verify.statistics import cosines, top_class, wilson

    right: dict[File, int] = dict.fromkeys(FILES, 0)
    same: dict[File, int] = dict.fromkeys(FILES, 0)
    cosine: dict[File, float] = dict.fromkeys(FILES, 0.0)
    total = 0
    for train, test in itertools.islice(data.folds(), folds):
        trained = Trained(data, files, spec, train)
        images = images_of([data.samples[i] for i in test], spec)
        outputs = {file: run_engine(engine, images) for file, engine in trained.engines(2).items()}
        reference = outputs["tflite", "float32"]
        total += len(test)
        for file, found in outputs.items():
            right[file] += int((top_class(found) == data.truth[test]).sum())
            same[file] += int((top_class(found) == top_class(reference)).sum())
            cosine[file] += float(cosines(found.embeddings, reference.embeddings).sum())
    ms = {threads: milliseconds(trained.engines(threads), images) for threads in (1, 2)}
    for file in FILES:
        low, high = wilson(right[file], total)
        size = len(trained.models[file].data)
        cells = (name, data.name, " ".join(file), f"{right[file] / total:.4f}", f"{low:.3f} to {high:.3f}")
        cells += (f"{same[file] / total:.4f}", f"{cosine[file] / total:.4f}", f"{size:,}")
        cells += tuple(f"{ms[threads][file]:.2f}" for threads in (1, 2))
        print("| " + " | ".join(cells) + " |", flush=True)
    goals: list[tuple[str, bool]] = []
    agreement, similarity = GOALS[name]
    for form in ("tflite", "onnx"):
        floats, int8 = (form, "float32"), (form, "int8")
        sizes = [len(trained.models[file].data) for file in (int8, floats)]
        goals += [
            (f"{form} int8 within 1.0 point of float", 100 * (right[floats] - right[int8]) / total <= 1.0),
            (f"{form} agreement at least {agreement}", same[int8] / total >= agreement),
            *([(f"{form} cosine at least {similarity}", cosine[int8] / total >= similarity)] if similarity else []),
            (f"{form} at most 30 % of float's bytes", sizes[0] <= 0.3 * sizes[1]),
        ]
    goals.append(
        ("onnx int8 at least 1.6 times float's speed", ms[1]["onnx", "float32"] >= 1.6 * ms[1]["onnx", "int8"])
    )
    return goals


def milliseconds(engines: dict[File, Any], images: NDArray[np.uint8], rounds: int = 40) -> dict[File, float]:
    """Return the median time of an image for each engine; they take turns, so that a busy machine is fair to all."""
    times: dict[File, list[float]] = {file: [] for file in engines}
    for i in range(rounds):
        for file, engine in engines.items():
            start = time.perf_counter()
            engine.run(images[i % len(images)])
            times[file].append(1000 * (time.perf_counter() - start))
    return {file: statistics.median(seconds[5:]) for file, seconds in times.items()}


def calibration(small: bool) -> None:
    import onnx

    from tlc_edge.compiler.backbones.find import load_backbone
    from tlc_edge.compiler.backbones.shave import shave
    from tlc_edge.compiler.data.calibration_set import choose_calibration, with_copies
    from tlc_edge.compiler.data.decode import images_of
    from tlc_edge.compiler.features.featurize import featurize, trunk_file
    from tlc_edge.compiler.features.trunk_files import TrunkFiles
    from tlc_edge.compiler.lower.onnx_quantize import quantize_onnx
    from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite
    from tlc_edge.compiler.records import LoweredTrunk
    from tlc_edge.compiler.train.heads import train_head
    from tlc_edge.compiler.verify.statistics import cosines
    from tlc_edge.runtime import Preprocessing

    trunk = shave(load_backbone("efficientnet-lite0"))
    files = TrunkFiles(trunk, "off")
    floats = onnx.load_from_string(files.get("onnx", "float32").data)
    spec = Preprocessing(224, 224)

    def of_tflite(images: NDArray[np.uint8]) -> LoweredTrunk:
        return lower_trunk_tflite(trunk, "int8", images)

    def of_onnx(images: NDArray[np.uint8], method: str) -> LoweredTrunk:
        made = quantize_onnx(floats, images, method)
        return LoweredTrunk("onnx", "int8", made.SerializeToString())

    print("| set | format | method | images | cosine | agreement | seconds |\n|---|---|---|---|---|---|---|")
    for data in [s for s in sets(small) if s.name != "icons"]:
        train, test = next(data.folds())
        test = test[: 40 if small else 400]
        every = featurize(files.as_float(), data.samples, spec).features
        head = train_head("linear", [every[train]], data.truth[train], data.labels, 0)
        answers = head.probabilities(every[test]).argmax(axis=1)
        tried: list[tuple[str, str, int, bool, Callable[[NDArray[np.uint8]], LoweredTrunk]]] = []
        for count in (20,) if small else (20, 50, 100, 200, 500):
            tried += [("tflite", "min-max", count, False, of_tflite)]
            tried += [("onnx", "min-max", count, False, lambda x: of_onnx(x, "minmax"))]
        for count in (20,) if small else (50, 100):
            tried += [("tflite", "min-max, and other resize filters", count, True, of_tflite)]
            tried += [("onnx", "percentile 99.999", count, False, lambda x: of_onnx(x, "percentile"))]
            tried += [("onnx", "entropy", count, False, lambda x: of_onnx(x, "entropy"))]
        for form, method, count, varied, make in tried:
            if count > 2 * len(train):
                continue
            samples = [data.samples[i] for i in choose_calibration(data.truth, train, count, 0)]
            images = with_copies(samples, spec, 0) if varied else images_of(samples, spec)
            start = time.perf_counter()
            file = make(images)
            seconds = time.perf_counter() - start
            found = featurize(trunk_file(file, trunk.width), [data.samples[i] for i in test], spec).features
            cosine = float(np.mean(cosines(found, every[test])))
            same = float(np.mean(head.probabilities(found).argmax(axis=1) == answers))
            cells = (data.name, form, method, str(len(images)), f"{cosine:.5f}", f"{same:.4f}", f"{seconds:.0f}")
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    run({"backbones": backbones, "calibration": calibration}, __doc__)
