"""The fenced blocks of the documentation: found, read, and compared with what their commands print."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_MARK = re.compile(r"<!-- (run|not run): (.+?) -->\s*")
_STEP = re.compile(r" {2}[a-zA-Z][\w -]* +\d+\.\d s( |$)")  # a step that took no time has no line
_NUMBER = r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?"
_FREE = (
    (r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00"),
    (r"\b[0-9a-f]{64}\b", r"[0-9a-f]{64}"),
    (r"\b[0-9A-F]{16}\b", r"[0-9A-F]{16}"),
    (r"\b\d+\.\d+\.\d+[\w.]*\b", r"\d+\.\d+[\w.]*"),
    (r"(?<![\w.])\d[\d,.]* (?:B|kB|MB)\b", rf"{_NUMBER} (?:B|kB|MB)"),
    (r"(?<![\w./-])\d+\.\d+-\d+\.\d+(?![\w/.-])", r"\d+\.\d+-\d+\.\d+"),
    (rf"(?<![\w./-]){_NUMBER}(?![\w/]|\.\w)", _NUMBER),
)
"""What differs between two runs or two machines: how it looks, and what may stand in its place."""


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its opening fence, from 1."""

    page: str
    line: int
    language: str
    text: str
    is_run: bool | None
    """None where nothing is said."""
    how: str
    """The scene to run it in and how to compare, or why it is not run."""

    @property
    def scene(self) -> str:
        """The scene to run it in."""
        return self.how.partition(",")[0]

    @property
    def is_exact(self) -> bool:
        """Whether numbers must agree too."""
        return "exactly" in self.how

    @property
    def is_loose(self) -> bool:
        """Whether only the exit code and the first line are compared."""
        return "loosely" in self.how


def blocks(root: Path, page: Path) -> Iterator[Block]:
    """Yield the blocks of a page; one directly below a mark `<!-- run: … -->` or `<!-- not run: … -->` has it."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for i, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if start is None:
            start = i
            continue
        mark = _MARK.fullmatch(lines[start - 1].strip()) if start else None
        yield Block(
            page.relative_to(root).as_posix(),
            start + 1,
            lines[start].strip().removeprefix("```"),
            "\n".join(lines[start + 1 : i]) + "\n",
            None if mark is None else mark[1] == "run",
            "" if mark is None else mark[2],
        )
        start = None


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return the lines that follow `$ `, each with what it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
    return found


def expected_code(printed: Sequence[str]) -> tuple[int, ...]:
    """Return the exit codes that go with what a command prints."""
    return (1, 2) if any(line.startswith("Error: ") for line in printed) else (0,)


def agrees(shown: Sequence[str], printed: Sequence[str], exact: bool = False) -> str | None:
    """Return the first line of a page that a command did not print, None where it printed them all.

    A line `…` stands for any number of lines, an `…` at the end of a line for the rest of it. Widths of columns, and
    the lines of a build's steps, do not count; with `exact`, numbers do.
    """
    wanted = [line.rstrip() for line in shown if line.strip() and not _STEP.match(line)]
    given = [line.rstrip() for line in printed if line.strip() and not _STEP.match(line)]
    row, free = 0, False
    for line in wanted:
        if line == "…":
            free = True
            continue
        pattern = _pattern(line, exact)
        while row < len(given) and free and not pattern.fullmatch(_flat(given[row])):
            row += 1
        if row == len(given) or not pattern.fullmatch(_flat(given[row])):
            return line
        row, free = row + 1, False
    return None if free or row == len(given) else f"(nothing more, but there came: {given[row]})"


def _flat(line: str) -> str:
    return " ".join(line.removesuffix(" *").split())


def _pattern(line: str, exact: bool) -> re.Pattern[str]:
    flat = _flat(line)
    rest = flat.endswith("…")
    pattern = _freed(flat.removesuffix("…"), _FREE[: 1 if exact else len(_FREE)])
    return re.compile(pattern + (".*" if rest else ""))


def _freed(text: str, free: Sequence[tuple[str, str]]) -> str:
    if not free:
        return re.escape(text)
    looks, stands = free[0]
    parts = re.split(f"({looks})", text)
    return "".join(stands if i % 2 else _freed(part, free[1:]) for i, part in enumerate(parts))
