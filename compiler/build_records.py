"""What a build is asked for, and what it tells when it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .augmentations import DEFAULT as DEFAULT_AUGMENT
from .backbones import DEFAULT
from .data_records import Skipped
from .duplicates import Group
from .exemplars import PER_CLASS
from .findings import Findings
from .parity import NONE, Parity
from .records import Asked, FineTune, Restored, Score
from .target_limits import Fit


@dataclass(frozen=True)
class Options:
    """What a build is asked for."""

    data: str
    """Folder, `.csv`, `.npz`, archive, address or `sample:digits`; see `Origin`."""
    targets: tuple[str, ...]
    output: Path
    backbone: str = DEFAULT
    asked: Asked = field(default_factory=Asked)
    """How the backbone is to be loaded."""
    shave: str | None = None
    pool: str = "avg"
    head: str = "linear"
    """One of `heads.KINDS`, or the path of a Keras file."""
    augment: tuple[str, ...] = DEFAULT_AUGMENT
    """Kinds of `augmentations.KINDS` that change the copies of training images."""
    copies: int = 1
    """Augmented copies of each training image."""
    scheme: str | None = None
    """For the TFLite file, in place of the target's own."""
    onnx_scheme: str | None = None
    """The same for the ONNX file."""
    seed: int = 0
    max_drop: float = 2.0
    """Points of accuracy that a file may lose against the float graph."""
    ladder: bool = True
    """Where a file loses more, make it in other ways until one is good enough; else fail."""
    unknown_rate: float = 0.05
    """False-alarm rate that `unknown` is calibrated to."""
    unknown_data: str | None = None
    """Images of anything else, to count false accepts on; without them each class is left out in turn."""
    exemplars: int = PER_CLASS
    """Training images of each class whose embeddings travel with the bundle."""
    calibration: int = 100
    """Images that set the int8 ranges."""
    limit: int | None = None
    """Images to use at most, spread over the classes."""
    fine_tune: FineTune | None = None
    strict: bool = False
    """Fail where a file would be skipped."""
    force: bool = False
    """Replace an existing bundle."""
    threads: int = 0
    """0: one a core."""
    labels: str | None = None
    """The labels of a pixel table."""
    shape: str | None = None
    """The shape of a pixel table's images, `H,W` or `H,W,C`."""
    checksum: str | None = None
    """`sha256:…` of what an address gives."""
    cache: str | None = None
    """Folder of the feature cache, `off`, or None for the user's own."""
    thumbnails: bool = True
    """Show a few of the images in the report, which is part of the bundle."""


@dataclass(frozen=True)
class Rung:
    """One way to make a file, and how good it was; see `ladder`."""

    file: str
    scheme: str
    what: str
    """What is special to it but the scheme: `as asked`, more calibration images, layers in float32; or empty."""
    accuracy: float
    interval: tuple[float, float]
    """95 %, Wilson."""
    float_accuracy: float
    """Of the float graph with the same head."""
    bytes: int
    blind: int
    """Held-out images whose embedding is zero."""
    taken: bool

    def described(self) -> str:
        """Return scheme and what is special about it."""
        return f"{self.scheme}, {self.what}" if self.what else self.scheme


@dataclass(frozen=True)
class Built:
    """One bundle that was written."""

    path: Path
    target: str
    scheme: str
    bytes: int
    scores: tuple[Score, ...]
    findings: Findings
    """What its report says."""
    milliseconds: tuple[float, ...]
    """An image through each file of `scores`: the median on this machine, for comparing files, not a device's speed."""
    fits: tuple[Fit, ...]
    """What each of them needs of the device, beside what it has."""
    notes: tuple[str, ...]
    """What the target says to whoever uses the bundle."""

    @property
    def unknown(self) -> Mapping[str, Any]:
        """How often it was wrong about what is unknown; the manifest's metrics of that name."""
        found: Mapping[str, Any] = self.findings.manifest.metrics["unknown"]
        return found


@dataclass(frozen=True, eq=False)
class Result:
    """What a build did."""

    bundles: tuple[Built, ...]
    labels: tuple[str, ...]
    images: Counter[str]
    """Images in each part of the split."""
    float_accuracy: float
    """Of the Keras graph, on the held-out images (validation and test)."""
    held_out: int
    skipped: tuple[Skipped, ...]
    seconds: dict[str, float]
    duplicates: tuple[Group, ...] = ()
    """Images that show one picture, those that should worry first."""
    cached: int = 0
    """Images whose features came out of the cache."""
    notes: tuple[str, ...] = ()
    """What had to be assumed, what a choice costs, what did not work as well as it could; for people."""
    restored: tuple[Restored, ...] = ()
    """What became of each variable, where the weights come from a checkpoint."""
    parity: Parity = NONE
    """Every two files of the build, whatever their targets, and the float graph, on the golden images."""
    rungs: tuple[Rung, ...] = ()
    """What was tried for each file that lost too much as asked, the last of each file taken."""
