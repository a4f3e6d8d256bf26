"""A topic of an MQTT broker: each change retained, and whether the watcher is there at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tlc_edge.runtime.errors import DeviceError, UsageError
from tlc_edge.runtime.optional import NotThereError, load

from .address import shown
from .trust import explained

_TIMEOUT = 5.0
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_SHAPE = "[mqtts://]HOST[:PORT]/TOPIC, for example localhost/kitchen/camera"
AVAILABILITY = "availability"
"""Below the topic: `online`, or `offline` from the moment that the watcher ends, or that the broker finds it gone."""


class Mqtt:
    """Publishes each message on a topic, retained and at least once, so that who subscribes later has the latest."""

    def __init__(self, address: str, note: Callable[[str], None], trusted: ssl.SSLContext | None = None) -> None:
        """Take `HOST[:PORT]/TOPIC`; a user's name and password come from TLC_MQTT_USER and TLC_MQTT_PASSWORD.

        Args:
            address: `mqtts://` before it asks for TLS.
            note: is told, from another thread, when the broker refuses the connection.
            trusted: the certificates to trust over TLS, where they are not the system's.

        Raises:
            UsageError: `address` is none.
            DeviceError: paho-mqtt is missing, or does not load.
        """
        scheme, host, port, self.topic = _parts(address)
        mqtt = _paho()
        self.name = f"mqtt {host}"
        self._note = note
        self._connected = threading.Event()
        self._tried = threading.Event()
        """Set from the first connection, or failure to connect, on."""
        self._refusal: str | None = None
        self._trouble = "cannot be reached"
        self._sent: tuple[bytes, Any] | None = None
        self._kept: dict[str, bytes] = {}
        """Topics whose latest message is sent anew at every connection."""
        self._heard: dict[str, Callable[[bytes], None]] = {}
        self._client: Any = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.connect_timeout = _TIMEOUT
        self._client.reconnect_delay_set(1, 30)
        self._client.on_connect, self._client.on_disconnect = self._on_connect, self._on_disconnect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_message = lambda _client, _data, message: self._heard[message.topic](message.payload)
        self._client.will_set(f"{self.topic}/{AVAILABILITY}", b"offline", qos=1, retain=True)
        if scheme == "mqtts":
            self._client.tls_set_context(trusted or ssl.create_default_context())
        user = os.environ.get("TLC_MQTT_USER")
        if user:
            self._client.username_pw_set(user, os.environ.get("TLC_MQTT_PASSWORD"))
        self._client.connect_async(host, port)

    def start(self) -> None:
        """Connect, and again whenever it must, in a thread of its own."""
        self._client.loop_start()

    def keep(self, topic: str, message: bytes) -> None:
        """Publish a message that a broker shall always hold: now, and again at every connection."""
        self._kept[topic] = message
        if self._connected.is_set():
            self._client.publish(topic, message, qos=1, retain=True)

    def hear(self, topic: str, told: Callable[[bytes], None]) -> None:
        """Have `told` called, from another thread, with each message on a topic. Before `start`."""
        self._heard[topic] = told

    def send(self, message: bytes) -> None:
        """Publish one message and wait for the broker's word that it has it."""
        self._tried.wait(_TIMEOUT)
        if not self._connected.is_set():
            raise OSError(self._trouble)
        if self._sent is None or self._sent[0] is not message:
            self._sent = (message, self._client.publish(self.topic, message, qos=1, retain=True))
        info = self._sent[1]
        try:
            info.wait_for_publish(_TIMEOUT)
        except (ValueError, RuntimeError) as e:
            self._sent = None
            raise OSError(str(e)) from None
        if not info.is_published():
            raise OSError("does not confirm")  # it stays queued: the next try waits for the same one
        self._sent = None

    def show(self, topic: str, message: bytes) -> None:
        """Publish what only matters now, such as a picture: retained; where there is no connection it is let go."""
        if self._connected.is_set():
            self._client.publish(topic, message, qos=0, retain=True)

    def close(self) -> None:
        """Say that the watcher has ended, and disconnect; a broker that cannot be reached is not waited for."""
        if self._connected.is_set():
            last = self._client.publish(f"{self.topic}/{AVAILABILITY}", b"offline", qos=1, retain=True)
            with contextlib.suppress(ValueError, RuntimeError):
                last.wait_for_publish(1.0)
        connected = self._connected.is_set()
        self._client.disconnect()
        if connected:
            self._client.loop_stop()

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._trouble = f"refuses the connection ({code})"
            if self._refusal != self._trouble:
                self._refusal = self._trouble
                self._note(f"{self.name}: {self._trouble}; check TLC_MQTT_USER and TLC_MQTT_PASSWORD")
        else:
            self._refusal = None
            for topic in self._heard:
                self._client.subscribe(topic)
            for topic, message in [*self._kept.items(), (f"{self.topic}/{AVAILABILITY}", b"online")]:
                self._client.publish(topic, message, qos=1, retain=True)
            self._connected.set()
        self._tried.set()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self._connected.clear()
        # A broker that refuses also closes the line: its own words say more.
        if code.is_failure and self._refusal is None:
            self._trouble = f"cannot be reached ({code})"

    def _on_connect_fail(self, *_: Any) -> None:
        error = sys.exception()  # paho calls this where it caught one, and does not hand it on
        self._refusal = None
        self._trouble = f"cannot be reached ({explained(error)})" if error is not None else "cannot be reached"
        self._tried.set()


def _parts(address: str) -> tuple[str, str, int, str]:
    wrong = UsageError(f"--mqtt {shown(address)}: expected {_SHAPE}")
    scheme, mark, rest = address.partition("://")
    try:
        parts = urlsplit(f"//{rest if mark else address}")
        port = parts.port
    except ValueError:
        raise wrong from None
    scheme = scheme if mark else "mqtt"
    topic = parts.path.removeprefix("/")
    odd = any(c in address for c in "+#?\0") or "@" in parts.netloc or "//" in parts.path
    if scheme not in _PORTS or not parts.hostname or not topic or odd:
        raise wrong
    return scheme, parts.hostname, port or _PORTS[scheme], topic


def _paho() -> Any:
    try:
        mqtt = load("paho.mqtt.client")
    except NotThereError as e:
        raise DeviceError(f"--mqtt needs paho-mqtt, which {e}; run: pip install paho-mqtt") from None
    if not hasattr(mqtt, "CallbackAPIVersion"):  # Debian 12's own is one of those
        raise DeviceError(
            "--mqtt needs paho-mqtt 2.0 or later, an older one is installed; run: pip install 'paho-mqtt>=2'"
        )
    return mqtt


def device_id(topic: str) -> str:
    """Return a name for who publishes on a topic, of letters, digits and `_`; another topic has another."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", topic).strip("_")[:40]
    return f"tlc_{plain}_{hashlib.sha256(topic.encode()).hexdigest()[:6]}"
