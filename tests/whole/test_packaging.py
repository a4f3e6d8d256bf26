"""What `pip install tlc-edge` brings: every file of the rooms, and nothing else.

A subfolder that pyproject's `packages` does not name drops out of the wheel without a word, while the
editable install still finds it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "cli", "compiler", "runtime", "targets", "web")
OF_NPM = {"package.json", "tsconfig.json"}
KINDS = {".py", ".toml", ".json", ".html", ".css", ".js", ".svg"}
BESIDE = ("pyproject.toml", "README.md", "LICENSE")


def sources(root: Path) -> set[str]:
    """Return the files of the rooms that a wheel must hold, relative to `root`."""
    wanted = (path for room in ROOMS for path in (root / room).rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix()
        for path in wanted
        if (path.suffix in KINDS or path.name == "py.typed") and path.name not in OF_NPM
    }


def copy_of_the_sources(to: Path) -> Path:
    """Copy what the wheel is made from, so that no `build/lib` of earlier builds slips in."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, to / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        shutil.copy(ROOT / name, to / name)
    return to


def build(source: Path, out: Path) -> Path:
    """Build the wheel; in this environment when its setuptools will do, else in one that pip makes."""
    try:
        isolated = int(version("setuptools").split(".")[0]) < 77
    except PackageNotFoundError:
        isolated = True
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(source)]
    run = subprocess.run([*command, *([] if isolated else ["--no-isolation"])], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_of_the_sources(folder / "source")
    with zipfile.ZipFile(build(source, folder / "dist")) as archive:
        yield archive


def contents(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if not name.endswith("/")}


def test_the_wheel_holds_every_file_of_the_rooms_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert inside == {f"tlc_edge/{path}".replace("/api/", "/") for path in sources(ROOT)}


@pytest.mark.parametrize(
    "path",
    [
        "tlc_edge/targets/rpi.toml",
        "tlc_edge/runtime/py.typed",
        "tlc_edge/cli/__init__.py",
        "tlc_edge/compiler/report/style.css",
        "tlc_edge/compiler/report/sections/accuracy.html",
    ],
)
def test_the_wheel_holds_each_kind(wheel: zipfile.ZipFile, path: str) -> None:
    assert path in contents(wheel)


def test_the_wheel_has_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    (info,) = {name.split("/")[0] for name in contents(wheel) if ".dist-info/" in name}
    assert "tlc = tlc_edge.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert f"{info}/licenses/LICENSE" in contents(wheel)
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    base = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    names = {re.split("[<>;]", line.split()[1])[0] for line in base}
    # ml_dtypes comes with the engine anyway; here it is kept from bringing another numpy.
    assert names == {"numpy", "Pillow", "click", "ai-edge-litert", "ml_dtypes", "tflite-runtime"}


def folders_with_code(root: Path) -> set[str]:
    return {Path(path).parent.as_posix().replace("/", ".") for path in sources(root) if path.endswith(".py")}


def named_packages() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    mapped = {package: folder.replace("/", ".") for package, folder in settings["package-dir"].items()}
    return {mapped.get(package, package.removeprefix("tlc_edge.")) for package in settings["packages"]}


def test_every_folder_with_code_is_named_in_packages() -> None:
    assert folders_with_code(ROOT) == named_packages()


def test_an_unnamed_folder_would_be_found(tmp_path: Path) -> None:
    copy = copy_of_the_sources(tmp_path / "source")
    (copy / "runtime" / "extra").mkdir()
    (copy / "runtime" / "extra" / "more.py").write_text("", encoding="utf-8")
    assert folders_with_code(copy) - named_packages() == {"runtime.extra"}
