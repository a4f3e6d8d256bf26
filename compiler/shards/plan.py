"""Plan: whatever `--data` names becomes lists, and lists are what shards are made of. No image is read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tlc_edge.compiler.data.exports import parquet
from tlc_edge.compiler.data.forms import webdataset
from tlc_edge.compiler.data.forms.address import told
from tlc_edge.compiler.data.forms.elsewhere import Elsewhere, Listed, list_below
from tlc_edge.compiler.data.forms.remote import HOLDERS, is_held, is_listed, shadow
from tlc_edge.compiler.data.load import Dataset, Origin, load_dataset
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.features.featurize import TrunkFile
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import UsageError

from .records import Look, Pass, Plan, list_name, own_versions, write_list, write_pass, write_plan
from .rows import Row, require_pyarrow
from .store import PLAN, TRUNKS, Store

SHARDS = 32
"""Of a plan, where nothing else is asked for."""
LARGEST = 10_000
"""Images in a shard, at most: all that a worker holds."""


@dataclass(frozen=True, eq=False)
class Images:
    """A data set that is named, with a line of a list for each image, or for each file that holds many."""

    dataset: Dataset
    """Without images where files hold many: these are not opened yet."""
    lines: Sequence[dict[str, Any]]
    held: bool


def list_images(origin: Origin, *, strict: bool = False, limit: int | None = None) -> Images:
    """Find the images that a data set names; none is read.

    Raises:
        UsageError: they cannot be had by other machines.
        DataError: they cannot be found, or a class has too few.
    """
    if origin.more:
        raise UsageError("a plan is of one data set; give one --data")
    held = _held(origin)
    if held is None:
        return Images(*_named(origin, strict=strict, limit=limit), held=False)
    if limit is not None:
        raise UsageError("--limit: how many images a tar or Parquet file holds is known when it is read; leave it out")
    kind = webdataset.NAME if held[0].path.lower().endswith(".tar") else parquet.NAME
    lines = [{"held": file.url, "path": file.path, "etag": file.etag} for file in held]
    return Images(Dataset((), (), (), told(origin.data), recognised=kind), lines, held=True)


def write_first(
    store: Store,
    images: Images,
    trunk: TrunkFile,
    preprocessing: Preprocessing,
    shards: int,
    options: Mapping[str, Any],
) -> Pass:
    """Write the plan of a data set into a store: its first pass, all images through the float trunk.

    Raises:
        UsageError: there is a plan already.
        DataError: the store cannot be written.
    """
    require_pyarrow()
    if store.has(PLAN):
        raise UsageError(
            f"{store.name}: holds a plan already; give a new place, or run it: tlc features run {store.name}"
        )
    lists = [(write_list(store, part), len(part)) for part in _parts(images.lines, shards)]
    look = write_trunk(store, trunk)
    first = Pass(0, (look,), tuple(n for n, _ in lists), tuple(c for _, c in lists), images.held)
    dataset = images.dataset
    plan = Plan(
        preprocessing=preprocessing,
        versions=own_versions(),
        options=dict(options),
        recognised=dataset.recognised,
        origin=dataset.origin,
        notes=dataset.notes,
        skipped=tuple((s.name, s.reason, s.label) for s in dataset.skipped),
        views={name: options[name] for name in ("augment", "copies", "seed")},
    )
    write_plan(store, plan, first)
    return first


def list_names(images: Images, shards: int) -> tuple[str, ...]:
    """Return the names that the lists of so many shards have, without writing any."""
    return tuple(list_name(part) for part in _parts(images.lines, shards))


def write_trunk(store: Store, trunk: TrunkFile, view: str = "") -> Look:
    """Write a trunk's file into a store; return what looks through it."""
    file = trunk.load()
    key = hashlib.sha256(file.data).hexdigest()
    if not store.has(f"{TRUNKS}/{key}"):
        store.write(f"{TRUNKS}/{key}", file.data)
    return Look(trunk.fingerprint, key, file.format, trunk.width, view)


def plan_again(store: Store, number: int, looks: Sequence[Look], rows: Sequence[Row], shards: int) -> Pass:
    """Write another pass, over images that an earlier one saw.

    Raises:
        DataError: the store cannot be written.
    """
    lists = [(write_list(store, part), len(part)) for part in _parts(_gathered([_item(row) for row in rows]), shards)]
    again = Pass(number, tuple(looks), tuple(n for n, _ in lists), tuple(c for _, c in lists))
    write_pass(store, again)
    return again


