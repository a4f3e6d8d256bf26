"""What messages say to type depends on how tlc was installed; both ways stand for themselves in one place."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tlc_edge.runtime.install import pip_line

ROOT = Path(__file__).parents[2]
Installed = Callable[[str | None], None]
INDEX = "pip install 'tlc-edge[compiler]'"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Install tlc-edge as far as its metadata goes, before the one that is here; None: without a direct_url.json."""

    def install(direct_url: str | None) -> None:
        info = tmp_path / "site" / "tlc_edge-9.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tlc-edge\nVersion: 9\n")
        if direct_url is not None:
            (info / "direct_url.json").write_text(direct_url)
        monkeypatch.syspath_prepend(info.parent)

    return install


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "a checkout"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("information", [{}, {"editable": True}], ids=["copied", "editable"])
def test_in_a_checkout_it_is_the_folder_that_is_installed(
    installed: Installed, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, information: object
) -> None:
    installed(json.dumps({"url": checkout.as_uri(), "dir_info": information}))
    monkeypatch.chdir(checkout)
    assert pip_line("compiler") == "pip install '.[compiler]'"
    assert pip_line("mcu") == "pip install '.[mcu]'"
    monkeypatch.chdir(tmp_path)
    assert pip_line("compiler") == f"pip install '.[compiler]' in {checkout}"


@pytest.mark.parametrize(
    "direct_url",
    [
        None,
        '{"url": "file:///srv/tlc_edge-9-py3-none-any.whl", "archive_info": {}}',
        '{"url": "file:///srv/checkout/that/is/gone", "dir_info": {"editable": true}}',
        '{"dir_info": {}}',
        '{"url": 7, "dir_info": {}}',
        "[]",
        "not JSON",
    ],
    ids=["index", "wheel", "gone", "no address", "a number", "a list", "damaged"],
)
def test_else_it_is_the_package_of_the_index(installed: Installed, direct_url: str | None) -> None:
    installed(direct_url)
    assert pip_line("compiler") == INDEX


def test_where_tlc_is_not_installed_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    assert pip_line("compiler") == INDEX


def test_no_message_names_an_extra_by_itself() -> None:
    """Docstrings may; whatever is said to a person comes from the one function."""
    for path in (p for room in ("cli", "compiler", "runtime", "targets") for p in (ROOT / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                said = "install 'tlc-edge[" in node.value or "install '.[" in node.value
                assert not said or path.name == "install.py", (path, node.lineno)
