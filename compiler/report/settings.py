"""The settings of a build, as its manifest and its report show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Settings:
    """What was asked for, and what was made of it, but for what the manifest says elsewhere."""

    seed: int
    max_drop: float
    calibration: int
    """Images that set the int8 ranges."""
    augment: tuple[str, ...] = ()
    copies: int = 0
    """Changed copies of each training image."""
    fine_tune: str | None = None
    """The layers that were to be trained; None where none were."""
    fine_tuned: bool = False
    """Whether that gained something, so that the trunk is another one."""
    ladder: Mapping[str, str] = field(default_factory=dict[str, str])
    """What was tried for each file that lost too much as asked."""
    sampled: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many images stood for how many more, as `Data` counts them; none where all were looked at."""


def told_sampled(sampled: Mapping[str, int]) -> str:
    """Return in words which images stood for more."""
    said: list[str] = []
    if "studied" in sampled:
        said.append(
            f"the head is trained on all {sampled['training']:,} training images, in passes; neck, exemplars, unknown "
            f"and what the report tells of them are of {sampled['studied']:,}, spread over the classes"
        )
    if "measured" in sampled:
        said.append(f"{sampled['measured']:,} of {sampled['held_out']:,} held-out images are measured on")
    return "; ".join(said)


def to_manifest(settings: Settings) -> dict[str, Any]:
    """Return settings as `metrics.settings` in a manifest has them."""
    return {
        "seed": settings.seed,
        "max_drop": settings.max_drop,
        "calibration": settings.calibration,
        "augment": ", ".join(settings.augment) or "none",
        "copies": settings.copies if settings.augment else 0,
        "fine_tune": "none" if settings.fine_tune is None else settings.fine_tune,
        **({} if settings.fine_tune is None else {"fine_tuned": settings.fine_tuned}),
        **({"ladder": settings.ladder} if settings.ladder else {}),
        **({"sampled": told_sampled(settings.sampled)} if settings.sampled else {}),
    }
