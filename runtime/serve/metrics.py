"""Figures for Prometheus. No label and no name of a person's pictures is among them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from tlc_edge.runtime.errors import TlcError

from .events import Streams
from .live import Live
from .served import Served
from .workers import Workers

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """What one server counts."""

    def __init__(
        self,
        bundles: Mapping[str, Served],
        predicting: Workers,
        teaching: Workers,
        streams: Streams,
        live: Live | None,
    ) -> None:
        own = self._registry = CollectorRegistry()
        self._requests = Counter("tlc_requests", "Requests answered.", ["method", "route", "status"], registry=own)
        self._seconds = Histogram("tlc_request_seconds", "Time to answer.", ["route"], buckets=_SECONDS, registry=own)
        self._counted: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        gauges = {
            "tlc_waiting_predictions": ("Predictions that wait for a worker.", lambda: predicting.waiting),
            "tlc_running_predictions": ("Predictions that run.", lambda: predicting.working),
            "tlc_waiting_changes": ("Changes that wait for their turn.", lambda: teaching.waiting),
            "tlc_running_changes": ("Changes that are being made.", lambda: teaching.working),
            "tlc_streams": ("Streams that are open.", lambda: streams.open),
        }
        for name, (what, value) in gauges.items():
            Gauge(name, what, registry=own).set_function(value)
        if live is not None:
            Gauge("tlc_camera_frame", "Frames that the camera gave.", registry=own).set_function(lambda: live.seen)
            Gauge("tlc_camera_answers", "Predictions of its frames.", registry=own).set_function(lambda: live.looked)
        stored = Gauge("tlc_stored_examples", "Stored examples an image is compared with.", ["bundle"], registry=own)
        for name, served in bundles.items():
            stored.labels(name).set_function(partial(_rows, served))

    def seen(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        counted = self._counted.get((method, route, status))
        if counted is None:  # to find these two takes longer than to count
            known = method if method in ("GET", "HEAD", "POST", "DELETE") else "other"
            counted = self._requests.labels(known, route, status), self._seconds.labels(route)
            if known == method:
                self._counted[method, route, status] = counted
        counted[0].inc()
        if route not in ("/events", "/stream.mjpg"):
            counted[1].observe(seconds)

    def text(self) -> tuple[bytes, str]:
        """Return all figures, and their media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


def _rows(served: Served) -> float:
    try:
        return served.classifier.rows
    except TlcError:  # of a gallery that is damaged, say: all else is told
        return float("nan")
