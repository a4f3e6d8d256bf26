"""The trunk's files: lowered once per format and scheme, and kept in the cache, as lowering takes ten seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.lower.file_kinds import TrunkKind
from tlc_edge.compiler.lower.formats import lower_trunk
from tlc_edge.compiler.lower.near_float import USED, near_float
from tlc_edge.compiler.network.facts import of_onnx
from tlc_edge.compiler.network.fingerprint import fingerprint
from tlc_edge.compiler.records import Correction, LoweredTrunk, Trunk
from tlc_edge.compiler.toolchain import versions
from tlc_edge.compiler.worker import Worker
from tlc_edge.runtime.engines.open import KINDS
from tlc_edge.targets.schemes import FLOAT32, SCHEMES

from .featurize import TrunkFile

_FORMAT = 6  # rises when the same trunk would be lowered to other bytes
_LIBRARIES = ("tensorflow", "keras", "onnx", "tf2onnx", "onnxruntime")
_Key = tuple[str, str, str | None, tuple[str, ...]]
"""Format, scheme, a hash of the calibration images, and the layers left in float32."""
_LARGEST = 100_000_000  # bytes of a file that is kept


class Elsewhere(Protocol):
    """Where TensorFlow does for a trunk what this process would have to load it for."""

    @property
    def worker(self) -> Worker:
        """The process that does it."""
        ...

    def start(self) -> None:
        """Start what every call waits for, as there will be one."""
        ...

    def begin(self, form: str, scheme: str, calibration: NDArray[np.uint8] | None = None) -> None:
        """Start to lower the trunk to a format and scheme; with calibration images before what waits without any."""
        ...

    def begin_compare(self) -> None:
        """Start to compare the float file with Keras."""
        ...

    def lower(
        self, form: str, scheme: str, calibration: NDArray[np.uint8] | None, exclude: tuple[str, ...]
    ) -> LoweredTrunk:
        """Return the trunk in a format and scheme; raises a BuildError where it has no such lowering."""
        ...

    def compare(self) -> bool:
        """Return whether the float file gives what Keras gives."""
        ...


class TrunkFiles:
    """Lowers one trunk, each format and scheme at most once; in this process, or `elsewhere`."""

    def __init__(self, trunk: Trunk, cache: str | None = None, elsewhere: Elsewhere | None = None) -> None:
        self.trunk, self.elsewhere = trunk, elsewhere
        self.form = "onnx" if of_onnx(trunk) else "tflite"
        """Of the files that images are featurized with, and that layers are compared with."""
        self.fingerprint = fingerprint(trunk)
        self._cache = cache
        self._made: dict[_Key, LoweredTrunk] = {}
        self._near: dict[tuple[bool, str], tuple[Trunk, Correction | None]] = {}

    def get(
        self,
        form: str,
        scheme: str,
        calibration: NDArray[np.uint8] | None = None,
        exclude: tuple[str, ...] = (),
    ) -> LoweredTrunk:
        """Return the trunk in a format and scheme.

        `calibration` [N, H, W, C] sets the ranges of schemes that have some, and corrects the biases of all that round
        weights to int8; `exclude` names the layers that a scheme chosen by layer leaves in float32.

        Raises:
            BuildError: a scheme that the format does not have.
        """
        if scheme in SCHEMES and SCHEMES[scheme].weights != "int8":
            calibration = None
        seen = None if calibration is None else digest(calibration)
        key = (form, scheme, seen, exclude)
        if key not in self._made:
            self._made[key] = self._cached(key, calibration)
        return self._made[key]

    def begin(self, kinds: Iterable[TrunkKind]) -> None:
        """Start what is sure to be needed of the trunk, and needs no images; if there is a place to do it meanwhile."""
        if self.elsewhere is None:
            return
        floats = (self.form, FLOAT32.name)
        wanted = [kind for kind in (floats, *kinds) if SCHEMES[kind[1]].weights != "int8"]
        missing = [kind for kind in wanted if self._kept((*kind, None, ())) is None]
        for kind in missing:
            self.elsewhere.begin(*kind)
        if floats in missing:
            self.elsewhere.begin_compare()

    def begin_calibrated(self, kinds: Iterable[TrunkKind], calibration: NDArray[np.uint8]) -> None:
        """Start what takes calibration images [N, H, W, C]; if there is a place to do it meanwhile."""
        if self.elsewhere is None:
            return
        for form, scheme in kinds:
            key = (form, scheme, digest(calibration), ())
            if SCHEMES[scheme].weights == "int8" and self._kept(key) is None:
                self.elsewhere.begin(form, scheme, calibration)

    def as_float(self) -> TrunkFile:
        """Return the float32 file for featurizing, lowered when it is first needed."""
        kind = next(kind for kind in KINDS if kind.format == self.form)
        return TrunkFile(self.fingerprint, self.trunk.width, self.floats, kind)

    def floats(self) -> LoweredTrunk:
        """Return that file."""
        return self.get(self.form, FLOAT32.name)

    def trunk_for(self, scheme: str, calibration: NDArray[np.uint8] | None) -> tuple[Trunk, Correction | None]:
        """Return the trunk with the weights that a scheme's files get, one for all formats, and what they are worth."""
        rounds = scheme in SCHEMES and SCHEMES[scheme].weights == "int8"
        # Here that is done in Keras; the lowering of an ONNX network does it on the file.
        if not rounds or calibration is None or of_onnx(self.trunk):
            return self.trunk, None
        key = (SCHEMES[scheme].int8_between, digest(calibration[:USED]))
        if key not in self._near:
            self._near[key] = near_float(self.trunk, calibration, key[0])
        return self._near[key]

    def _cached(self, wanted: _Key, calibration: NDArray[np.uint8] | None) -> LoweredTrunk:
        form, scheme, _, exclude = wanted
        found = self._kept(wanted)
        if found is not None:
            return found
        lower = self._lower if self.elsewhere is None else self.elsewhere.lower
        file = lower(form, scheme, calibration, exclude)
        if len(file.data) <= _LARGEST:
            with caching(self._cache) as cache:
                if cache is not None:
                    cache.put([(self._cache_key(wanted), _pack(file))])
        return file

    def _kept(self, wanted: _Key) -> LoweredTrunk | None:
        with caching(self._cache) as cache:
            found = None if cache is None else cache.get(self._cache_key(wanted))
        return None if found is None else _unpack(*wanted[:2], found)

    def _cache_key(self, wanted: _Key) -> bytes:
        form, scheme, seen, exclude = wanted
        made_with = list(versions(*_LIBRARIES).values())
        recipe = ["trunk file", _FORMAT, self.fingerprint, self.trunk.backbone.name, form, scheme, seen, made_with]
        recipe += [exclude] if exclude else []
        return hashlib.sha256(json.dumps(recipe).encode()).digest()

    def _lower(
        self, form: str, scheme: str, calibration: NDArray[np.uint8] | None, exclude: tuple[str, ...]
    ) -> LoweredTrunk:
        trunk, correction = self.trunk_for(scheme, calibration)
        file = lower_trunk(trunk, form, scheme, calibration, exclude)
        return file if correction is None else replace(file, correction=correction)


def _pack(file: LoweredTrunk) -> bytes:
    """Return what is kept of a file: a line of JSON, then its bytes."""
    said = None if file.correction is None else asdict(file.correction)
    return json.dumps(said).encode() + b"\n" + file.data


def _unpack(form: str, scheme: str, kept: bytes) -> LoweredTrunk:
    line, _, data = kept.partition(b"\n")
    said = json.loads(line)
    return LoweredTrunk(form, scheme, data, None if said is None else Correction(**said))


def digest(images: NDArray[np.uint8]) -> str:
    """Return what calibration images are known by."""
    return hashlib.sha256(images.tobytes()).hexdigest()
