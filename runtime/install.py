"""How this tlc was installed, and so what is typed to get more of it."""

from __future__ import annotations

from pathlib import Path


def pip_line(extra: str) -> str:
    """Return the command that brings an extra of tlc, such as `compiler`.

    From a package index it is `pip install 'tlc-edge[compiler]'`. In a checkout that was installed it is
    `pip install '.[compiler]'`, with where to type it unless that is the current folder.
    Source: `direct_url.json` (https://packaging.python.org/en/latest/specifications/direct-url/).
    """
    folder = _checkout()
    if folder is None:
        return f"pip install 'tlc-edge[{extra}]'"
    return f"pip install '.[{extra}]'" + ("" if folder.samefile(".") else f" in {folder}")


def _checkout() -> Path | None:
    """Return the folder that tlc was installed from; None where it came as a package, or it cannot be told."""
    # Not above: these bring all of mail and http with them, which neither a command's help nor an image must wait for.
    import json
    from importlib import metadata
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    # Beside what pip wrote, a checkout may hold the folder that building left, which does not tell; it has no METADATA.
    installed = (d for d in metadata.distributions(name="tlc-edge") if d.read_text("METADATA") is not None)
    try:
        origin = json.loads(next(installed).read_text("direct_url.json") or "{}")
        folder = Path(url2pathname(urlsplit(str(origin["url"])).path)) if "dir_info" in origin else None
    except (StopIteration, ValueError, KeyError, TypeError):
        return None
    return folder if folder is not None and folder.is_dir() else None
