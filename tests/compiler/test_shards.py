"""Shards: the same bytes whoever makes them, however often, and the same bundle as one machine's."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import here
from numpy.typing import NDArray
from PIL import Image
from test_json_shapes import hold

from tlc_edge.cli.build_summary import document
from tlc_edge.compiler import Options, build, prepare
from tlc_edge.compiler.data import decode
from tlc_edge.compiler.data.forms.elsewhere import scratch
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.shards import records, stored
from tlc_edge.compiler.shards.cluster import _noise_to, _told
from tlc_edge.compiler.shards.costs import Costs, worker_name
from tlc_edge.compiler.shards.records import read_list, read_plan, write_list
from tlc_edge.compiler.shards.rows import unpack
from tlc_edge.compiler.shards.run import run_shards, trunk_of
from tlc_edge.compiler.shards.store import Store
from tlc_edge.compiler.shards.stored import open_stored, states
from tlc_edge.compiler.spread import plan_features, plan_for_cluster
from tlc_edge.compiler.steps import no_progress
from tlc_edge.compiler.train.linear import train_linear
from tlc_edge.compiler.train.streamed import train_streamed
from tlc_edge.compiler.train.training import FeatureView, Whole
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.errors import DataError, TlcError, UsageError

pytest.importorskip("pyarrow", reason="shards are Parquet; pip install pyarrow")
SKETCH = Path(__file__).parents[1] / "data" / "tfjs_sketch"


@pytest.fixture(scope="module")
def pictures(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos, one of them twice, and a file that is none."""
    root = tmp_path_factory.mktemp("pictures") / "photos"
    shutil.copytree(photos, root)
    shutil.copy(root / "2" / "1.png", root / "2" / "copy.png")
    (root / "1" / "broken.png").write_text("no image")
    return root


