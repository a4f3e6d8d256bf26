from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_networks import LABELS, floats, small_fused

from tlc_edge.compiler.features.align import align

GENERATOR = np.random.default_rng(0)
FLOATS = np.abs(floats(GENERATOR, 60, 12)) + 0.1


def off(features: np.ndarray) -> np.ndarray:
    """As a trunk of coarse steps gives features: shifted, stretched, and with noise."""
    noise = np.random.default_rng(1).normal(0, 0.02, features.shape)
    return (features * np.linspace(0.8, 1.2, 12) - np.linspace(0, 0.3, 12) + noise).astype(np.float32)


def test_what_happens_to_every_image_alike_is_undone() -> None:
    others = np.abs(floats(np.random.default_rng(2), 40, 12)) + 0.1  # images that it was not made from
    found = align(off(FLOATS), FLOATS).apply(off(others))
    assert np.abs(found - others).mean() < 0.3 * np.abs(off(others) - others).mean()


def test_what_is_exact_stays_so() -> None:
    found = align(FLOATS, FLOATS)
    np.testing.assert_allclose(found.factor, 1)
    np.testing.assert_allclose(found.offset, 0, atol=1e-12)


@pytest.mark.parametrize("given", [np.zeros_like(FLOATS), np.ones_like(FLOATS), GENERATOR.permuted(FLOATS, axis=0)])
def test_a_blind_trunk_stays_blind(given: np.ndarray) -> None:
    found = align(given, FLOATS)
    np.testing.assert_array_equal(found.apply(given), given)


def test_a_neck_that_reads_roots_has_an_alignment_of_its_own() -> None:
    fused, device = small_fused(LABELS, 0, True), np.abs(off(FLOATS))
    rooted = replace(fused, neck=replace(fused.neck, root=True))
    found = align(device, FLOATS, root=True)
    assert found.root is not None
    own = found.fold(rooted)
    np.testing.assert_allclose(own.neck.project(device), rooted.neck.project(found.for_neck(device)), atol=1e-4)
    wanted, before = rooted.neck.project(FLOATS), rooted.neck.project(device)
    assert np.abs(own.neck.project(device) - wanted).mean() < 0.6 * np.abs(before - wanted).mean()
    np.testing.assert_allclose(own.head.probabilities(device), fused.head.probabilities(found.apply(device)), atol=1e-5)
    plain = align(device, FLOATS)
    np.testing.assert_array_equal(plain.for_neck(device), plain.apply(device))


@pytest.mark.parametrize(("labels", "hidden", "neck"), [(LABELS, 0, True), (LABELS, 7, False), ((), 0, True)])
def test_head_and_neck_take_it_in(labels: tuple[str, ...], hidden: int, neck: bool) -> None:
    fused, device = small_fused(labels, hidden, neck), off(FLOATS)
    before = [layer.kernel.copy() for layer in fused.head.layers]
    found = align(device, FLOATS)
    own = found.fold(fused)
    wanted, given = found.apply(device), device
    np.testing.assert_allclose(own.head.probabilities(given), fused.head.probabilities(wanted), atol=1e-5)
    if neck:
        np.testing.assert_allclose(own.neck.project(given), fused.neck.project(wanted), atol=1e-4)
    assert all((layer.kernel == kept).all() for layer, kept in zip(fused.head.layers, before, strict=True))
