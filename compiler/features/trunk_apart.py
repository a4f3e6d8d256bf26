"""The trunk in the worker: TensorFlow loads and lowers there what this process featurizes with.

Each function makes what it needs and keeps it for the next, in whichever process it is called; so a call that the
worker did not get to can be made again here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from tlc_edge.compiler.backbones.cuts import cuts_of
from tlc_edge.compiler.backbones.find import find_backbone
from tlc_edge.compiler.backbones.known import Wanted, changed, pack_trunk
from tlc_edge.compiler.backbones.shave import shave
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.records import Backbone, LoweredTrunk
from tlc_edge.compiler.toolchain import load_libraries, load_tensorflow
from tlc_edge.compiler.worker import Pending, Worker

from .reference import compare
from .trunk_files import TrunkFiles, digest


@dataclass(frozen=True)
class Network:
    """A network that is the same whenever it is loaded, and how it is to be cut."""

    name: str
    asked: Asked
    shave: str | None
    pool: str
    by_images: bool
    """Images decide where it is cut, if there is a choice."""
    fingerprint: str | None = None
    """Of the trunk, where it was cut before."""


class Apart:
    """What the worker does with one network: each call is started early, and waited for where its result is used."""

    def __init__(self, worker: Worker, network: Network) -> None:
        self.worker, self._network = worker, network
        self._lowered: dict[tuple[str, str, str | None], Pending[LoweredTrunk]] = {}
        self._alike: Pending[bool] | None = None

    @cached_property
    def tensorflow(self) -> Pending[None]:
        """TensorFlow, which is loaded."""
        return self.worker.start(load_tensorflow)

    @cached_property
    def choice(self) -> Pending[bool]:
        """The network, which is loaded; whether images are to choose where it is cut."""
        return self.worker.start(load_network, self._network)

    @cached_property
    def cut(self) -> Pending[bytes]:
        """What is known of the trunk; see `known.pack_trunk`."""
        return self.worker.start(cut_network, self._network)

    def start(self) -> None:
        """Start to load TensorFlow and the network, and to cut it, unless that was started."""
        _ = self.tensorflow, self.choice, self.cut

    def begin(self, form: str, scheme: str, calibration: NDArray[np.uint8] | None = None) -> None:
        """Start to lower the trunk to a format and scheme; with calibration images before what waits without any."""
        key = (form, scheme, None if calibration is None else digest(calibration))
        if key not in self._lowered:
            start = self.worker.start if calibration is None else self.worker.start_next
            self._lowered[key] = start(lower_network, self._network, form, scheme, calibration)

    def begin_compare(self) -> None:
        """Start to compare the float file with Keras."""
        self._alike = self.worker.start(compare_network, self._network)

    def lower(
        self, form: str, scheme: str, calibration: NDArray[np.uint8] | None, exclude: tuple[str, ...]
    ) -> LoweredTrunk:
        """Return the trunk in a format and scheme, as `TrunkFiles.get` does."""
        key = (form, scheme, None if calibration is None else digest(calibration))
        begun = None if exclude else self._lowered.pop(key, None)
        begun = begun or self.worker.start(lower_network, self._network, form, scheme, calibration, exclude)
        if begun.running:
            load_libraries()  # meanwhile
        return begun.result()

    def compare(self) -> bool:
        """Return whether the float file gives what Keras gives."""
        return (self._alike or self.worker.start(compare_network, self._network)).result()


def can_be_apart(worker: Worker, wanted: Wanted) -> bool:
    """Return whether a network can be loaded in the worker, and whether that saves this process the loading."""
    return worker.apart and "tensorflow" not in sys.modules and wanted.key([]) is not None


def load_network(network: Network) -> bool:
    """Load a network; return whether images are to choose where it is cut.

    Raises:
        BuildError: it cannot be loaded.
    """
    return network.by_images and len(cuts_of(_backbone(network))) > 1


def cut_network(network: Network) -> bytes:
    """Return what is known of the trunk; see `known.pack_trunk`.

    Raises:
        UsageError: it cannot be cut as asked.
    """
    return pack_trunk(_files(network).trunk)


def lower_network(
    network: Network,
    form: str,
    scheme: str,
    calibration: NDArray[np.uint8] | None = None,
    exclude: tuple[str, ...] = (),
) -> LoweredTrunk:
    """Return the trunk in a format and scheme.

    Raises:
        BuildError: as `TrunkFiles.get`.
    """
    return _files(network).get(form, scheme, calibration, exclude)


def compare_network(network: Network) -> bool:
    """Return whether the float file gives what Keras gives."""
    return compare(_files(network))


@lru_cache(1)
def _backbone(network: Network) -> Backbone:
    load_tensorflow()
    return find_backbone(network.name, network.asked).load(network.name, network.asked)


@lru_cache(1)
def _files(network: Network) -> TrunkFiles:
    asked = (None, "avg") if network.by_images else (network.shave, network.pool)
    files = TrunkFiles(shave(_backbone(network), *asked), "off")
    if network.fingerprint not in (None, files.fingerprint):
        raise changed(network.name)
    return files
