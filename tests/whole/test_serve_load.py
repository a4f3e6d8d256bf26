"""`tlc serve` with many clients at once, and killed in the middle: no error, and nothing lost that was acknowledged."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_runs import COMMAND
from serving import picture, running
from test_json_shapes import hold

from tlc_edge.runtime.gallery.gallery import Gallery
from tlc_edge.runtime.serve.server import GRACE
from tlc_edge.runtime.serve.workers import BusyError, Workers

SECONDS = float(os.environ.get("TLC_SERVE_SECONDS", "30"))


@contextlib.contextmanager
def server(bundle: Path, state: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of its own process; its address."""
    command = [*COMMAND, "serve", str(bundle), "--port", "0", "--json", "--state", str(state), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            text = ""
            assert process.stdout is not None
            while not text.rstrip().endswith("}"):
                line = process.stdout.readline()
                assert line, process.communicate()[1]
                text += line
            document = json.loads(text)
            hold("serve", document)
            yield process, f"{document['address']}api/v1/bundles/photos/"
        finally:
            process.kill()


def ask(client: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response:
    """Ask, and again where the server says that it has no room just now."""
    while (answer := client.request(method, path, **more)).status_code in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
        time.sleep(0.2)
    return answer


def enrolled(bundle: Path) -> set[str]:
    with Gallery.open_any(bundle.with_name("photos.tlc.gallery")) as gallery:
        assert gallery.check() == []
        return {e.source_name for e in gallery.examples()}


@pytest.mark.slow
def test_fifty_predict_and_five_teach_and_nothing_is_lost(bundle_path: Path, tmp_path: Path) -> None:
    taught: set[str] = set()
    times: list[float] = []
    wrong: list[str] = []
    with server(bundle_path, tmp_path / "state") as (process, root):
        end = time.monotonic() + SECONDS

        def predict(i: int) -> None:
            data = picture(i)
            with httpx.Client(base_url=root, timeout=120) as client:
                while time.monotonic() < end:
                    start = time.perf_counter()
                    answer = ask(client, "POST", "predict", content=data)
                    times.append(time.perf_counter() - start)
                    if answer.status_code != 200:
                        wrong.append(answer.text)

        def teach(i: int) -> None:
            number = 0
            with httpx.Client(base_url=root, timeout=120) as client:
                while time.monotonic() < end:
                    name, number = f"{i}-{number}.jpg", number + 1
                    data = picture(1000 * i + number + 100)
                    answer = ask(client, "POST", f"enroll?label=class {i}", files={"images": (name, data)})
                    if answer.status_code == 200:
                        taught.add(name)
                    else:
                        wrong.append(answer.text)

        threads = [threading.Thread(target=predict, args=(i,)) for i in range(50)]
        threads += [threading.Thread(target=teach, args=(i,)) for i in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert wrong == []
    assert (process.returncode, said) == (0, "")
    assert enrolled(bundle_path) == taught
    assert len(taught) >= 5
    p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    print(f"{len(times)} predictions, {len(taught)} enrolments, p50 {p50:.3f} s, p95 {p95:.3f} s")


@pytest.mark.slow
def test_killed_while_it_is_taught_it_loses_nothing_acknowledged(bundle_path: Path, tmp_path: Path) -> None:
    taught: set[str] = set()
    for run in range(4):
        with server(bundle_path, tmp_path / "state") as (process, root):
            came = threading.Event()

            def teach(i: int, run: int = run, root: str = root, came: threading.Event = came) -> None:
                with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=root, timeout=60) as client:
                    for number in range(1000):
                        name = f"{run}-{i}-{number}.jpg"
                        data = picture(10_000 * run + 1000 * i + number)
                        if client.post(f"enroll?label=class {i}", files={"images": (name, data)}).status_code == 200:
                            taught.add(name)
                            came.set()

            threads = [threading.Thread(target=teach, args=(i,)) for i in range(5)]
            for thread in threads:
                thread.start()
            assert came.wait(60)
            time.sleep(0.13 * run)
            process.kill()
            for thread in threads:
                thread.join()
        assert taught <= enrolled(bundle_path)


def test_what_is_under_way_is_finished_when_the_end_is_asked_for(bundle_path: Path, tmp_path: Path) -> None:
    answers: list[int] = []
    with server(bundle_path, tmp_path / "state") as (process, root):
        with httpx.Client(base_url=root, timeout=60) as client, client.stream("GET", "events") as events:
            lines = events.iter_lines()
            assert next(lines) == "retry: 2000"
            files = [("images", (f"{i}.jpg", picture(i))) for i in range(40)]
            sending = threading.Thread(
                target=lambda: answers.append(httpx.post(f"{root}enroll?label=a", files=files, timeout=60).status_code)
            )
            sending.start()
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:  # until it is being done
                figures = client.get(f"{root.partition('/api')[0]}/metrics").text
                if "tlc_running_changes 1.0" in figures:
                    break
            process.send_signal(signal.SIGTERM)
            assert [line for line in lines if line.startswith("event: ")] == ["event: hello"]  # the stream ends
        sending.join()
        process.communicate(timeout=GRACE + 30)
    assert answers == [200]
    assert process.returncode == 0
    assert len(enrolled(bundle_path)) == 40


# --- the pool of workers


def test_clients_take_turns_and_what_is_too_much_is_refused() -> None:
    import asyncio

    done: list[str] = []
    go = threading.Event()

    async def run() -> None:
        workers = Workers("test", 1, 8)
        try:
            first = asyncio.create_task(workers.run("a", lambda: go.wait(30)))
            while not workers.working:
                await asyncio.sleep(0.001)
            jobs = [asyncio.create_task(workers.run("a", lambda i=i: done.append(f"a{i}"))) for i in range(4)]
            await asyncio.sleep(0)
            with pytest.raises(BusyError):  # half of the places are one client's
                await workers.run("a", lambda: None)
            jobs += [asyncio.create_task(workers.run("b", lambda i=i: done.append(f"b{i}"))) for i in range(2)]
            jobs += [asyncio.create_task(workers.run("c", lambda: done.append("c0")))]
            await asyncio.sleep(0)
            jobs[1].cancel()  # who stops waiting has it not done
            assert workers.waiting == 7
            go.set()
            await asyncio.gather(first, *jobs, return_exceptions=True)
            with pytest.raises(ZeroDivisionError):
                await workers.run("a", lambda: 1 // 0)
        finally:
            workers.close()

    asyncio.run(run())
    assert done == ["a0", "b0", "c0", "b1", "a2", "a3"]


def test_a_server_that_has_too_much_to_do_says_when_to_ask_again(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlc_edge.runtime.serve.app._MOST_WAITING", 4)
    go = threading.Event()
    with running(bundle_path, state=tmp_path / "state") as running_server:
        classifier = running_server.app.bundles["photos"].classifier
        predict = classifier.predict
        monkeypatch.setattr(classifier, "predict", lambda image: (go.wait(60), predict(image))[1])
        found: list[int] = []

        def post() -> None:
            with running_server.client() as client:
                answer = client.post("predict", content=picture())
                found.append(answer.status_code)
                if answer.status_code == 503:
                    assert answer.headers["retry-after"] == "1"

        threads = [threading.Thread(target=post) for _ in range(6)]
        for thread in threads:
            thread.start()
        while found.count(503) < 3:  # one is at work and two wait, half of what may
            time.sleep(0.01)
        with running_server.client() as client:  # what is not predicting is not held up
            assert client.get("classes").status_code == 200
        go.set()
        for thread in threads:
            thread.join()
    assert sorted(found) == [200, 200, 200, 503, 503, 503]
