"""The top of the page: a bundle in four figures."""

from __future__ import annotations

from dataclasses import dataclass

from .findings import Findings, worst_class
from .text import html, name, percent, size


@dataclass(frozen=True)
class Tile:
    """One figure, with what it is the answer to and what it rests on."""

    title: str
    value: str
    said: str
    """Text or HTML."""


def subtitle(f: Findings) -> str:
    """Return what the bundle was made from."""
    m = f.manifest
    return (
        f"{len(f.labels)} classes; {m.backbone['name']}, shaved at {m.shave['layer']}, {m.head['kind']} head; "
        f"{f.images.get('train', 0)} training images, {len(f.truth)} held out."
    )


def tiles(f: Findings) -> list[Tile]:
    """Return how good, how sure, how big and, where there are probabilities, how honest."""
    a, first = f.first.accuracy, f.first
    worst = worst_class(f)
    weakest: str = "all held-out images of every class were found"
    if worst is not None and worst.recall is not None:
        weakest = html("worst class: {}, {} of {} found", name(worst.label), worst.recall.right, worst.held_out)
    macs = f.study.macs
    work = "" if macs is None else f"; {macs / 1e6:,.0f} million multiply-accumulates per image"
    found = [
        Tile("How good", percent(a.share), html("{} of {} held-out images right; {}", a.right, a.total, weakest)),
        Tile(
            "How sure",
            f"{100 * a.low:.0f} to {100 * a.high:.0f} %",
            "the true accuracy lies there with 95 % confidence",
        ),
        Tile("How big", size(first.bytes), f"{first.file}, {first.scheme}{work}"),
    ]
    if first.reliability:
        said = "how far a stated probability is from the share that is right, on average"
        found.append(Tile("How honest", f"± {100 * first.reliability.error:.1f} points", said))
    return found
