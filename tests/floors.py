"""The floors of the rooms: a room imports only rooms on lower floors.

`whole/test_imports.py` holds the code to it, and `tools/docs` draws docs/images/floors.svg from it.
"""

from __future__ import annotations

FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "compiler": (
        ("run_worker",),
        ("options", "records", "steps", "toolchain", "notebook", "cache", "worker"),
        ("data", "weights"),
        ("network",),
        ("backbones", "lower", "train"),
        ("features", "fine_tune", "limits"),
        ("verify", "extras", "site", "shards"),
        ("study",),
        ("report",),
        ("bundle",),
        (
            "meanwhile",
            "first_look",
            "sweep",
            "result",
            "order",
            "prepare",
            "spread",
            "again",
            "fit",
            "ladder",
            "pipeline",
            "__init__",
        ),
        ("from_python",),
    ),
    "runtime": (
        ("apart", "errors", "files", "forks", "install", "progress", "quiet", "vectors", "zip_damage"),
        ("labels", "optional"),
        ("signing",),
        ("bundle",),
        ("images",),
        ("engines",),
        ("gallery",),
        ("knn",),
        ("late",),
        ("classifier", "wire"),
        ("watch", "doctor", "client", "__init__"),
        ("serve",),
    ),
}
