"""What to change so that a model fits a device: estimates, from the sizes of what was just built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tlc_edge.compiler.backbones.rows import Narrower, Row, rows
from tlc_edge.compiler.backbones.shave import cannot_cut
from tlc_edge.compiler.network.facts import facts_of
from tlc_edge.compiler.network.layers import nodes
from tlc_edge.compiler.records import Fused, Lowered
from tlc_edge.targets.schemes import SCHEMES, all_int8, int8_schemes, smaller

from .peak_memory import PeakMemory

_LEAST = 6_000  # bytes of a file whose weights are next to none: its operations, names and metadata
_MARGIN = 1.1
_ENDS = ("ReLU", "Activation", "Add")
_STEP = 32  # pixels: what five strides of two divide


@dataclass(frozen=True)
class Suggestion:
    """Options for the next build."""

    options: str
    bytes: int
    """About what then counts against the limit."""

    def __str__(self) -> str:
        return f"{self.options} (about {self.bytes:,})"


def smaller_files(file: Lowered, fused: Fused, limit: int, full_int8: bool) -> list[Suggestion]:
    """Return what would bring a file down to `limit` bytes: another scheme, an earlier shave, a smaller backbone."""
    scheme = file.info.scheme
    found: list[Suggestion] = []
    if file.info.format == "tflite" and not full_int8:
        weights, width = facts_of(fused.trunk).parameters, fused.trunk.width
        others = smaller(file.info.format, scheme)
        found += _first((Suggestion(f"--scheme {s}", _bytes(fused, weights, width, s)) for s in others), limit)
    found += _first(_cuts(file, fused), limit)
    return found + _first((Suggestion(o, _bytes(fused, p, w, scheme)) for p, w, o in _backbones()), limit)


def _backbones() -> list[tuple[int, int, str]]:
    """Return weights, features and options of every backbone with a name, the largest first."""
    whole = [(row.parameters, row.features, _named(row)) for row in rows().values()]
    narrow = [(n.parameters, n.features, _named(row, n)) for row, n in _narrower()]
    return sorted(whole + narrow, reverse=True)


def _narrower() -> list[tuple[Row, Narrower]]:
    return [(row, narrower) for row in rows().values() for narrower in row.narrower]


def _named(row: Row, narrower: Narrower | None = None) -> str:
    return f"--backbone {row.name}" + ("" if narrower is None else f" --alpha {narrower.alpha:g}")


def _first(suggestions: Iterable[Suggestion], limit: int) -> list[Suggestion]:
    found = next((s for s in suggestions if s.bytes <= limit), None)
    return [] if found is None else [found]


def _bytes(fused: Fused, weights: int, width: int, scheme: str) -> int:
    """Return about how large a file is with a trunk of so many weights and features, under the same head and neck."""
    return round(_LEAST + (weights + _after(fused, width)) * (SCHEMES[scheme].bytes_per_weight + _besides()))


def _besides() -> float:
    """Return bytes of scales, biases and names per weight: as many as the smallest network has, larger ones have less.

    That is the one whose int8 file was measured, with a byte per weight.
    """
    smallest = min((n for _, n in _narrower()), key=lambda n: n.parameters)
    weights = smallest.parameters + smallest.features * smallest.int8.classes
    return _MARGIN * ((smallest.int8.bytes - _LEAST) / weights - 1)


def _after(fused: Fused, width: int) -> int:
    """Return the weights of head and neck on so many features."""
    first = fused.head.layers[0].kernel.shape[1] if fused.head.layers else 0
    later = sum(layer.kernel.size for layer in fused.head.layers[1:])
    return width * (first + (fused.neck.width if fused.neck.kernel is not None else 0)) + later


def _cuts(file: Lowered, fused: Fused) -> Iterator[Suggestion]:
    """Yield earlier cuts, the latest first: after activations and sums, where features have their final form."""
    each = SCHEMES[file.info.scheme].bytes_per_weight
    found = nodes(fused.trunk.model)
    names = [node.name for node in found]
    # Keras counts on in names that it gives itself: one that is known from before may have another now.
    pooled = fused.trunk.pool != "none"
    end = names.index(fused.trunk.layer) if fused.trunk.layer in names else len(names) - (2 if pooled else 1)
    weights = [int(node.layer.count_params()) if hasattr(node.layer, "count_params") else 0 for node in found]
    # What is no weight is mostly scales and biases, as many as there are channels.
    channels = [node.shape[-1] if count and node.shape else 0 for node, count in zip(found, weights, strict=True)]
    besides = file.info.bytes - _LEAST - each * (sum(weights) + _after(fused, fused.trunk.width))
    for i in range(end - 1, 0, -1):
        node = found[i]
        if node.kind in _ENDS and len(node.shape) == 3 and cannot_cut(node, found[0].name) is None:
            kept = each * (sum(weights[: i + 1]) + _after(fused, node.shape[-1]))
            share = sum(channels[: i + 1]) / max(sum(channels), 1)
            yield Suggestion(f"--shave {node.name}", round(_LEAST + kept + _MARGIN * max(besides, 0) * share))


def smaller_memory(peak: PeakMemory, file: Lowered, fused: Fused, limit: int, full_int8: bool) -> list[Suggestion]:
    """Return what would bring a file's memory down to `limit` bytes: a smaller input, another scheme or network."""
    found: list[Suggestion] = []
    spec = fused.preprocessing
    fixed = peak.bytes - peak.activations
    for side in range(spec.height - spec.height % _STEP, 0, -_STEP):
        if side >= spec.height:
            continue
        share = side * side / (spec.height * spec.width)
        estimate = round(fixed + _MARGIN * peak.activations * share)
        if estimate <= limit:
            found.append(Suggestion(f"--input-size {side}x{side}", estimate))
            break
    if not full_int8 and not all_int8(file.info.scheme) and file.info.format == "tflite":
        estimate = round(fixed + _MARGIN * peak.activations / 4)
        if estimate <= limit:
            found += [Suggestion(f"--scheme {name}", estimate) for name in int8_schemes()]
    if full_int8:
        for row, narrower in _narrower():
            size, arena = narrower.int8.size, narrower.int8.arena
            if arena <= limit:
                found.append(Suggestion(f"{_named(row, narrower)} --input-size {size}x{size}", arena))
    return found
