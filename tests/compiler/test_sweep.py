from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from small_networks import small_backbone

from tlc_edge.compiler.sweep.plot import plot
from tlc_edge.compiler.sweep.sweep import SweepOptions, SweepRow, choose_layers, mark_pareto, sweep
from tlc_edge.runtime.errors import BuildError, UsageError

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


def two_convolutions(path: Path, scale: float) -> str:
    """Write a network whose second convolution has such weights."""
    import keras
    from keras import Input, Sequential, layers

    keras.utils.set_random_seed(1)
    steps = [layers.Conv2D(4, 3, 2, activation="relu", name="c1"), layers.Conv2D(6, 3, name="c2")]
    model = Sequential([Input((28, 28, 1)), *steps])
    model.get_layer("c2").set_weights([w * scale for w in model.get_layer("c2").get_weights()])
    model.save(path)
    return str(path)


def test_a_cut_that_cannot_be_measured_is_named_beside_the_others(photos: Path, tmp_path: Path) -> None:
    name = two_convolutions(tmp_path / "net.keras", 3e38)  # what comes out is infinite
    found = sweep(SweepOptions(str(photos), "rpi", (name,), layers=("c1", "c2"), cache="off"))
    assert [r.layer for r in found.rows] == ["c1"]
    assert [(f.backbone, f.layer) for f in found.failed] == [("net", "c2")]
    assert "not finite for 40 of 40 images" in found.failed[0].reason
    assert found.stopped is None
    with pytest.raises(BuildError, match="not finite") as told:
        sweep(SweepOptions(str(photos), "rpi", (name,), layers=("c2",), cache="off"))
    assert told.value.tried[0].startswith("net at c2: ")


def test_ctrl_c_keeps_the_rows_that_are_done(photos: Path, tmp_path: Path) -> None:
    name = two_convolutions(tmp_path / "net.keras", 1.0)

    def press(step: str, _done: int, _total: int) -> None:
        if step == "net at c2":
            raise KeyboardInterrupt

    options = SweepOptions(str(photos), "rpi", (name,), layers=("c1", "c2"), cache="off")
    found = sweep(options, press)
    assert [r.layer for r in found.rows] == ["c1"]
    assert found.stopped == "interrupted after 1 of 2 cuts"
    with pytest.raises(KeyboardInterrupt):
        sweep(replace(options, layers=("c2",)), press)


def test_a_mistake_in_the_last_name_is_found_before_the_first_row(photos: Path, tmp_path: Path) -> None:
    two_convolutions(tmp_path / "net.keras", 1.0)
    (tmp_path / "bad.keras").write_bytes((tmp_path / "net.keras").read_bytes()[:-400])
    seen: list[str] = []
    options = SweepOptions(str(photos), "rpi", (SKETCH, str(tmp_path / "bad.keras")), cache="off")
    with pytest.raises(BuildError, match=r"bad\.keras"):
        sweep(options, lambda step, _done, _total: seen.append(step))
    assert not any(" at " in step for step in seen)


def test_rows_of_a_network_that_flattens_have_the_dense_layers_too(photos: Path, tmp_path: Path) -> None:
    import keras
    from keras import Input, Sequential, layers

    keras.utils.set_random_seed(1)
    top = [layers.Flatten(), layers.Dense(16, "relu", name="dense"), layers.Dense(5, "softmax", name="top")]
    Sequential([Input((28, 28, 1)), layers.Conv2D(4, 3, 4, name="map"), *top]).save(tmp_path / "net.keras")
    found = sweep(SweepOptions(str(photos), "rpi", (str(tmp_path / "net.keras"),), cache="off"))
    assert [(r.layer, r.pool) for r in found.rows] == [("map", "avg"), ("dense", "none"), ("map", "flatten")]
    for r in found.rows:
        assert r.cross_validated is not None
        assert r.interval is not None
        assert r.interval[0] < r.cross_validated < r.interval[1]
