"""The kinds of augmentation by name, without the libraries that do them."""

from __future__ import annotations

from tlc.runtime.errors import UsageError, unknown_name

KINDS = ("mirror", "rotate", "crop", "colour", "resize-filter")
DEFAULT = ("resize-filter",)


def parse_augment(text: str) -> tuple[str, ...]:
    """Return the kinds that an option names, in the order in which they are applied.

    Raises:
        UsageError: one is not known.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["none"]:
        return ()
    for name in names:
        if name not in KINDS:
            raise unknown_name("augmentation", name, (*KINDS, "none"))
    if not names:
        raise UsageError("--augment is empty; name some of " + ", ".join(KINDS) + ", or none")
    return tuple(kind for kind in KINDS if kind in names)
