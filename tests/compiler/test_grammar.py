"""A minute of random networks; `python tests/grammar.py` runs them for as long as one likes."""

from __future__ import annotations

import numpy as np
import pytest
from grammar import FORMS, Outcome, compare, make, run

from tlc_edge.compiler.toolchain import load_tensorflow


def test_a_network_follows_from_its_number() -> None:
    load_tensorflow()
    one, again, other = make(7), make(7), make(8)
    assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), again.get_weights(), strict=True))
    assert [v.path for v in one.weights] != [v.path for v in other.weights]


def test_a_difference_is_seen(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that cannot fail would tell nothing: here the images of the original are others."""
    import grammar

    load_tensorflow()
    images = grammar.images_for
    seen: list[int] = []

    def other(model: object, number: int) -> object:
        seen.append(number)
        return images(model, number)

    monkeypatch.setattr(grammar, "images_for", other)
    monkeypatch.setattr(grammar, "as_trained_on", lambda images, _pixels: images.astype(np.float32) + 9)
    (outcome,) = [compare(make(0), 0, "net.keras", tmp_path)]  # type: ignore[arg-type]
    assert seen == [0]
    assert outcome.wrong


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis:UserWarning")  # some classify into one class
@pytest.mark.usefixtures("_unrehearsed")
def test_random_networks_are_what_they_were() -> None:
    found = run(range(10_000, 12_000), seconds=60)
    assert len(found) >= len(FORMS)
    wrong = [(number, outcome) for number, outcome in found if outcome.wrong]
    assert wrong == []
    refused = [o.refused for _, o in found if o.refused is not None]
    assert len(refused) < len(found) / 4, refused
    assert isinstance(found[0][1], Outcome)
