"""The self-test: a bundle tries itself on the device, and a model that answers otherwise is not used."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.bundle.bundle import EXPECTED, MANIFEST, write_bundle
from tlc_edge.runtime.engines.golden import golden, pack_expected
from tlc_edge.runtime.engines.open import KINDS, open_engine
from tlc_edge.runtime.engines.selftest import selftest
from tlc_edge.runtime.errors import BundleError, ImageError, SelftestError

Arrays = dict[str, np.ndarray]
MODEL = "model.tflite"


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the marks of passed self-tests go: an empty place of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tlc" / "selftest"


def tampered(bundle: Bundle, path: Path, name: str, data: bytes) -> Path:
    """Write the bundle with one file exchanged and all hashes right."""
    files = {**bundle.files, name: data}
    files.pop(MANIFEST)
    hashes = {n: hashlib.sha256(d).hexdigest() for n, d in files.items()}
    write_bundle(path, replace(bundle.manifest, files=hashes), files)
    return path


def expected(bundle: Bundle, change: Callable[[Arrays], object]) -> bytes:
    with np.load(io.BytesIO(bundle.read(EXPECTED))) as stored:
        arrays = {name: stored[name] for name in stored.files}
    change(arrays)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize("kind", [k for k in KINDS if k.installed], ids=lambda kind: kind.name)
def test_a_bundle_passes_where_it_was_built(bundle: Bundle, kind: object) -> None:
    engine, model = open_engine(bundle, kind.name)
    result = selftest(bundle, engine, model)
    assert result.passed
    assert (result.file, result.images, result.wrong_labels) == (model.file, 6, 0)
    assert result.engine == f"{engine.name} {engine.version}"
    assert result.lowest_cosine > 0.9999
    assert result.largest_difference < 0.01


def test_the_golden_samples_are_real_and_differ(bundle: Bundle) -> None:
    images, probabilities, embeddings = golden(bundle, MODEL)
    assert len(images) == len(probabilities) == len(embeddings) == 6
    assert {image.shape for image in images} == {(224, 224, 3)}
    assert len({image.tobytes() for image in images}) == 6
    assert len(set(probabilities.argmax(axis=1).tolist())) > 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.update({f"{MODEL}:embedding": -a[f"{MODEL}:embedding"]}), r"cosine -1\.0000, expected at least"),
        (
            lambda a: a.update({f"{MODEL}:embedding": np.roll(a[f"{MODEL}:embedding"], 1, axis=0)}),
            r"cosine -?0\.\d+, expected",
        ),
        (
            lambda a: a.update({f"{MODEL}:probabilities": np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 3]][:, ::-1]}),
            r"[1-6] of 7 labels differ",
        ),
        (lambda a: a.update({f"{MODEL}:embedding": a[f"{MODEL}:embedding"] * np.nan}), r"cosine -1\.0000"),
    ],
    ids=["turned", "shifted", "labels", "nan"],
)
def test_other_expected_answers_stop_the_classifier(
    bundle: Bundle, tmp_path: Path, marks: Path, change: Callable[[Arrays], object], said: str
) -> None:
    path = tampered(bundle, tmp_path / "t.tlc", EXPECTED, expected(bundle, change))
    for _ in range(2):  # a failure leaves no mark, so it fails again
        with pytest.raises(SelftestError, match=rf"model\.tflite gives other answers on this device .*{said}"):
            Classifier.open(path)
    assert not marks.exists()
    with Classifier.open(path, selftest=False) as classifier:
        assert classifier.bundle.path == path


def test_the_same_expected_answers_packed_anew_pass(bundle: Bundle, tmp_path: Path, marks: Path) -> None:
    path = tampered(bundle, tmp_path / "t.tlc", EXPECTED, expected(bundle, lambda a: None))
    with Classifier.open(path):
        assert len(list(marks.iterdir())) == 1


class NaN:
    """An engine whose arithmetic is broken."""

    name, version = "broken", "1.0"

    def __init__(self, bundle: Bundle) -> None:
        self.shape, self.widths = (224, 224, 3), (4, bundle.manifest.embedding_width)

    def run(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.full(width, np.nan, np.float32) for width in self.widths)


def test_an_engine_that_gives_no_numbers_fails(bundle: Bundle) -> None:
    result = selftest(bundle, NaN(bundle), bundle.manifest.models[0])
    assert not result.passed
    assert (result.lowest_cosine, result.largest_difference) == (-1, 1)
    assert result.wrong_labels > 0


# --- once


def test_once_passed_it_is_not_run_again(bundle: Bundle, marks: Path) -> None:
    turned = expected(bundle, lambda a: a.update({f"{MODEL}:embedding": -a[f"{MODEL}:embedding"]}))
    failing = replace(bundle, files={**bundle.files, EXPECTED: turned})  # the manifest's hashes, so the same mark
    with pytest.raises(SelftestError):
        Classifier.open(failing)
    with Classifier.open(bundle):
        assert len(list(marks.iterdir())) == 1
    with Classifier.open(failing) as classifier:  # would fail if it were run
        assert classifier.bundle is failing
    (mark,) = marks.iterdir()
    mark.unlink()
    with pytest.raises(SelftestError):
        Classifier.open(failing)


def test_what_others_could_have_written_is_no_mark(bundle: Bundle, marks: Path, tmp_path: Path) -> None:
    turned = expected(bundle, lambda a: a.update({f"{MODEL}:embedding": -a[f"{MODEL}:embedding"]}))
    failing = replace(bundle, files={**bundle.files, EXPECTED: turned})

    def is_run() -> bool:
        try:
            Classifier.open(failing).close()
        except SelftestError:
            return True
        return False

    with Classifier.open(bundle):
        (mark,) = marks.iterdir()
    whole = mark.read_bytes()
    assert not is_run()
    own = tmp_path / "a file of mine"
    own.write_bytes(b"")
    for forged in (b"", b"passed", whole[:-1], whole + b"\n", whole.replace(b"a", b"b")):
        mark.write_bytes(forged)
        assert is_run()
    mark.unlink()
    os.link(own, mark)  # who may write the folder can link what is mine to the name
    assert is_run()
    mark.unlink()
    (tmp_path / "said").write_bytes(whole)
    mark.symlink_to(tmp_path / "said")
    assert is_run()
    mark.unlink()
    mark.write_bytes(whole)
    for place, mode in ((mark, 0o646), (marks, 0o777)):
        before = place.stat().st_mode
        place.chmod(mode)
        assert is_run()
        place.chmod(before)
    if os.geteuid() == 0:
        os.chown(mark, 12345, -1)
        assert is_run()
        os.chown(mark, 0, -1)
    assert not is_run()
    mark.write_bytes(b"")  # what a kill left
    with Classifier.open(bundle):
        assert mark.read_bytes() == whole
    # Any other file of the bundle makes it another mark, so that a passed test stands for no other bundle.
    other = replace(bundle, files={**bundle.files, MANIFEST: bundle.files[MANIFEST] + b" "})
    with Classifier.open(other):
        assert len(list(marks.iterdir())) == 2


def test_another_engine_is_tried_on_its_own(bundle: Bundle, marks: Path) -> None:
    kinds = [k.name for k in KINDS if k.installed]
    for count, name in enumerate(kinds, 1):
        for _ in range(2):
            with Classifier.open(bundle, engine=name):
                assert len(list(marks.iterdir())) == count


def test_where_no_mark_can_be_kept_it_is_run_each_time(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", Path("/proc/none"), Path("x" * 300)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        with Classifier.open(bundle) as classifier:
            assert classifier.bundle is bundle
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# --- golden samples that are not


@pytest.mark.parametrize(
    ("name", "data", "error", "said"),
    [
        (EXPECTED, b"", BundleError, "no golden samples for model.tflite; build the bundle again"),
        (EXPECTED, b"PK", BundleError, "no golden samples"),
        (EXPECTED, pack_expected({"other.tflite": (np.zeros((1, 4)), np.zeros((1, 4)))}, {}), BundleError, "no golden"),
        (EXPECTED, pack_expected({MODEL: (np.zeros((0, 4)), np.zeros((0, 256)))}, {}), BundleError, "do not fit"),
        (EXPECTED, pack_expected({MODEL: (np.zeros((6, 4)), np.zeros((6, 9)))}, {}), BundleError, "do not fit"),
        (EXPECTED, pack_expected({MODEL: (np.zeros((6, 5)), np.zeros((6, 256)))}, {}), BundleError, "do not fit"),
        ("golden/03.png", b"no image", ImageError, r"golden/03\.png: not an image"),
    ],
    ids=["empty", "no archive", "other file", "none", "width", "classes", "image"],
)
def test_golden_samples_that_cannot_be_used_are_an_error(
    bundle: Bundle, tmp_path: Path, marks: Path, name: str, data: bytes, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Classifier.open(tampered(bundle, tmp_path / "t.tlc", name, data))
    assert not marks.exists()
