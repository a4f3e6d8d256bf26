"""One attack on one kind of input: inputs are tried until the time is over, and what each does is counted.

    python tests/fuzzing/fuzz_attack.py TARGET [--seconds 15] [--engine=atheris|--engine=own] [--findings FOLDER]

Run by tools/attack, a process for each kind. The counts go as JSON to the file that TLC_ATTACK_COUNTS names, now and
then while it runs, and to standard output at the end, but with atheris, whose library ends the process itself.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    _TESTS = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(_TESTS / name) for name in ("fuzzing", "", "runtime", "compiler")]


@contextlib.contextmanager
def guided(engine: str) -> Iterator[None]:
    """Have atheris see which lines of tlc run, of what is imported in the block."""
    if engine != "atheris":
        yield
        return
    import atheris

    with atheris.instrument_imports(include=["tlc_edge"]):
        yield


with guided("atheris" if "--engine=atheris" in sys.argv else "own"):
    from fuzz_kinds import TARGETS, Target
    from fuzz_mutations import mutated

    from tlc_edge.runtime.errors import LONGEST, TlcError, is_hidden

HANG = 20
"""Seconds of the processor that one input may take, a second process's not counted."""
COLUMNS = ("tried", "refused", "harmless", "traceback", "hang", "damage")
"""Refused: a TlcError with a clean message. Damage: a file that was not part of the input is another one, or new."""


class HangError(BaseException):
    """One input took too long."""


class Attack:
    """Tries inputs on a target and counts what they do."""

    def __init__(self, target: Target, folder: Path, findings: Path | None = None) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(COLUMNS, 0))
        self.findings = findings
        self.said: list[str] = []
        self._home = folder
        room = folder / "room"
        room.mkdir()
        (folder / "untouched").write_bytes(b"as it was")
        self._seeds, self._run = target.prepare(room)
        self._around = self._state()

    @property
    def seeds(self) -> list[bytes]:
        """The corpus."""
        return self._seeds

    def one(self, data: bytes) -> str:
        """Try one input; return the column that it counts in."""
        column = self._tried(data)
        self.counts["tried"] += 1
        self.counts[column] += 1
        if column not in ("refused", "harmless") and self.findings is not None:
            name = f"{column}-{hashlib.sha256(data).hexdigest()[:12]}"
            self.findings.mkdir(parents=True, exist_ok=True)
            (self.findings / name).write_bytes(data)
            (self.findings / f"{name}.txt").write_text(self.said[-1] if self.said else "")
        return column

    def _tried(self, data: bytes) -> str:
        signal.setitimer(signal.ITIMER_VIRTUAL, HANG)
        try:
            self._run(data)
            column = "harmless"
        except TlcError as e:
            column = "refused" if is_clean(str(e)) else self._found("traceback", f"a message that is not clean: {e!r}")
        except HangError:
            column = self._found("hang", traceback.format_exc())
        except Exception:
            column = self._found("traceback", traceback.format_exc())
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if self._state() != self._around:
            column = self._found("damage", f"{self._around} became {self._state()}")
            self._around = self._state()
        return column

    def _found(self, column: str, how: str) -> str:
        self.said.append(how)
        if len(self.said) <= 3:
            sys.stderr.write(f"{how}\n")
        return column

    def _state(self) -> Any:
        """Return what lies beside the room of the inputs, and the files of the same names outside it."""
        return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(self._home.iterdir()) if p.is_file()]


def is_clean(message: str) -> bool:
    """Return whether a message is one sentence that a terminal may see."""
    return bool(message) and len(message) <= LONGEST and not any(map(is_hidden, message)) and "Traceback" not in message


def _hang(*_: object) -> None:
    raise HangError


def attack(attack_: Attack, seconds: float, seed: int = 0, most: int | None = None) -> None:
    """Try the corpus as it is, then mutations of it, and of those mutations that were not refused."""
    chance, pool, end = random.Random(seed), list(attack_.seeds), time.monotonic() + seconds
    for data in pool:
        attack_.one(data)
    while time.monotonic() < end and (most is None or attack_.counts["tried"] < most):
        data = mutated(chance.choice(pool), chance, pool)[: 1 << 20]
        if attack_.one(data) == "harmless" and len(pool) < 200:
            pool.append(data)
        if attack_.counts["tried"] % 20 == 1:
            _keep(attack_)


def _atheris(attack_: Attack, seconds: float, folder: Path) -> None:
    import atheris

    seeds = folder / "seeds"
    seeds.mkdir()
    for i, data in enumerate(attack_.seeds):
        (seeds / str(i)).write_bytes(data)
    kept = 0.0

    def one(data: bytes) -> None:
        nonlocal kept
        attack_.one(data)
        if time.monotonic() - kept > 0.5:  # libFuzzer ends the process itself, and nothing could be said then
            kept = time.monotonic()
            _keep(attack_)

    def custom(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        return atheris.Mutate(data, most) if chance.random() < 0.5 else mutated(data, chance, attack_.seeds)[:most]

    atheris.Setup(
        [
            sys.argv[0],
            "-timeout=300",
            "-rss_limit_mb=0",
            "-max_len=1048576",
            "-verbosity=0",
            f"-max_total_time={seconds:.0f}",
            str(seeds),
        ],
        one,
        custom_mutator=custom,
    )
    atheris.Fuzz()


def _keep(attack_: Attack) -> None:
    path = os.environ.get("TLC_ATTACK_COUNTS")
    if path:
        Path(path).write_text(json.dumps(attack_.counts))


def _say(attack_: Attack) -> None:
    out = json.dumps(attack_.counts).encode()
    path = os.environ.get("TLC_ATTACK_COUNTS")
    if path:
        Path(path).write_bytes(out)
    sys.stderr.flush()
    os.write(1, out + b"\n")
    os._exit(0)


def main() -> None:
    """Attack one target."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=[t.name for t in TARGETS])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("atheris", "own"), default="own")
    parser.add_argument("--findings", type=Path)
    parser.add_argument("--replay", type=Path, help="try this input alone")
    asked = parser.parse_args()
    target = next(t for t in TARGETS if t.name == asked.target)
    signal.signal(signal.SIGVTALRM, _hang)
    with tempfile.TemporaryDirectory(prefix="tlc-attack-") as name:
        folder = Path(name)
        (folder / "target").mkdir()
        with guided(asked.engine):
            begun = Attack(target, folder / "target", asked.findings)
        if asked.replay is not None:
            begun.one(asked.replay.read_bytes())
            _say(begun)
        if asked.engine == "atheris":
            _atheris(begun, asked.seconds, folder)
        attack(begun, asked.seconds, asked.seed)
    _say(begun)


if __name__ == "__main__":
    main()
