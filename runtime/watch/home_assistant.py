"""What Home Assistant reads to make a device of a watcher: one retained message, and a picture of the last change.

Source: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload (since 2024.11).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import ImageError

from .frames import Frame
from .mqtt import AVAILABILITY, Mqtt, device_id
from .picture import jpeg

_PREFIX = "homeassistant"
_PICTURE = "picture"
_SIDE = 640
_QUALITY = 85
UNKNOWN = "unknown"


class HomeAssistant:
    """Announces a watcher on its broker, and anew when Home Assistant starts or the classes change."""

    def __init__(self, mqtt: Mqtt, labels: Iterable[str]) -> None:
        """`mqtt` is not started yet."""
        self._mqtt = mqtt
        self._labels = tuple(labels)
        self._topic = f"{_PREFIX}/device/{device_id(mqtt.topic)}/config"
        mqtt.hear(f"{_PREFIX}/status", self._hear)
        self._announce()

    def follow(self, labels: Iterable[str]) -> None:
        """Announce the classes, where they are others than before."""
        found = tuple(labels)
        if found != self._labels:
            self._labels = found
            self._announce()

    def picture(self, frame: Frame, spec: Preprocessing) -> None:
        """Publish a frame as a JPEG; one that cannot be read any more is left out."""
        try:
            self._mqtt.show(f"{self._mqtt.topic}/{_PICTURE}", jpeg(frame, spec, _SIDE, _QUALITY))
        except ImageError:
            return

    def _hear(self, message: bytes) -> None:
        if message == b"online":
            self._announce()

    def _announce(self) -> None:
        self._mqtt.keep(self._topic, json.dumps(discovery(self._mqtt.topic, self._labels)).encode())


def discovery(topic: str, labels: Iterable[str]) -> dict[str, Any]:
    """Return the message that makes a device with three entities: what is seen, its score, and a picture."""
    name = device_id(topic)
    state = {"state_topic": topic}
    label = "{{ 'unknown' if value_json.unknown else value_json.label }}"
    return {
        "dev": {"ids": [name], "name": topic.replace("/", " "), "mf": "tlc", "sw": _version()},
        "o": {"name": "tlc", "sw": _version()},
        "cmps": {
            "label": {
                "p": "sensor",
                "unique_id": f"{name}_label",
                "name": "Seen",
                "device_class": "enum",
                "options": list(dict.fromkeys([*labels, UNKNOWN])),
                "value_template": label,
                "json_attributes_topic": topic,
                **state,
            },
            "score": {
                "p": "sensor",
                "unique_id": f"{name}_score",
                "name": "Score",
                "unit_of_measurement": "%",
                "value_template": "{{ (100 * value_json.score) | round(1) }}",
                **state,
            },
            "picture": {
                "p": "image",
                "unique_id": f"{name}_picture",
                "name": "Last change",
                "content_type": "image/jpeg",
                "image_topic": f"{topic}/{_PICTURE}",
            },
        },
        "availability_topic": f"{topic}/{AVAILABILITY}",
    }


def _version() -> str:
    try:
        return metadata.version("tlc-edge")
    except metadata.PackageNotFoundError:
        return "?"
