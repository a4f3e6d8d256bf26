"""What of others a site carries: LiteRT.js and SQLite's WebAssembly build, from npm, each checked by its hash."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.compiler.cache.folder import find_cache_folder
from tlc_edge.runtime.errors import BuildError
from tlc_edge.runtime.files import beside, put_in_place, writing

_SECONDS = 300
_NPM = "npm"


@dataclass(frozen=True)
class Library:
    """A package of npm, and which of its files go where."""

    name: str
    version: str
    sha512: str
    """Of the archive, in base64, as npm's `integrity` has it."""
    files: Mapping[str, str]
    """Names in the site, by names in the package."""

    @property
    def archive(self) -> str:
        """How `npm pack` names the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


_BUILDS = ("litert_wasm_internal", "litert_wasm_compat_internal")

LIBRARIES = (
    Library(
        "@litertjs/core",
        "2.5.3",
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        {"dist/index.js": "lib/litert/index.js"}
        | {f"wasm/{b}.{kind}": f"lib/litert/wasm/{b}.{kind}" for b in _BUILDS for kind in ("js", "wasm")},
    ),
    Library(
        "@litertjs/wasm-utils",
        "2.5.3",
        "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        {"dist/index.js": "lib/litert/wasm-utils.js"},
    ),
    Library(
        "@sqlite.org/sqlite-wasm",
        "3.54.1-build1",  # npm's `latest` is older, and has no pool of files
        "foW427VBLJ3G87bsnvQTZCc9zYe0Fq1wH0pz1I6BlKLKXcArIAyTkHtq0iT2llmhcMQt9T/p6l5PpQQh+6O8uQ==",
        {"dist/index.mjs": "lib/sqlite/index.js", "dist/sqlite3.wasm": "lib/sqlite/sqlite3.wasm"},
    ),
)

# An import map would be refused by a strict policy, and reaches no worker: the one bare import is made a plain one.
_CHANGED = {"lib/litert/index.js": (b'"@litertjs/wasm-utils"', b'"./wasm-utils.js"')}

_COMMENTED = "lib/sqlite/index.js"  # more than half of it is comments, which every first visit would load

Fetch = Callable[[Library, Path], None]


def vendored(folder: Path | None, cache: str | None, fetch: Fetch | None = None) -> dict[str, bytes]:
    """Return the files of the libraries, by their names in a site; the WebAssembly packed too, as `NAME.gz`.

    Args:
        folder: where the archives lie already, as `npm pack` makes them; None gets what is missing from npm.
        cache: the cache's folder, `off`, or None for the user's own.
        fetch: gets one archive into a folder.

    Raises:
        BuildError: one is not there, cannot be had, or is another than was pinned.
    """
    contents: dict[str, bytes] = {}
    for library in LIBRARIES:
        data = _archive(library, folder, cache, fetch or _npm_pack)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for inside, name in library.files.items():
                member = archive.extractfile(f"package/{inside}")
                assert member is not None, f"{library.archive} has no file {inside}"
                contents[name] = member.read()
    contents[_COMMENTED] = _without_comments(contents[_COMMENTED])
    for name, (found, instead) in _CHANGED.items():
        assert contents[name].count(found) == 1, f"{name} is not imported as it was"
        contents[name] = contents[name].replace(found, instead)
    root = find_cache_folder(cache)
    wasm = {name: data for name, data in contents.items() if name.endswith(".wasm")}
    return contents | {f"{name}.gz": _packed(data, root) for name, data in wasm.items()}


def _packed(data: bytes, root: Path | None) -> bytes:
    """Return data in gzip's format as small as it gets: slow, so kept in the cache."""
    kept = None if root is None else root / "web" / f"{hashlib.sha256(data).hexdigest()}.gz"
    if kept is not None and kept.is_file():
        with contextlib.suppress(OSError, EOFError, zlib.error):
            found = kept.read_bytes()
            if gzip.decompress(found) == data:
                return found
    try:
        from zopfli.gzip import compress
    except ImportError:
        return gzip.compress(data, 9, mtime=0)  # 5 % larger; what a device makes a site of has no such extra

    packed: bytes = compress(data, numiterations=1)
    if kept is not None:
        with contextlib.suppress(OSError):  # only the next build is slower for it
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with writing(kept) as out:
                out.write(packed)
    return packed


def _without_comments(script: bytes) -> bytes:
    """Return a script without the comments that have lines of their own; the first, its licence, stays."""
    kept: list[bytes] = []
    is_inside, seen = False, False
    for line in script.splitlines(keepends=True):
        text = line.strip()
        if not is_inside and text.startswith(b"/*") and seen:
            is_inside = True
        elif is_inside or (seen and text.startswith(b"//")):
            pass
        else:
            kept.append(line)
            seen = seen or text.endswith(b"*/")
        if is_inside and b"*/" in text:
            assert text.endswith(b"*/"), "a comment is followed by code on its line"
            is_inside = False
    return b"".join(kept)


def _archive(library: Library, folder: Path | None, cache: str | None, fetch: Fetch) -> bytes:
    if folder is not None:
        try:
            return _checked(library, folder / library.archive)
        except FileNotFoundError:
            raise BuildError(
                f"{folder / library.archive}: not there; get it with `npm pack {library.name}@{library.version}` there"
            ) from None
    root = find_cache_folder(cache)
    if root is None:
        raise BuildError("a site's libraries are kept in the cache, which is off; give their folder with --vendor DIR")
    kept = root / "web" / library.archive
    if not kept.is_file():
        try:
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with beside(kept) as part:
                fetch(library, part.parent)
                _checked(library, part)
                put_in_place(part, kept)
        except OSError as e:
            raise BuildError(f"{kept}: cannot be written ({e.strerror or e}); choose another cache") from None
    return _checked(library, kept)


def _checked(library: Library, path: Path) -> bytes:
    data = path.read_bytes()
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != library.sha512:
        raise BuildError(f"{path}: not the {library.name} {library.version} that tlc was made with; delete it")
    return data


def _npm_pack(library: Library, folder: Path) -> None:
    """Get a package's archive; npm runs nothing that is in it."""
    what = f"{library.name}@{library.version}"
    try:
        done = subprocess.run(
            [_NPM, "pack", what, "--silent", "--ignore-scripts"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise BuildError(
            "a site takes LiteRT.js and SQLite from npm, which is not here; install npm, or give a folder that has "
            "them with --vendor DIR"
        ) from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"npm did not get {what} in {_SECONDS} s; try again, or give --vendor DIR") from None
    if done.returncode != 0 or not (folder / library.archive).is_file():
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BuildError(f"npm cannot get {what} ({(said or ['no reason given'])[-1][:200]}); or give --vendor DIR")
