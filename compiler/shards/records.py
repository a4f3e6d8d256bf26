"""What a plan holds: the same for those who make shards and for those who read them."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tlc_edge.compiler.data.forms.elsewhere import is_elsewhere
from tlc_edge.compiler.data.forms.remote import HOLDERS, PLACES
from tlc_edge.compiler.toolchain import versions
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError

from .store import LISTS, PASSES, PLAN, SHARDS, Store, key_of, to_json

FORMAT = 1
"""Rises when the same plan would give other shards."""
DECIDING = ("Pillow", "ai-edge-litert", "tflite-runtime", "onnxruntime")
"""The libraries that decide pixels and features: a worker must have the versions of the plan."""


_MOST = 256 << 20  # bytes of a list
_KEY = re.compile("[0-9a-f]{64}")
_LIST = re.compile(rf"{LISTS}/[0-9a-f]{{64}}\.gz")
_PASS = re.compile(rf"{PASSES}/[0-9]{{1,9}}-[0-9a-f]{{16}}\.json")
_NAMED = {"name", "label", "split", "group", "url", "start", "size", "row", "etag"}


@dataclass(frozen=True)
class Look:
    """A trunk, and the view of an image that goes through it."""

    fingerprint: str
    """Of the trunk, as the build knows it."""
    trunk: str
    """Of its file, in the store's `trunks`."""
    form: str
    width: int
    view: str = ""


@dataclass(frozen=True)
class Pass:
    """One way over images: what each shard of it holds, and through what they go."""

    number: int
    looks: tuple[Look, ...]
    lists: tuple[str, ...]
    """Of each shard, in the store's `lists`."""
    counts: tuple[int, ...]
    """Images of each; of files that hold many, files."""
    held: bool = False
    """Whether the lists name files that hold many images each."""

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{PASSES}/{self.number}-{key_of(asdict(self))[:16]}.json"

    def shard(self, plan: Plan, index: int) -> tuple[str, str]:
        """Return the name of a shard's file, and the recipe in it."""
        key = key_of(
            FORMAT, [asdict(look) for look in self.looks], self.lists[index], asdict(plan.preprocessing), plan.versions
        )
        return f"{SHARDS}/{key}.parquet", key


@dataclass(frozen=True)
class Plan:
    """What is featurized, and how."""

    preprocessing: Preprocessing
    versions: dict[str, str]
    options: dict[str, Any]
    """What of a build's options decides what is featurized."""
    recognised: str = ""
    origin: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str, str | None], ...] = ()
    """Name, reason and label of each file that could not be planned."""
    views: dict[str, Any] = field(default_factory=dict[str, Any])
    """`augment`, `copies` and `seed`: what the views are made from."""


def write_plan(store: Store, plan: Plan, first: Pass) -> None:
    """Write a plan with its first pass; the plan itself last, so that one that is there is whole.

    Raises:
        DataError: it cannot be written.
    """
    write_pass(store, first)
    store.write(PLAN, to_json({"format": FORMAT, "first": first.name, **asdict(plan)}))


def write_pass(store: Store, one: Pass) -> None:
    """Write a pass.

    Raises:
        DataError: it cannot be written.
    """
    store.write(one.name, to_json(asdict(one)))


def read_plan(store: Store) -> tuple[Plan, tuple[Pass, ...]]:
    """Return a store's plan and its passes, in order.

    Raises:
        DataError: there is none, it is damaged, or another version of tlc made it.
    """
    kept = store.document(PLAN)
    try:
        if kept["format"] != FORMAT:
            raise DataError(f"{store.name}: planned by another version of tlc; plan it again in a new store")
        first = kept["first"]
        plan = Plan(
            preprocessing=Preprocessing(**tupled(kept["preprocessing"])),
            versions=kept["versions"],
            options=kept["options"],
            recognised=kept["recognised"],
            origin=kept["origin"],
            notes=tuple(kept["notes"]),
            skipped=tuple((name, reason, label) for name, reason, label in kept["skipped"]),
            views=kept["views"],
        )
        names = [first, *(f"{PASSES}/{n}" for n in store.names(PASSES) if not n.startswith("0-"))]
        passes = [_pass(store, name) for name in names]
        return plan, tuple(sorted(passes, key=lambda one: (one.number, one.name)))
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise DataError(f"{store.name}: {PLAN} is damaged ({type(e).__name__}); plan it again") from None


def tupled(kept: dict[str, Any]) -> dict[str, Any]:
    """Return what JSON kept with tuples in the place of lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}


def _pass(store: Store, name: str) -> Pass:
    """Return a pass; the names in it are hashes, so that none leads out of the store."""
    if not _PASS.fullmatch(name):
        raise ValueError
    kept = store.document(name)
    looks = tuple(Look(**look) for look in kept["looks"])
    one = Pass(kept["number"], looks, tuple(kept["lists"]), tuple(kept["counts"]), kept["held"])
    sound = all(_LIST.fullmatch(listed) for listed in one.lists) and all(_KEY.fullmatch(look.trunk) for look in looks)
    if one.name != name or not sound or len(one.lists) != len(one.counts):
        raise DataError(f"{store.name}: {name} is damaged; plan it again")
    return one


def own_versions() -> dict[str, str]:
    """Return the versions of what decides features, as they are here."""
    return versions(*DECIDING)


def write_list(store: Store, items: Sequence[dict[str, Any]]) -> str:
    """Write what a shard holds; return its name.

    Raises:
        DataError: it cannot be written.
    """
    name = list_name(items)
    store.write(name, gzip.compress(_lines(items).encode(), 6, mtime=0))
    return name


def list_name(items: Sequence[dict[str, Any]]) -> str:
    """Return the name of a list."""
    return f"{LISTS}/{key_of(_lines(items))}.gz"


def _lines(items: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(item, sort_keys=True) + "\n" for item in items)


def read_list(store: Store, name: str) -> list[dict[str, Any]]:
    """Return what a shard holds.

    Raises:
        DataError: the list is missing or damaged, or names what no plan does.
    """
    try:
        with gzip.open(io.BytesIO(store.read(name))) as opened:
            data = opened.read(_MOST + 1)  # a few bytes may unpack to any number
        lines = data.decode()
        if len(data) > _MOST or f"{LISTS}/{key_of(lines)}.gz" != name:
            raise DataError(f"{store.name}: {name} is damaged; plan it again")
        items: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
        for item in items:
            _check_item(item)
    except (OSError, EOFError, KeyError, TypeError, ValueError, AttributeError, zlib.error) as e:
        raise DataError(f"{store.name}: {name} is damaged ({type(e).__name__}); plan it again") from None
    return items


def _check_item(item: dict[str, Any]) -> None:
    """Check that a line is one that a plan writes, of a place that plans are made of.

    Raises:
        ValueError: it is not.
    """
    held = "held" in item
    url: str = item["held" if held else "url"]
    wanted = {"held", "path", "etag"} if held else _NAMED
    if not wanted <= set(item) <= wanted | ({"rows"} if held else set()):
        raise ValueError(url)
    if held and not (item["path"].lower().endswith(HOLDERS) and ".." not in item["path"].split("/")):
        raise ValueError(url)
    if is_elsewhere(url) and url.partition("://")[0].lower() not in (*PLACES, "file", "http", "https"):
        raise ValueError(url)
