"""What a person may type where `tlc label` asks, and what it means."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

_WORDS: dict[str, Literal["skip", "undo", "quit"]] = {
    "": "skip",
    "s": "skip",
    "skip": "skip",
    "u": "undo",
    "undo": "undo",
    "q": "quit",
    "quit": "quit",
}


@dataclass(frozen=True)
class Answer:
    """What was meant."""

    kind: Literal["label", "new", "skip", "undo", "quit", "unclear"]
    """`new`: a label that no class has, which is asked about: it may be a slip."""
    text: str = ""
    """The label; where it is new, after it the class that is written almost so; where unclear, what to type instead."""
    like: str = ""


def read_answer(typed: str, guesses: Sequence[str], classes: Collection[str]) -> Answer:
    """Return what was meant by a line: the number of a guess, a class, a word such as `skip`, or `=LABEL`.

    What could be a class and something else too is unclear, never guessed.
    """
    word = typed.strip()
    if word.startswith("="):
        return _label(word[1:].strip(), classes)
    number = int(word) if word.isascii() and word.isdecimal() and len(word) < 4 else None
    known = _WORDS.get(word.lower())
    if word in classes and (number is not None or known is not None):
        return Answer("unclear", f"{word!r} is a class too; type ={word} for the class")
    if number is not None:
        if 1 <= number <= len(guesses):
            return Answer("label", guesses[number - 1])
        return Answer("unclear", f"there is no guess {number}; type ={word} for a class of that name")
    if known is not None:
        return Answer(known)
    return _label(word, classes)


def _label(label: str, classes: Collection[str]) -> Answer:
    if not label:
        return Answer("unclear", "type a class's name")
    if label in classes:
        return Answer("label", label)
    folded = {c.casefold(): c for c in classes}
    near = get_close_matches(label.casefold(), folded, 1)
    return Answer("new", label, folded[near[0]] if near else "")
