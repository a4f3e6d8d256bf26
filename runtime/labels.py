"""What can name a class, wherever the name comes from: the terminal, a data set, a bundle, a stranger's gallery."""

from __future__ import annotations

import unicodedata

from tlc_edge.runtime.errors import UsageError

MAX_LABEL = 200
"""Characters."""
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
# They turn the direction of what stands after them, so that a name reads as another.
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


NONE_OF_THESE = "none of these"
"""Examples of what must not pass for known have this label; a class of that name in a bundle is one like any other."""


def clean_label(label: str) -> str:
    """Return the label as stored: NFC, no space around it.

    Raises:
        UsageError: it is empty, longer than MAX_LABEL characters, or has control characters.
    """
    name = unicodedata.normalize("NFC", label).strip()
    if not name:
        raise UsageError(f"{label[:20]!r} cannot name a class; give a name with at least one visible character")
    if len(name) > MAX_LABEL:
        raise UsageError(f"the name {name[:20]!r}… has {len(name)} characters; use at most {MAX_LABEL}")
    if any(c in _TURNS or unicodedata.category(c) in _CONTROLS for c in name):
        raise UsageError(f"the name {name!r} has a control character or line break; leave it out")
    return name


def is_label(label: str) -> bool:
    """Return whether a text can name a class."""
    try:
        clean_label(label)
    except UsageError:
        return False
    return True
