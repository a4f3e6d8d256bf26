"""Adding one of anything is done in one place: each test adds one to its table alone, and builds or runs with it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

import tlc_edge.targets as targets
from tlc_edge.cli.folder import CommandFolder
from tlc_edge.compiler import Options, build
from tlc_edge.compiler.backbones import find
from tlc_edge.compiler.data import load
from tlc_edge.compiler.data.bundle_name import bundle_name
from tlc_edge.compiler.lower import tflite_lower
from tlc_edge.compiler.options import Asked
from tlc_edge.compiler.report import page
from tlc_edge.compiler.train import heads
from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.engines.open import open_engine
from tlc_edge.runtime.engines.table import KINDS, EngineKind, engine_names
from tlc_edge.runtime.errors import BuildError, DataError, UsageError
from tlc_edge.targets.schemes import DYNAMIC, SCHEMES, Scheme, names

SKETCH = Path(__file__).parents[1] / "data" / "tfjs_sketch"
Digits = dict[str, list[NDArray[np.uint8]]]
Write = Callable[[str, str], ModuleType]


@pytest.fixture
def options(photos: Path, tmp_path: Path) -> Options:
    """A small network and forty digits: what is tested is the machinery."""
    return Options(
        data=str(photos),
        targets=("desktop",),
        output=tmp_path / "b",
        backbone=str(SKETCH),
        asked=Asked(pixels="-1..1"),
        pool="flatten",
        head="prototype",
        scheme="float32",
        max_drop=90,
        calibration=8,
    )


@pytest.fixture
def module(tmp_path: Path) -> Write:
    """Write a module of one's own, and import it."""

    def write(name: str, text: str) -> ModuleType:
        path = tmp_path / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made

    return write


def built(options: Options) -> Bundle:
    return Bundle.open(build(options).bundles[0].path)


