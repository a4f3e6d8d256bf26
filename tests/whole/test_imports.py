"""Lightness, the direction of imports and the floors of the rooms, as tested facts.

The device's half loads the standard library, numpy and Pillow, never the compiler's libraries; the
rooms import one way: cli → compiler → runtime, compiler → targets, targets → the runtime's errors.
"""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from floors import FLOORS
from test_cli import commands

from tlc_edge.runtime import Classifier
from tlc_edge.runtime.engines.open import choose

ROOT = Path(__file__).parents[2]
ROOMS = ("cli", "compiler", "runtime", "targets")
HEAVY = {
    "tensorflow",
    "keras",
    "sklearn",
    "scipy",
    "onnx",
    "tf2onnx",
    "onnxruntime",
    "torch",
    "jax",
    "pandas",
}
SERVER = {"starlette", "uvicorn", "python_multipart", "prometheus_client"}
"""What the server's own room loads, which nothing loads that does not serve."""
ENGINES = {"ai_edge_litert", "tflite_runtime", "onnxruntime"}
NOT_FOR_HELP = {*HEAVY, *ENGINES, "numpy", "PIL", "sqlite3", "asyncio", "http", "email", "ssl", "subprocess"}

MAY_IMPORT = {
    "cli": ("tlc_edge.__version__", "tlc_edge.cli", "tlc_edge.compiler", "tlc_edge.runtime", "tlc_edge.targets"),
    "compiler": ("tlc_edge.compiler", "tlc_edge.runtime", "tlc_edge.targets"),
    "runtime": ("tlc_edge.runtime",),
    "targets": ("tlc_edge.targets", "tlc_edge.runtime.errors"),
}


def modules(room: str) -> list[str]:
    """Return the room's modules by their import names."""
    names: list[str] = []
    for path in sorted((ROOT / room).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(("tlc_edge", *parts)).removesuffix(".__init__"))
    return names


