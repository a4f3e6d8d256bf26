"""Real embeddings for the benchmarks: every image of the given data sets through a bundle's model.

    python benchmarks/embeddings.py BUNDLE OUT.npz NAME=FOLDER|sample:digits …

Each set is stored as NAME (float32 [N, D]), NAME_y (class names) and NAME_file (file names without ending).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.runtime import Classifier


def main() -> None:
    bundle, out, *sets = sys.argv[1:]
    arrays: dict[str, np.ndarray] = {}
    with Classifier.open(bundle, gallery=f"{out}.none", threads=1) as classifier:
        for name, source in (s.split("=", 1) for s in sets):
            samples = load_dataset(source).samples
            arrays[name] = np.stack([classifier.embed(s.source) for s in samples])
            arrays[f"{name}_y"] = np.array([s.label for s in samples])
            arrays[f"{name}_file"] = np.array([Path(s.name).stem for s in samples])
            print(f"{name}: {len(samples)} images, {len(set(arrays[f'{name}_y']))} classes")
    np.savez(out, **arrays)


if __name__ == "__main__":
    main()
