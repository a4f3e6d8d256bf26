"""Run a shard: its images through the trunks of its pass. No TensorFlow is needed, and nothing is locked.

A shard is a function of its list: run twice, by two at once or after a kill, it gives the same file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlc_edge.compiler.data.augment import copies
from tlc_edge.compiler.data.duplicates import perceptual_hash
from tlc_edge.compiler.data.exports import parquet
from tlc_edge.compiler.data.exports.found import Found
from tlc_edge.compiler.data.forms.elsewhere import Elsewhere, copy_url, fetched_bytes, is_elsewhere, scratch
from tlc_edge.compiler.data.forms.webdataset import members, tar_split
from tlc_edge.compiler.data.records import Sample
from tlc_edge.compiler.data.views import PLAIN, View
from tlc_edge.compiler.features.featurize import Featurized, TrunkFile, featurize
from tlc_edge.compiler.records import LoweredTrunk
from tlc_edge.runtime.engines.open import KINDS
from tlc_edge.runtime.errors import DataError, UsageError
from tlc_edge.runtime.progress import Count, silent
from tlc_edge.targets.schemes import FLOAT32

from .costs import Cost, worker_name, write_cost
from .records import Look, Pass, Plan, own_versions, read_list, read_plan
from .rows import Half, Row, pack, require_pyarrow
from .store import TRUNKS, Store

Runner = Callable[[Store, Plan, Pass, Count], None]
"""Makes the shards of a pass that are missing; raises a TlcError where one cannot be made."""


def check_versions(plan: Plan, store: Store) -> None:
    """Check that this machine gives the features that the plan's would.

    Raises:
        DataError: a library is another version, or missing.
    """
    here = own_versions()
    needed = {name: version for name, version in plan.versions.items() if here.get(name) != version}
    if needed:
        wanted = " ".join(f"{name}=={version}" for name, version in needed.items())
        has = ", ".join(f"{name} {here.get(name, 'is missing')}" for name in needed)
        raise DataError(
            f"{store.name}: planned with other versions than there are here ({has}); run: pip install {wanted}"
        )


def run_shard(store: Store, plan: Plan, one: Pass, index: int, threads: int = 0) -> Cost | None:
    """Make a shard; None where it is there already.

    Raises:
        DataError: an image was changed since it was planned, or something cannot be read or written.
    """
    require_pyarrow()
    name, recipe = one.shard(plan, index)
    if store.has(name):
        return None
    check_versions(plan, store)
    store.check_writable()
    began, processor, fetched = time.perf_counter(), time.process_time(), fetched_bytes()
    items = list(read_list(store, one.lists[index]))
    rows = [row for item in items for row in _rows(item)]
    samples = [Sample(_source(row), row.label, row.split, str(i)) for i, row in enumerate(rows)]
    views = {view.id: view for view in copies(plan.views["augment"], plan.views["copies"], plan.views["seed"])}
    features: list[Half] = []
    for look in one.looks:
        trunk = trunk_of(store, look)
        seen = featurize(trunk, samples, plan.preprocessing, threads, view=_view(look, views))
        rows, half = _filled(rows, seen, look)
        features.append(half)
    store.write(name, pack(rows, features, recipe))
    for row in rows:
        if row.digest:
            _forget(row)
    cost = Cost(
        images=len(rows),
        skipped=sum(row.reason is not None for row in rows),
        read=fetched_bytes() - fetched + sum(map(_size_here, items)),
        seconds=time.perf_counter() - began,
        processor=time.process_time() - processor,
        worker=worker_name(),
    )
    write_cost(store, recipe, cost)
    return cost


def run_shards(
    where: str, wanted: Sequence[int] = (), threads: int = 0, progress: Count = silent
) -> list[tuple[int, int, Cost]]:
    """Make shards of every pass of a store, all where none is named; return pass, number and cost of those made.

    Raises:
        UsageError: there is no such shard.
        DataError: as `run_shard`.
    """
    store = Store(where)
    plan, passes = read_plan(store)
    most = max(len(one.lists) for one in passes)
    if wanted and max(wanted) >= most:
        raise UsageError(f"--shard {max(wanted)}: {store.name} has the shards 0 to {most - 1}")
    todo = [(one, i) for one in passes for i in (wanted or range(len(one.lists))) if i < len(one.lists)]
    made: list[tuple[int, int, Cost]] = []
    for done, (one, index) in enumerate(todo, 1):
        cost = run_shard(store, plan, one, index, threads)
        if cost is not None:
            made.append((one.number, index, cost))
        progress(done, len(todo))
    return made


def trunk_of(store: Store, look: Look) -> TrunkFile:
    """Return a look's trunk, read from the store when it is first needed."""
    kind = next((kind for kind in KINDS if kind.format == look.form and kind.installed), None)
    if kind is None:
        raise DataError(
            f"{store.name}: no engine here runs {look.form[:20]!r}, the format of its trunk; install the versions that "
            "its plan.json names"
        )

    def load() -> LoweredTrunk:
        return LoweredTrunk(look.form, FLOAT32.name, _trunk(store.where, look.trunk))

    return TrunkFile(look.fingerprint, look.width, load, kind)


