"""Where answers are sent: an address that takes an HTTP POST, or a topic of an MQTT broker."""

from __future__ import annotations

import importlib
import os
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tlc_edge.runtime.errors import DeviceError, UsageError

from .address import shown
from .outbox import RefusedError

_TIMEOUT = 5.0
_MQTT_PORT = 1883
_AGAIN = (408, 425, 429)
"""The refusals that are meant for now only."""


class Webhook:
    """POSTs each message to an address, as JSON; an answer other than 2xx is a failure, redirects included."""

    def __init__(self, url: str) -> None:
        """Raises UsageError where `url` is no http or https address."""
        parts = _split(url, "--webhook")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise UsageError(f"--webhook {shown(url)}: expected http://HOST… or https://HOST…, without a user's name")
        self.name = f"webhook {parts.hostname}"
        self._url = url
        self._open = urllib.request.build_opener(_NoRedirect).open

    def send(self, message: bytes) -> None:
        """POST one message."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, message, headers, method="POST")
        try:
            with self._open(request, timeout=_TIMEOUT):
                return
        except urllib.error.HTTPError as e:
            status = f"{e.code} {e.reason}"
            e.close()
            if e.code < 500 and e.code not in _AGAIN:
                raise RefusedError(status) from None
            raise OSError(status) from None
        except (HTTPException, ValueError) as e:
            raise OSError(f"answers with what is no HTTP ({type(e).__name__})") from None

    def close(self) -> None:
        """Nothing is kept open."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows none: the message would turn into a GET."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Return no request to go on with."""


class Mqtt:
    """Publishes each message on a topic, retained and at least once, so that who subscribes later has the latest."""

    def __init__(self, address: str) -> None:
        """Take `HOST[:PORT]/TOPIC`; a user's name and password come from TLC_MQTT_USER and TLC_MQTT_PASSWORD.

        Raises:
            UsageError: `address` is none.
            DeviceError: paho-mqtt is missing.
        """
        parts = _split(f"//{address}", "--mqtt")
        self._topic = parts.path.removeprefix("/")
        wild = any(c in address for c in "+#?\0")
        if not parts.hostname or not self._topic or wild or "@" in parts.netloc or "//" in address:
            raise UsageError(
                f"--mqtt {shown(address)}: expected HOST[:PORT]/TOPIC, for example localhost/kitchen/camera"
            )
        try:
            mqtt: Any = importlib.import_module("paho.mqtt.client")
        except ImportError:
            raise DeviceError("--mqtt needs paho-mqtt, which is not installed; run: pip install paho-mqtt") from None
        self.name = f"mqtt {parts.hostname}"
        self._connected = threading.Event()
        self._tried = threading.Event()
        """Set from the first connection, or failure to connect, on."""
        self._trouble = "cannot be reached"
        self._sent: tuple[bytes, Any] | None = None
        self._client: Any = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.connect_timeout = _TIMEOUT
        self._client.reconnect_delay_set(1, 30)
        self._client.on_connect, self._client.on_disconnect = self._on_connect, self._on_disconnect
        self._client.on_connect_fail = lambda *_: self._tried.set()
        user = os.environ.get("TLC_MQTT_USER")
        if user:
            self._client.username_pw_set(user, os.environ.get("TLC_MQTT_PASSWORD"))
        self._client.connect_async(parts.hostname, parts.port or _MQTT_PORT)
        self._client.loop_start()  # connects, and again whenever it must, in a thread of its own

    def send(self, message: bytes) -> None:
        """Publish one message and wait for the broker's word that it has it."""
        self._tried.wait(_TIMEOUT)
        if not self._connected.is_set():
            raise OSError(self._trouble)
        if self._sent is None or self._sent[0] is not message:
            self._sent = (message, self._client.publish(self._topic, message, qos=1, retain=True))
        info = self._sent[1]
        try:
            info.wait_for_publish(_TIMEOUT)
        except (ValueError, RuntimeError) as e:
            self._sent = None
            raise OSError(str(e)) from None
        if not info.is_published():
            raise OSError("does not confirm")  # it stays queued: the next try waits for the same one
        self._sent = None

    def close(self) -> None:
        """Disconnect; a broker that cannot be reached is not waited for."""
        self._client.disconnect()
        if self._connected.is_set():
            self._client.loop_stop()

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._trouble = f"refuses the connection ({code})"
        else:
            self._connected.set()
        self._tried.set()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self._connected.clear()
        self._trouble = f"cannot be reached ({code})" if code.is_failure else self._trouble


def _split(address: str, option: str) -> SplitResult:
    """Split an address into its parts, the port checked."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:  # its words hold what stands where the port should, and that may be half a password
        raise UsageError(f"{option} {shown(address.removeprefix('//'))}: its host or port is none") from None
    return parts
