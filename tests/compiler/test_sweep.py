from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from small_networks import small_backbone

from tlc_edge.compiler.sweep.plot import plot
from tlc_edge.compiler.sweep.sweep import SweepOptions, SweepRow, choose_layers, mark_pareto, sweep
from tlc_edge.runtime.errors import UsageError

SKETCH = str(Path(__file__).parents[1] / "data" / "tfjs_sketch")


def row(layer: str, accuracy: float, size: int, milliseconds: float) -> SweepRow:
    return SweepRow("net", layer, 8, 100, 1000, accuracy, size, milliseconds)


def test_a_row_that_another_beats_is_not_marked() -> None:
    rows = [
        row("small", 0.5, 10, 1.0),
        row("good", 0.9, 50, 2.0),
        row("beaten", 0.9, 60, 2.0),
        row("fast", 0.9, 60, 1.5),
    ]
    assert [r.layer for r in mark_pareto(rows) if r.pareto] == ["small", "good", "fast"]
    twins = mark_pareto([rows[0], rows[0]])
    assert all(r.pareto for r in twins)


def test_the_cuts_tried_end_with_the_default() -> None:
    # 2,592 multiplications in the first convolution, 1,152 in the second: three quarters lie before its end.
    assert choose_layers(small_backbone()) == ["first_activation", "top_activation"]


def test_a_second_sweep_takes_its_features_from_the_cache(photos: Path, tmp_path: Path) -> None:
    options = SweepOptions(
        str(photos), "rpi", (SKETCH,), layers=("first", "auto"), pool="flatten", cache=str(tmp_path / "cache")
    )
    first = sweep(options)
    assert [r.layer for r in first.rows] == ["first", "sep"]
    assert [r.features for r in first.rows] == [14 * 14 * 3, 7 * 7 * 4]
    assert first.cached == 0
    assert any(r.pareto for r in first.rows)
    second = sweep(options)
    assert second.cached == 80
    assert [r.accuracy for r in second.rows] == [r.accuracy for r in first.rows]
    assert [r.bytes for r in second.rows] == [r.bytes for r in first.rows]


def test_a_layer_that_is_not_there(photos: Path) -> None:
    with pytest.raises(UsageError, match="unknown layer of tfjs_sketch 'conv9'"):
        sweep(SweepOptions(str(photos), "rpi", (SKETCH,), layers=("conv9",), cache="off"))


def test_the_plot_shows_every_row_and_fills_the_pareto_points() -> None:
    rows = mark_pareto([row("a<b>", 0.5, 10, 1.0), row("worse", 0.4, 20, 3.0)])
    svg = ElementTree.fromstring(plot(rows, "photos & more"))
    name = "{http://www.w3.org/2000/svg}"
    circles = [c for c in svg.iter(f"{name}circle") if c.find(f"{name}title") is not None]
    assert [c.get("fill") == "white" for c in circles] == [False, True]
    texts = [t.text for t in svg.iter(f"{name}text")]
    assert {"a<b>", "worse", "photos & more", "net"} <= set(texts)
