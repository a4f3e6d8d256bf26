"""What `bench` times as a fresh start: import tlc, open a bundle, predict one image. Run as a file, not with `-m`.

With `-m` Python would import the packages around it first; run as a file, nothing but the clock is imported before the
clock is read. Takes the bundle, gallery, engine, threads, and whether the bundle may be one that is not trusted, as a
JSON list, the image on standard input; prints the seconds of the imports, the opening and the prediction, and the
memory then and at most, as a JSON list.
"""

# ruff: noqa: E402
from time import perf_counter

START = perf_counter()

from tlc_edge.runtime.classifier import Classifier

IMPORTED = perf_counter()

import json
import sys

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.doctor.memory import peak, resident


def start_fresh() -> None:
    """Open, predict, and print what it took."""
    bundle, gallery, engine, threads, is_allowed = json.loads(sys.argv[1])
    image = sys.stdin.buffer.read()
    ready = perf_counter()
    opened_as = Bundle.open(bundle, allow_unsigned=lambda _: None) if is_allowed else bundle
    with Classifier.open(opened_as, gallery, engine, threads) as classifier:
        opened = perf_counter()
        classifier.predict(image)
        done = perf_counter()
        print(json.dumps([IMPORTED - START, opened - ready, done - opened, resident(), peak()]))


if __name__ == "__main__":
    start_fresh()
