"""Run the shards of a pass on a Ray cluster: plain tasks, one for each shard, whose file is the result.

https://docs.ray.io/en/latest/ray-core/tasks.html. The driver holds numbers of shards and what each took; a task that
dies with its worker or node is tried again, a few times, and then told.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, TextIO

from tlc_edge.runtime.errors import BuildError, DataError, TlcError, first_line
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.progress import Count

from .records import Pass, Plan, read_plan
from .run import Runner, run_shard
from .store import SHARDS, Store

RETRIES = 5
"""Of a task whose worker or node died."""
IN_FLIGHT = 2
"""Tasks per core that are handed out at a time."""


def ray_runner(address: str) -> Runner:
    """Return what makes shards on the cluster at an address; `auto`: the one that runs here, or this machine alone.

    Raises:
        DataError: ray is missing.
    """
    if importlib.util.find_spec("ray") is None:
        raise DataError(f"--cluster: ray, which runs it, is missing; run: {pip_line('cluster')}")

    def run(store: Store, plan: Plan, one: Pass, progress: Count) -> None:
        with _connected(address) as ray:
            _run(ray, store, plan, one, progress)

    return run


def _run(ray: Any, store: Store, plan: Plan, one: Pass, progress: Count) -> None:
    there = store.names(SHARDS)
    missing = [i for i in range(len(one.lists)) if one.shard(plan, i)[0].partition("/")[2] not in there]
    # One core each: shards do not wait for each other, and threads in a shard would.
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_task)
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    total, done = len(one.lists), len(one.lists) - len(missing)
    waiting: dict[Any, int] = {}
    left = iter(missing)
    while True:
        while len(waiting) < IN_FLIGHT * cores and (index := next(left, None)) is not None:
            waiting[task.remote(store.where, one.name, index)] = index
        if not waiting:
            return
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=1.0)
        for future in ready:
            index = waiting.pop(future)
            try:
                problem = ray.get(future)
            except ray.exceptions.RayError as e:
                raise BuildError(
                    f"shard {index} of pass {one.number}: its worker died {RETRIES + 1} times ({first_line(e)[:160]}); "
                    f"see what it holds: tlc features run {store.name} --shard {index}"
                ) from None
            if problem is not None:
                raise DataError(problem)
            done += 1
            progress(done, total)
        cores = max(cores, int(ray.cluster_resources().get("CPU", 1)))  # machines may join


def _task(where: str, name: str, index: int) -> str | None:
    """Make one shard in a worker; return what is wrong with it, which no retry would mend."""
    store = Store(where)
    plan, passes = read_plan(store)
    try:
        run_shard(store, plan, next(one for one in passes if one.name == name), index, threads=1)
    except TlcError as e:
        return str(e)
    return None


@contextlib.contextmanager
def _connected(address: str) -> Generator[Any]:
    """Yield ray, connected; what it prints goes to a log file.

    Raises:
        BuildError: there is no such cluster.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    old = os.umask(0o077)  # its token and its logs are nobody else's
    log = Path(tempfile.gettempdir()) / f"tlc-ray-{os.getpid()}-{secrets.token_hex(4)}.log"
    try:
        with _noise_to(log):
            import ray

            local = address == "auto" and not os.environ.get("RAY_ADDRESS")
            given: dict[str, Any] = {"include_dashboard": False} if local else {"address": address}
            try:
                ray.init(**given, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
            except Exception as e:
                raise BuildError(_told(address, e)) from None
            try:
                yield ray
            finally:
                ray.shutdown()
    finally:
        os.umask(old)
        if log.exists() and not log.stat().st_size:
            log.unlink()


def _told(address: str, error: Exception) -> str:
    """Return in a sentence why a cluster is of no use, and what to do."""
    problem = first_line(error)[:200]
    if "version mismatch" in problem.lower():
        problem = " ".join(str(error).split())[:300]  # it goes on with both sides
        return (
            f"--cluster {address}: has another Python or Ray than this machine ({problem}); install the same on both, "
            "or run the build on a node"
        )
    then = "start one with `ray start --head`, and give every node the same token"
    if "Initialization failure" in problem:
        then = (
            "its log, ray_client_server.err, says why; where the server of a client ends at once, start the head with "
            "GRPC_ENABLE_FORK_SUPPORT=0 in its environment"
        )
    return f"--cluster {address}: cannot be reached ({problem.rstrip(':. ')}); {then}"


class _ByThread(io.TextIOBase):
    """Writes what this thread says to one stream, and what others say to another: Ray has threads to tell of deaths."""

    def __init__(self, own: TextIO, others: TextIO) -> None:
        self._thread, self._own, self._others = threading.get_ident(), own, others

    def write(self, text: str, /) -> int:
        """Write a text to the stream of this thread."""
        return self._stream().write(text)

    def flush(self) -> None:
        """Flush it."""
        self._stream().flush()

    def isatty(self) -> bool:
        """Return whether the own one is a terminal."""
        return self._own.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the own one."""
        return self._own.encoding

    def _stream(self) -> TextIO:
        return self._own if threading.get_ident() == self._thread else self._others


@contextlib.contextmanager
def _noise_to(log: Path) -> Generator[None]:
    """Send what this process's libraries and their children write on stderr to a file.

    Progress is shown on stderr too, so Python's own keeps the terminal.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    python, out, opened = sys.stderr, sys.stdout, list[TextIO]()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.dup2(target, 2)
        terminal = os.fdopen(os.dup(kept), "w", encoding=python.encoding or "utf-8", buffering=1)
        noise = os.fdopen(os.dup(target), "w", encoding="utf-8", errors="replace", buffering=1)
        opened += [terminal, noise]
        sys.stderr, sys.stdout = _ByThread(terminal, noise), _ByThread(out, noise)
        yield
    finally:
        sys.stderr, sys.stdout = python, out
        for stream in opened:
            stream.close()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(target)
