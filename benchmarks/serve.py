"""What `tlc serve` adds to the runtime it serves; server and runtime take turns in one run, so only ratios count.

    python benchmarks/serve.py BUNDLE IMAGE [--rounds 9] [--seconds 2] [--small] [--json]

Latency: one client that asks again and again over a kept connection, beside `Classifier.predict` of the same bytes in
a process of its own. Predictions a second: 1, 8 and 50 clients (one thread, that does nothing but send and receive),
beside the bare engine, run from one thread per core on an image that is decoded already, and beside
`Classifier.predict` from as many threads. The image is brought to the model's input size first, as the page sends it.
On a busy machine the processor time of each prediction says more: it does not count who else computes.
Memory: the server's own (RssAnon) with 50 clients.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tlc_edge.runtime import Classifier
from tlc_edge.runtime.images.load import load_image

CORES = os.cpu_count() or 1


# --- the runtime, in a process of its own: a line in, a line out


def runtime(bundle: str, image: str) -> None:
    data = Path(image).read_bytes()
    with Classifier.open(bundle, threads=CORES) as classifier:
        pixels = load_image(data, classifier.bundle.manifest.preprocessing)
        engine = classifier._engine
        work: dict[str, Callable[[], object]] = {
            "engine": lambda: engine.run(pixels),
            "predict": lambda: classifier.predict(data),
        }
        work["predict"]()
        print("ready", flush=True)
        for line in sys.stdin:
            what, how, seconds = line.split()
            if how == "latency":
                print(json.dumps(latencies(work[what], float(seconds))), flush=True)
            else:
                before = time.process_time()
                found, done = rate(work[what], float(seconds), CORES)
                print(json.dumps((found, (time.process_time() - before) * 1e3 / done)), flush=True)


def latencies(work: Callable[[], object], seconds: float) -> list[float]:
    end, found = time.perf_counter() + seconds, []
    while (start := time.perf_counter()) < end:
        work()
        found.append((time.perf_counter() - start) * 1e3)
    return found


def rate(work: Callable[[], object], seconds: float, threads: int) -> tuple[float, int]:
    done = [0] * threads
    start = time.perf_counter()

    def run(i: int) -> None:
        while time.perf_counter() - start < seconds:
            work()
            done[i] += 1

    running = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(done) / (time.perf_counter() - start), sum(done)


# --- clients


def asked(data: bytes, name: str) -> bytes:
    head = f"POST /api/v1/bundles/{name}/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def receive(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
    while len(body) < length:
        body += more(connection)


def more(connection: socket.socket) -> bytes:
    piece = connection.recv(1 << 16)
    assert piece, "the server ended the connection"
    return piece


def clients(port: int, request: bytes, count: int, seconds: float) -> tuple[float, int]:
    """Return predictions a second, and how many, of some clients, each of which asks again once it is answered."""
    chosen = selectors.DefaultSelector()
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        chosen.register(connection, selectors.EVENT_READ)
        connection.sendall(request)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for key, _ in chosen.select(1):
            receive(key.fileobj)  # type: ignore[arg-type]
            done += 1
            key.fileobj.sendall(request)  # type: ignore[union-attr]
    found = done / (time.perf_counter() - start)
    for key in list(chosen.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    return found, done


def one_client(port: int, request: bytes, seconds: float) -> list[float]:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask() -> None:
            connection.sendall(request)
            receive(connection)

        ask()
        return latencies(ask, seconds)


def own_memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def processor_time(pid: int) -> float:
    """Return the milliseconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")


def compare(bundle: str, image: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    name = Path(bundle).name.removesuffix(".tlc")
    request = asked(Path(image).read_bytes(), name)
    again = [sys.executable, __file__, bundle, image, "--runtime"]
    serve = [sys.executable, "-c", "from tlc_edge.cli import main; main()", "serve", bundle, "--port", "0", "--json"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(again, **pipes) as own,  # type: ignore[call-overload]
        subprocess.Popen([*serve, "--threads", str(CORES)], **pipes) as server,  # type: ignore[call-overload]
    ):
        try:
            own.stdout.readline()
            text = ""
            while not text.rstrip().endswith("}"):
                text += server.stdout.readline()
            port = int(json.loads(text)["address"].rstrip("/").rpartition(":")[2])

            def ask(what: str, how: str) -> Any:
                own.stdin.write(f"{what} {how} {seconds}\n")
                own.stdin.flush()
                return json.loads(own.stdout.readline())

            one_client(port, request, seconds)
            idle = own_memory(server.pid)
            api: list[float] = []
            http: list[float] = []
            shares: dict[int, list[tuple[float, ...]]] = {1: [], 8: [], 50: []}
            for _ in range(rounds):
                api += ask("predict", "latency")
                http += one_client(port, request, seconds)
                for count, found in shares.items():
                    (bare, bare_ms), (whole, whole_ms) = ask("engine", "rate"), ask("predict", "rate")
                    before = processor_time(server.pid)
                    served, done = clients(port, request, count, seconds)
                    used = (processor_time(server.pid) - before) / done
                    found.append((served, served / bare, served / whole, used, bare_ms / used, whole_ms / used))
            busy = own_memory(server.pid)
        finally:
            server.terminate()
            own.stdin.close()
    rows = [
        row("added latency at p50", statistics.median(http) - statistics.median(api), "ms", "3 or less"),
        row("Classifier.predict at p50", statistics.median(api), "ms"),
        row("over HTTP at p50", statistics.median(http), "ms"),
    ]
    for count, found in shares.items():
        served, bare, whole, used, of_bare, of_whole = map(statistics.median, zip(*found, strict=True))
        rows.append(row(f"predictions a second, {count} clients", served, "1/s"))
        rows.append(row(f"the same, of the bare engine on {CORES} cores", bare, "share", "0.9 or more"))
        rows.append(row("the same, of Classifier.predict there", whole, "share"))
        rows.append(row(f"processor time of each, {count} clients", used, "ms"))
        rows.append(row("the bare engine's, of it", of_bare, "share"))
        rows.append(row("Classifier.predict's, of it", of_whole, "share"))
    rows.append(row("memory of its own, 1 client", idle / 1e6, "MB"))
    rows.append(row("memory of its own, 50 clients", busy / 1e6, "MB"))
    return rows


def row(what: str, value: float, unit: str, goal: str = "") -> dict[str, Any]:
    return {"what": what, "value": round(value, 3), "unit": unit, "goal": goal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--small", action="store_true", help="one short round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runtime", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.runtime:
        runtime(given.bundle, given.image)
        return
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "image.jpg"
        with Classifier.open(given.bundle) as classifier:
            spec = classifier.bundle.manifest.preprocessing
        out = io.BytesIO()
        Image.open(given.image).convert("RGB").resize((spec.width, spec.height)).save(out, "JPEG", quality=90)
        small.write_bytes(out.getvalue())
        rounds, seconds = (1, 0.3) if given.small else (given.rounds, given.seconds)
        rows = compare(given.bundle, str(small), rounds, seconds)
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    for one in rows:
        print(f"{one['what']:<52} {one['value']:>10} {one['unit']:<6} {one['goal']}")


if __name__ == "__main__":
    main()
