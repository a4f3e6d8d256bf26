"""`tools/docs`: what it reads out of the code, and that it notices what is out of date."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import pytest
from conftest import ROOT
from made_docs.commands import cli_page
from made_docs.drawing import floors_svg
from made_docs.markdown import fill
from made_docs.shapes import json_page
from made_docs.tables import steps, warnings_table
from made_docs.write import main


def test_a_part_is_filled_and_nothing_else() -> None:
    page = "before\n<!-- generated: a -->\nold\n<!-- end -->\n<!-- generated: b -->\n<!-- end -->\nafter\n"
    filled = "before\n<!-- generated: a -->\nA\n<!-- end -->\n<!-- generated: b -->\nB\n<!-- end -->\nafter\n"
    assert fill(page, {"a": "A\n", "b": "B"}) == filled
    assert fill(filled, {"a": "A", "b": "B"}) == filled
    with pytest.raises(KeyError, match="b"):
        fill(page, {"a": "A"})


def test_steps_are_those_of_the_functions_that_are_called_too(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text(
        "from .further import fit as train, quiet\n"
        "def build(step):\n"
        '    with step("one"):  # why one\n'
        "        pass\n"
        "    # why two,\n"
        "    # in two lines\n"
        '    with step("two") as tell, other():\n'
        "        pass\n"
        "    quiet(1)\n"
        "    x = train(1, step)\n"
        "    here(step=step)\n"
        '    with step("one"):  # again\n'
        "        pass\n"
        "def here(step):\n"
        '    with step("four"):\n'
        "        pass\n"
    )
    (tmp_path / "further.py").write_text(
        "def fit(x, step):\n"
        "    if x:\n"
        '        with step("three"):  # deep\n'
        "            pass\n"
        "def quiet(x):\n"
        '    with step("never"):\n'
        "        pass\n"
    )
    assert steps(tmp_path) == [("one", "why one"), ("two", "why two, in two lines"), ("three", "deep"), ("four", "")]


def test_a_warning_says_its_limits_by_their_values() -> None:
    text = (
        "WIDE = 0.1\nFEW = 3\n"
        "def _a(f):\n    '''Wider than `WIDE`.'''\n"
        "def _b(f):\n    '''Fewer than `FEW`, of `NEAR`.'''\n"
        "_WARNINGS: object = (('wide', _a), ('few', _b))\n"
    )
    assert warnings_table(text, "NEAR = 7\n").splitlines()[2:] == [
        "| `wide` | Wider than 10 %. |",
        "| `few` | Fewer than 3, of 7. |",
    ]


def test_commands_are_found_wherever_they_lie() -> None:
    @click.group()
    def top() -> None:
        """Do all."""

    @top.group()
    def inner() -> None:
        """Do some."""

    @inner.command("list")
    @click.option("--out", "-o", metavar="A|B", required=True, help="Beside `<x>`, as <y>.out.")
    @click.option("--number", default=3, show_default=True, type=click.IntRange(0, 9), help="How many.")
    @click.option("--kind", type=click.Choice(["a", "b"]), help="Which.")
    @click.option("--yes/--no", default=True, help="Whether.")
    @click.option("--secret", hidden=True)
    @click.argument("bundle")
    def list_(**_: object) -> None:
        """List it.

        \b
        tlc inner list x -o y
        """

    page = cli_page(top)
    assert "| [`tlc inner list`](#tlc-inner-list) | List it. |" in page
    assert "`tlc inner list [OPTIONS] BUNDLE`" in page
    assert "```sh\ntlc inner list x -o y\n```\n" in page
    assert "| `--out, -o A\\|B` | Beside `<x>`, as &lt;y>.out. [required] |" in page
    assert "| `--number N` | How many. [default: 3] |" in page
    assert "| `--kind a\\|b` | Which. |" in page
    assert "| `--yes / --no` | Whether. |" in page
    assert "secret" not in page


def test_a_shape_has_a_row_for_every_key(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(
        '{"title": "tlc x --json", "type": "object", "required": ["a"], "properties": {'
        '"a": {"type": "array", "description": "All.", "items": {"type": "object", "required": ["b"], '
        '"properties": {"b": {"type": ["number", "null"]}}}}, '
        '"c": {"type": "object", "additionalProperties": {"type": "integer"}}}}'
    )
    assert json_page(tmp_path).split("## tlc x\n")[1].splitlines()[3:] == [
        "| `a` | list of objects | All. |",
        "| `a[].b` | number or null |  |",
        "| `c` | object of integers | *May be missing.* |",
    ]


def test_every_room_is_drawn() -> None:
    drawing = floors_svg({"compiler": (("low", "__init__"), ("high",)), "runtime": (("a<b",),)})
    assert all(f">{room}</text>" in drawing for room in ("low", "high", "a&lt;b", "targets"))
    assert "__init__" not in drawing


def test_what_is_out_of_date_is_noticed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("docs", "cli/schemas", "compiler", "runtime/serve"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    assert main(tmp_path, ["--check"]) == 0
    page = tmp_path / "docs" / "build.md"
    right = page.read_text("utf-8")
    page.write_text(right.replace("| shave |", "| cut |"), encoding="utf-8")
    (tmp_path / "docs" / "cli.md").unlink()
    assert main(tmp_path, ["--check"]) == 1
    said = capsys.readouterr().err
    assert "docs/build.md is out of date; run tools/docs" in said
    assert "docs/cli.md is out of date" in said
    assert page.read_text("utf-8") != right
    assert main(tmp_path, []) == 0
    assert page.read_text("utf-8") == right
    assert main(tmp_path, ["--check"]) == 0
    assert main(tmp_path, ["--chekc"]) == 2