def loaded_by(names: Iterable[str], after: Iterable[str] = (), run: str = "") -> set[str]:
    """Return the modules that a fresh interpreter loads for `names`, over what it has after `after`."""
    script = (
        "import importlib, json, sys\n"
        f"for name in {list(after)!r}: importlib.import_module(name)\n"
        "before = set(sys.modules)\n"
        f"for name in {list(names)!r}: importlib.import_module(name)\n"
        f"{run}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT / "tests")
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def tops(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


# --- what is loaded

# Loaded first, so that what numpy and Pillow bring along is theirs.
LIBRARIES = ("numpy", "numpy.typing", "PIL.Image", "PIL.ImageOps", "PIL.ImageFile")


@pytest.mark.parametrize("module", modules("runtime"))
def test_a_runtime_module_loads_only_what_the_device_has(module: str) -> None:
    loaded = loaded_by([module], after=LIBRARIES)
    assert module in loaded
    if not within(module, ["tlc_edge.runtime.serve"]):
        assert tops(loaded) <= {*sys.stdlib_module_names, "numpy", "PIL", "tlc_edge"}
    assert not tops(loaded) & {*HEAVY, *ENGINES, "cv2", "cryptography"}
    assert {name for name in loaded if name.startswith("tlc_edge.")} <= set(modules("runtime"))


def test_targets_load_no_more_than_the_runtime_does() -> None:
    loaded = loaded_by(["tlc_edge.targets"], after=LIBRARIES)
    assert "tlc_edge.targets" in loaded
    assert tops(loaded) <= {*sys.stdlib_module_names, "numpy", "PIL", "tlc_edge"}
    assert not any(name.startswith(("tlc_edge.compiler", "tlc_edge.cli")) for name in loaded)


def test_the_names_of_the_runtime_are_there_without_loading_anything_before_they_are_asked_for() -> None:
    loaded = loaded_by(["tlc_edge.runtime", "tlc_edge.runtime.errors"])
    assert not tops(loaded) & NOT_FOR_HELP
    import tlc_edge.runtime as runtime

    source = ast.parse((ROOT / "runtime" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in source.body if isinstance(node, ast.If))  # what type checkers see
    named = {a.name: n for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert set(named) == set(runtime.__all__) <= set(dir(runtime))
    for name, node in named.items():
        module = node.module if not node.level else f"tlc_edge.runtime.{node.module}"
        assert getattr(runtime, name) is getattr(importlib.import_module(str(module)), name)
    with pytest.raises(AttributeError, match="has no attribute 'Clasifier'"):
        _ = runtime.Clasifier  # type: ignore[attr-defined]


NOT_FOR_AN_IMAGE = {
    *("sqlite3", "email", "http", "urllib.request", "ssl", "socket", "select", "subprocess", "asyncio", "logging"),
    *(
        "tempfile",
        "random",
        "secrets",
        "difflib",
        "importlib.metadata",
        "concurrent.futures",
        "numpy.ma",
        "csv",
        "glob",
    ),
    *("tlc_edge.runtime.gallery.gallery", "tlc_edge.runtime.gallery.records", "tlc_edge.runtime.signing.minisign"),
    *("tlc_edge.runtime.engines.selftest", "tlc_edge.runtime.knn.enroll_warnings", "tlc_edge.runtime.progress"),
}
"""What no prediction needs whose bundle nobody signed and taught nothing, once the self-test has passed."""
NOT_TO_BEGIN = {*NOT_FOR_AN_IMAGE, "zipfile", "bz2", "lzma", "hashlib"}
"""What `import` needs less: a bundle is not opened yet."""


def test_a_classifier_loads_nothing_that_its_first_image_does_not_need(bundle_path: Path) -> None:
    with Classifier.open(bundle_path) as classifier:  # the self-test passes, and is not run again
        size, engine = classifier.bundle.manifest.preprocessing, (choose(classifier.bundle.manifest.models)[0].module,)
    predict = (
        "import numpy; from tlc_edge.runtime import Classifier\n"
        f"with Classifier.open({str(bundle_path)!r}) as classifier:\n"
        "    {work}\n"
        f"    classifier.predict(numpy.zeros(({size.height}, {size.width}, 3), numpy.uint8))"
    )
    began = loaded_by(["tlc_edge.runtime.classifier"], after=LIBRARIES)
    assert "tlc_edge.runtime.classifier" in began
    assert began & NOT_TO_BEGIN == set()
    answered = loaded_by([], after=(*LIBRARIES, *engine), run=predict.format(work="pass"))
    assert {"zipfile", "hashlib", "tlc_edge.runtime.knn.prediction"} <= answered
    assert answered & NOT_FOR_AN_IMAGE == set()
    teach = predict.format(work=f"classifier.enroll('mug', numpy.ones(({size.height}, {size.width}, 3), numpy.uint8))")
    taught = loaded_by([], after=(*LIBRARIES, *engine), run=teach)
    assert {"sqlite3", "tlc_edge.runtime.gallery.gallery", "tlc_edge.runtime.knn.enroll_warnings"} <= taught
    again = loaded_by([], after=(*LIBRARIES, *engine), run=predict.format(work="pass"))
    assert "sqlite3" in again  # a gallery is there
    assert again & (NOT_FOR_AN_IMAGE - {"sqlite3"}) <= {
        *("tlc_edge.runtime.gallery.gallery", "tlc_edge.runtime.gallery.records"),
    }


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_loads_click_and_nothing_heavier(words: tuple[str, ...]) -> None:
    ask = (
        f"sys.argv = {['tlc', *words, '--help']!r}\n"
        "sys.modules.pop('pathlib', None)  # which an editable install has loaded\n"
        "try: sys.modules['tlc_edge.cli'].main()\n"
        "except SystemExit as done: assert not done.code, done.code\n"
        "else: raise AssertionError('the command came back')\n"
        f"assert {bool(words)} or 'pathlib' not in sys.modules"  # the list of all commands needs no paths
    )
    loaded = loaded_by(["tlc_edge.cli"], after=["click"], run=ask)
    assert tops(loaded) <= {*sys.stdlib_module_names, "click", "tlc_edge"}
    assert not tops(loaded) & NOT_FOR_HELP
    assert "importlib.metadata" not in loaded
    files = {name for name in loaded if name.startswith("tlc_edge.cli.commands.")}
    path = [f"tlc_edge.cli.commands.{'.'.join(words[: i + 1])}" for i in range(len(words))]
    assert {name.rstrip("_") for name in files} == set(path)  # no other command than the one that was asked for


def test_nothing_but_the_command_itself_names_the_servers_room() -> None:
    named_by = {
        named(p) for p in files(*ROOMS) if "tlc_edge.runtime.serve" in p.read_text("utf-8") and p.parent.name != "serve"
    }
    assert named_by == {"cli/commands/serve.py", *(f"cli/commands/token/{c}.py" for c in ("add", "list_", "revoke"))}


def test_a_heavy_import_would_be_seen() -> None:
    """The check above is worth something: it sees a heavy library, and a lazy one of the compiler."""
    assert tops(loaded_by(["sklearn"])) & HEAVY
    assert "tlc_edge.compiler" in loaded_by(["tlc_edge.compiler"])


# --- what is written


def imported(source: str, module: str, lazy: bool = True) -> set[str]:
    """Return the dotted names that a module's text imports, relative ones resolved.

    `from a import b` gives `a.b`: b may be a module. With `lazy` false, imports inside functions and
    under `if TYPE_CHECKING` are left out.
    """
    package = module.split(".")
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else []
            found.update(".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)
        skipped = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        if lazy or not skipped:
            for child in ast.iter_child_nodes(node):
                visit(child)

    visit(ast.parse(source))
    return found


def text_of(path: Path) -> tuple[str, str]:
    """Return a file's text and its module's name, packages as `tlc_edge.room.__init__`."""
    return path.read_text(encoding="utf-8"), ".".join(("tlc_edge", *path.relative_to(ROOT).with_suffix("").parts))


def within(name: str, allowed: Iterable[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in allowed)


def files(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", files(*ROOMS), ids=named)
def test_rooms_import_one_way(path: Path) -> None:
    ours = {name for name in imported(*text_of(path)) if within(name, ["tlc_edge"])}
    room = path.relative_to(ROOT).parts[0]
    assert {name for name in ours if not within(name, MAY_IMPORT[room])} == set()


@pytest.mark.parametrize("path", files("runtime"), ids=named)
def test_the_runtime_names_no_other_library_and_engines_only_inside_functions(path: Path) -> None:
    at_once = tops(imported(*text_of(path), lazy=False))
    more = SERVER if path.parent.name == "serve" else set[str]()
    assert at_once <= {*sys.stdlib_module_names, "numpy", "PIL", "tlc_edge", *more}
    assert tops(imported(*text_of(path))) - at_once <= {*sys.stdlib_module_names, "numpy", "PIL", "tlc_edge", *ENGINES}


@pytest.mark.parametrize("path", files("targets"), ids=named)
def test_targets_need_the_standard_library_and_the_errors(path: Path) -> None:
    assert tops(imported(*text_of(path))) <= {*sys.stdlib_module_names, "tlc_edge"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import tensorflow as tf", {"tensorflow"}),
        ("def f():\n    from keras import layers", {"keras.layers"}),
        ("from .errors import TlcError", {"tlc_edge.runtime.errors.TlcError"}),
        ("from . import bundle", {"tlc_edge.runtime.bundle"}),
        ("from ..compiler import shave", {"tlc_edge.compiler.shave"}),
        ("from tlc_edge import compiler", {"tlc_edge.compiler"}),
        ("x = 'import torch'", set[str]()),
    ],
)
def test_imported_reads_every_form(source: str, names: set[str]) -> None:
    assert imported(source, "tlc_edge.runtime.gallery") == names


def test_imported_can_leave_out_what_is_lazy() -> None:
    source = "import json\nif TYPE_CHECKING:\n    import keras\ndef f():\n    import onnx\nclass C:\n  import ast"
    assert imported(source, "tlc_edge.runtime.x", lazy=False) == {"json", "ast"}
    assert imported(source, "tlc_edge.runtime.x") == {"json", "ast", "keras", "onnx"}


# --- the floors: a room imports only rooms on lower floors

# Files that stand on their floor by themselves; there they may import each other, but not in a circle.
ALONE = {
    *("options", "records", "steps", "toolchain", "result", "order", "floats"),
    *("meanwhile", "first_look", "prepare", "again", "spread", "fit", "ladder", "pipeline"),
    *("errors", "files", "install", "progress", "client"),
}


def floor_of(top: str, room: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS[top]) if room in rooms)


def room_of(path: Path) -> tuple[str, str]:
    """Return the top-level folder of a file and its room there: a subfolder, or the file itself."""
    top, *rest = path.relative_to(ROOT).with_suffix("").parts
    return top, rest[0]


def climbs(path: Path, source: str | None = None) -> set[str]:
    """Return what a file imports from its own top-level folder that is not on a lower floor, nor in its own room."""
    text, module = text_of(path)
    top, room = room_of(path)
    found: set[str] = set()
    for name in imported(source or text, module):
        if not name.startswith(f"tlc_edge.{top}."):
            continue
        other = name.split(".")[2]
        if not any(other in rooms for rooms in FLOORS[top]):
            other = "__init__"  # a name that the folder itself gives
        level = floor_of(top, other) - floor_of(top, room)
        if other != room and (level > 0 or (level == 0 and not {room, other} <= {*ALONE, "__init__"})):
            found.add(name)
    return found


@pytest.mark.parametrize("path", files("compiler", "runtime"), ids=named)
def test_a_room_imports_only_rooms_on_lower_floors(path: Path) -> None:
    assert climbs(path) == set()


def test_a_climb_would_be_seen() -> None:
    path = ROOT / "compiler" / "data" / "split.py"
    assert climbs(path, "from tlc_edge.compiler.report import page") == {"tlc_edge.compiler.report.page"}
    assert climbs(path, "def f():\n    from tlc_edge.compiler.weights import pins") == {
        "tlc_edge.compiler.weights.pins"
    }
    assert climbs(path, "from tlc_edge.compiler.cache import store\nfrom .load import Origin") == set()


def test_every_room_stands_on_a_floor_and_says_what_it_may_import() -> None:
    for top, floors in FLOORS.items():
        there = {room_of(path)[1] for path in files(top)}
        assert there == {room for rooms in floors for room in rooms}
        rooms = {room for room in there if (ROOT / top / room).is_dir()}
        assert len(rooms) > 5
        for room in rooms:
            what = (ROOT / top / room / "__init__.py").read_text(encoding="utf-8")
            assert "May import:" in what, room


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of names that reach each other (Tarjan's strongly connected components of two and more)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in edges:
        if node not in index:
            visit(node)
    return found


def test_no_two_files_import_each_other_in_a_circle() -> None:
    known = {name for room in ROOMS for name in modules(room)}
    edges: dict[str, set[str]] = {}
    for path in files(*ROOMS):
        text, module = text_of(path)
        names = imported(text, module)
        targets = {n if n in known else n.rpartition(".")[0] for n in names}
        edges[module.removesuffix(".__init__")] = (targets & known) - {module.removesuffix(".__init__")}
    assert circles(edges) == []


def test_a_circle_would_be_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
