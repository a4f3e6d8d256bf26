"""What an error of another library's is told as."""

from __future__ import annotations

import pytest

from tlc_edge.runtime.errors import first_line


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("one sentence"), "one sentence"),
        (ValueError("\n  first\nsecond\n"), "first"),
        (ValueError(), "ValueError"),
        (KeyError("name"), "'name'"),
        (RuntimeError("  \n"), "RuntimeError"),
    ],
)
def test_the_first_line_of_an_error_is_told(error: Exception, told: str) -> None:
    assert first_line(error) == told


def test_an_error_that_says_nothing_may_be_told_otherwise() -> None:
    assert first_line(ValueError(), silent="no reason given") == "no reason given"
    assert first_line(ValueError("a reason"), silent="no reason given") == "a reason"