def _item(row: Row) -> dict[str, Any]:
    if row.row >= 0:
        return {"held": row.url, "path": "/".join(row.url.split("/")[-2:]), "etag": row.etag, "rows": [row.row]}
    names = ("name", "label", "split", "group", "url", "start", "size", "row", "etag")
    return {name: getattr(row, name) for name in names}


def _gathered(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the rows of a Parquet file that follow each other together."""
    found: list[dict[str, Any]] = []
    for item in items:
        if (
            "held" in item
            and found
            and found[-1].get("held") == item["held"]
            and item["rows"][0] > found[-1]["rows"][-1]
        ):
            found[-1] = {**found[-1], "rows": found[-1]["rows"] + item["rows"]}
        else:
            found.append(item)
    return found


def _named(origin: Origin, *, strict: bool, limit: int | None) -> tuple[Dataset, list[dict[str, Any]]]:
    """Return a data set of files, and a line of a list for each."""
    if not is_listed(origin.data):
        dataset = load_dataset(origin, strict=strict, limit=limit)
        return dataset, [_local(sample, origin) for sample in dataset.samples]
    listed = list_below(origin.data)
    with tempfile.TemporaryDirectory(prefix="tlc-") as folder:
        root = Path(folder, origin.data.rstrip("/").rpartition("/")[2] or "data")
        root.mkdir()
        shadow(listed, root)
        dataset = load_dataset(replace(origin, data=str(root)), strict=strict, limit=limit)
        where = {str(root / file.path): file for file in listed}
        items = [_remote(sample, where) for sample in dataset.samples]
    name = told(origin.data)
    said = {n: getattr(dataset, n).replace(str(root), name) for n in ("origin", "recognised")}
    notes = tuple(note.replace(str(root), name) for note in dataset.notes)
    samples = [replace(s, source=Elsewhere(i["url"], s.name)) for s, i in zip(dataset.samples, items, strict=True)]
    return replace(dataset, **said, notes=notes, samples=tuple(samples)), items


def _remote(sample: Sample, where: Mapping[str, Listed]) -> dict[str, Any]:
    if isinstance(sample.source, np.ndarray) or str(sample.source) not in where:
        raise UsageError(f"{sample.name}: was made of another image, which a plan cannot say; build it on one machine")
    file = where[str(sample.source)]
    return _line(sample, file.url, file.size, file.etag)


def _local(sample: Sample, origin: Origin) -> dict[str, Any]:
    if isinstance(sample.source, np.ndarray):
        raise UsageError(
            f"{origin.data}: its images are no files, which other machines could read; build it on one machine"
        )
    path = Path(sample.source).absolute()
    found = path.stat()
    return _line(sample, os.fspath(path), found.st_size, str(found.st_mtime_ns))


def _line(sample: Sample, url: str, size: int, etag: str) -> dict[str, Any]:
    return {
        **{"name": sample.name, "label": sample.label, "split": sample.split, "group": sample.group},
        **{"url": url, "start": -1, "size": size, "row": -1, "etag": etag},
    }


def _held(origin: Origin) -> list[Listed] | None:
    """Return the files that hold many images each; None where images are files of their own."""
    if is_listed(origin.data):
        listed = list_below(origin.data)
        return [file for file in listed if file.path.lower().endswith(HOLDERS)] if is_held(listed) else None
    path = Path(origin.data)
    if webdataset.claims(origin) and not webdataset.is_packed(path):
        files = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    else:
        found = parquet.find(path) if path.exists() else None
        if found is None:
            return None
        files = list(found.files)
    return [
        Listed("/".join(f.parts[-2:]), str(f.absolute()), f.stat().st_size, str(f.stat().st_mtime_ns)) for f in files
    ]


def _parts(items: Sequence[dict[str, Any]], shards: int) -> list[Sequence[dict[str, Any]]]:
    """Share lines out to so many lists, or more where one would be too long, each about as long as the others."""
    count = max(1, min(max(shards, -(-len(items) // LARGEST)), len(items)))
    ends = [len(items) * i // count for i in range(count + 1)]
    return [items[a:b] for a, b in pairwise(ends)]
