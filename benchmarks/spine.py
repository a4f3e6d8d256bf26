"""The spine's figures: accuracy by cross-validation, size, overhead, import time, where a build's time goes.

    python benchmarks/spine.py [--data FOLDER] [--folds 5]

Needs the compiler extra, and a folder with one folder of photos a class (default: ../shared/data/chess).
Times are ratios within one run where that is possible; the others are of this machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.data.calibration_set import choose_calibration
from tlc_edge.compiler.data.decode import decode_all
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.features.featurize import featurize, trunk_file
from tlc_edge.compiler.features.reference import run_keras
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite, tflite_model
from tlc_edge.compiler.records import Fused
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.train.heads import train_head
from tlc_edge.compiler.train.neck import make_neck
from tlc_edge.compiler.verify.judge import run_engine
from tlc_edge.compiler.verify.statistics import top_class, wilson
from tlc_edge.runtime import Bundle, Classifier, Preprocessing
from tlc_edge.runtime.engines.open import KINDS, open_engine, open_model

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "chess"


def cross_validate(data: str, folds: int, seed: int = 0) -> list[tuple[str, str]]:
    """Accuracy of the float graph and the int8 file, each image judged by a model that never saw it."""
    from sklearn.model_selection import StratifiedKFold

    load_tensorflow()
    trunk = shave(load_backbone("efficientnet-lite0"))
    spec = Preprocessing(224, 224)
    float_trunk = lower_trunk_tflite(trunk, "float32")
    start = time.perf_counter()
    found = featurize(trunk_file(float_trunk, trunk.width), load_dataset(data).samples, spec)
    featurizing = (time.perf_counter() - start) / len(found.samples)
    labels = tuple(sorted({s.label for s in found.samples}))
    truth = np.array([labels.index(s.label) for s in found.samples], np.int64)
    images = decode_all(found.samples, spec)[1]
    right = {"float": 0, "int8": 0, "agree": 0}
    size = 0
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(truth, truth):
        features = found.features[train]
        device = lower_trunk_tflite(trunk, "int8", images[choose_calibration(truth, train, 100, seed)])
        again = featurize(trunk_file(device, trunk.width), [found.samples[i] for i in train], spec).features
        head = train_head("linear", [features, again], truth[train], labels, seed)
        fused = Fused(trunk, make_neck(trunk, features), head, labels, spec)
        lowered = tflite_model(device, fused, again)
        size = max(size, len(lowered.data))
        float_answers = top_class(run_keras(fused, images[test]))
        int8_answers = top_class(run_engine(open_model(KINDS[0], lowered.data, 0), images[test]))
        right["float"] += int((float_answers == truth[test]).sum())
        right["int8"] += int((int8_answers == truth[test]).sum())
        right["agree"] += int((int8_answers == float_answers).sum())
    total = len(truth)

    def share(name: str) -> str:
        low, high = wilson(right[name], total)
        return f"{right[name] / total:.4f}  ({right[name]} of {total}, 95 %: {low:.3f} to {high:.3f})"

    return [
        ("featurizing an image, decoding included, no cache (goal 20 ms)", f"{1000 * featurizing:.1f} ms"),
        (f"float graph, {folds}-fold", share("float")),
        (f"int8 file, {folds}-fold (goal 0.96)", share("int8")),
        ("int8 answers as float does", share("agree")),
        ("int8 below float, points (goal 1.5)", f"{100 * (right['float'] - right['int8']) / total:.2f}"),
        ("int8 file, bytes (goal 4,200,000)", f"{size:,}"),
    ]


def build_times(data: str, folder: Path) -> tuple[Path, list[tuple[str, str]]]:
    """Where the time of one cold build goes, through the real command line."""
    out = folder / "bench.tlc"
    start = time.perf_counter()
    tlc = [sys.executable, "-c", "from tlc_edge.cli import main; main()"]
    arguments = ["build", "--target", "rpi", "--data", data, "-o", str(out), "--json", "--max-drop", "100"]
    arguments += ["--cache", "off"]  # cold: an earlier build of the same photos must not help
    done = subprocess.run([*tlc, *arguments], capture_output=True, check=True)
    whole = time.perf_counter() - start
    seconds = json.loads(done.stdout)["seconds"]
    rows = [(f"build, {name}", f"{s:.2f} s") for name, s in seconds.items() if s >= 0.05]
    rows.append(("build, everything with start-up, cold (goal 90 s)", f"{whole:.1f} s"))
    return out, rows


def overhead(bundle: Path, rounds: int = 300) -> list[tuple[str, str]]:
    """`predict` on a decoded image against the engine's bare invoke, alternating in one run."""
    opened = Bundle.open(bundle)
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    engine, _ = open_engine(opened, threads=1)
    bare = engine._interpreter  # type: ignore[attr-defined]
    index = bare.get_input_details()[0]["index"]
    times: dict[str, list[float]] = {"bare": [], "predict": []}
    with Classifier.open(opened, threads=1) as classifier:
        for _ in range(rounds):
            start = time.perf_counter()
            bare.set_tensor(index, image[None])
            bare.invoke()
            middle = time.perf_counter()
            classifier.predict(image)
            times["bare"].append(middle - start)
            times["predict"].append(time.perf_counter() - middle)
    ratio = statistics.median(times["predict"]) / statistics.median(times["bare"])
    return [
        ("bare set_tensor and invoke, 1 thread", f"{1000 * statistics.median(times['bare']):.2f} ms"),
        ("predict / bare invoke (goal 1.10)", f"{ratio:.3f}"),
    ]


def imports() -> list[tuple[str, str]]:
    """What `import tlc_edge.runtime` costs and brings in, in fresh processes."""
    code = (
        "import time, sys; t = time.perf_counter(); import tlc_edge.runtime; t = time.perf_counter() - t;"
        "print(t, 'tensorflow' in sys.modules, sorted({m.split('.')[0] for m in sys.modules} & "
        "{'numpy', 'PIL', 'click', 'sklearn', 'onnx', 'keras', 'onnxruntime', 'ai_edge_litert'}))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(7)]
    seconds = [float(r.stdout.split()[0]) for r in runs]
    return [
        ("import tlc_edge.runtime, median of 7 (goal 0.25 s)", f"{statistics.median(seconds):.3f} s"),
        ("TensorFlow imported by it", runs[0].stdout.split()[1]),
        ("libraries imported by it", runs[0].stdout.split(maxsplit=2)[2].strip()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(DATA))
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args()
    if not Path(given.data).exists():
        sys.exit(f"skipped: {given.data} is not there; give a folder of photos with --data")
    with tempfile.TemporaryDirectory() as folder:
        bundle, rows = build_times(given.data, Path(folder))
        rows += overhead(bundle) + imports() + cross_validate(given.data, given.folds)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


if __name__ == "__main__":
    main()
