"""The trunk's files: lowered once per format and scheme, and kept in the cache, as lowering takes ten seconds."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.cache.folder import caching
from tlc_edge.compiler.lower.formats import lower_trunk
from tlc_edge.compiler.network.fingerprint import fingerprint
from tlc_edge.compiler.records import LoweredTrunk, Trunk
from tlc_edge.runtime.engines.open import KINDS
from tlc_edge.targets.schemes import FLOAT32, SCHEMES

from .featurize import TrunkFile

_FORMAT = 2  # rises when the same trunk would be lowered to other bytes
_LIBRARIES = ("tensorflow", "keras", "onnx", "tf2onnx", "onnxruntime")
_Key = tuple[str, str, str | None, tuple[str, ...]]
"""Format, scheme, a hash of the calibration images, and the layers left in float32."""
_LARGEST = 100_000_000  # bytes of a file that is kept


class TrunkFiles:
    """Lowers one trunk, each format and scheme at most once."""

    def __init__(self, trunk: Trunk, cache: str | None = None) -> None:
        self.trunk = trunk
        self.fingerprint = fingerprint(trunk)
        self._cache = cache
        self._made: dict[_Key, LoweredTrunk] = {}

    def get(
        self,
        form: str,
        scheme: str,
        calibration: NDArray[np.uint8] | None = None,
        exclude: tuple[str, ...] = (),
    ) -> LoweredTrunk:
        """Return the trunk in a format and scheme.

        `calibration` [N, H, W, C] sets the ranges of schemes that have some; `exclude` names the layers that a scheme
        chosen by layer leaves in float32.

        Raises:
            BuildError: a scheme that the format does not have.
        """
        if scheme in SCHEMES and not SCHEMES[scheme].calibrated:
            calibration = None
        seen = None if calibration is None else hashlib.sha256(calibration.tobytes()).hexdigest()
        key = (form, scheme, seen, exclude)
        if key not in self._made:
            self._made[key] = self._cached(key, calibration)
        return self._made[key]

    def as_float(self) -> TrunkFile:
        """Return the float32 TFLite file for featurizing, lowered when it is first needed."""
        kind = next(kind for kind in KINDS if kind.format == "tflite")
        return TrunkFile(self.fingerprint, self.trunk.width, lambda: self.get("tflite", FLOAT32.name), kind)

    def _cached(self, wanted: _Key, calibration: NDArray[np.uint8] | None) -> LoweredTrunk:
        form, scheme, seen, exclude = wanted
        versions = [importlib.metadata.version(name) for name in _LIBRARIES]
        recipe = ["trunk file", _FORMAT, self.fingerprint, self.trunk.backbone.name, form, scheme, seen, versions]
        recipe += [exclude] if exclude else []
        key = hashlib.sha256(json.dumps(recipe).encode()).digest()
        with caching(self._cache) as cache:
            found = None if cache is None else cache.get(key)
        if found is not None:
            return LoweredTrunk(form, scheme, found)
        file = self._lower(form, scheme, calibration, exclude)
        if len(file.data) <= _LARGEST:
            with caching(self._cache) as cache:
                if cache is not None:
                    cache.put([(key, file.data)])
        return file

    def _lower(
        self, form: str, scheme: str, calibration: NDArray[np.uint8] | None, exclude: tuple[str, ...]
    ) -> LoweredTrunk:
        return lower_trunk(self.trunk, form, scheme, calibration, exclude)
