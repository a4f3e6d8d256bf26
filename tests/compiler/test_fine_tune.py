"""Fine-tuning: it learns what the head alone cannot, changes only what it was asked to, and can be stopped."""

from __future__ import annotations

import math
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_featurize import tiny_trunk

from tlc_edge.compiler.fine_tune.checkpoints import remove_checkpoints
from tlc_edge.compiler.fine_tune.cut import cut_before, cut_bytes
from tlc_edge.compiler.fine_tune.layers import MEMORY, ChosenLayers, choose
from tlc_edge.compiler.fine_tune.train import Tuned, fine_tune
from tlc_edge.compiler.network.layers import nodes
from tlc_edge.compiler.options import FineTune
from tlc_edge.compiler.records import Head, Trunk
from tlc_edge.compiler.train.balance import watch
from tlc_edge.compiler.train.linear import train_linear
from tlc_edge.runtime.errors import BuildError, UsageError

SETTINGS = FineTune(epochs=4, learning_rate=3e-3)


def stripes(count: int = 60) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return noisy pictures of lying and standing stripes, which random convolutions tell apart badly."""
    generator = np.random.default_rng(0)
    targets = np.arange(count) % 2
    wave = np.where(np.arange(32) % 4 < 2, 200, 60)
    lying = np.broadcast_to(wave[:, None, None], (32, 32, 3))
    pictures = np.where(targets[:, None, None, None] == 1, lying, lying.transpose(1, 0, 2))
    return np.clip(pictures + generator.normal(0, 60, pictures.shape), 0, 255).astype(np.uint8), targets


def features(trunk: Trunk, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    spec = trunk.backbone.input
    return np.asarray(trunk.model((images.astype(np.float32) - spec.mean) / spec.std, training=False))


def start(trunk: Trunk) -> tuple[Head, NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    images, targets = stripes()
    watched = watch(targets, 0)
    head, _ = train_linear([features(trunk, images)[~watched]], targets[~watched], 2, 0)
    return head, images, targets, watched


def layers_with_weights(trunk: Trunk) -> list[str]:
    return [n.name for n in nodes(trunk.model) if getattr(n.layer, "trainable_weights", None)]


def tune(trunk: Trunk, last: int, settings: FineTune = SETTINGS, **given: Any) -> Tuned:
    head, images, targets, watched = start(trunk)
    names = tuple(layers_with_weights(trunk)[-last:])  # others for each copy of the network
    return fine_tune(
        trunk, head, ChosenLayers(names, ""), [images, images[:, ::-1]], targets, watched, settings, 0, **given
    )


def weights(trunk: Trunk) -> dict[str, list[NDArray[Any]]]:
    return {layer.name: [np.array(w) for w in layer.get_weights()] for layer in trunk.model.layers}


def test_the_layers_asked_for_change_and_no_other_and_the_given_trunk_not_at_all() -> None:
    trunk = tiny_trunk()
    names = layers_with_weights(trunk)
    before = weights(trunk)
    seen: list[tuple[int, int]] = []
    tuned = tune(trunk, 1, progress=lambda done, total: seen.append((done, total)))
    assert tuned.epoch > 0
    assert tuned.losses[tuned.epoch] == min(tuned.losses) < tuned.losses[0]
    assert seen[0] == (1, 4)
    after = list(weights(tuned.trunk).values())  # the copy's input has another name
    for i, (name, values) in enumerate(before.items()):
        equal = all(np.array_equal(a, b) for a, b in zip(values, after[i], strict=True))
        assert equal == (name != names[-1]), name
        assert all(np.array_equal(a, b) for a, b in zip(values, weights(trunk)[name], strict=True))
    images = stripes()[0]
    assert not np.allclose(features(tuned.trunk, images), features(trunk, images))
    assert (tuned.trunk.layer, tuned.trunk.width) == (trunk.layer, trunk.width)


def test_from_the_first_layer_on_it_works_too() -> None:
    trunk = tiny_trunk()
    tuned = tune(trunk, 2)
    assert tuned.epoch > 0


def test_where_nothing_is_gained_the_trunk_stays() -> None:
    trunk = tiny_trunk()
    tuned = tune(trunk, 1, replace(SETTINGS, learning_rate=30.0, epochs=2))
    assert tuned.epoch == 0
    assert tuned.trunk is trunk


def test_stopped_and_resumed_is_as_never_stopped(tmp_path: Path) -> None:
    whole = tune(tiny_trunk(), 2)
    folder = tmp_path / "deep" / "ck"

    class StopError(Exception):
        pass

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        tune(tiny_trunk(), 2, replace(SETTINGS, checkpoints=folder), progress=stop)
    assert sorted(p.name for p in folder.iterdir()) == ["epoch-0001.npz", "epoch-0002.npz"]
    resumed = tune(tiny_trunk(), 2, replace(SETTINGS, checkpoints=folder, resume=True))
    assert (resumed.resumed, resumed.losses) == (2, whole.losses)
    for a, b in zip(whole.trunk.model.get_weights(), resumed.trunk.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_checkpoints_that_cannot_serve(tmp_path: Path) -> None:
    trunk = tiny_trunk()
    short = replace(SETTINGS, epochs=2, checkpoints=tmp_path / "ck")
    with pytest.raises(BuildError, match=r"--resume: no checkpoint in .*ck; leave --resume out"):
        tune(trunk, 1, replace(short, resume=True))
    tune(trunk, 1, short)
    with pytest.raises(BuildError, match="is of another training"):
        tune(trunk, 1, replace(short, resume=True, learning_rate=1e-5))
    last = tmp_path / "ck" / "epoch-0002.npz"
    older = tmp_path / "mixed"  # an older run got further than the one to resume
    tune(trunk, 1, replace(SETTINGS, epochs=3, checkpoints=older, learning_rate=1e-5))
    shutil.copy(last, older)
    assert tune(trunk, 1, replace(short, checkpoints=older, resume=True)).resumed == 2
    last.write_bytes(last.read_bytes()[:1000])  # cut off: the one before serves
    assert tune(trunk, 1, replace(short, resume=True)).resumed == 1
    (tmp_path / "ck" / "mine.txt").write_text("stays")
    remove_checkpoints(tmp_path / "ck")
    assert [p.name for p in (tmp_path / "ck").iterdir()] == ["mine.txt"]
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="the checkpoint cannot be written"):
        tune(trunk, 1, replace(short, checkpoints=tmp_path / "file" / "ck"))


def test_logs_can_be_read_by_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tune(tiny_trunk(), 1, replace(SETTINGS, epochs=2, logdir=tmp_path))
    events = EventAccumulator(str(tmp_path)).Reload()
    tags: dict[str, Any] = events.Tags()
    assert {"loss/train", "loss/watched", "accuracy/train", "accuracy/watched", "input"} <= set(tags["tensors"])
    assert tags["graph"]
    assert [e.step for e in events.Tensors("loss/watched")] == [1, 2]


class TestChoice:
    def test_by_number_and_pattern(self) -> None:
        trunk = tiny_trunk()
        names = layers_with_weights(trunk)
        assert choose(trunk, "1", 10, 2).layers == tuple(names[-1:])
        assert choose(trunk, "99", 10, 2).layers == tuple(names)
        assert choose(trunk, ".*", 10, 2).layers == tuple(names)
        assert choose(trunk, names[0], 10, 2).layers == (names[0],)

    def test_auto_trains_more_where_there_is_more_data(self) -> None:
        trunk = tiny_trunk()
        counts = [len(choose(trunk, "auto", n, 2).layers) for n in (50, 499, 500, 5_000, 20_000)]
        assert counts[:2] == [0, 0]
        assert counts == sorted(counts)
        assert counts[-1] == len(layers_with_weights(trunk))
        assert choose(trunk, "auto", 2_000, 100).layers == ()  # 20 a class
        assert "50 training images, 25 per class" in choose(trunk, "auto", 50, 2).reason

    def test_what_matches_nothing_names_layers_that_are_there(self) -> None:
        trunk = tiny_trunk()
        with pytest.raises(UsageError, match=f"matches no layer with weights.*{layers_with_weights(trunk)[-1]}"):
            choose(trunk, "block9.*", 10, 2)
        with pytest.raises(UsageError, match="not a number, auto, or a regular expression"):
            choose(trunk, "(", 10, 2)
        with pytest.raises(UsageError, match="--fine-tune 0: trains no layer; give 1 or more, or leave it out"):
            choose(trunk, "0", 10, 2)


def _weighs(trunk: Trunk, last: int) -> int:
    return cut_bytes(trunk.model, layers_with_weights(trunk)[-last:])


class TestMemory:
    """What is too much for it, from sizes alone: no image is loaded."""

    def test_the_images_of_one_view_at_a_time(self) -> None:
        trunk = tiny_trunk()
        head, images, targets, watched = start(trunk)
        taken: list[weakref.ref[NDArray[np.uint8]]] = []

        def views() -> Iterator[NDArray[np.uint8]]:
            for _ in range(3):
                assert all(ref() is None for ref in taken)
                copy = images.copy()
                taken.append(weakref.ref(copy))
                yield copy
                del copy

        choice = ChosenLayers(tuple(layers_with_weights(trunk)), "")
        fine_tune(trunk, head, choice, views(), targets, watched, replace(SETTINGS, epochs=1), 0)
        assert len(taken) == 3

    def test_a_cut_weighs_what_crosses_it(self) -> None:
        trunk = tiny_trunk()
        head, *_ = start(trunk)
        for last in (1, 2):
            names = layers_with_weights(trunk)[-last:]
            assert _weighs(trunk, last) == sum(
                4 * math.prod(t.shape[1:]) for t in cut_before(trunk, names, head).model.inputs
            )
        assert _weighs(trunk, 2) == 4 * 32 * 32 * 3  # the pixels themselves

    def test_auto_takes_the_deepest_cut_that_fits(self) -> None:
        trunk = tiny_trunk()
        names = layers_with_weights(trunk)
        assert _weighs(trunk, 2) > _weighs(trunk, 1)
        fits = MEMORY // _weighs(trunk, 2)
        assert choose(trunk, "auto", fits, 2).layers == tuple(names)
        chosen = choose(trunk, "auto", fits + 1, 2)
        assert chosen.layers == tuple(names[-1:])
        assert f"there are {fits + 1} training images, and what {names[0]} reads would take 4.0 GB" in chosen.reason
        assert choose(trunk, "auto", fits // 2 + 1, 2, views=2).layers == tuple(names[-1:])
        none = choose(trunk, "auto", MEMORY // _weighs(trunk, 1) + 1, 2)
        assert none.layers == ()
        assert none.reason.startswith("no layer, for there are ")
        assert f"and what {names[-1]} reads would take" in none.reason

    def test_what_was_asked_for_is_refused(self) -> None:
        trunk = tiny_trunk()
        fits = MEMORY // _weighs(trunk, 2)
        for asked in ("2", ".*"):
            assert len(choose(trunk, asked, fits, 2).layers) == 2
            with pytest.raises(
                BuildError, match=r"--fine-tune .*: what .* reads would take 4\.0 GB.*train fewer layers"
            ):
                choose(trunk, asked, fits + 1, 2)
        assert len(choose(trunk, "1", fits + 1, 2).layers) == 1
