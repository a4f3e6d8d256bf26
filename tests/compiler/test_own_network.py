"""Networks that a function of the user's own makes, run as ordinary Python runs the file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlc_edge.compiler.backbones.find import find_backbone, load_backbone
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.toolchain import load_tensorflow
from tlc_edge.runtime.errors import BuildError, UsageError

OWN = """
from __future__ import annotations
from dataclasses import dataclass
import keras
from keras import layers
from beside import SEED
from parts.sizes import sizes
@dataclass
class Options:
    filters: int = 3
def make_model():
    import late  # found while the function runs, too
    keras.utils.set_random_seed(SEED)
    return keras.Sequential([
        layers.Input((8, 8, 1)),
        layers.Conv2D(Options().filters, sizes()[0], name="conv_a"),
        layers.Conv2D(late.FILTERS, 3, name="conv_b"),
    ])
"""


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def write_own(folder: Path, filters: int = 4) -> str:
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "sizes.py").write_text("def sizes(): return (3,)\n")
    (folder / "beside.py").write_text("SEED = 1\n")
    (folder / "late.py").write_text(f"FILTERS = {filters}\n")
    (folder / "mynet.py").write_text(OWN)
    return f"{folder / 'mynet.py'}:make_model"


def other(seed: int) -> Any:
    """Return the network that OWN makes, with other weights."""
    from keras import Sequential, layers

    model = Sequential(
        [layers.Input((8, 8, 1)), layers.Conv2D(3, 3, name="conv_a"), layers.Conv2D(4, 3, name="conv_b")]
    )
    generator = np.random.default_rng(seed)
    model.set_weights([generator.uniform(-1, 1, w.shape) for w in model.get_weights()])
    return model


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def test_files_beside_it_are_found_and_nothing_of_it_stays(tmp_path: Path) -> None:
    paths = list(sys.path)
    first = load_backbone(write_own(tmp_path / "first"))
    # Another network with files of the same names gets its own.
    second = load_backbone(write_own(tmp_path / "second", filters=6))
    assert (first.model.output.shape[-1], second.model.output.shape[-1]) == (4, 6)
    assert sys.path == paths
    assert not {"beside", "late", "parts", "parts.sizes", "mynet", "tlc_own_mynet"} & set(sys.modules)


def test_nothing_stays_of_one_that_fails_either(tmp_path: Path) -> None:
    name, paths = write_own(tmp_path / "own"), list(sys.path)
    (tmp_path / "own" / "late.py").write_text("raise ValueError('no idea')\n")
    with pytest.raises(BuildError, match=r"mynet\.py, line 12: ValueError: no idea"):
        load_backbone(name)
    assert sys.path == paths
    assert not {"beside", "late", "parts", "tlc_own_mynet"} & set(sys.modules)


@pytest.mark.parametrize("file", ["net.h5", "net.weights.h5", "net.keras"])
def test_weights_that_keras_wrote(tmp_path: Path, file: str) -> None:
    name, original, path = write_own(tmp_path / "own"), other(2), tmp_path / file
    original.save_weights(path) if "weights" in file else original.save(path)
    backbone = load_backbone(name, Asked(weights=str(path)))
    assert same(backbone.model, original)
    assert backbone.provenance.source == f"mynet.py:make_model, {file}"


def test_a_folder_of_checkpoints_gives_its_latest(tmp_path: Path) -> None:
    import tensorflow as tf

    name, folder = write_own(tmp_path / "own"), tmp_path / "checkpoints"
    model = other(2)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(folder), max_to_keep=3)
    manager.save()
    model.set_weights(other(3).get_weights())
    manager.save()
    moved = folder.rename(tmp_path / "moved")
    backbone = load_backbone(name, Asked(weights=str(moved)))
    assert same(backbone.model, model)
    assert f"{moved}: its latest checkpoint was taken, ckpt-2" in backbone.notes
    (moved / "checkpoint").unlink()
    with pytest.raises(BuildError, match="does not say which checkpoint is the latest; name one: ckpt-1, ckpt-2"):
        load_backbone(name, Asked(weights=str(moved)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match=r"without a checkpoint \(no \*\.index\); --weights takes one, or a \.h5"):
        load_backbone(name, Asked(weights=str(tmp_path / "empty")))


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (None, r"--restore 'zzz' needs a TensorFlow checkpoint: --weights model\.ckpt-34"),
        ("net.h5", r"--restore 'zzz' chooses from a TensorFlow checkpoint; .* is taken as a whole"),
        ("net.weights.h5", "is taken as a whole"),
    ],
)
def test_patterns_without_a_checkpoint(tmp_path: Path, weights: str | None, reason: str) -> None:
    name = write_own(tmp_path / "own")
    with pytest.raises(UsageError, match=reason):
        find_backbone(name, Asked(weights=weights and str(tmp_path / weights), restore=("zzz",)))
    find_backbone(name, Asked())


@pytest.mark.parametrize(
    "setting",
    [
        'keras.config.set_dtype_policy("mixed_float16")',
        'keras.config.set_floatx("float16")',
        'keras.config.set_image_data_format("channels_first")',
        "keras.config.set_epsilon(0.5)",
    ],
)
@pytest.mark.parametrize("where", ["of the module", "of the function"])
def test_settings_of_the_code_end_with_it(tmp_path: Path, setting: str, where: str) -> None:
    from keras import config

    def settings() -> tuple[Any, ...]:
        return config.dtype_policy().name, config.floatx(), config.image_data_format(), config.epsilon()

    before = settings()
    first, second = (setting, "pass") if where == "of the module" else ("", setting)
    last = 'data_format="channels_last"'
    (tmp_path / "own.py").write_text(
        f"import keras\n{first}\ndef make_model():\n    {second}\n"
        f"    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, {last})])\n"
    )
    backbone = load_backbone(f"{tmp_path}/own.py:make_model")
    assert settings() == before
    assert {str(v.dtype) for v in backbone.model.weights} == {"float32"}
    assert np.asarray(backbone.model(np.ones((1, 8, 8, 3), np.float32))).dtype == np.float32
