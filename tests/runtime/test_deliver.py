"""What happened reaches a server, also one that is slow, away, or refuses; nobody ever waits for it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from command_runs import apart, without

from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.watch.mqtt import Mqtt
from tlc_edge.runtime.watch.outbox import Outbox
from tlc_edge.runtime.watch.receivers import Webhook

QUICK = (0.005, 0.02)
PATIENCE = 120.0


class Server(ThreadingHTTPServer):
    """A real web server that keeps what it is sent and answers as told."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0, *answers: int | threading.Event) -> None:
        """`answers` are the statuses to give first, then 200; an event is waited for before its 200."""
        self.got: list[tuple[str, str, bytes]] = []
        self.answers = list(answers)
        super().__init__(("127.0.0.1", port), Handler)
        self.port = int(self.server_address[1])
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def bodies(self) -> list[str]:
        return [body.decode() for _, _, body in self.got]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        if isinstance(answer, threading.Event):
            answer.wait(PATIENCE)
            answer = 200
        if answer < 300:
            self.server.got.append((self.path, self.headers["Content-Type"], body))
        self.send_response(answer)
        if 300 <= answer < 400:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)  # where a redirect was followed
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


def wait(there: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/hook?key=1"


def test_every_message_arrives_in_order_before_it_is_left(server: Server) -> None:
    notes: list[str] = []
    messages = [json.dumps({"label": f"tasse {i} ☕"}) for i in range(20)]
    with Outbox(Webhook(url(server.port)), notes.append, grace=PATIENCE) as outbox:
        for message in messages:
            outbox.put(message.encode())
    assert server.bodies() == messages
    assert {(path, kind) for path, kind, _ in server.got} == {("/hook?key=1", "application/json")}
    assert notes == []


def test_a_dead_server_stalls_nobody_and_the_newest_are_kept() -> None:
    notes: list[str] = []
    port = free_port()
    outbox = Outbox(Webhook(url(port)), notes.append, capacity=10, pauses=QUICK)
    for i in range(500):
        outbox.put(str(i).encode())
    wait(lambda: bool(notes))
    assert notes == ["webhook 127.0.0.1: Connection refused; trying again"]
    server = Server(port)
    outbox.put(b"last")
    wait(lambda: "last" in server.bodies())
    assert outbox.close() == outbox.lost >= 500 - 10 - 1
    server.stop()
    got = server.bodies()
    assert got[-4:] == ["497", "498", "499", "last"]
    assert len(got) + outbox.lost == 501
    assert notes[1:] == [f"webhook 127.0.0.1: delivers again, {outbox.lost} lost so far"]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_server_in_trouble_is_asked_again(status: int) -> None:
    server, notes = Server(0, status, status), list[str]()
    with Outbox(Webhook(url(server.port)), notes.append, pauses=QUICK, grace=PATIENCE) as outbox:
        outbox.put(b"1")
        outbox.put(b"2")
    server.stop()
    assert server.bodies() == ["1", "2"]
    assert [n.split(": ")[1][:3] for n in notes] == [str(status), "del"]


@pytest.mark.parametrize("status", [302, 400, 404, 410])
def test_a_server_that_refuses_is_not_asked_again_and_the_next_one_arrives(status: int) -> None:
    server, notes = Server(0, status), list[str]()
    with Outbox(Webhook(url(server.port)), notes.append, pauses=QUICK, grace=PATIENCE) as outbox:
        outbox.put(b"1")
        outbox.put(b"2")
    server.stop()
    assert server.bodies() == ["2"]
    assert notes[0].startswith(f"webhook 127.0.0.1: refused a message ({status} ")
    assert notes[1:] == ["webhook 127.0.0.1: 1 message not delivered"]


def test_what_answers_with_no_http_is_asked_again() -> None:
    """A port that another kind of server listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answered: list[int] = []

        def serve() -> None:
            while len(answered) < 3:
                peer, _ = listener.accept()
                peer.recv(1 << 16)
                peer.sendall(b"220 mail.example ESMTP\r\n" if len(answered) % 2 else b"")
                peer.close()
                answered.append(1)

        threading.Thread(target=serve, daemon=True).start()
        notes: list[str] = []
        outbox = Outbox(Webhook(url(listener.getsockname()[1])), notes.append, pauses=QUICK)
        outbox.put(b"1")
        wait(lambda: len(answered) >= 3)
        assert outbox.close(0.0) == 1
    assert len(notes) == 1
    assert notes[0].endswith("; trying again")


def test_leaving_waits_for_a_slow_server() -> None:
    leaving = threading.Event()
    server, notes = Server(0, leaving), list[str]()
    with Outbox(Webhook(url(server.port)), notes.append, grace=PATIENCE) as outbox:
        outbox.put(b"1")
        outbox.put(b"2")
        assert server.bodies() == []
        leaving.set()
    assert server.bodies() == ["1", "2"]
    assert notes == []
    server.stop()


def test_leaving_does_not_wait_for_ever() -> None:
    never = threading.Event()
    server, notes = Server(0, never), list[str]()
    with Outbox(Webhook(url(server.port)), notes.append, grace=0.2) as outbox:
        outbox.put(b"1")
        outbox.put(b"2")
        outbox.put(b"3")
    assert server.bodies() == []
    assert notes == ["webhook 127.0.0.1: 3 messages not delivered"]
    never.set()
    server.stop()


def test_ctrl_c_does_not_wait_for_a_server() -> None:
    notes: list[str] = []

    def interrupted() -> None:
        with Outbox(Webhook(url(free_port())), notes.append, grace=3600.0) as outbox:
            outbox.put(b"1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert notes[-1] == "webhook 127.0.0.1: 1 message not delivered"


@pytest.mark.parametrize(
    "address", ["", "example.org/x", "ftp://example.org/", "http://", "http:///x", "http://a:b/", "http://me:pw@host/"]
)
def test_what_is_no_address_for_a_webhook(address: str) -> None:
    with pytest.raises(UsageError, match=r"^--webhook "):
        Webhook(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host",
        "host/",
        "host:x/t",
        "host:99999/t",
        "/topic",
        "host/a/#",
        "host/+/b",
        "http://host/t",
        "mqtts://host",
        "u@h/t",
    ],
)
def test_what_is_no_address_of_a_broker(address: str) -> None:
    with pytest.raises(UsageError, match=r"^--mqtt "):
        Mqtt(address, print)


def test_without_paho_the_line_to_run_is_said(bundle_path: Path, tmp_path: Path) -> None:
    done = apart("watch", bundle_path, "--camera", tmp_path, "--mqtt", "host/x", **without(tmp_path, "paho"))
    assert done.failed() == "Error: --mqtt needs paho-mqtt, which is not installed; run: pip install paho-mqtt\n"


# --- a real broker

BROKER = """
import asyncio, sys
from amqtt.broker import Broker

plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
listener = {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}

async def serve():
    await Broker({"listeners": {"default": listener}, "plugins": plugins}).start()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""


class Broker:
    """A real MQTT broker in a process of its own."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-c", BROKER, str(port)]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        self._child.kill()
        self._child.communicate()


def connected(address: str, notes: list[str]) -> Mqtt:
    """Return a receiver that has begun to connect."""
    receiver = Mqtt(address, notes.append)
    receiver.start()
    return receiver


class Subscriber:
    """Someone who listens on every topic."""

    def __init__(self, port: int) -> None:
        import paho.mqtt.client as mqtt

        self.got: list[tuple[str, str]] = []
        ready = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _d, m: self._take(m.topic, m.payload.decode())
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", qos=1)
        self._client.loop_start()
        assert ready.wait(PATIENCE)

    def _take(self, topic: str, message: str) -> None:
        if not topic.endswith("/availability"):  # test_mqtt.py has that
            self.got.append((topic, message))

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def port() -> int:
    pytest.importorskip("amqtt", reason="amqtt, the broker to test with, is not installed")
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    return free_port()


def test_a_broker_gets_every_message_and_keeps_the_latest(port: int) -> None:
    broker, notes = Broker(port), list[str]()
    early = Subscriber(port)
    try:
        with Outbox(connected(f"127.0.0.1:{port}/home/kitchen", notes), notes.append, grace=PATIENCE) as outbox:
            for i in range(5):
                outbox.put(f"message {i} ☕".encode())
        wait(lambda: len(early.got) == 5)
        late = Subscriber(port)
        wait(lambda: bool(late.got))
        late.stop()
    finally:
        early.stop()
        broker.stop()
    assert early.got == [("home/kitchen", f"message {i} ☕") for i in range(5)]
    assert set(late.got) == {("home/kitchen", "message 4 ☕")}  # this broker gives what it kept more than once
    assert notes == []


def test_a_broker_that_goes_away_and_comes_back(port: int) -> None:
    notes: list[str] = []
    broker = Broker(port)
    outbox = Outbox(connected(f"127.0.0.1:{port}/t", notes), notes.append, pauses=QUICK)
    outbox.put(b"before")
    wait(lambda: not outbox._busy and not outbox._waiting)
    broker.stop()
    wait(lambda: not outbox._receiver._connected.is_set())  # type: ignore[attr-defined]
    outbox.put(b"between")
    broker = Broker(port)
    reader = Subscriber(port)
    try:
        wait(lambda: ("t", "between") in reader.got)
        outbox.put(b"after")
        wait(lambda: ("t", "after") in reader.got)
        assert outbox.close(PATIENCE) == 0
    finally:
        reader.stop()
        broker.stop()
    assert reader.got == [("t", "between"), ("t", "after")]


def test_a_broker_that_is_not_there_is_told_and_not_waited_for() -> None:
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    notes: list[str] = []
    receiver = connected(f"127.0.0.1:{free_port()}/t", notes)
    outbox = Outbox(receiver, notes.append, pauses=QUICK)
    outbox.put(b"1")
    wait(lambda: bool(notes))
    assert outbox.close(0.0) == 1
    assert notes == ["mqtt 127.0.0.1: cannot be reached (Connection refused); trying again"]
