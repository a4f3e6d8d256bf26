"""A build whose trunk was cut before loads neither TensorFlow nor the network, and makes the same bundle."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import small_backbone

from tlc_edge.compiler.backbones import keras_file
from tlc_edge.compiler.backbones.known import Wanted, find_trunk, find_words, keep_trunk, keep_words
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.network.facts import facts_of
from tlc_edge.compiler.network.fingerprint import fingerprint
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Classifier, Dense, OwnHead, Restored, Trunk
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.errors import BuildError

BUILD = """
import sys
from pathlib import Path
from tlc_edge.compiler import Options, build
data, out, head, backbone = sys.argv[1:5]
build(Options(data, ("rpi",), Path(out), backbone=backbone, head=head, cache=sys.argv[5], max_drop=100, threads=1))
print("tensorflow" in sys.modules, "keras" in sys.modules)
"""


LAYERS = """
import sys
from tlc_edge.compiler.backbones.list_layers import look_at_layers
looked = look_at_layers(sys.argv[1], cache=sys.argv[2])
print("tensorflow" in sys.modules, looked.layers, looked.cuts, looked.backbone.input, looked.backbone.default_shave)
"""

SWEEP = """
import sys
from tlc_edge.compiler.sweep.sweep import SweepOptions, sweep
found = sweep(SweepOptions(sys.argv[1], "rpi", (sys.argv[2],), cache=sys.argv[3]))
print("tensorflow" in sys.modules, [(r.layer, r.features, r.parameters, r.macs, r.judged, r.bytes) for r in found.rows])
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A small network in Keras' own file, with the names of its classes beside it."""
    path = tmp_path / "small.keras"
    small_backbone().model.save(path)
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    return path


@pytest.fixture
def wanted(network: Path) -> Wanted:
    return Wanted(keras_file, str(network), Asked())