def test_a_target_is_a_file(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "profiles"
    shutil.copytree(Path(targets.__file__).parent, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    text = (folder / "desktop.toml").read_text(encoding="utf-8")
    (folder / "shelf.toml").write_text(text.replace("Desktop, laptop or server", "Shelf"), encoding="utf-8")
    with pytest.raises(UsageError, match="unknown target 'shelf'"):
        targets.load_target("shelf")
    monkeypatch.setattr(targets, "_FOLDER", folder)
    assert "shelf" in targets.target_names()
    assert built(replace(options, targets=("shelf",))).manifest.target["title"] == "Shelf, 64-bit"


class TestScheme:
    """A row, and a function that lowers to it."""

    @pytest.fixture
    def eighth(self, monkeypatch: pytest.MonkeyPatch) -> Scheme:
        row = replace(DYNAMIC, name="eighth", summary="As dynamic, under another name.")
        monkeypatch.setitem(SCHEMES, "eighth", row)
        monkeypatch.setitem(tflite_lower.LOWERINGS, "eighth", tflite_lower.LOWERINGS[DYNAMIC.name])
        return row

    def test_it_is_built_told_and_opened(self, options: Options, eighth: Scheme, digits: Digits) -> None:
        assert eighth.name in names("tflite")
        assert eighth.name not in names("onnx")
        bundle = built(replace(options, scheme="eighth"))
        assert [m.scheme for m in bundle.manifest.models] == ["eighth", "float32"]
        with Classifier.open(bundle) as classifier:
            assert classifier.predict(digits["1"][0]).label in bundle.manifest.labels

    def test_a_target_may_start_from_it(self, options: Options, eighth: Scheme, tmp_path: Path) -> None:
        text = (Path(targets.__file__).parent / "desktop.toml").read_text(encoding="utf-8")
        own = tmp_path / "own.toml"
        own.write_text(text.replace('\nscheme = "int8"', f'\nscheme = "{eighth.name}"'), encoding="utf-8")
        assert targets.load_target(own).scheme == "eighth"

    def test_a_file_that_is_something_else_is_refused(
        self, options: Options, eighth: Scheme, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def forgets(given: tflite_lower.Lowering) -> bytes:
            return tflite_lower.LOWERINGS["float32"](given)

        row = replace(eighth, forms={"tflite": SCHEMES["float16"].forms["tflite"]})
        monkeypatch.setitem(SCHEMES, "eighth", row)
        monkeypatch.setitem(tflite_lower.LOWERINGS, "eighth", forgets)
        with pytest.raises(BuildError, match="a file that is not eighth: operations give float32"):
            build(replace(options, scheme="eighth", cache="off"))
        assert not options.output.exists()


def test_an_engine_is_a_row(
    built_bundle: Path, digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other_litert.py").write_text("from ai_edge_litert.interpreter import Interpreter\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="unknown engine 'other-litert'"):
        open_engine(Bundle.open(built_bundle), "other-litert")
    row = EngineKind("other-litert", "tflite", "other_litert", KINDS[0].make)
    KINDS.insert(0, row)
    try:
        assert engine_names()[0] == "other-litert"
        assert open_engine(Bundle.open(built_bundle))[0].name == "other-litert"
        with Classifier.open(built_bundle, tmp_path / "g.gallery", engine="other-litert") as classifier:
            assert classifier.predict(digits["1"][0]).label is not None
    finally:
        KINDS.remove(row)


ZOO = """
from small_networks import small_backbone
from tlc_edge.runtime.errors import UsageError

def claims(name):
    return name.startswith("zoo:")

def check(name, asked):
    if name != "zoo:small":
        raise UsageError(f"--backbone {name}: the zoo has zoo:small")

def reads(name, asked):
    return None

def load(name, asked):
    return small_backbone()
"""


def test_a_backbone_source_is_a_module(options: Options, module: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = replace(options, asked=Asked(), pool="avg")
    with pytest.raises(UsageError, match="unknown backbone 'zoo:small'"):
        build(replace(asked, backbone="zoo:small"))
    zoo: Any = module("zoo", ZOO)
    monkeypatch.setattr(find, "SOURCES", (*find.SOURCES, zoo))
    with pytest.raises(UsageError, match="the zoo has zoo:small"):
        build(replace(asked, backbone="zoo:large"))
    assert built(replace(asked, backbone="zoo:small")).manifest.backbone["name"] == "small"


FIRST = """
import numpy as np
from tlc_edge.compiler.records import Dense, Head

def make(given):
    kernel = np.zeros((given.views[0].shape[1], len(given.labels)), np.float32)
    bias = np.eye(len(given.labels), dtype=np.float32)[0]
    return Head("first", (Dense(kernel, bias, "softmax"),))
"""


def test_a_head_is_a_module_and_a_row(options: Options, module: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown head 'first'"):
        build(replace(options, head="first"))
    first = heads.HeadKind("first", "always the first class", module("first", FIRST).make)
    monkeypatch.setattr(heads, "HEADS", (*heads.HEADS, first))
    assert "first (always the first class)" in heads.head_help()
    bundle = built(replace(options, head="first"))
    assert bundle.manifest.head["kind"] == "first"
    image = np.zeros(open_engine(bundle)[0].shape, np.uint8)
    assert int(np.argmax(open_engine(bundle)[0].run(image)[0])) == 0


STACK = """
import json
from pathlib import Path

import numpy as np
from tlc_edge.compiler.data.records import Sample

EXPECTED = "a .stack"
SUFFIXES = (".stack",)

def claims(origin):
    return origin.data.endswith(".stack") and Path(origin.data).exists()

def read(reading):
    rows = json.loads(Path(reading.origin.data).read_text())
    return [Sample(np.array(row["pixels"], np.uint8), row["label"], None, f"row {i}") for i, row in enumerate(rows)]
"""


def test_a_form_of_data_is_a_module(
    options: Options, photos: Path, module: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"label": path.parent.name, "pixels": np.asarray(Image.open(path)).tolist()}
        for path in sorted(photos.glob("*/*.png"))
    ]
    path = tmp_path / "digits.stack"
    path.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"digits\.stack: expected .*a folder with one folder per class, .*, or a \.gallery"
    ):
        build(replace(options, data=str(path)))
    stack: Any = module("stack", STACK)
    monkeypatch.setattr(load, "FORMS", (*load.FORMS, stack))
    with pytest.raises(DataError, match=r"gone\.stack: no such file or folder; give .*, or a \.stack"):
        build(replace(options, data=str(tmp_path / "gone.stack")))
    assert built(replace(options, data=str(path))).manifest.labels == ("0", "1", "2", "3")
    assert bundle_name(str(path)) == "digits.tlc"


SECTION = """
from tlc_edge.compiler.report.section import Section

def section(findings, pictures):
    return Section("motto", "A motto", __file__, {"labels": findings.manifest.labels})
"""


def test_a_section_of_the_report_is_a_module_with_a_template(
    options: Options, module: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "motto.html").write_text("<p>Known: {{ labels | join(' < ') }}</p>\n", encoding="utf-8")
    made = module("motto", SECTION)
    monkeypatch.setattr(page, "SECTIONS", (*page.SECTIONS, made.section))
    report = built(options).read("report.html").decode()
    assert 'id="motto"' in report
    assert "<p>Known: 0 &lt; 1 &lt; 2 &lt; 3</p>" in report


COMMAND = '''"""Say how many words there are."""

import click

@click.command(help=__doc__)
@click.argument("words", nargs=-1)
def count_words(words):
    click.echo(len(words))
'''


def test_a_command_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "more_commands"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "count_words.py").write_text(COMMAND, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    group = CommandFolder("more_commands", str(folder / "__init__.py"), name="more")
    assert CliRunner().invoke(group, ["count-words", "a", "b"]).output == "2\n"
    assert "count-words  Say how many words there are." in CliRunner().invoke(group, ["--help"]).output


def test_what_is_in_a_table_is_nowhere_else() -> None:
    """Every scheme can be lowered to in each of its formats, and no other; every next rung is one of its format."""
    from tlc_edge.compiler.lower import onnx_lower
    from tlc_edge.compiler.lower.formats import FORMATS

    assert set(FORMATS) == set(targets.formats())
    for form, lowerings in (("tflite", tflite_lower.LOWERINGS), ("onnx", onnx_lower.LOWERINGS)):
        assert set(lowerings) == {s.name for s in SCHEMES.values() if form in s.forms}
        for scheme in SCHEMES.values():
            for name in scheme.forms[form].next if form in scheme.forms else ():
                assert form in SCHEMES[name].forms