def asked(pictures: Path | str, output: Path, **more: Any) -> Options:
    return Options(
        data=str(pictures), targets=("rpi",), output=output, backbone=str(SKETCH), pool="flatten", max_drop=90.0,
        cache="off", **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three shards, all there, planned twice. Read it, do not change it."""
    root = tmp_path_factory.mktemp("store") / "store"
    plan_features(asked(pictures, Path()), str(root), 3)
    run_shards(str(root))
    plan_features(asked("", Path()), str(root))
    run_shards(str(root))
    return root


def same(one: Path, other: Path) -> None:
    """Check that two bundles are the same, but for `created`, and the hashes that follow from it."""
    with zipfile.ZipFile(one) as a, zipfile.ZipFile(other) as b:
        assert a.namelist() == b.namelist()
        for name in a.namelist():
            x, y = a.read(name), b.read(name)
            if name == "manifest.json":
                x, y = ({**json.loads(d), "created": ""} for d in (x, y))
            if name != "manifest.sha256":
                assert x == y, name


def files(root: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((root / "shards").glob("*.parquet"))}


def test_the_bundle_is_that_of_one_machine(pictures: Path, store: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    alone = build(asked(pictures, tmp_path / "a" / "x.tlc"))
    read = build(asked("", tmp_path / "b" / "x.tlc", features=str(store)))
    same(tmp_path / "a" / "x.tlc", tmp_path / "b" / "x.tlc")
    assert [s.name for s in read.skipped] == [s.name for s in alone.skipped] == ["1/broken.png"]
    assert read.duplicates == alone.duplicates != ()
    assert read.images == alone.images
    assert alone.costs == Costs()
    (worker,) = read.costs.workers  # this process, which made them all
    assert (worker.worker, worker.shards, read.costs.read) == (worker_name(), 6, 0)
    listed = [p.stat().st_size for p in pictures.glob("*/*.png")]
    assert sum(listed) < worker.read < 2 * sum(listed)  # all once, and those that train again
    assert len(listed) < worker.images < 2 * len(listed)
    hold("build", json.loads(json.dumps(document(read))))


def test_a_second_run_finds_nothing_to_do_and_another_store_has_the_same_bytes(
    pictures: Path, store: Path, tmp_path: Path
) -> None:
    before = files(store)
    assert run_shards(str(store)) == []
    other = tmp_path / "other"
    plan_features(asked(pictures, Path()), str(other), 3)
    assert len(run_shards(str(other), [2, 0])) == 2
    assert {name: data for name, data in before.items() if name in files(other)} == files(other)
    script = "import sys; from tlc_edge.compiler.shards.run import run_shards as run; run(sys.argv[1], [1])"
    (state,) = states(Store(str(other)))
    assert (state.done, state.missing, state.read_images > 20, len(state.workers)) == (2, (1,), True, 1)
    subprocess.run([sys.executable, "-c", script, str(other)], check=True)
    (state,) = states(Store(str(other)))
    assert sorted(worker.shards for worker in state.workers) == [1, 2]  # two processes, two workers
    assert sum(worker.images for worker in state.workers) == state.read_images == state.images


def test_two_at_once_and_one_killed_leave_whole_shards_only(pictures: Path, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    plan_features(asked(pictures, Path()), str(other), 3)
    script = "import sys; from tlc_edge.compiler.shards.run import run_shards; run_shards(sys.argv[1])"
    workers = [subprocess.Popen([sys.executable, "-c", script, str(other)]) for _ in range(2)]
    deadline = time.monotonic() + 120
    while not (other / "shards").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    workers[0].kill()
    assert workers[1].wait(120) == 0
    workers[0].wait()
    assert all(files(store)[name] == data for name, data in files(other).items())
    assert len(files(other)) == 3
    assert run_shards(str(other)) == []


def test_what_a_kill_left_goes_after_a_day(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("shards/a.parquet", b"a")
    old, fresh = (tmp_path / "shards" / f".{name}.part" for name in ("old", "fresh"))
    old.touch()
    fresh.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    assert store.names("shards") == {"a.parquet"}
    assert (old.exists(), fresh.exists()) == (False, True)


def test_a_worker_needs_no_tensorflow(pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    plan_features(asked(pictures, Path()), str(other), 1)
    script = (
        "import sys; from tlc_edge.compiler.shards.run import run_shards; run_shards(sys.argv[1])\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'scipy', 'onnx', 'ray'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script, str(other)], check=True)
    assert len(files(other)) == 1


class TestRefusals:
    def copy(self, store: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(store, tmp_path / "copy"))

    def test_missing_shards_are_counted(self, store: Path, tmp_path: Path) -> None:
        root = self.copy(store, tmp_path)
        plan, passes = read_plan(Store(str(root)))
        (root / passes[0].shard(plan, 1)[0]).unlink()
        with pytest.raises(
            DataError, match=r"1 of 3 shards of pass 0 are missing, the first 1; make them: tlc features"
        ):
            build(asked("", tmp_path / "x.tlc", features=str(root)))
        assert not (tmp_path / "x.tlc").exists()

    @pytest.mark.parametrize("spoil", [lambda d: d[:-200], lambda d: b"", lambda d: d.replace(b"PAR1", b"PAR2")])
    def test_a_damaged_shard_is_named(self, store: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
        root = self.copy(store, tmp_path)
        plan, passes = read_plan(Store(str(root)))
        path = root / passes[0].shard(plan, 0)[0]
        path.write_bytes(spoil(path.read_bytes()))
        with pytest.raises(DataError, match="a damaged shard"):
            open_stored(str(root)).dataset(load_origin(), strict=False)

    def test_a_shard_of_another_plan_is_refused(self, store: Path, tmp_path: Path) -> None:
        root = self.copy(store, tmp_path)
        plan, passes = read_plan(Store(str(root)))
        shutil.copy(root / passes[0].shard(plan, 0)[0], root / passes[0].shard(plan, 1)[0])
        with pytest.raises(DataError, match="a shard of another plan"):
            open_stored(str(root)).dataset(load_origin(), strict=False)

    def test_another_trunk_is_refused(self, store: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="planned with another trunk"):
            build(replace(asked("", tmp_path / "x.tlc", features=str(store)), shave="sep", pool="avg"))

    def test_an_image_that_changed_since_the_plan_is_named(self, pictures: Path, tmp_path: Path) -> None:
        root, images = tmp_path / "store", Path(shutil.copytree(pictures, tmp_path / "photos"))
        plan_features(asked(images, Path()), str(root), 3)
        Image.new("RGB", (30, 20), "red").save(images / "0" / "3.png")
        with pytest.raises(DataError, match=r"0/3.png: changed since it was planned"):
            run_shards(str(root))

    def test_another_version_of_what_decides_features_is_refused(self, pictures: Path, tmp_path: Path) -> None:
        root = tmp_path / "store"
        plan_features(asked(pictures, Path()), str(root), 1)
        plan = json.loads((root / "plan.json").read_text())
        (root / "plan.json").write_text(json.dumps({**plan, "versions": {**plan["versions"], "Pillow": "9.0.0"}}))
        with pytest.raises(DataError, match=r"planned with other versions .* pip install Pillow==9.0.0"):
            run_shards(str(root))

    def test_a_place_without_a_plan_or_with_one(self, store: Path, pictures: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"there is no plan.json in it"):
            states(Store(str(tmp_path)))
        with pytest.raises(UsageError, match="holds a plan already"):
            plan_features(asked(pictures, Path()), str(store), 3)
        with pytest.raises(UsageError, match=r"--shard 7: .* has the shards 0 to 2"):
            run_shards(str(store), [7])
        with pytest.raises(UsageError, match="its images are no files"):
            plan_features(asked("sample:digits", Path()), str(tmp_path / "new"), 3)

    def test_an_image_that_changed_between_the_passes_is_named(self, pictures: Path, tmp_path: Path) -> None:
        root, images = tmp_path / "store", Path(shutil.copytree(pictures, tmp_path / "photos"))
        plan_features(asked(f"file://{images}", Path()), str(root), 1)
        run_shards(str(root))
        plan_features(asked("", Path()), str(root))
        for path in images.glob("0/*.png"):
            Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        for copied in scratch().iterdir():  # as in a worker
            shutil.rmtree(copied) if copied.is_dir() else copied.unlink()
        run_shards(str(root))
        shutil.copytree(pictures, images, dirs_exist_ok=True)  # so that only the second pass saw others
        with pytest.raises(DataError, match=r"0/\d+.png: changed between two passes"):
            build(asked("", tmp_path / "x.tlc", features=str(root)))

    def test_a_store_of_other_images_is_not_built_in_the_place_of_those_given(
        self, store: Path, pictures: Path, tmp_path: Path
    ) -> None:
        def planned(images: Path, **more: Any) -> Options:
            given = asked(images, tmp_path / "x.tlc", features=str(store), cluster="auto", **more)
            return plan_for_cluster(given, no_progress)

        assert planned(pictures, shards=7).features == str(store)  # again, as after a kill
        others = Path(shutil.copytree(pictures, tmp_path / "photos"))
        for options in ((others, {}), (pictures, {"limit": 12})):
            with pytest.raises(UsageError, match="planned of other images than --data"):
                planned(options[0], **options[1])

    def test_strict_and_idle_options_are_not_passed_over(self, store: Path, tmp_path: Path) -> None:
        given = asked("", tmp_path / "x.tlc", features=str(store))
        with pytest.raises(DataError, match=r"1/broken.png: .*--strict"):
            build(replace(given, strict=True))
        with pytest.raises(UsageError, match="--encoding is for the plan"):
            build(replace(given, encoding="cp437"))

    def test_costs_that_are_damaged_cost_nothing(self, store: Path, tmp_path: Path) -> None:
        root = self.copy(store, tmp_path)
        whole = states(Store(str(root)))
        for path, text in zip(sorted((root / "costs").iterdir()), ("[]", "no JSON", '{"images": "x"}'), strict=False):
            path.write_text(text)
        spoilt = states(Store(str(root)))
        assert [state.missing for state in spoilt] == [state.missing for state in whole]
        assert sum(state.read_images for state in spoilt) < sum(state.read_images for state in whole)
        old = sorted((root / "costs").iterdir())[-1]
        kept = json.loads(old.read_text())
        old.write_text(json.dumps({name: value for name, value in kept.items() if name != "worker"}))
        unknown = [w for state in states(Store(str(root))) for w in state.workers if not w.worker]
        assert sum(w.images for w in unknown) == kept["images"]
        assert sum(w.shards for w in unknown) == 4


@pytest.mark.parametrize(
    ("place", "package"),
    [(f"{scheme}://bucket/x", "gcsfs") for scheme in ("gs", "gcs")]
    + [(f"{scheme}://c@account/x", "adlfs") for scheme in ("abfs", "abfss")]
    + [("az://bucket/x", "adlfs"), ("adl://bucket/x", "adlfs"), ("oci://bucket/x", "ocifs")]
    + [("s3://bucket/x", "s3fs"), ("s3a://bucket/x", "s3fs"), ("hf://datasets/a/x", "huggingface_hub")]
    + [("http://127.0.0.1:9/x/", "aiohttp")],
)
def test_a_library_that_is_missing_is_named(place: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    said = f"{package}, which reads it, is missing; run: pip install {package}\\b"
    for read in (
        lambda: load_dataset(Origin(place, cache=str(tmp_path))),
        lambda: Store(place).read("plan.json"),
        lambda: plan_features(asked(place, tmp_path / "x.tlc"), str(tmp_path / "store")),
    ):
        with pytest.raises(DataError, match=said):
            read()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [("0//0.png", "has 0/0.png twice"), (f"0/{'x' * 300}.png", "has no place on")],
)
def test_names_in_a_bucket_that_a_disk_cannot_hold(pictures: Path, tmp_path: Path, name: str, said: str) -> None:
    system = pytest.importorskip("fsspec").filesystem("memory")
    root = f"/{tmp_path.name}/photos"
    for path in pictures.glob("*/*.png"):
        system.pipe_file(f"{root}/{path.relative_to(pictures).as_posix()}", path.read_bytes())
    given = asked(f"memory:/{root}", tmp_path / "x.tlc")
    plan_features(given, str(tmp_path / "fine"), 2)
    system.pipe_file(f"{root}/{name}", b"another")
    with pytest.raises(DataError, match=said):
        plan_features(given, str(tmp_path / "store"), 2)
    assert not (tmp_path / "store").exists()


class TestHostile:
    """A store that somebody else made."""

    @pytest.mark.parametrize("first", ["../outside.json", "/etc/hostname", "plan.json", 7])
    def test_a_plan_that_leads_out_of_the_store(self, store: Path, tmp_path: Path, first: Any) -> None:
        root = shutil.copytree(store, tmp_path / "copy")
        plan = json.loads((root / "plan.json").read_text())
        shutil.copy(root / plan["first"], tmp_path / "outside.json")
        (root / "plan.json").write_text(json.dumps({**plan, "first": first}))
        with pytest.raises(DataError, match="is damaged"):
            read_plan(Store(str(root)))

    @pytest.mark.parametrize(
        ("looks", "lists"),
        [({"trunk": "../../x"}, None), ({}, ["../x.gz"]), ({"width": 10**9}, None), ({}, ["lists/" + "0" * 64])],
    )
    def test_a_pass_that_leads_out_of_it(
        self, store: Path, tmp_path: Path, looks: dict[str, Any], lists: list[str] | None
    ) -> None:
        root = shutil.copytree(store, tmp_path / "copy")
        plan = json.loads((root / "plan.json").read_text())
        kept = json.loads((root / plan["first"]).read_text())
        kept = {**kept, "looks": [{**kept["looks"][0], **looks}], "lists": lists or kept["lists"]}
        (root / plan["first"]).write_text(json.dumps(kept))
        with pytest.raises(DataError, match="is damaged"):
            read_plan(Store(str(root)))

    @pytest.mark.parametrize(
        "item",
        [
            {"held": "s3://b/x.tar", "path": "../x.tar", "etag": ""},
            {"held": "/etc/hostname", "path": "hostname", "etag": ""},
            {"url": "reference::https://example.invalid/x.json"},
            {"url": "github://o:r@main/x.png"},
            {"more": 1},
            {"url": 5},
            [],
        ],
    )
    def test_a_list_that_names_what_no_plan_does(self, tmp_path: Path, item: Any) -> None:
        whole = {"name": "a", "label": "b", "split": None, "group": None, "url": "/a.png", "start": -1, "size": 1,
                 "row": -1, "etag": ""}  # fmt: skip
        store = Store(str(tmp_path))
        assert read_list(store, write_list(store, [whole])) == [whole]
        spoilt = {**whole, **item} if isinstance(item, dict) and "held" not in item else item
        with pytest.raises(DataError, match="is damaged"):
            read_list(store, write_list(store, [spoilt]))

    def test_a_list_that_unpacks_to_more_than_any_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(records, "_MOST", 1 << 20)
        store = Store(str(tmp_path))
        items = [{"held": "/a.tar", "path": "a.tar", "etag": " " * (2 << 20)}]
        with pytest.raises(DataError, match="is damaged"):
            read_list(store, write_list(store, items))

    def test_options_that_no_plan_keeps_are_not_taken(self, store: Path, tmp_path: Path) -> None:
        root = shutil.copytree(store, tmp_path / "copy")
        plan = json.loads((root / "plan.json").read_text())
        more = {"unknown_data": "/etc", "cache": "/tmp/other", "anything": 1}
        (root / "plan.json").write_text(json.dumps({**plan, "options": {**plan["options"], **more}}))
        with pytest.raises(UsageError, match="all that a build looks at is planned"):
            plan_features(asked("", Path()), str(root))
        (root / "plan.json").write_text(json.dumps({**plan, "options": {}}))
        with pytest.raises(DataError, match="is damaged"):
            plan_features(asked("", Path()), str(root))

    def test_code_that_only_the_plan_names_is_not_run(self, store: Path, tmp_path: Path) -> None:
        root = shutil.copytree(store, tmp_path / "copy")
        (root / "own.py").write_text("raise SystemExit('it ran')")
        plan = json.loads((root / "plan.json").read_text())
        named = f"{root}/own.py:make"
        (root / "plan.json").write_text(json.dumps({**plan, "options": {**plan["options"], "backbone": named}}))
        with pytest.raises(UsageError, match="runs only where you name it too"):
            plan_features(asked("", Path()), str(root))
        with pytest.raises(TlcError, match="it ran"):
            plan_features(replace(asked("", Path()), backbone=named), str(root))

    def test_a_trunk_that_nothing_here_runs_is_one_sentence(self, store: Path) -> None:
        _, passes = read_plan(Store(str(store)))
        with pytest.raises(DataError, match="no engine here runs 'pickle'"):
            trunk_of(Store(str(store)), replace(passes[0].looks[0], form="pickle"))


def load_origin() -> Any:
    from tlc_edge.compiler.data.load import Origin

    return Origin("")


def test_rows_keep_what_the_plan_and_the_look_know(store: Path, pictures: Path) -> None:
    plan, passes = read_plan(Store(str(store)))
    name, recipe = passes[0].shard(plan, 0)
    rows, (features,) = unpack((store / name).read_bytes(), recipe, "it", [0])
    first = rows[0]
    path = pictures / first.name
    assert (first.label, first.url, first.size) == ("0", str(path), path.stat().st_size)
    assert features.dtype == np.float16
    assert features.shape[0] == len(rows)
    assert features[0].any()


def packed(images: dict[str, list[NDArray[np.uint8]]], folder: Path) -> None:
    """Write two tar files of WebDataset, and a Parquet file in another folder, of the same images."""
    import pyarrow as pa
    from pyarrow import parquet

    (folder / "tars").mkdir()
    (folder / "parquet").mkdir()
    table: list[tuple[bytes, str]] = []
    for part in range(2):
        with tarfile.open(folder / "tars" / f"{part:03}.tar", "w") as tar:
            for label in "0123":
                for i, image in enumerate(images[label][5 * part : 5 * part + 5]):
                    out = BytesIO()
                    Image.fromarray(image).save(out, "PNG")
                    table.append((out.getvalue(), label))
                    for suffix, data in ((".png", out.getvalue()), (".cls", label.encode())):
                        info = tarfile.TarInfo(f"{label}-{i}{suffix}")
                        info.size = len(data)
                        tar.addfile(info, BytesIO(data))
    columns = {"image": [{"bytes": data, "path": None} for data, _ in table], "label": [label for _, label in table]}
    parquet.write_table(pa.table(columns), folder / "parquet" / "0.parquet", row_group_size=7)


@pytest.mark.parametrize("kind", ["tars", "parquet"])
def test_files_that_hold_many_give_the_bundle_of_one_machine(
    kind: str, digits: dict[str, list[NDArray[np.uint8]]], tmp_path: Path
) -> None:
    packed(digits, tmp_path)
    root = tmp_path / "store"
    plan_features(asked(tmp_path / kind, Path()), str(root), 2)
    run_shards(str(root))
    dataset, seen = open_stored(str(root)).dataset(load_origin(), strict=False)
    alone = load_dataset(str(tmp_path / kind))
    assert [(s.name, s.label) for s in dataset.samples] == [(s.name, s.label) for s in alone.samples]
    assert len(seen.features) == 40
    for fetched, own in zip(dataset.samples[::9], alone.samples[::9], strict=True):
        assert Path(fetched.source).read_bytes() == Path(own.source).read_bytes()  # type: ignore[arg-type]
    plan_features(asked("", Path()), str(root))  # the second look finds them in their files again
    run_shards(str(root))
    assert [state.missing for state in states(Store(str(root)))] == [(), ()]
    one = next((tmp_path / kind).iterdir())
    os.utime(one, (1, 1))
    plan_features(asked(tmp_path / kind, Path()), str(tmp_path / "new"), 2)
    os.utime(one, (2, 2))
    with pytest.raises(DataError, match=f"{one.name}: changed since it was planned"):
        run_shards(str(tmp_path / "new"))


def test_two_files_of_one_name_are_refused(digits: dict[str, list[NDArray[np.uint8]]], tmp_path: Path) -> None:
    packed(digits, tmp_path)
    for part, split in enumerate(("train", "test")):
        (tmp_path / "two" / split).mkdir(parents=True)
        shutil.copy(tmp_path / "tars" / f"{part:03}.tar", tmp_path / "two" / split / "000.tar")
    root = tmp_path / "store"
    plan_features(asked(f"file://{tmp_path}/two", Path()), str(root), 2)
    run_shards(str(root))
    with pytest.raises(DataError, match=r"000.tar/0-0.png: two images have this name .*; rename one file"):
        open_stored(str(root)).dataset(load_origin(), strict=False)


@pytest.mark.slow
class TestMany:
    """What is done for more images than memory holds, with bounds so low that a few are many."""

    @pytest.fixture(autouse=True)
    def _low(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prepare, "STREAMED", 20)
        monkeypatch.setattr(prepare, "STUDIED", 12)
        monkeypatch.setattr(prepare, "_OF_A_CLASS", 3)
        monkeypatch.setattr(prepare, "MEASURED", 9)
        monkeypatch.setattr(stored, "IN_MEMORY", 10)

    def test_the_bundle_is_that_of_one_machine_too(self, pictures: Path, store: Path, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
        alone = build(asked(pictures, tmp_path / "a" / "x.tlc"))
        read = build(asked("", tmp_path / "b" / "x.tlc", features=str(store)))
        same(tmp_path / "a" / "x.tlc", tmp_path / "b" / "x.tlc")
        assert read.duplicates == alone.duplicates != ()
        assert alone.held_out == 9
        told = [note for note in alone.notes if "in passes" in note]
        assert len(told) == 1
        assert "are of 12, spread over the classes; 9 of " in told[0]
        manifest = Bundle.open(tmp_path / "b" / "x.tlc").manifest
        assert manifest.head["solver"] == "streamed L-BFGS"
        assert manifest.head["images"] == alone.images["train"]
        assert manifest.metrics["settings"]["sampled"] == told[0]

    def test_a_second_plan_is_of_all_that_train_the_head(self, store: Path, tmp_path: Path) -> None:
        root = Path(shutil.copytree(store, tmp_path / "store"))
        for path in root.glob("passes/1-*"):
            path.unlink()
        found = plan_features(asked("", Path()), str(root))
        assert [one.images for one in found] == [
            one.images for one in states(Store(str(store)))
        ]  # planned with no bounds


@pytest.mark.slow
def test_images_that_are_too_much_for_memory_give_the_same_bundle(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, bound in (("a", 10**9), ("b", 0)):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(decode, "IN_MEMORY", bound)
        build(asked(pictures, tmp_path / name / "x.tlc"))
    same(tmp_path / "a" / "x.tlc", tmp_path / "b" / "x.tlc")


def cloud(count: int, classes: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points around the corners of a simplex, some classes with many more of them than others."""
    draw = np.random.default_rng(seed)
    few = np.repeat(np.arange(classes), 8)
    truth = np.concatenate([few, draw.integers(0, classes, count - len(few)) ** 2 // classes])
    x = draw.normal(0, 1, (count, 40)) + 1.4 * np.eye(40)[truth]
    return np.asarray(x, np.float16).astype(np.float32), truth.astype(np.int64)


def test_the_streamed_head_is_that_of_the_solver_in_memory() -> None:
    x, y = cloud(4000, 12, 0)
    twin = np.asarray(x + np.random.default_rng(2).normal(0, 0.2, x.shape), np.float16).astype(np.float32)
    views = [FeatureView(np.asarray(x, np.float16)), FeatureView(np.concatenate([twin, twin]), np.arange(4000))]
    streamed = train_streamed(Whole(views, y), 12, 0)
    held, _ = train_linear([x, twin], y, 12, 0)
    asked, truth = cloud(4000, 12, 1)
    answers = [np.argmax(head.logits(asked), axis=1) for head in (streamed, held)]
    assert abs(np.mean(answers[0] == truth) - np.mean(answers[1] == truth)) < 0.005
    assert np.mean(answers[0] == answers[1]) > 0.97
    assert streamed.notes["converged"]
    assert streamed.notes["inverse_strength"] == held.notes["inverse_strength"]
    again = train_streamed(Whole(views, y), 12, 0)
    assert np.array_equal(again.layers[0].kernel, streamed.layers[0].kernel)


def test_what_is_printed_has_the_shape_that_is_promised(
    store: Path, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hold("features-status", here(capfd, "features", "status", store, "--json").json())
    assert "All shards are there." in here(capfd, "features", "status", store).out
    other = tmp_path / "other"
    options = ["--data", pictures, "--backbone", SKETCH, "--pool", "flatten", "--cache", "off", "--shards", 2]
    hold("features-plan", here(capfd, "features", "plan", other, *options, "--json").json())
    made = here(capfd, "features", "run", other, "--shard", 1, "--json").json()
    hold("features-run", made)
    assert [(one["pass"], one["shard"]) for one in made["made"]] == [(0, 1)]
    assert "Missing in pass 0: 0." in here(capfd, "features", "status", other).out


def test_the_store_of_a_plan_is_an_argument_or_what_o_says(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", pictures, "--backbone", SKETCH, "--pool", "flatten", "--cache", "off", "--shards", 2, "--json"]
    for name, where in (("a", [tmp_path / "a"]), ("b", ["-o", tmp_path / "b"])):
        assert here(capfd, "features", "plan", *options, *where).json()["store"] == str(tmp_path / name)
    assert (tmp_path / "a" / "plan.json").read_bytes() == (tmp_path / "b" / "plan.json").read_bytes()
    assert "give the STORE" in here(capfd, "features", "plan", *options).failed(2)
    assert "two stores are named" in here(capfd, "features", "plan", "c", *options, "-o", "d").failed(2)
    assert not Path("c").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Missing option '--data'"),
        (["--data", "a", "--features", "b"], "the store knows its images"),
        (["--data", "a", "--shards", "3"], "--shards is for --cluster"),
        (["--data", "a", "--cluster", ""], "--cluster is empty"),
        (["--features", "b", "--limit", "10"], "are for the plan"),
        (["--features", "b", "--fine-tune", "2"], "--fine-tune: the features in a store"),
        (["--features", "s3://user:secret@host/b"], "must not carry credentials"),
    ],
)
def test_what_does_not_go_together(options: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = here(capfd, "build", "--target", "rpi", "-o", "never.tlc", *options).failed(2)
    assert said in words
    assert "secret" not in words


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.12.1\n", "Python: 3.12.1"),
        ("Initialization failure from server:", "GRPC_ENABLE_FORK_SUPPORT=0"),
        ("ray client connection timeout", "ray start --head"),
    ],
)
def test_why_a_cluster_is_of_no_use(problem: str, said: str) -> None:
    text = _told("ray://127.0.0.2:10001", RuntimeError(problem))
    assert text.startswith("--cluster ray://127.0.0.2:10001: ")
    assert "\n" not in text
    assert " ".join(problem.split()).rstrip(":") in text
    assert [text.count(word) for word in ("install the same", "GRPC_ENABLE_FORK_SUPPORT=0", "ray start --head")].count(
        1
    ) == 1
    assert said in text


def test_what_other_threads_say_while_ray_runs_goes_to_a_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def noise() -> None:
        print("noise of a thread")
        print("more of it", file=sys.stderr)

    log = tmp_path / "log"
    with _noise_to(log):
        thread = threading.Thread(target=noise)
        thread.start()
        thread.join()
        os.write(2, b"noise of a library\n")
        print("an answer")
        print("progress", file=sys.stderr)
    assert capfd.readouterr() == ("an answer\n", "progress\n")
    assert sorted(log.read_text().splitlines()) == ["more of it", "noise of a library", "noise of a thread"]
    assert log.stat().st_mode & 0o077 == 0
