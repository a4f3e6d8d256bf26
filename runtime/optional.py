"""Libraries that tlc can do without, loaded so that one that is broken is a sentence."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from .quiet import quiet

LONGEST = 160
"""Characters of what a library said."""


class NotThereError(Exception):
    """A library cannot be used; the text goes on after its name: `is not installed`, or `does not load (…)`."""

    def __init__(self, text: str, missing: bool) -> None:
        super().__init__(text)
        self.missing = missing
        """Whether it is not installed at all."""


def load(name: str) -> ModuleType:
    """Import a module by its name. What it, or native code of it, prints meanwhile is kept off the terminal.

    Raises:
        NotThereError: it is not installed, or fails while it is imported, with whatever it raises.
    """
    try:
        with quiet():
            return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name is not None and (name == e.name or name.startswith(f"{e.name}.")):
            raise NotThereError("is not installed", missing=True) from None
        raise NotThereError(f"does not load ({_short(e)}){_remedy(e)}", missing=False) from None
    except Exception as e:
        raise NotThereError(f"does not load ({_short(e)}){_remedy(e)}", missing=False) from None


def hides_the_system() -> bool:
    """Return whether this Python is a venv that does not see the system's packages, as those that apt installs."""
    if sys.prefix == sys.base_prefix:
        return False
    try:
        text = (Path(sys.prefix) / "pyvenv.cfg").read_text("utf-8")
    except (OSError, ValueError):
        return False
    lines = (line.partition("=") for line in text.splitlines())
    return not any(k.strip() == "include-system-site-packages" and v.strip().lower() == "true" for k, _, v in lines)


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _remedy(error: Exception) -> str:
    """Return what to do, for the two failures that the camera of a Raspberry Pi is known for."""
    text = str(error)
    if "numpy" in text and any(words in text for words in ("size changed", "multiarray", "ABI", "_ARRAY_API")):
        from importlib import metadata  # brings the parser of mail with it

        try:
            old = metadata.version("numpy").startswith("1.")
        except metadata.PackageNotFoundError:
            return ""
        return f"; it is built for another numpy, run: pip install 'numpy{'>=2' if old else '<2'}'"
    if isinstance(error, ModuleNotFoundError) and error.name == "libcamera":
        return (
            "; libcamera comes with the system alone, run: pip uninstall picamera2, then sudo apt install "
            "python3-picamera2, and make the venv with --system-site-packages"
        )
    return ""
