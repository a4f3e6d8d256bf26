"""Every error that tlc raises on purpose.

    TlcError                 the work failed                             (exit code 1)
    ├── UsageError           what was asked for cannot be                (exit code 2)
    ├── ImageError           an image cannot be read
    ├── DataError            a data set cannot be used
    ├── BundleError          a bundle is damaged, incomplete or too new
    │   └── TrustError       it is not signed by a key that this device trusts
    ├── EngineError          no inference engine, or it refused the model
    ├── SelftestError        the device's answers differ from the expected ones
    ├── GalleryError         a gallery cannot be opened or changed
    │   └── FingerprintError it belongs to another model
    ├── DeviceError          a camera, or what is sent to, cannot be used
    └── BuildError           a build step failed

The message is one sentence for the person at the terminal: what was wrong, the value,
what was expected, what to do next. The command line prints it as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 600
"""The most that a message has, in characters: what names or libraries bring along is cut out of its middle."""
_LONGEST_LINE = 200
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # words of several scripts have them, and so have emoji


class TlcError(Exception):
    """The work failed; the message says why and what to do next."""

    exit_code = 1
    step: str | None = None
    """The step of a build that failed."""
    after: tuple[str, ...] = ()
    """The steps before it."""
    tried: tuple[str, ...] = ()
    """What was tried in its place, a sentence each."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(shortened(plain(a), LONGEST) if isinstance(a, str) else a for a in args))


class UsageError(TlcError):
    """What was asked for does not exist or cannot be combined."""

    exit_code = 2


class ImageError(TlcError):
    """An image cannot be read."""


class DataError(TlcError):
    """A data set cannot be used."""


class BundleError(TlcError):
    """A bundle is damaged, incomplete, or of a schema this version does not know."""


class TrustError(BundleError):
    """A bundle is not signed by a key that this device trusts, or a key cannot be used."""


class EngineError(TlcError):
    """No inference engine is installed for a model, or it refused the model."""


class SelftestError(TlcError):
    """The golden samples do not give the expected answers on this device."""


class GalleryError(TlcError):
    """A gallery cannot be opened or changed."""


class FingerprintError(GalleryError):
    """A gallery holds embeddings of another model."""


class DeviceError(TlcError):
    """A camera cannot be used, or a place that answers are sent to."""


class BuildError(TlcError):
    """A build step failed."""


def first_line(error: BaseException, silent: str | None = None) -> str:
    """Return the first line of an error's message; of one without a message `silent`, by default its type's name.

    What it quotes of a configuration, an object in braces, is left out.
    """
    line = next(iter(str(error).strip().splitlines()), type(error).__name__ if silent is None else silent)
    return shortened(plain(re.sub(r"(\b\w+=)?\{['\"].*", "…", line)), _LONGEST_LINE)


def plain(text: str) -> str:
    """Return a text, which may come from a stranger's file, as a terminal may see it, on one line.

    Control characters, line breaks, and what turns the direction of writing, stand there as Python writes them.
    """
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if is_hidden(c) else c for c in text)


def is_hidden(c: str) -> bool:
    """Return whether a character has no look of its own: a terminal acts on it, or shows nothing."""
    return not c.isprintable() and c not in _JOINERS and unicodedata.category(c) in _HIDDEN


def shortened(text: str, longest: int) -> str:
    """Return a text without its middle, if it is longer; what is wrong stands first, and what to do last."""
    end = longest // 3
    return text if len(text) <= longest else f"{text[: longest - end - 3]} … {text[-end:]}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that is not in `known`, listing those nearest first."""
    import difflib  # no prediction needs it

    names = list(known)
    near = difflib.get_close_matches(name, names, n=max(1, len(names)), cutoff=0.4)
    rest = [n for n in names if n not in near]
    listed = near + rest
    shown = ", ".join(listed[:12]) + (f", … ({len(listed)} in all)" if len(listed) > 12 else "")
    return UsageError(f"unknown {kind} {name!r}; known: {shown or 'none'}")
