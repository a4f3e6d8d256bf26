"""A section of the report is one module, its template beside it, and a line in the tuple of sections."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest
from report_samples import make
from test_report import Page

from tlc_edge.compiler.records import Correction
from tlc_edge.compiler.report import page, sections
from tlc_edge.compiler.report.document import report_json
from tlc_edge.compiler.report.page import report_html
from tlc_edge.compiler.report.section import Make
from tlc_edge.compiler.verify.layer_errors import LayerError

MODULE = """
from tlc_edge.compiler.report.section import Section
from tlc_edge.compiler.report.text import Table

def section(findings, pictures):
    rows = [[label, str(len(label))] for label in findings.labels]
    return Section("letters", "How long names are", __file__, {"table": Table(("class", "letters"), rows)})
"""
TEMPLATE = """{% import "parts.html" as part %}
{% call part.table(table) %}
Letters of each of {{ table.rows|length|count_of("name") }}.
{% endcall %}
"""


def written(folder: Path, template: str = TEMPLATE) -> Make:
    """Return the section of a module that is written to a folder of its own."""
    (folder / "letters.py").write_text(MODULE, encoding="utf-8")
    (folder / "letters.html").write_text(template, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("letters", folder / "letters.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Make = module.section
    return made


def test_a_section_is_a_module_its_template_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = make(["king", "<b>queen"], 6)
    before = Page(report_html(*sample, "photos.tlc"))
    assert "letters" not in before.ids
    monkeypatch.setattr(page, "SECTIONS", (*page.SECTIONS[:2], written(tmp_path), *page.SECTIONS[2:]))
    after = Page(report_html(*sample, "photos.tlc"))
    assert after.ids.index("letters") == before.ids.index("confusion")
    assert [i for i in after.ids if i != "letters"] == before.ids
    assert ("href", "#letters") in after.attributes
    assert "How long names are Letters of each of 2 names. classletters king4 <b>queen8" in after.text


def test_a_name_that_nobody_gave_to_the_template_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SECTIONS", (written(tmp_path, "{{ tabel }}"),))
    with pytest.raises(jinja2.UndefinedError, match="'tabel' is undefined"):
        report_html(*make(["king", "queen"], 6), "photos.tlc")


def test_every_module_of_the_folder_is_in_the_page_and_has_its_template() -> None:
    folder = Path(str(sections.__file__)).parent
    findings, pictures = make(["king", "queen"], 6)
    made = [section(findings, pictures) for section in sections.SECTIONS]
    assert {s.template for s in made} == set(folder.glob("*.html"))
    assert {s.template.with_suffix(".py") for s in made} == {*folder.glob("*.py")} - {folder / "__init__.py"}
    assert len({s.anchor for s in made}) == len({s.title for s in made}) == len(made)


@pytest.mark.parametrize(("taken", "words"), [(True, "the biases were corrected"), (False, "no nearer to float")])
def test_what_correcting_biases_was_worth_is_said_with_its_figures(taken: bool, words: str) -> None:
    findings, pictures = make(["king", "queen"], 6)
    layers = {"model.tflite": (LayerError("stem", "CONV_2D", 20.0, 0.99, 0.1, ""),)}
    without = Page(report_html(replace(findings, layers=layers), pictures, "photos.tlc")).text
    assert "bias" not in without.split("Layer by layer")[-1]
    corrections = {"model.tflite": Correction(10, 0.98632, 0.99834, taken)}
    page_ = Page(report_html(replace(findings, layers=layers, corrections=corrections), pictures, "photos.tlc")).text
    assert words in page_
    assert "10 training images" in page_
    assert "0.9863 without the correction, 0.9983 with it" in page_


def test_of_very_many_classes_those_found_worst_are_listed() -> None:
    labels = [f"class-{i:04}" for i in range(1000)]
    some, pictures = make(labels[:200], 400)
    all_listed = report_html(some, pictures, "photos.tlc")
    findings, pictures = make(labels, 2000, wrong=[977])
    shown = report_html(findings, pictures, "photos.tlc")
    assert len(shown) < 1.1 * len(all_listed)
    assert "class-0977" in Page(shown).text  # the only one that is not always found
    assert "800 classes that are found better are in report.json." in Page(shown).text
    assert "found better" not in Page(all_listed).text
    assert len(json.loads(report_json(findings))["classes"]) == 1000
