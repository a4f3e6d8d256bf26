"""A real mosquitto: refusals in its words, TLS, who is there and who is gone, and Home Assistant's device."""

from __future__ import annotations

import gc
import io
import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_runs import here
from PIL import Image
from test_deliver import PATIENCE, QUICK, free_port, wait
from test_watch import Running, put

from tlc_edge.runtime import Classifier
from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.watch.home_assistant import discovery
from tlc_edge.runtime.watch.mqtt import Mqtt, device_id
from tlc_edge.runtime.watch.outbox import Outbox
from tlc_edge.runtime.watch.receivers import Webhook
from tlc_edge.runtime.watch.trust import trusted

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
TOPIC = "home/cam"


class Broker:
    """A mosquitto that knows one user, `cam` with the password `right`."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        if MOSQUITTO is None:
            pytest.skip("mosquitto is not installed; apt-get install mosquitto")
        pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
        self.port = free_port()
        words, lines = folder / "words", [f"listener {self.port} 127.0.0.1", "persistence false"]
        words.write_text("cam:right\n")
        subprocess.run(["mosquitto_passwd", "-U", str(words)], check=True, capture_output=True)
        # Started by root it would become a user who cannot read the folder; started by another it passes `user` over.
        lines += ["allow_anonymous false", f"password_file {words}", "user root"]
        if certificate is not None:
            lines += [f"certfile {certificate}", f"keyfile {certificate.with_name('key.pem')}"]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        self._command = [MOSQUITTO, "-c", str(folder / "mosquitto.conf")]
        self.start()

    def start(self) -> None:
        self._child = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while True:
            assert self._child.poll() is None
            assert time.monotonic() < end
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()


class Reader:
    """Keeps the latest message of every topic, as Home Assistant does."""

    def __init__(self, port: int) -> None:
        import paho.mqtt.client as mqtt

        self.all: list[tuple[str, bytes]] = []
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.username_pw_set("cam", "right")
        self.client.on_message = lambda _c, _d, m: self.all.append((m.topic, m.payload))
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("#", qos=1)
        self.client.loop_start()

    def latest(self, topic: str) -> bytes | None:
        return next((m for t, m in reversed(self.all) if t == topic), None)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLC_MQTT_USER", "cam")
    monkeypatch.setenv("TLC_MQTT_PASSWORD", "right")


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory, login: None) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("broker"))
    yield made
    made.stop()


@pytest.fixture
def reader(broker: Broker) -> Iterator[Reader]:
    made = Reader(broker.port)
    yield made
    made.stop()


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of one's own for localhost, with `key.pem` beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "own.pem")]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *names]
    subprocess.run(make, check=True, capture_output=True)
    return folder / "own.pem"


def mqtt(address: str, notes: list[str], trust: ssl.SSLContext | None = None) -> Mqtt:
    made = Mqtt(address, notes.append, trust)
    made.start()
    return made


def test_a_refusal_is_in_the_brokers_words_and_not_that_it_cannot_be_reached(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLC_MQTT_PASSWORD", "wrong")
    notes: list[str] = []
    outbox = Outbox(mqtt(f"127.0.0.1:{broker.port}/{TOPIC}", notes), notes.append, pauses=QUICK)
    wait(lambda: bool(notes))  # before there is any message
    outbox.put(b"1")
    wait(lambda: len(notes) == 2)
    time.sleep(1.5)  # it has connected again
    assert outbox.close(0.0) == 1
    refused = "mqtt 127.0.0.1: refuses the connection (Not authorized); "
    assert notes == [f"{refused}check TLC_MQTT_USER and TLC_MQTT_PASSWORD", f"{refused}trying again"]


def test_who_is_there_who_has_ended_and_who_was_killed(
    broker: Broker, reader: Reader, bundle_path: Path, photos: Path, tmp_path: Path
) -> None:
    there = f"{TOPIC}/availability"
    for how in (signal.SIGTERM, signal.SIGKILL):
        folder = tmp_path / how.name
        folder.mkdir()
        running = Running("watch", bundle_path, "--camera", folder, "--mqtt", f"127.0.0.1:{broker.port}/{TOPIC}")
        try:
            running.err.get(timeout=PATIENCE)
            wait(lambda: reader.latest(there) == b"online")
            put(photos / "0" / "0.png", folder, "0.png")
            wait(lambda: reader.latest(TOPIC) is not None)
        finally:
            running.stop(how)
        wait(lambda: reader.latest(there) == b"offline")
        assert json.loads(reader.latest(TOPIC) or b"")["label"] == "0"


def test_a_broker_that_starts_anew_is_told_again(broker: Broker) -> None:
    notes: list[str] = []
    receiver = mqtt(f"127.0.0.1:{broker.port}/{TOPIC}", notes)
    receiver.keep("kept", b"this")
    wait(receiver._connected.is_set)
    broker.stop()
    wait(lambda: not receiver._connected.is_set())
    broker.start()  # it remembers nothing
    late = Reader(broker.port)
    wait(lambda: late.latest("kept") == b"this" and late.latest(f"{TOPIC}/availability") == b"online")
    late.stop()
    receiver.close()
    assert notes == []


# paho does not close the socket whose handshake failed.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_over_tls_only_who_is_trusted_gets_a_message(
    tmp_path_factory: pytest.TempPathFactory, certificate: Path, login: None
) -> None:
    secure = Broker(certificate.parent, certificate)
    try:
        notes: list[str] = []
        address = f"mqtts://localhost:{secure.port}/{TOPIC}"
        with Outbox(mqtt(address, notes), notes.append, pauses=QUICK, grace=0.0) as outbox:
            outbox.put(b"1")
            wait(lambda: bool(notes))
        wait(lambda: not any(t.name.startswith("paho") for t in threading.enumerate()))
        gc.collect()
        said = "mqtt localhost: cannot be reached (its certificate is not trusted: self-signed certificate; give it, or"
        assert notes[0].startswith(said)
        notes.clear()
        with Outbox(mqtt(address, notes, trusted(str(certificate))), notes.append, grace=PATIENCE) as outbox:
            outbox.put(b"1")
        assert notes == []
    finally:
        secure.stop()


def test_home_assistant_finds_a_device_with_its_classes_and_a_picture(
    broker: Broker, reader: Reader, bundle_path: Path, photos: Path, tmp_path: Path
) -> None:
    folder, config = tmp_path / "in", f"homeassistant/device/{device_id(TOPIC)}/config"
    folder.mkdir()
    address = f"127.0.0.1:{broker.port}/{TOPIC}"
    running = Running("watch", bundle_path, "--camera", folder, "--mqtt", address, "--home-assistant")
    try:
        running.err.get(timeout=PATIENCE)
        wait(lambda: reader.latest(config) is not None)
        found = json.loads(reader.latest(config) or b"")
        assert found == discovery(TOPIC, "0123")
        assert found["cmps"]["label"]["options"] == [*"0123", "unknown"]
        reader.all.clear()
        reader.client.publish("homeassistant/status", b"online")  # Home Assistant has started
        wait(lambda: reader.latest(config) is not None)
        with Classifier.open(bundle_path) as classifier:
            classifier.enroll("drei", [photos / "3" / f"{i}.png" for i in range(4)])
        put(photos / "3" / "0.png", folder, "3.png")
        wait(lambda: reader.latest(TOPIC) is not None and reader.latest(f"{TOPIC}/picture") is not None)
        assert json.loads(reader.latest(TOPIC) or b"")["label"] == "drei"
        assert json.loads(reader.latest(config) or b"")["cmps"]["label"]["options"] == [*"0123", "drei", "unknown"]
        order = [topic for topic, message in reader.all if topic == TOPIC or (b"drei" in message and topic == config)]
        assert order[-2:] == [config, TOPIC]  # the option before the state that needs it
        picture = Image.open(io.BytesIO(reader.latest(f"{TOPIC}/picture") or b""))
        assert picture.format == "JPEG"
        with Image.open(photos / "3" / "0.png") as original:
            assert picture.size == original.size
    finally:
        running.stop(signal.SIGTERM)


def test_topics_that_look_alike_are_devices_of_their_own() -> None:
    assert len({device_id(t) for t in ("home/cam", "home_cam", "Home/cam", "home/cam2", "居間/cam", "寝室/cam")}) == 6
    assert device_id("home/cam") == device_id("home/cam")


# --- webhooks


class Receiving(threading.Thread):
    """An https server that keeps paths and headers."""

    def __init__(self, certificate: Path) -> None:
        import http.server

        got: list[dict[str, str]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                got.append(dict(self.headers))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.got = got
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key.pem"))

        class Secure(http.server.ThreadingHTTPServer):
            def get_request(self) -> tuple[socket.socket, Any]:
                plain, peer = self.socket.accept()
                try:
                    return context.wrap_socket(plain, server_side=True), peer
                except OSError:  # a client that does not trust it
                    plain.close()
                    raise

        self.server = Secure(("127.0.0.1", 0), Handler)
        super().__init__(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.start()


def test_a_webhook_with_a_token_and_a_certificate_of_ones_own(certificate: Path, tmp_path: Path) -> None:
    server, notes = Receiving(certificate), list[str]()
    url = f"https://localhost:{server.server.server_address[1]}/api/events/tlc"
    (tmp_path / "token").write_text("X-Second: two\n\nAuthorization: Bearer SECRET\n")
    headers = [f"@{tmp_path / 'token'}", "x-first:one"]
    with Outbox(Webhook(url, headers), notes.append, grace=1.0) as outbox:
        outbox.put(b"1")
        wait(lambda: bool(notes))
    assert notes[0].startswith(
        "webhook localhost: its certificate is not trusted: self-signed certificate; give it, or"
    )
    notes.clear()
    with Outbox(Webhook(url, headers, trusted(str(certificate))), notes.append, grace=PATIENCE) as outbox:
        outbox.put(b"1")
    server.server.shutdown()
    server.server.server_close()
    assert notes == []
    (got,) = server.got
    assert (got["Authorization"], got["X-First"], got["X-Second"]) == ("Bearer SECRET", "one", "two")


@pytest.mark.parametrize(
    "header", ["SECRET", ": SECRET", "na me: SECRET", "a: SECRET\r\nb: c", "a: SECRÉT", "Host: SECRET", "@nowhere"]
)
def test_what_is_no_header_is_told_without_its_value(header: str) -> None:
    with pytest.raises(UsageError, match=r"^--header") as caught:
        Webhook("http://host/", [header])
    assert "SECR" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--home-assistant"], "--home-assistant goes over --mqtt; give the broker"),
        (["--header", "a: b"], "--header goes with --webhook; give its address"),
        (["--ca", "x", "--webhook", "http://host/"], "--ca is for --webhook https://… and --mqtt mqtts://…"),
        (["--ca", "nowhere", "--webhook", "https://host/"], "--ca nowhere: No such file or directory; give the"),
    ],
)
def test_options_with_nothing_to_work_on(
    capfd: pytest.CaptureFixture[str], bundle_path: Path, options: list[str], said: str
) -> None:
    done = here(capfd, "watch", bundle_path, "--camera", ".", *options)
    assert said in done.failed(2)


def test_a_file_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("none")
    with pytest.raises(UsageError, match=r"a\.pem: holds no certificate in PEM form; give the"):
        trusted(str(tmp_path / "a.pem"))
