"""MobileNet v1 0.25 from TensorFlow.js, shaved at `conv_pw_13_relu`: every pooling and head, by cross-validation.

    python benchmarks/shaved_mobilenet.py [--backbone FOLDER] [--data FOLDER] [--folds 5] [--small]

The original in a browser, with a head of 64 ReLU units and a softmax on the flattened feature map, reaches
"more than 80 %". Goal here: 0.93 in int8 with the best pooling. Needs the compiler extra, a TensorFlow.js
MobileNet and a folder with one folder of photos a class (default: those in ../shared/data).

On 90 photos of 6 pieces, 5 folds (TensorFlow 2.21):

    pooling  head    float   int8    95 % of int8
    avg      linear  0.9556  0.9667  0.907 to 0.989
    avg      mlp     0.9667  0.9667  0.907 to 0.989
    max      linear  0.9333  0.9000  0.821 to 0.946
    max      mlp     0.9222  0.9111  0.834 to 0.954
    flatten  linear  0.8444  0.8222  0.731 to 0.888
    flatten  mlp     0.8000  0.8111  0.718 to 0.879
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.backbones.shave import POOLS, shave
from tlc_edge.compiler.data.calibration_set import choose_calibration
from tlc_edge.compiler.data.decode import images_of
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.features.featurize import featurize, trunk_file
from tlc_edge.compiler.features.reference import run_keras
from tlc_edge.compiler.features.trunk_files import TrunkFiles
from tlc_edge.compiler.lower.tflite_lower import lower_trunk_tflite, tflite_model
from tlc_edge.compiler.records import Fused
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.compiler.train.heads import train_head
from tlc_edge.compiler.train.neck import make_neck
from tlc_edge.compiler.verify.judge import run_engine
from tlc_edge.compiler.verify.statistics import top_class, wilson
from tlc_edge.runtime import Preprocessing
from tlc_edge.runtime.engines.open import KINDS, open_model

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


def cross_validate(backbone: str, data: str, pool: str, kind: str, folds: int, seed: int = 0) -> tuple[int, int, int]:
    """Return how many images the float graph and the int8 file get right, and how many there are."""
    from sklearn.model_selection import StratifiedKFold

    trunk = shave(load_backbone(backbone), "conv_pw_13_relu", pool)
    spec = Preprocessing(trunk.backbone.input.height, trunk.backbone.input.width)
    found = featurize(TrunkFiles(trunk, "off").as_float(), load_dataset(data).samples, spec)
    labels = tuple(sorted({s.label for s in found.samples}))
    truth = np.array([labels.index(s.label) for s in found.samples], np.int64)
    images = images_of(found.samples, spec)
    right = {"float": 0, "int8": 0}
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(truth, truth):
        features = found.features[train]
        device = lower_trunk_tflite(trunk, "int8", images[choose_calibration(truth, train, 100, seed)])
        again = featurize(trunk_file(device, trunk.width), [found.samples[i] for i in train], spec).features
        head = train_head(kind, [features, again], truth[train], labels, seed)
        fused = Fused(trunk, make_neck(trunk, features), head, labels, spec)
        lowered = tflite_model(device, fused, again)
        right["float"] += int((top_class(run_keras(fused, images[test])) == truth[test]).sum())
        answers = top_class(run_engine(open_model(KINDS[0], lowered.data, 0), images[test]))
        right["int8"] += int((answers == truth[test]).sum())
    return right["float"], right["int8"], len(truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default=str(SHARED / "mobilenet_v1_025_224_tfjs"))
    parser.add_argument("--data", default=str(SHARED / "chess"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="one pooling, two folds, to see that it runs")
    given = parser.parse_args()
    for folder in (given.backbone, given.data):
        if not Path(folder).exists():
            parser.error(f"{folder} is not there; name another with --backbone or --data")
    load_tensorflow()
    print("pooling  head    float   int8    95 % of int8")
    for pool in ("avg",) if given.small else POOLS:
        for kind in ("linear",) if given.small else ("linear", "mlp"):
            folds = 2 if given.small else given.folds
            whole, lowered, total = cross_validate(given.backbone, given.data, pool, kind, folds)
            low, high = wilson(lowered, total)
            print(
                f"{pool:7}  {kind:6}  {whole / total:.4f}  {lowered / total:.4f}  {low:.3f} to {high:.3f}", flush=True
            )


if __name__ == "__main__":
    main()
