"""The labels inside model files are the manifest's, or the bundle is refused."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_bundle import contents, manifest_of

from tlc_edge.runtime.bundle.bundle import LABELS, MANIFEST, Bundle, labels_text, write_bundle
from tlc_edge.runtime.bundle.manifest import ModelFile
from tlc_edge.runtime.bundle.model_labels import says_other_labels
from tlc_edge.runtime.errors import BundleError

NAMES = ("cup", "mug")


def tflite(*texts: bytes, packing: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO(b"TFL3" * 100)
    with zipfile.ZipFile(out, "a", packing) as archive:
        for text in texts:
            archive.writestr(LABELS, text)
    return out.getvalue()


def onnx(*pairs: tuple[str, str]) -> bytes:
    made: Any = pytest.importorskip("onnx").ModelProto()
    made.graph.name = "g"
    for key, value in pairs:
        entry = made.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(made.SerializeToString())


def labels(*names: str) -> tuple[str, str]:
    return "labels", json.dumps(names)


@pytest.mark.parametrize(
    ("form", "make", "other"),
    [
        ("tflite", lambda: tflite(b"cup\nmug\n"), False),
        ("tflite", lambda: tflite(b"cup\nmug"), False),  # as other tools end it
        ("tflite", lambda: tflite(b"cup\nmug\n", packing=zipfile.ZIP_DEFLATED), False),
        ("tflite", lambda: tflite(), False),
        ("tflite", lambda: b"TFL3" * 100, False),
        ("tflite", lambda: tflite(b"mug\ncup\n"), True),
        ("tflite", lambda: tflite(b"cup\n"), True),
        ("tflite", lambda: tflite(b"cup\nmug\nplate\n"), True),
        ("tflite", lambda: tflite(b"cup\nmug\n\n"), True),
        ("tflite", lambda: tflite(b"Cup\nmug\n"), True),
        ("tflite", lambda: tflite(b"cup\nm\xffg\n"), True),
        ("tflite", lambda: tflite(bytes(1 << 25), packing=zipfile.ZIP_DEFLATED), True),
        ("onnx", lambda: onnx(labels(*NAMES)), False),
        ("onnx", lambda: onnx(("preprocessing", "{}")), False),
        ("onnx", lambda: onnx(), False),
        ("onnx", lambda: b"no model", False),
        ("onnx", lambda: onnx(labels("mug", "cup")), True),
        ("onnx", lambda: onnx(labels("cup")), True),
        ("onnx", lambda: onnx(("labels", "{}")), True),
        ("onnx", lambda: onnx(labels(*NAMES), labels("mug", "cup")), True),
        ("coreml", lambda: b"", False),
    ],
)
def test_other_labels_are_told(form: str, make: Callable[[], bytes], other: bool) -> None:
    assert says_other_labels(form, make(), NAMES) is other


def test_a_label_may_hold_what_python_takes_for_the_end_of_a_line() -> None:
    odd = ("a\x0bb", "c\u2028d")
    assert not says_other_labels("tflite", tflite(labels_text(odd).encode()), odd)


@pytest.mark.parametrize(
    ("form", "make"), [("tflite", lambda: tflite(b"mug\ncup\n")), ("onnx", lambda: onnx(labels("mug", "cup")))]
)
def test_a_bundle_whose_model_says_other_labels_is_refused(
    tmp_path: Path, form: str, make: Callable[[], bytes]
) -> None:
    files = contents(**{f"model.{form}": make()})
    model = ModelFile(f"model.{form}", form, "int8", len(make()))
    write_bundle(tmp_path / "a", replace(manifest_of(files), models=(model,)), files)
    with pytest.raises(
        BundleError, match=rf"the labels in manifest\.json are not those in model\.{form}; copy or build"
    ):
        Bundle.open(tmp_path / "a")


def test_labels_exchanged_in_all_files_but_the_model_are_found(bundle: Bundle, tmp_path: Path) -> None:
    """A forger who has the manifest, its digest and labels.txt agree."""
    turned = bundle.manifest.labels[::-1]
    files = {**bundle.files, LABELS: labels_text(turned).encode()}
    files.pop(MANIFEST)
    hashes = {n: hashlib.sha256(d).hexdigest() for n, d in files.items()}
    write_bundle(tmp_path / "a.tlc", replace(bundle.manifest, labels=turned, files=hashes), files)
    with pytest.raises(BundleError, match=r"are not those in model\.tflite"):
        Bundle.open(tmp_path / "a.tlc")
    write_bundle(
        tmp_path / "b.tlc",
        replace(bundle.manifest, files={n: bundle.manifest.files[n] for n in files}),
        {**files, LABELS: bundle.files[LABELS]},
    )
    Bundle.open(tmp_path / "b.tlc")