@functools.lru_cache(maxsize=2)
def _trunk(where: str, name: str) -> bytes:
    """Return the bytes of a trunk; they are kept, since a worker makes one shard of a pass after the other."""
    store = Store(where)
    data = store.read(f"{TRUNKS}/{name}")
    if hashlib.sha256(data).hexdigest() != name:
        raise DataError(f"{store.name}: {TRUNKS}/{name} is damaged; plan it again")
    return data


def _view(look: Look, views: dict[str, View]) -> View:
    return views[look.view] if look.view else PLAIN


def _filled(rows: Sequence[Row], seen: Featurized, look: Look) -> tuple[list[Row], Half]:
    """Return rows with what was seen of them, and the features; zeros for those that cannot be used."""
    half = np.zeros((len(rows), look.width), np.float32)
    filled = list(rows)
    for sample, digest, small, vector in zip(seen.samples, seen.digests, seen.thumbnails, seen.features, strict=True):
        i = int(sample.name)
        half[i] = vector
        filled[i] = replace(filled[i], digest=digest)
        if not look.view:
            filled[i] = replace(filled[i], hash=perceptual_hash(small), thumbnail=small.tobytes())
    for lost in seen.skipped:
        filled[int(lost.name)] = replace(filled[int(lost.name)], reason=lost.reason)
    return filled, half


def _rows(item: dict[str, Any]) -> list[Row]:
    """Return the rows of a line of a list, without what is seen in them."""
    if "held" not in item:
        row = Row(**item)
        _check_unchanged(row.url, row.name, row.etag, row.size if row.start < 0 and row.row < 0 else None)
        return [row]
    _check_unchanged(item["held"], item["path"], item["etag"])
    return _held_rows(item)


def _size_here(item: dict[str, Any]) -> int:
    """Return the bytes of a line's file on a disk; 0 elsewhere, where what is fetched is counted."""
    if "held" not in item:
        return 0 if is_elsewhere(item["url"]) else max(0, item["size"])
    with contextlib.suppress(OSError):
        return 0 if is_elsewhere(item["held"]) else Path(item["held"]).stat().st_size
    return 0


def _check_unchanged(url: str, name: str, etag: str, size: int | None = None) -> None:
    """Check that a file on a disk is as it was planned; `size` is that of the file, not of what it holds."""
    if is_elsewhere(url):
        return
    try:
        found = os.stat(url)  # noqa: PTH116 - the name may be any bytes
    except OSError:
        return  # told as any image that cannot be read
    if size not in (None, found.st_size) or str(found.st_mtime_ns) != etag:
        raise DataError(f"{name}: changed since it was planned; plan and run again")


def _held_rows(item: dict[str, Any]) -> list[Row]:
    """Return the rows of a file that holds many images, or of some of them; lay these out in the scratch folder."""
    url, path, etag, some = item["held"], Path(item["path"]), item["etag"], item.get("rows")
    local = Path(url)
    if is_elsewhere(url):
        local = scratch() / secrets.token_hex(8) / (path.parent.name or "data") / path.name
        local.parent.mkdir(parents=True)
        copy_url(url, local)
    rows: list[Row] = []
    try:
        if path.suffix.lower() == ".tar":
            with local.open("rb") as opened:
                for one in members(opened, path.name):
                    rows.append(
                        Row(one.name, one.label, tar_split(path.name), None, url, one.start, len(one.data), -1, etag)
                    )
                    _lay(rows[-1], one.data)
        else:
            for cell in parquet.rows(Found(local.parent, (local,))):
                number = int(cell.name.rpartition("[")[2].rstrip("]"))
                if some is None or number in some:
                    rows.append(Row(cell.name, cell.label.strip(), cell.split, None, url, -1, -1, number, etag))
                    _lay(rows[-1], cell.data)
    finally:
        if is_elsewhere(url):
            local.unlink(missing_ok=True)
    return rows


def _laid(row: Row) -> Path:
    key = hashlib.sha256(f"{row.url}\0{row.start}\0{row.row}".encode()).hexdigest()
    return scratch() / f"laid-{key}{re.sub(r'[^.A-Za-z0-9]', '', Path(row.name).suffix)[:10]}"


def _lay(row: Row, data: bytes) -> None:
    _laid(row).write_bytes(data)


def _forget(row: Row) -> None:
    """Remove the copies of an image that is done with."""
    _laid(row).unlink(missing_ok=True)
    if is_elsewhere(row.url):
        Elsewhere(row.url, row.name, *_within(row)).drop()


def _within(row: Row) -> tuple[int | None, int | None, int | None]:
    return (row.start, row.size, None) if row.start >= 0 else (None, None, row.row if row.row >= 0 else None)


def _source(row: Row) -> os.PathLike[str]:
    laid = _laid(row)
    if laid.exists():
        return laid
    return source_of(row)


def source_of(row: Row) -> os.PathLike[str]:
    """Return where the image of a row is to be had again; bytes that are no longer the same are refused."""
    if row.start < 0 and row.row < 0 and not is_elsewhere(row.url):
        return Path(row.url)
    return Elsewhere(row.url, row.name, *_within(row), row.digest or None)
