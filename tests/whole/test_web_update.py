"""A new version of a site takes the old one's place: what was taught stays, and half of a version changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sites import in_node, write_mugs

from tlc_edge.compiler.site.site import make_site, write_site
from tlc_edge.runtime import Bundle
from tlc_edge.runtime.bundle.bundle import DIGEST, MANIFEST, digest_of
from tlc_edge.runtime.files import write_folder

pytestmark = pytest.mark.slow


def of_another_model(bundle: Bundle, folder: Path) -> Bundle:
    """Return the same bundle as one whose embeddings mean something else: by its manifest."""
    manifest = json.loads(bundle.files[MANIFEST]) | {"fingerprint": "e" * 64}
    data = json.dumps(manifest).encode()
    write_folder(folder, {**bundle.files, MANIFEST: data, DIGEST: digest_of(data)})
    return Bundle.open(folder)


@pytest.fixture(scope="module")
def seen(chromium: str, web_bundle: Bundle, libraries: dict[str, bytes], tmp_path_factory: Any) -> dict[str, Any]:
    work: Path = tmp_path_factory.mktemp("versions")
    first = make_site(web_bundle, libraries)
    style = first["page/style.css"] + b"\n.of-the-second-version { color: red }\n"
    second = make_site(web_bundle, libraries | {"page/style.css": style})
    # As on a host where the files are still being written: one is of the version before.
    half = second | {name: first[name] for name in ("page/style.css", "page/style.css.gz")}
    model = make_site(of_another_model(web_bundle, work / "bundle"), libraries)
    for name, contents in (("first", first), ("half", half), ("second", second), ("model", model)):
        write_site(work / name, contents)
    return in_node("update.mjs", chromium, work, *write_mugs(work, 3))


def test_half_of_a_version_changes_nothing(seen: dict[str, Any]) -> None:
    assert seen["half"] == seen["first"]
    assert seen["half"]["classes"]["mug"] == "3"
    assert not seen["offeredHalf"]


def test_a_new_version_is_offered_and_keeps_what_was_taught(seen: dict[str, Any]) -> None:
    assert seen["first"]["versions"] != seen["second"]["versions"]
    assert len(seen["second"]["versions"]) == 1
    assert not seen["first"]["isSecond"]
    assert seen["second"]["isSecond"]
    assert seen["second"]["classes"] == seen["first"]["classes"]


def test_a_new_model_is_shown_what_the_one_before_was_taught(seen: dict[str, Any]) -> None:
    assert seen["said"] == "There is a new model. 3 pictures were taught to it again."
    assert seen["model"]["classes"] == seen["first"]["classes"]


def test_the_new_version_works_offline_at_once(seen: dict[str, Any]) -> None:
    assert seen["offline"] == seen["model"]
    assert seen["answer"].startswith("mug ")
    assert seen["errors"] == []
