"""What can name a class."""

from __future__ import annotations

import unicodedata

from tlc_edge.runtime.errors import UsageError

MAX_LABEL = 200
"""Characters."""


def clean_label(label: str) -> str:
    """Return the label as stored: NFC, no space around it.

    Raises:
        UsageError: it is empty, longer than MAX_LABEL characters, or has control characters.
    """
    name = unicodedata.normalize("NFC", label).strip()
    if not name:
        raise UsageError(f"{label!r} cannot name a class; give a name with at least one visible character")
    if len(name) > MAX_LABEL:
        raise UsageError(f"the name {name[:20]!r}… has {len(name)} characters; use at most {MAX_LABEL}")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        raise UsageError(f"the name {name!r} has a control character or line break; leave it out")
    return name
