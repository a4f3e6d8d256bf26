"""Trunks that were cut before: all that is known of one, kept by the hash of the files that it came from.

A build that lowers nothing new needs no more than that; the network itself is loaded when something asks for it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.store import FeatureCache
from tlc_edge.compiler.network.facts import facts_of
from tlc_edge.compiler.network.fingerprint import fingerprint
from tlc_edge.compiler.network.layers import nodes
from tlc_edge.compiler.options import POOLS, Asked
from tlc_edge.compiler.records import (
    Backbone,
    Classifier,
    Dense,
    Facts,
    InputSpec,
    Later,
    OwnHead,
    Provenance,
    Restored,
    Trunk,
)
from tlc_edge.compiler.toolchain import load_tensorflow, versions
from tlc_edge.compiler.weights.pins import file_sha256
from tlc_edge.runtime.errors import BuildError, TlcError

from .find import Source
from .shave import shave

_FORMAT = 3  # rises when what is kept has another form
_ROOMS = ("backbones", "network", "weights")
"""Their code decides what a trunk is, so it is part of the key."""
_LARGEST = 2_000_000_000  # bytes of files that are hashed


@dataclass(frozen=True)
class Wanted:
    """A backbone that is asked for, and where from."""

    source: Source
    name: str
    asked: Asked

    def key(self, what: Sequence[object]) -> bytes | None:
        """Return the key of something that follows from the backbone; None where it is not known what it is read from.

        `what` says what follows, and by which options. The files are read at the first call, which comes before the
        backbone is loaded.
        """
        return None if self._recipe is None else hashlib.sha256(json.dumps([*self._recipe, *what]).encode()).digest()

    @property
    def unchanged(self) -> bool:
        """Whether the files still are what they were at the first call of `key`."""
        return replace(self)._recipe == self._recipe

    @cached_property
    def _recipe(self) -> list[object] | None:
        try:
            files = self.source.reads(self.name, self.asked)
            if files is None or sum(file.stat().st_size for file in files) > _LARGEST:
                return None
            hashes = [(str(file.resolve()), file_sha256(file)) for file in files]
        except (TlcError, OSError):  # loading it says what is wrong
            return None
        return [_FORMAT, _code(), self.name, asdict(self.asked), hashes, versions("tensorflow", "keras")]


def find_trunk(cache: FeatureCache | None, wanted: Wanted, what: Sequence[object]) -> Trunk | None:
    """Return a trunk as it was kept under the same words; None where it was not."""
    key = None if cache is None else wanted.key(["trunk", *what])
    found = None if cache is None or key is None else cache.get(key)
    return None if found is None else unpack_trunk(found, wanted)


def keep_trunk(cache: FeatureCache | None, wanted: Wanted, what: Sequence[object], trunk: Trunk | bytes) -> None:
    """Keep what is known of a trunk of a Keras network, unless its files were changed while it was loaded.

    It may come as `pack_trunk` has it.
    """
    key = None if cache is None else wanted.key(["trunk", *what])
    if cache is not None and key is not None and wanted.unchanged:
        cache.put([(key, trunk if isinstance(trunk, bytes) else pack_trunk(trunk))])


def find_words(cache: FeatureCache | None, wanted: Wanted, what: Sequence[object]) -> Any:
    """Return a JSON document that was kept under the same words; None where there was none."""
    key = None if cache is None else wanted.key(["words", *what])
    found = None if cache is None or key is None else cache.get(key)
    return None if found is None else json.loads(found)


def keep_words(cache: FeatureCache | None, wanted: Wanted, what: Sequence[object], document: Any) -> None:
    """Keep a JSON document that follows from a backbone, unless its files were changed while it was loaded."""
    key = None if cache is None else wanted.key(["words", *what])
    if cache is not None and key is not None and wanted.unchanged:
        cache.put([(key, json.dumps(document).encode())])


def _code() -> str:
    digest = hashlib.sha256()
    compiler = Path(__file__).parent.parent
    for room in _ROOMS:
        for file in sorted((compiler / room).glob("*.*")):
            digest.update(f"{room}/{file.name} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def pack_trunk(trunk: Trunk) -> bytes:
    """Return all that is known of a trunk of a Keras network: a line of JSON, then arrays as numpy writes them."""
    b = trunk.backbone
    arrays: dict[str, Any] = {}
    if b.classifier is not None:
        arrays |= {"classifier kernel": b.classifier.kernel, "classifier bias": b.classifier.bias}
    own: Any = b.own
    if isinstance(b.own, OwnHead):
        for i, layer in enumerate(b.own.layers):
            arrays |= {f"{i} kernel": layer.kernel, f"{i} bias": layer.bias}
        own = [b.own.layer, b.own.pool, [layer.activation for layer in b.own.layers]]
    said = {
        "name": b.name,
        "input": asdict(b.input),
        "provenance": asdict(b.provenance),
        "default_shave": b.default_shave,
        "classifier": None if b.classifier is None else b.classifier.pool,
        "default_reason": b.default_reason,
        "removed": b.removed,
        "merged": dict(b.merged),
        "restored": [asdict(r) for r in b.restored],
        "notes": b.notes,
        "own": own,
        "labels": b.labels,
        "trunk": [trunk.layer, trunk.pool, trunk.width, trunk.reason],
        "place": [node.name for node in nodes(b.model)].index(trunk.layer),
        "facts": asdict(facts_of(trunk)),
    }
    content = io.BytesIO()
    np.savez(content, **arrays)
    return json.dumps(said).encode() + b"\n" + content.getvalue()


def unpack_trunk(kept: bytes, wanted: Wanted) -> Trunk:
    """Return a trunk from what is known of it; its network is loaded when something asks for it."""
    line, _, content = kept.partition(b"\n")
    said: dict[str, Any] = json.loads(line)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays: Mapping[str, NDArray[Any]] = dict(file)
    layer, pool, width, reason = said["trunk"]
    facts = Facts(**said["facts"])
    later = Later(lambda: _load(wanted, said["place"], pool, facts))
    backbone = Backbone(
        name=said["name"],
        model=Later(lambda: later.model.backbone.model),
        input=InputSpec(**said["input"]),
        provenance=Provenance(**said["provenance"]),
        default_shave=said["default_shave"],
        classifier=None
        if said["classifier"] is None
        else Classifier(arrays["classifier kernel"], arrays["classifier bias"], said["classifier"]),
        default_reason=said["default_reason"],
        removed=tuple(said["removed"]),
        merged=said["merged"],
        restored=tuple(Restored(**r) for r in said["restored"]),
        notes=tuple(said["notes"]),
        own=said["own"] if isinstance(said["own"], str) else _own(said["own"], arrays),
        labels=None if said["labels"] is None else tuple(said["labels"]),
    )
    return Trunk(backbone, layer, pool, Later(lambda: later.model.model), width, reason, facts)


def _own(said: Sequence[Any], arrays: Mapping[str, NDArray[Any]]) -> OwnHead:
    layer, pool, activations = said
    layers = tuple(Dense(arrays[f"{i} kernel"], arrays[f"{i} bias"], a) for i, a in enumerate(activations))
    return OwnHead(layer, pool, layers)


def _load(wanted: Wanted, place: int, pool: str, facts: Facts) -> Trunk:
    """Load the network of a trunk that is known, and cut it at the same place.

    Not by name: Keras counts on in names that it gives itself, so that they are others at the next loading.

    Raises:
        BuildError: it is another one by now, or cannot be loaded.
    """
    load_tensorflow()
    backbone = wanted.source.load(wanted.name, wanted.asked)
    rows = nodes(backbone.model)
    if place >= len(rows):
        raise changed(wanted.name)
    trunk = shave(backbone, rows[place].name, pool if pool in POOLS else POOLS[0])  # of a vector there is no pooling
    if fingerprint(trunk) != facts.fingerprint:
        raise changed(wanted.name)
    return trunk


def changed(name: str) -> BuildError:
    """Return the error of a backbone that is another one than at the start of the build."""
    return BuildError(f"--backbone {name}: its files changed during the build; build again")
