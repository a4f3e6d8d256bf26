"""Takes the values of a target file out as their types, or refuses them by key, value and what was expected."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn, cast

from tlc_edge.runtime.errors import UsageError, unknown_name


@dataclass(frozen=True)
class Expectation:
    """A published figure for the device: for comparison, never a promise."""

    what: str
    """Model, input size, scheme and how it was run."""
    milliseconds: float
    """Time for one image, > 0."""
    source: str


@dataclass(frozen=True)
class Fields:
    """Takes each value out as its type, or refuses it by key, value and what was expected."""

    values: Mapping[str, object]
    where: str
    cited: tuple[str, ...]
    """The keys that can have a source."""

    def text(self, key: str) -> str:
        """Return text that is not empty."""
        return self._text(key, self.values[key])

    def name(self, key: str, kind: str, known: Iterable[str]) -> str:
        """Return one of the names `known`."""
        return self._name(key, self.values[key], kind, known)

    def names(self, key: str, kind: str, known: Iterable[str] = (), least: int = 0) -> tuple[str, ...]:
        """Return a list of names, each once; with `known`, of those only."""
        value = self.values[key]
        if not isinstance(value, list):
            self._refuse(key, value, "a list of text")
        found = tuple(self._name(key, item, kind, known) for item in cast(list[object], value))
        if len(found) < least:
            self._refuse(key, value, f"at least one {kind} of {', '.join(known)}")
        if len(set(found)) < len(found):
            self._refuse(key, value, f"each {kind} once")
        return found

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.values[key]
        if not isinstance(value, bool):
            self._refuse(key, value, "true or false")
        return value

    def count(self, key: str, most: int | None = None) -> int:
        """Return a whole number, 0 or more, and at most `most`."""
        value = self.values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= (value if most is None else most):
            self._refuse(key, value, f"a whole number, 0 {'or more' if most is None else f'to {most}'}")
        return value

    def expectations(self) -> tuple[Expectation, ...]:
        """Return the published figures."""
        value = self.values["expect"]
        if not isinstance(value, list):
            self._refuse("expect", value, "a list of tables [[expect]]")
        return tuple(self._expectation(f"expect[{i}]", item) for i, item in enumerate(cast(list[object], value)))

    def sources(self) -> dict[str, str]:
        """Return where things come from, by dotted key."""
        table = self._table("sources", self.values["sources"])
        for key in table:
            if key not in self.cited:
                raise UsageError(f"{self.where}: sources: {unknown_name('number', key, self.cited)} (keys are quoted)")
        return {key: self._text(f'sources "{key}"', value) for key, value in table.items()}

    def _expectation(self, key: str, value: object) -> Expectation:
        table = self._table(key, value)
        expected = ("what", "milliseconds", "source")
        for inner in table:
            if inner not in expected:
                raise UsageError(f"{self.where}: {key}: {unknown_name('key', inner, expected)}")
        missing = [inner for inner in expected if inner not in table]
        if missing:
            raise UsageError(f"{self.where}: {key}: missing {', '.join(missing)}; a figure has {', '.join(expected)}")
        time = table["milliseconds"]
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 < time < math.inf:
            self._refuse(f"{key}.milliseconds", time, "a number above 0")
        what, source = (self._text(f"{key}.{inner}", table[inner]) for inner in ("what", "source"))
        return Expectation(what, float(time), source)

    def _table(self, key: str, value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            self._refuse(key, value, "a table")
        return cast(dict[str, object], value)

    def _name(self, key: str, value: object, kind: str, known: Iterable[str]) -> str:
        text = self._text(key, value)
        if known and text not in known:
            raise UsageError(f"{self.where}: {key}: {unknown_name(kind, text, known)}")
        return text

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip():
            self._refuse(key, value, "text, not empty")
        return value

    def _refuse(self, key: str, value: object, expected: str) -> NoReturn:
        raise UsageError(f"{self.where}: {key} is {shown(value)}; expected {expected}")


def shown(value: object) -> str:
    """Return a value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
