"""What an error of another library's is told as."""

from __future__ import annotations

import pytest

from tlc_edge.runtime import errors
from tlc_edge.runtime.errors import LONGEST, TlcError, first_line


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("one sentence"), "one sentence"),
        (ValueError("\n  first\nsecond\n"), "first"),
        (ValueError(), "ValueError"),
        (KeyError("name"), "'name'"),
        (RuntimeError("  \n"), "RuntimeError"),
        (
            TypeError("Could not deserialize class 'Dense'. config={'name': 'a', 'units': 3}"),
            "Could not deserialize class 'Dense'. …",
        ),
        (ValueError("a set {1, 2} is no configuration"), "a set {1, 2} is no configuration"),
    ],
)
def test_the_first_line_of_an_error_is_told(error: Exception, told: str) -> None:
    assert first_line(error) == told


def test_an_error_that_says_nothing_may_be_told_otherwise() -> None:
    assert first_line(ValueError(), silent="no reason given") == "no reason given"
    assert first_line(ValueError("a reason"), silent="no reason given") == "a reason"


KINDS = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, TlcError)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_message_of_any_kind_is_a_dump(kind: type[TlcError]) -> None:
    long = f"net.keras: layer {'x' * 5000} cannot be read; save it again"
    told = str(kind(long))
    assert len(told) <= LONGEST
    assert told.startswith("net.keras: layer xx")
    assert told.endswith("xx cannot be read; save it again")
    whole = "y" * LONGEST
    assert str(kind(whole)) == whole
    assert len(first_line(ValueError(long))) <= 200
