"""What a build is asked for, and what it tells when it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlc_edge.compiler.data.duplicates import Group
from tlc_edge.compiler.data.records import Skipped
from tlc_edge.compiler.limits.check import DeviceFit
from tlc_edge.compiler.report.findings import Findings
from tlc_edge.compiler.shards.costs import Costs
from tlc_edge.compiler.verify.parity import NONE, Parity

from .records import Restored, Score


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
    refused: str | None = None
    """Why there is no accuracy: an engine or a converter refused it."""

    def described(self) -> str:
        """Return scheme and what is special about it."""
        return f"{self.scheme}, {self.what}" if self.what else self.scheme

    def outcome(self) -> str:
        """Return how good it was, or why that is not known."""
        return f"accuracy {self.accuracy:.3f}" if self.refused is None else f"refused ({self.refused[:200]})"


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
    fits: tuple[DeviceFit, ...]
    """What each of them needs of the device, beside what it has."""
    notes: tuple[str, ...]
    """What the target says to whoever uses the bundle."""
    site: Path | None = None
    """The site that was made of it."""

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
    """Images that show one picture, the doubtful groups first."""
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
    costs: Costs = field(default_factory=Costs)
    """What shards took, and what came from elsewhere."""
    recognised: str = ""
    """What the data were taken for, and how much they are; a line for people."""
