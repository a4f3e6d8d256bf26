"""Features are rounded to float16 where that holds them, and left as they are where it does not."""

from __future__ import annotations

import numpy as np
import pytest

from tlc_edge.compiler.features.half import packed, rounded, unpacked

VECTOR = np.random.default_rng(0).gamma(1.0, 1.0, 32).astype(np.float32)


def there_and_back(features: np.ndarray[tuple[int], np.dtype[np.float32]]) -> tuple[int, bool]:
    """Return the bytes per feature of rounded ones, and whether unpacking gives them again to the bit."""
    once = rounded(features)
    kept = packed(once).tobytes()
    return len(kept) // len(features), unpacked(kept, len(features)).tobytes() == once.tobytes()


@pytest.mark.parametrize("scale", [0.05, 1.0, 5000.0])
def test_what_float16_holds_is_rounded_by_little_and_takes_two_bytes(scale: float) -> None:
    features = VECTOR * np.float32(scale)
    assert there_and_back(features) == (2, True)
    assert 0 < np.abs(rounded(features) - features).max() <= 2**-11 * features.max()
    assert (rounded(rounded(features)) == rounded(features)).all()


@pytest.mark.parametrize("scale", [1e-7, 1e5, 1e30])
def test_what_float16_cannot_hold_stays_as_it_is(scale: float) -> None:
    features = VECTOR * np.float32(scale)
    assert there_and_back(features) == (4, True)
    assert (rounded(features) == features).all()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_still_seen_to_be(odd: float) -> None:
    features = np.append(VECTOR, np.float32(odd))
    np.testing.assert_array_equal(rounded(features), features)
    assert there_and_back(features) == (4, True)


def test_nothing_at_all_takes_two_bytes() -> None:
    assert there_and_back(np.zeros(8, np.float32)) == (2, True)


def test_each_vector_is_rounded_by_itself() -> None:
    both = rounded(np.stack([VECTOR, VECTOR * np.float32(1e5)]))
    assert (both[0] == rounded(VECTOR)).all()
    assert (both[1] == VECTOR * np.float32(1e5)).all()
