"""What a store holds, written by hand and read back: rows, lists, plans and passes; no network is run."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.data.records import Origin, Sample
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.features.featurize import trunk_file
from tlc_edge.compiler.records import LoweredTrunk
from tlc_edge.compiler.shards import plan as plans
from tlc_edge.compiler.shards import stored
from tlc_edge.compiler.shards.plan import plan_again, write_trunk
from tlc_edge.compiler.shards.records import Pass, Plan, read_list, read_plan, write_list, write_plan
from tlc_edge.compiler.shards.rows import Row, pack, unpack
from tlc_edge.compiler.shards.store import Store
from tlc_edge.compiler.shards.stored import Stored, states
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError, UsageError
from tlc_edge.runtime.images.nothing import SIDE
from tlc_edge.runtime.progress import Count, silent

pytest.importorskip("pyarrow", reason="shards are Parquet; pip install pyarrow")

WIDTH = 6
TRUNK = trunk_file(LoweredTrunk("tflite", "float32", b"a trunk"), WIDTH)
OTHER = trunk_file(LoweredTrunk("tflite", "int8", b"another"), WIDTH)
PLAN = Plan(Preprocessing(8, 8), {}, {"backbone": "b", "shave": "auto", "pool": "avg"}, "kind", "told", ("note",))
PLANNED = Origin("planned")


def row(i: int, **more: Any) -> Row:
    """An image of class i % 3 by its number."""
    name = f"{i % 3}/{i:03}.png"
    digest = bytes([i]) * 32
    return replace(
        Row(name, str(i % 3), None, None, f"/{name}", -1, 10 + i, -1, "e", digest, thumbnail=bytes([i]) * SIDE**2 * 3),
        **more,
    )


def features(rows: list[Row], seed: int = 0) -> NDArray[np.float32]:
    """Features that float16 holds, by the name of each image."""
    made = [np.random.default_rng([seed, *row.name.encode()]).integers(-9, 9, WIDTH) / 4 for row in rows]
    return np.array(made, np.float32).reshape(len(rows), WIDTH)


def line(one: Row) -> dict[str, Any]:
    return {name: getattr(one, name) for name in
            ("name", "label", "split", "group", "url", "start", "size", "row", "etag")}  # fmt: skip


def written(root: Path, parts: list[list[Row]], held: bool = False, plan: Plan = PLAN) -> Store:
    """A store with one pass of these shards, all there."""
    store = Store(str(root))
    look = write_trunk(store, TRUNK)
    lists = tuple(write_list(store, [line(one) for one in part]) for part in parts)
    first = Pass(0, (look,), lists, tuple(len(part) for part in parts), held)
    write_plan(store, plan, first)
    for i, part in enumerate(parts):
        name, recipe = first.shard(plan, i)
        store.write(name, pack(part, [features(part)], recipe))
    return store


def make(store: Store, plan: Plan, one: Pass, progress: Count = silent) -> None:
    """Make the shards of a later pass, as workers would."""
    known = {r.name: r for index in range(9) for r in [row(i) for i in range(index * 9, index * 9 + 9)]}
    for i, name in enumerate(one.lists):
        rows = [known[item["name"]] for item in read_list(store, name)]
        shard, recipe = one.shard(plan, i)
        store.write(shard, pack(rows, [features(rows, 1 + k) for k in range(len(one.looks))], recipe))


def opened(store: Store, run: Any = None) -> tuple[Stored, list[Sample]]:
    found = Stored(store, run)
    dataset, _ = found.dataset(PLANNED, strict=False)
    return found, list(dataset.samples)


# --- rows


@pytest.mark.parametrize("count", [0, 1, 7])
def test_rows_come_back_with_what_each_look_saw(count: int) -> None:
    rows = [
        row(i, split=("train", None)[i % 2], group=f"g{i}", start=i, row=5 - i, etag="é", reason=("bad", None)[i % 2])
        for i in range(count)
    ]
    half, whole = features(rows), features(rows) * np.float32(1e6)
    data = pack(rows, [half, whole], "recipe")
    for looks in ([], [0], [1], [1, 0]):
        found, seen = unpack(data, "recipe", "it", looks)
        assert found == [] or [asdict(one) for one in found] == [asdict(one) for one in rows]
        assert [s.dtype for s in seen] == [
            (np.dtype("f2"), np.dtype("f4"))[i] if count else np.dtype("f2") for i in looks
        ]
        for i, one in zip(looks, seen, strict=True):
            np.testing.assert_array_equal(one.astype(np.float32), (half, whole)[i])
    assert pack(rows, [half, whole], "recipe") == data
    with pytest.raises(DataError, match="it: a shard of another plan"):
        unpack(data, "other", "it")
    with pytest.raises(DataError, match="it: a damaged shard"):
        unpack(data, "recipe", "it", [2])


def test_a_name_that_is_no_text_is_kept_readably() -> None:
    odd = row(0, name="caf\udce9.png", label="\udcff")
    (found,), _ = unpack(pack([odd], [], "r"), "r", "it")
    assert (found.name, found.label) == ("caf\\udce9.png", "\\udcff")


# --- plans


@pytest.mark.parametrize(("count", "shards"), [(1, 1), (1, 9), (7, 3), (9, 3), (10, 3), (31, 4), (50, 1)])
def test_lines_are_shared_out_evenly_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, shards: int
) -> None:
    monkeypatch.setattr(plans, "LARGEST", 8)
    rows = [row(i) for i in range(count)]
    store = Store(str(tmp_path))
    one = plan_again(store, 1, [write_trunk(store, TRUNK)], rows, shards)
    parts = [read_list(store, name) for name in one.lists]
    assert [item for part in parts for item in part] == [line(r) for r in rows]
    assert one.counts == tuple(len(part) for part in parts)
    assert max(one.counts) - min(one.counts) <= 1
    assert max(one.counts) <= 8
    assert len(parts) == min(count, max(shards, -(-count // 8)))


def test_rows_of_one_file_that_follow_each_other_are_read_together(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    at = [("/d/a.parquet", 0), ("/d/a.parquet", 1), ("/d/a.parquet", 5), ("/d/b.parquet", 6), ("/d/b.parquet", 2),
          ("/d/a.parquet", 9)]  # fmt: skip
    rows = [row(i, url=url, row=number) for i, (url, number) in enumerate(at)]
    one = plan_again(store, 1, [write_trunk(store, TRUNK)], [*rows, row(7)], 1)
    items = [item for name in one.lists for item in read_list(store, name)]
    assert [(i.get("held"), i.get("rows")) for i in items] == [
        ("/d/a.parquet", [0, 1, 5]),
        ("/d/b.parquet", [6]),
        ("/d/b.parquet", [2]),  # goes back: the order of the images is that of the list
        ("/d/a.parquet", [9]),
        (None, None),
    ]
    assert items[0]["path"] == "d/a.parquet"
    assert items[-1] == line(row(7))


def test_a_plan_and_its_passes_come_back_in_order(tmp_path: Path) -> None:
    plan = replace(
        PLAN, skipped=(("x", "why", None), ("y", "why", "cat")), views={"augment": "a", "copies": 1, "seed": 3}
    )
    store = written(tmp_path, [[row(0)]], plan=plan)
    later = [plan_again(store, n, [write_trunk(store, TRUNK, f"{n}")], [row(0)], 1) for n in (10, 2, 9)]
    found, passes = read_plan(store)
    assert found == plan
    assert [one.number for one in passes] == [0, 2, 9, 10]
    assert sorted(passes[1:], key=lambda one: one.number) == sorted(later, key=lambda one: one.number)
    kept = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**kept, "format": kept["format"] + 1}))
    with pytest.raises(DataError, match="planned by another version of tlc"):
        read_plan(store)


def test_a_trunk_is_kept_under_the_hash_of_its_bytes_and_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    looks = [write_trunk(store, TRUNK), write_trunk(store, TRUNK, "view"), write_trunk(store, OTHER)]
    assert [look.view for look in looks] == ["", "view", ""]
    assert looks[0].trunk == looks[1].trunk != looks[2].trunk
    assert store.names("trunks") == {looks[0].trunk, looks[2].trunk}
    assert (looks[0].fingerprint, looks[0].form, looks[0].width) == (TRUNK.fingerprint, "tflite", WIDTH)
    assert store.read(f"trunks/{looks[0].trunk}") == b"a trunk"


# --- what a build takes from it


def test_the_data_set_and_what_was_seen_of_it(tmp_path: Path) -> None:
    rows = [row(i, reason="broken" if i == 4 else None) for i in range(9)]
    found = Stored(written(tmp_path, [rows[:5], rows[5:]]))
    dataset, seen = found.dataset(PLANNED, strict=False)
    good = [r for r in rows if r.reason is None]
    assert [(s.name, s.label, str(s.source)) for s in dataset.samples] == [(r.name, r.label, r.url) for r in rows]
    assert (dataset.labels, dataset.origin, dataset.notes, dataset.recognised) == (
        ("0", "1", "2"),
        "told",
        ("note",),
        "kind",
    )
    assert [s.name for s in seen.samples] == [r.name for r in good]
    np.testing.assert_array_equal(seen.features, features(good))
    assert [(s.name, s.reason, s.label) for s in seen.skipped] == [(rows[4].name, "broken", "1")]
    assert seen.digests == tuple(r.digest for r in good)
    assert seen.thumbnails.shape == (8, SIDE, SIDE, 3)
    assert [int(t[0, 0, 0]) for t in seen.thumbnails] == [i for i in range(9) if i != 4]
    assert seen.cached == 0


def test_of_files_that_hold_many_the_order_is_by_class_and_name(tmp_path: Path) -> None:
    rows = [row(i) for i in (5, 0, 7, 3, 1, 8, 2, 6, 4)]
    store = written(tmp_path, [rows[:2], rows[2:]], held=True)
    found = Stored(store)
    dataset, seen = found.dataset(PLANNED, strict=False)
    wanted = sorted(rows, key=lambda r: (r.label, r.name))
    assert [s.name for s in dataset.samples] == [s.name for s in seen.samples] == [r.name for r in wanted]
    np.testing.assert_array_equal(seen.features, features(wanted))
    assert [int(t[0, 0, 0]) for t in seen.thumbnails] == [r.digest[0] for r in wanted]


def test_what_could_not_be_planned_is_refused_where_nothing_may_be_left_out(tmp_path: Path) -> None:
    plan = replace(PLAN, skipped=(("0/x.png", "no image", "0"),))
    found = Stored(written(tmp_path, [[row(i) for i in range(6)]], plan=plan))
    assert [s.name for s in found.dataset(PLANNED, strict=False)[0].skipped] == ["0/x.png"]
    with pytest.raises(DataError, match=r"0/x\.png: no image"):
        found.dataset(PLANNED, strict=True)


@pytest.mark.parametrize("wrong", ["a row less", "another width", "a thumbnail", "a name twice"])
def test_a_shard_that_is_not_what_was_planned_is_refused(tmp_path: Path, wrong: str) -> None:
    rows = [row(i) for i in range(6)]
    store = written(tmp_path, [rows[:3], rows[3:]])
    plan, (first,) = read_plan(store)
    name, recipe = first.shard(plan, 1)
    some, seen = rows[3:], features(rows[3:])
    if wrong == "a row less":
        some, seen = some[1:], seen[1:]
    elif wrong == "another width":
        seen = seen[:, 1:]
    elif wrong == "a thumbnail":
        some = [*some[:2], replace(some[2], thumbnail=b"short")]
    else:
        some = [*some[:2], replace(some[2], name=rows[0].name)]
    store.write(name, pack(some, [seen], recipe))
    with pytest.raises(DataError, match=r"two images have this name" if wrong == "a name twice" else "damaged"):
        Stored(store).dataset(PLANNED, strict=False)


def test_missing_shards_are_made_where_somebody_makes_them_and_told_where_nobody_does(tmp_path: Path) -> None:
    rows = [row(i) for i in range(9)]
    store = written(tmp_path, [rows[:3], rows[3:6], rows[6:]])
    asked: list[int] = []
    assert [s.missing for s in states(store)] == [()]
    Stored(store, lambda *_: asked.append(0)).dataset(PLANNED, strict=False)
    plan, (first,) = read_plan(store)
    (tmp_path / first.shard(plan, 2)[0]).unlink()
    assert [(s.shards, s.done, s.missing, s.images) for s in states(store)] == [(3, 2, (2,), 9)]
    with pytest.raises(
        DataError, match=r"1 of 3 shards of pass 0 are missing, the first 2; make them: tlc features run"
    ):
        Stored(store).dataset(PLANNED, strict=False)
    assert asked == []

    def again(store: Store, plan: Plan, one: Pass, progress: Count) -> None:
        asked.append(one.number)
        name, recipe = one.shard(plan, 2)
        store.write(name, pack(rows[6:], [features(rows[6:])], recipe))

    dataset, _ = Stored(store, again).dataset(PLANNED, strict=False)
    assert (len(dataset.samples), asked) == (9, [0])


def test_only_the_trunk_that_was_planned_with_is_taken(tmp_path: Path) -> None:
    found = Stored(written(tmp_path, [[row(0)]]))
    found.check_trunk(TRUNK, PLAN.preprocessing)
    for trunk, spec in ((OTHER, PLAN.preprocessing), (TRUNK, Preprocessing(9, 8))):
        with pytest.raises(UsageError, match=r"another trunk than this build has \(backbone b, pool avg, shave auto\)"):
            found.check_trunk(trunk, spec)


# --- later passes


def test_a_pass_is_made_for_what_is_missing_and_once(tmp_path: Path) -> None:
    store = written(tmp_path, [[row(i) for i in range(4)], [row(i) for i in range(4, 9)]])
    made: list[tuple[int, list[str]]] = []

    def run(store: Store, plan: Plan, one: Pass, progress: Count) -> None:
        made.append((one.number, [look.view for look in one.looks]))
        make(store, plan, one)

    found, samples = opened(store, run)
    turned, dim = View("turned"), View("dim")
    assert not found.has(TRUNK, turned)
    assert found.features(TRUNK, turned, samples) is None
    found.prepare([(TRUNK, PLAIN)], samples)
    assert made == []  # the first pass has it
    found.prepare([(TRUNK, PLAIN), (TRUNK, turned), (OTHER, dim)], samples)
    assert made == [(1, ["turned", "dim"])]
    found.prepare([(OTHER, dim)], samples[:5])
    assert made == [(1, ["turned", "dim"])]
    assert [found.has(TRUNK, turned), found.has(OTHER, turned), found.has(OTHER, dim)] == [True, False, True]
    rows = [row(i) for i in (8, 2, 5)]
    some = [next(s for s in samples if s.name == r.name) for r in rows]
    steps: list[tuple[int, int]] = []
    turned_seen = found.features(TRUNK, turned, some, lambda done, of: steps.append((done, of)))
    dim_seen = found.features(OTHER, dim, some)
    assert turned_seen is not None
    assert dim_seen is not None
    np.testing.assert_array_equal(turned_seen, features(rows, 1))
    np.testing.assert_array_equal(dim_seen, features(rows, 2))
    assert steps == [(1, 2), (2, 2)]
    again, _ = opened(store)  # another process, with nobody to make shards
    assert again.has(OTHER, dim)
    again.prepare([(OTHER, turned)], samples)
    assert len(read_plan(store)[1]) == 2
    assert again.features(OTHER, turned, samples) is None


def test_a_pass_over_some_images_does_not_serve_others(tmp_path: Path) -> None:
    found, samples = opened(written(tmp_path, [[row(i) for i in range(9)]]), make)
    found.prepare([(TRUNK, View("v"))], samples[:4])
    assert found.features(TRUNK, View("v"), samples[:4]) is not None
    assert found.features(TRUNK, View("v"), samples[3:5]) is None
    assert found.features(replace(TRUNK, width=WIDTH + 1), View("v"), samples[:4]) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reason": "no image"}, "no image, and it could be read before"),
        ({"digest": b"x" * 32}, "changed between two passes"),
    ],
)
def test_an_image_that_is_another_in_a_later_pass_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    store = written(tmp_path, [[row(i) for i in range(6)]])

    def run(store: Store, plan: Plan, one: Pass, progress: Count) -> None:
        rows = [replace(row(i), **(change if i == 2 else {})) for i in range(6)]
        name, recipe = one.shard(plan, 0)
        store.write(name, pack(rows, [features(rows)], recipe))

    found, samples = opened(store, run)
    found.prepare([(TRUNK, View("v"))], samples)
    with pytest.raises(DataError, match=rf"2/002\.png: {said}"):
        found.features(TRUNK, View("v"), samples)


def test_many_images_lie_in_a_file_and_only_as_what_float16_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(i) for i in range(9)]
    random.Random(0).shuffle(rows)
    in_memory = Stored(written(tmp_path / "a", [rows])).dataset(PLANNED, strict=False)[1]
    monkeypatch.setattr(stored, "IN_MEMORY", 8)
    monkeypatch.setattr(stored, "scratch", lambda: tmp_path)
    store = written(tmp_path / "b", [rows])
    in_file = Stored(store).dataset(PLANNED, strict=False)[1]
    assert (type(in_memory.features), type(in_file.features)) == (np.ndarray, np.memmap)
    np.testing.assert_array_equal(in_file.features, in_memory.features)
    np.testing.assert_array_equal(in_file.thumbnails, in_memory.thumbnails)
    assert (in_file.features.dtype, in_file.thumbnails.dtype) == (np.float16, np.uint8)
    plan, (first,) = read_plan(store)
    name, recipe = first.shard(plan, 0)
    store.write(name, pack(rows, [features(rows) * np.float32(1e6)], recipe))
    with pytest.raises(DataError, match="features that float16 does not hold; more than 8 images"):
        Stored(store).dataset(PLANNED, strict=False)
