"""Fuzz the loaders of manifests and bundles, guided by coverage: what they refuse they refuse with a TlcError.

    pip install 'tlc-edge[fuzz]' && python tests/fuzz_bundle.py [-runs=20000] [-max_total_time=60] [FOLDER]

Starts from a small bundle made here. Inputs are manifests, whole `.tlc` files, and exemplars inside a
bundle whose hashes are right. Ends with the
failing input's path, as libFuzzer does, if anything but a TlcError is raised; its options are libFuzzer's.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["tlc_edge.runtime"]):
    from tlc_edge.runtime.bundle.bundle import EXEMPLARS, Bundle, write_bundle
    from tlc_edge.runtime.bundle.manifest import Manifest, ModelFile, Preprocessing, Unknown, from_json, to_json
    from tlc_edge.runtime.errors import TlcError


def small_bundle(folder: Path) -> bytes:
    """Return the bytes of a bundle whose model is no model: loading a bundle does not open it."""
    exemplars = io.BytesIO()
    vectors, scales = np.eye(4, dtype=np.int8) * 100, np.full(4, 0.01, np.float32)
    np.savez(exemplars, vectors=vectors, scales=scales, labels=np.array([0, 0, 1, 1], np.int32))
    files = {"model.tflite": b"TFL3 and so on", "labels.txt": b"a\nb\n", EXEMPLARS: exemplars.getvalue()}
    manifest = Manifest(
        fingerprint="0" * 64,
        labels=("a", "b"),
        preprocessing=Preprocessing(8, 8),
        models=(ModelFile("model.tflite", "tflite", "int8", len(files["model.tflite"])),),
        embedding_width=4,
        unknown=Unknown(0.05, (0.1, 0.2)),
        scheme="int8",
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )
    path = folder / "small.tlc"
    write_bundle(path, manifest, files)
    return path.read_bytes()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = small_bundle(folder)
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            manifest = archive.read("manifest.json")
        assert to_json(from_json(manifest, "the start")) == manifest
        seeds = folder / "seeds"
        seeds.mkdir()
        (seeds / "manifest").write_bytes(b"m" + manifest)
        (seeds / "bundle").write_bytes(b"b" + whole)
        given = folder / "given.tlc"
        given.write_bytes(whole)
        start = Bundle.open(given)
        (seeds / "exemplars").write_bytes(b"e" + start.files[EXEMPLARS])

        def one(data: bytes) -> None:
            with contextlib.suppress(TlcError):
                if data[:1] == b"m":
                    from_json(data[1:], "a manifest")
                    return
                if data[:1] == b"e":
                    replace(start, files={**start.files, EXEMPLARS: data[1:]}).exemplars()
                    return
                given.write_bytes(data[1:])
                bundle = Bundle.open(given)
                for file in bundle.manifest.files:
                    with contextlib.suppress(TlcError):
                        bundle.read(file)
                bundle.exemplars()

        atheris.Setup([*sys.argv, str(seeds)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