def run(code: str, *words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def content(path: Path) -> dict[str, bytes]:
    """Return a bundle's files, without the time at which it was made."""
    files = dict(Bundle.open(path).files)
    created = json.loads(files["manifest.json"])["created"].encode()
    return {name: data.replace(created, b"") for name, data in files.items()}


@pytest.mark.slow  # three builds
def test_another_head_loads_no_tensorflow_and_gives_the_bytes_of_a_build_without_a_cache(
    photos: Path, network: Path, tmp_path: Path
) -> None:
    first, second, fresh = (tmp_path / name / "small.tlc" for name in "123")
    cache = tmp_path / "cache"
    for path in (first, second, fresh):
        path.parent.mkdir()
    assert run(BUILD, photos, first, "prototype", network, cache) == "True True"
    assert run(BUILD, photos, second, "linear", network, cache) == "False False"
    assert run(BUILD, photos, fresh, "linear", network, "off") == "True True"
    assert content(first) != content(second) == content(fresh)


@pytest.mark.slow
def test_layers_are_listed_and_cuts_compared_again_without_tensorflow(
    photos: Path, network: Path, tmp_path: Path
) -> None:
    for code, words in ((LAYERS, (network,)), (SWEEP, (photos, network))):
        first, again = (run(code, *words, tmp_path / "cache") for _ in range(2))
        assert (first.split()[0], again.split()[0]) == ("True", "False")
        assert first.split()[1:] == again.split()[1:]


def test_a_trunk_comes_back_as_it_was_kept(wanted: Wanted, tmp_path: Path) -> None:
    loaded = wanted.source.load(wanted.name, wanted.asked)
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
    backbone = replace(
        loaded,
        classifier=Classifier(matrix, matrix[0], "max"),
        own=OwnHead("here", "avg", (Dense(matrix, matrix[0], "softmax"),)),
        restored=(Restored("kernel", "restored", "as asked"),),
        notes=("a note",),
        merged={"a": "b"},
    )
    trunk = replace(shave(backbone), reason="because")
    with FeatureCache(tmp_path / "cache") as cache:
        keep_trunk(cache, wanted, ["x"], trunk)
        found = find_trunk(cache, wanted, ["x"])
        assert find_trunk(cache, wanted, ["y"]) is None
        assert find_trunk(cache, replace(wanted, asked=Asked(input_size=(32, 32))), ["x"]) is None
    assert found is not None
    assert found.facts == facts_of(trunk)
    assert (found.layer, found.pool, found.width, found.reason) == (trunk.layer, trunk.pool, trunk.width, "because")
    assert plain(found) == plain(trunk)
    assert fingerprint(found) == fingerprint(trunk)
    for a, b in zip(found.model.get_weights(), trunk.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert found.backbone.model is found.backbone.model


def plain(trunk: Trunk) -> dict[str, Any]:
    """Return what a backbone's record holds, but for its network, with arrays as lists."""
    found = {key: value for key, value in vars(trunk.backbone).items() if key not in ("model", "classifier", "own")}
    classifier, own = trunk.backbone.classifier, trunk.backbone.own
    assert classifier is not None
    assert isinstance(own, OwnHead)
    arrays = [classifier.kernel, classifier.bias, own.layers[0].kernel, own.layers[0].bias]
    words = [classifier.pool, own.layer, own.pool, own.layers[0].activation]
    return {**found, "arrays": [a.tolist() for a in arrays], "words": words}


@pytest.mark.parametrize("changed", ["small.keras", "labels.txt", "metadata.json"])
def test_what_decides_a_network_is_part_of_the_key(wanted: Wanted, tmp_path: Path, changed: str) -> None:
    before = wanted.key(["x"])
    assert before is not None
    assert wanted.key(["x"]) == before
    with (tmp_path / changed).open("ab") as file:
        file.write(b"\n")
    assert wanted.key(["x"]) == before  # of the files as they were
    assert not wanted.unchanged
    assert replace(wanted).key(["x"]) != before


def test_a_network_that_is_not_there_has_no_key_and_is_told_of_when_it_is_loaded(wanted: Wanted) -> None:
    Path(wanted.name).unlink()
    assert wanted.key(["x"]) is None


def test_a_network_that_changes_under_a_known_trunk_is_refused(wanted: Wanted, tmp_path: Path) -> None:
    with FeatureCache(tmp_path / "cache") as cache:
        keep_trunk(cache, wanted, ["x"], shave(wanted.source.load(wanted.name, wanted.asked)))
        found = find_trunk(cache, wanted, ["x"])
    assert found is not None
    model = small_backbone().model
    model.set_weights([w + 1 for w in model.get_weights()])
    model.save(wanted.name)
    with pytest.raises(BuildError, match="changed during the build"):
        _ = found.model


@pytest.mark.parametrize("at_once", [False, True])
def test_a_network_whose_file_changed_while_it_was_loaded_is_not_kept(
    wanted: Wanted, tmp_path: Path, at_once: bool
) -> None:
    """Else the next build of the new file would be that of the old one."""
    with FeatureCache(tmp_path / "cache") as cache:
        assert find_trunk(cache, wanted, ["x"]) is None
        trunk = shave(wanted.source.load(wanted.name, wanted.asked))
        if at_once:
            with Path(wanted.name).open("ab") as file:
                file.write(b" ")
        keep_trunk(cache, wanted, ["x"], trunk)
        keep_words(cache, wanted, ["x"], ["said"])
        next_time = replace(wanted)
        assert (find_trunk(cache, next_time, ["x"]) is None) is at_once
        assert find_words(cache, next_time, ["x"]) == (None if at_once else ["said"])


@pytest.mark.parametrize(
    ("layer", "pool"), [("pooled", "avg"), ("vector", "avg"), ("conv", "max"), ("conv", "flatten")]
)
def test_the_network_of_a_known_trunk_is_cut_as_it_was(layer: str, pool: str, tmp_path: Path) -> None:
    """At vectors, too, which are not pooled."""
    import keras
    from keras import layers

    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(image)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dense(5, activation="relu", name="vector")(x)
    path = tmp_path / "named.keras"
    keras.Model(image, layers.Dense(2, activation="softmax")(x)).save(path)
    wanted = Wanted(keras_file, str(path), Asked(pixels="0..1"))
    trunk = shave(wanted.source.load(wanted.name, wanted.asked), layer, pool)
    with FeatureCache(tmp_path / "cache") as cache:
        keep_trunk(cache, wanted, ["x"], trunk)
        found = find_trunk(cache, wanted, ["x"])
    assert found is not None
    assert found.pool == trunk.pool == ("none" if layer != "conv" else pool)
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    np.testing.assert_array_equal(np.asarray(found.model(images)), np.asarray(trunk.model(images)))


def test_what_was_changed_in_the_cache_is_not_taken(wanted: Wanted, tmp_path: Path) -> None:
    with FeatureCache(tmp_path / "cache") as cache:
        keep_trunk(cache, wanted, ["x"], shave(wanted.source.load(wanted.name, wanted.asked)))
        with sqlite3.connect(cache.path) as db:
            db.execute("UPDATE payloads SET value = replace(value, 'avg', 'max')")
        db.close()
        assert find_trunk(cache, wanted, ["x"]) is None


def test_the_names_that_keras_gives_do_not_tell_a_network_from_the_same(tmp_path: Path) -> None:
    """Neither those of layers nor those of operations such as `x + 3`: they count on within a process."""
    import keras
    from keras import layers

    def cut(added: float) -> Trunk:
        image = keras.Input((16, 16, 3))
        x = layers.Conv2D(4, 3, kernel_initializer="ones")(image)
        x = x * (layers.ReLU(6.0)(x + added) * (1.0 / 6.0))
        path = tmp_path / f"{added}.keras"
        keras.Model(image, x).save(path)
        return shave(keras_file.load(str(path), Asked(pixels="0..1")), "auto", "avg")

    first, others = cut(3.0), [cut(3.0), cut(2.0)]
    assert [fingerprint(other) == fingerprint(first) for other in others] == [True, False]
