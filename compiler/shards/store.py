"""A store: a folder, on this machine or wherever fsspec reaches, in which a plan and its shards lie.

    plan.json           what is featurized, by which preprocessing and versions; written last
    passes/N-KEY.json   one pass over the images: through which trunks, in which views, and the lists
    lists/KEY.gz        what one shard holds: a line of JSON for each image, or for each file that holds many
    trunks/KEY          a trunk, as an engine runs it
    shards/KEY.parquet  what a pass gives for a list
    costs/KEY.json      what that took; nothing depends on it

Names are hashes of what decides the contents. So whoever writes a file writes the same bytes as anyone else would,
and no lock is needed: a file that is there is right.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from tlc_edge.compiler.data.forms.address import told
from tlc_edge.compiler.data.forms.elsewhere import is_elsewhere, is_web, open_system, reaching, read_file
from tlc_edge.runtime.errors import DataError
from tlc_edge.runtime.files import PART, write_file

PLAN, PASSES, LISTS, TRUNKS, SHARDS, COSTS = "plan.json", "passes", "lists", "trunks", "shards", "costs"


_DAY = 24 * 3600.0


class Store:
    """Reads and writes whole files by their names in a store."""

    def __init__(self, where: str) -> None:
        self.name = told(where)
        """For messages."""
        self.where = where if is_elsewhere(where) else str(Path(where).absolute())
        self._remote = is_elsewhere(where) and not where.startswith("file://")
        self._root = Path(where.removeprefix("file://"))
        self.fetched = 0
        """Bytes that were read of it, where it is not on this machine."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            DataError: it is not there, or cannot be read.
        """
        if self._remote:
            system, root = self._system()
            with reaching(f"{self.where.rstrip('/')}/{name}"):
                data = read_file(system, f"{root.rstrip('/')}/{name}")
            self.fetched += len(data)
            return data
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            raise DataError(f"{self.name}: there is no {name} in it") from None
        except OSError as e:
            raise DataError(f"{self.name}: {name} cannot be read ({e.strerror or e})") from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all: brought to the disk before it takes its name, or one put.

        Raises:
            DataError: it cannot be written.
        """
        self.check_writable()
        if self._remote:
            system, root = self._system()
            with reaching(self.where):
                system.pipe_file(f"{root.rstrip('/')}/{name}", data)
            return
        path = self._root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data)
        except OSError as e:
            raise DataError(f"{self.name}: {name} cannot be written ({e.strerror or e})") from None

    def check_writable(self) -> None:
        """Check that it is no place that can only be read.

        Raises:
            DataError: it is.
        """
        if is_web(self.where):
            raise DataError(f"{self.name}: a web server is read only; make features in a folder or a bucket")

    def has(self, name: str) -> bool:
        """Return whether a file is there."""
        if self._remote:
            system, root = self._system()
            with reaching(self.where):
                return bool(system.exists(f"{root.rstrip('/')}/{name}"))
        return (self._root / name).is_file()

    def names(self, folder: str) -> set[str]:
        """Return the names of the files in one of its folders; none where it is not there.

        Raises:
            DataError: it cannot be listed.
        """
        if self._remote:
            system, root = self._system()
            with reaching(self.where):
                try:
                    found = system.ls(f"{root.rstrip('/')}/{folder}", detail=False)
                except FileNotFoundError:
                    return set()
            return {str(path).rstrip("/").rpartition("/")[2] for path in found}
        with contextlib.suppress(FileNotFoundError):
            paths = list((self._root / folder).iterdir())
            for left in (path for path in paths if path.name.endswith(PART)):
                with contextlib.suppress(OSError):
                    if time.time() - left.stat().st_mtime > _DAY:  # whoever wrote it was killed
                        left.unlink()
            return {path.name for path in paths if not path.name.endswith(PART)}
        return set()

    def _system(self) -> tuple[Any, str]:
        """Return its file system, which knows nothing of before: others write meanwhile.

        Libraries keep what they listed, and then say of a file that was written since that it is not there.
        """
        system, root = open_system(self.where)
        system.invalidate_cache()
        return system, root

    def document(self, name: str) -> Any:
        """Return what a JSON file holds.

        Raises:
            DataError: it is not there, or damaged.
        """
        try:
            return json.loads(self.read(name))
        except ValueError:
            raise DataError(f"{self.name}: {name} is damaged; plan it again") from None


def to_json(document: Any) -> bytes:
    """Return a document as bytes that are the same each time."""
    return (
        json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace") + b"\n"
    )


def key_of(*parts: Any) -> str:
    """Return a hash of values that JSON can hold, in hexadecimal."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
