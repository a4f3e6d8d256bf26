"""Versions of installed packages, as importlib.metadata tells them, without loading it."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tlc_edge.runtime.engines.versions import version_of


@pytest.mark.parametrize("name", ["numpy", "Pillow", "PILLOW", "ai-edge-litert", "AI_Edge.litert", "click", "tlc-edge"])
def test_an_installed_package_has_the_version_that_metadata_tells(name: str) -> None:
    try:
        expected = metadata.version(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    assert version_of(name) == expected


def installed(folder: Path, name: str, text: str = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n") -> None:
    """Put there what pip writes, or apt, or another tool."""
    package, _, version = name.removesuffix(".dist-info").removesuffix(".egg-info").partition("-")
    if name.endswith(".dist-info"):
        (folder / name).mkdir(parents=True)
        (folder / name / "METADATA").write_text(text.format(package, version))
    else:
        (folder / name).write_text(text.format(package, version))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["some_engine-2.14.0.dist-info"], "2.14.0"),
        (["Some.Engine-1.0rc1+local.dist-info"], "1.0rc1+local"),
        (["some_engine_more-3.dist-info", "some-3.dist-info", "some_engine-1.dist-info"], "1"),
        (["some_engine-9.4.0.egg-info"], "9.4.0"),
        (["some_engine_more-3.dist-info"], "of unknown version"),
        ([], "of unknown version"),
    ],
    ids=str,
)
def test_packages_are_found_however_they_are_written(
    names: list[str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        installed(tmp_path, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "not there"), str(tmp_path), *sys.path])
    assert version_of("some-engine") == found


def test_the_first_folder_counts_and_what_a_removal_left_behind_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "some_engine-1.dist-info").mkdir(parents=True)  # without METADATA
    installed(tmp_path / "b", "some_engine-2.dist-info")
    installed(tmp_path / "c", "some_engine-3.dist-info")
    monkeypatch.setattr(sys, "path", [str(tmp_path / folder) for folder in "abc"])
    assert version_of("some-engine") == "2"


def test_metadata_is_loaded_for_what_is_not_found_only() -> None:
    script = (
        "import sys; from tlc_edge.runtime.engines.versions import version_of\n"
        "version_of('numpy'); print('importlib.metadata' in sys.modules)\n"
        "version_of('no-such-package'); print('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
