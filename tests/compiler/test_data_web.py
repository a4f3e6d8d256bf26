"""A folder on a web server: data, and a store, that can be read and not written. A real server on this machine."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tlc_edge.compiler import Options
from tlc_edge.compiler.data.forms.elsewhere import Elsewhere, fetched_bytes, list_below, read_url
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.shards.run import run_shards
from tlc_edge.compiler.shards.store import Store
from tlc_edge.compiler.shards.stored import states
from tlc_edge.compiler.spread import plan_features
from tlc_edge.runtime.errors import DataError

pytest.importorskip("fsspec", reason="not installed: pip install '.[cluster]'")
pytest.importorskip("aiohttp", reason="not installed: pip install '.[cluster]'")
pytest.importorskip("pyarrow", reason="not installed: pip install '.[cluster]'")
SKETCH = Path(__file__).parents[1] / "data" / "tfjs_sketch"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with pages that list it; `forbidden` it refuses."""

    def send_head(self) -> Any:
        if "forbidden" in self.path:
            self.send_error(403)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Keep quiet."""


@pytest.fixture
def served(photos: Path, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder of digits, one with a name that an address cannot have as it is, and its address."""
    root = tmp_path / "web" / "digits"
    shutil.copytree(photos, root)
    shutil.copy(root / "2" / "1.png", root / "2" / "ä #1?.png")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "web"))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield root, f"http://127.0.0.1:{server.server_address[1]}/digits/"
        server.shutdown()
        thread.join()


def asked(data: str, output: Path) -> Options:
    return Options(
        data=data, targets=("rpi",), output=output, backbone=str(SKETCH), pool="flatten", max_drop=90.0, cache="off"
    )


def seen(data: str, cache: Path) -> list[tuple[str, str, bytes]]:
    found = load_dataset(Origin(data, cache=str(cache))).samples
    paths = [s.source for s in found if isinstance(s.source, os.PathLike)]
    return [(s.name, s.label, Path(path).read_bytes()) for s, path in zip(found, paths, strict=True)]


def test_a_folder_on_the_web_is_the_data_set_that_it_is_on_a_disk(served: tuple[Path, str], tmp_path: Path) -> None:
    root, url = served
    before = fetched_bytes()
    there = seen(url, tmp_path / "cache")
    assert there == seen(str(root), tmp_path / "other")
    assert "2/ä #1?.png" in [name for name, _, _ in there]
    assert fetched_bytes() - before == sum(len(data) for _, _, data in there)
    before = fetched_bytes()
    assert seen(url, tmp_path / "cache") == there
    assert fetched_bytes() == before  # by size and Last-Modified nothing has changed
    Image.new("L", (28, 28), 90).save(root / "0" / "0.png")
    (root / "1" / "0.png").unlink()
    assert seen(url, tmp_path / "cache") == seen(str(root), tmp_path / "other") != there


def test_shards_are_those_of_the_disk(served: tuple[Path, str], tmp_path: Path) -> None:
    root, url = served
    for name, data in (("web-store", url), ("disk", str(root))):
        plan_features(asked(data, Path()), str(tmp_path / name), 2)
        run_shards(str(tmp_path / name))
    (web,), (disk,) = (states(Store(str(tmp_path / name))) for name in ("web-store", "disk"))
    assert (web.done, web.read_images, web.read) == (disk.done, disk.read_images, disk.read)
    assert web.read > 0


def test_a_store_on_the_web_is_read_and_not_written(served: tuple[Path, str], tmp_path: Path) -> None:
    root, url = served
    plan_features(asked(str(root), Path()), str(root / "store"), 2)
    run_shards(str(root / "store"), [0])
    (state,) = states(Store(f"{url}store"))
    assert (state.done, state.missing) == (1, (1,))
    for work in (lambda: run_shards(f"{url}store"), lambda: plan_features(asked(url, Path()), f"{url}new")):
        with pytest.raises(DataError, match=r"digits/(store|new): a web server is read only; make features in"):
            work()
    assert run_shards(f"{url}store", [0]) == []
    with pytest.raises(DataError, match=r"none: there is no plan.json|no such bucket, folder or file"):
        states(Store(f"{url}none"))


def test_what_cannot_be_had_is_one_sentence(served: tuple[Path, str], tmp_path: Path) -> None:
    root, url = served
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}/digits/"
        for address, said in (
            (f"{url}nothing/", "no such bucket, folder or file"),
            (f"{url}forbidden/", "access was refused"),
            (nobody, "cannot be reached"),
        ):
            with pytest.raises(DataError, match=said) as raised:
                load_dataset(Origin(address, cache=str(tmp_path / "cache")))
            assert "\n" not in str(raised.value)
    (root / "4" / "forbidden").mkdir(parents=True)  # a class of which nothing can be had, not a data set without it
    with pytest.raises(DataError, match="access was refused"):
        load_dataset(Origin(url, cache=str(tmp_path / "cache")))


def test_a_part_of_a_file_is_that_part_where_the_server_gives_the_whole(
    served: tuple[Path, str], tmp_path: Path
) -> None:
    root, url = served
    with tarfile.open(root / "0.tar", "w") as file:
        for path in sorted((root / "0").iterdir()):
            file.add(path, path.name)
    whole = (root / "0.tar").read_bytes()
    assert read_url(f"{url}0.tar", 512, 100) == whole[512:612]
    assert Path(Elsewhere(f"{url}0.tar", "x.png", 0, 300)).read_bytes() == whole[:300]
    assert read_url(f"{url}0.tar") == whole
    assert {file.path for file in list_below(f"{url}0.tar")} == {"0.tar"}
