"""Lightness and the direction of imports, as tested facts.

The device's half loads the standard library, numpy and Pillow, never the compiler's libraries; the
rooms import one way: cli → compiler → runtime, compiler → targets, targets → the runtime's errors.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
ENGINES = {"ai_edge_litert", "tflite_runtime", "onnxruntime"}

MAY_IMPORT = {
    "cli": ("tlc.cli", "tlc.compiler", "tlc.runtime", "tlc.targets"),
    "compiler": ("tlc.compiler", "tlc.runtime", "tlc.targets"),
    "runtime": ("tlc.runtime",),
    "targets": ("tlc.targets", "tlc.runtime.errors"),
}


def modules(room: str) -> list[str]:
    """Return the room's modules by their import names."""
    names: list[str] = []
    for path in sorted((ROOT / room).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(("tlc", *parts)).removesuffix(".__init__"))
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
    assert tops(loaded) <= {*sys.stdlib_module_names, "numpy", "PIL", "tlc"}
    assert {name for name in loaded if name.startswith("tlc.")} <= set(modules("runtime"))


def test_targets_load_no_more_than_the_runtime_does() -> None:
    loaded = loaded_by(["tlc.targets"], after=LIBRARIES)
    assert "tlc.targets" in loaded
    assert tops(loaded) <= {*sys.stdlib_module_names, "numpy", "PIL", "tlc"}
    assert not any(name.startswith(("tlc.compiler", "tlc.cli")) for name in loaded)


def test_the_command_line_starts_without_the_compilers_libraries() -> None:
    loaded = loaded_by(modules("cli"))
    assert "tlc.cli" in loaded
    assert not tops(loaded) & HEAVY


@pytest.mark.skipif(modules("cli") == ["tlc.cli"], reason="there are no commands yet")
@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["build", "--help"]], ids=" ".join)
def test_help_is_shown_without_the_compilers_libraries(words: list[str]) -> None:
    ask = (
        f"sys.argv = {['tlc', *words]!r}\n"
        "try: sys.modules['tlc.cli'].main()\n"
        "except SystemExit as done: assert not done.code, done.code\n"
        "else: raise AssertionError('the command came back')"
    )
    assert not tops(loaded_by(["tlc.cli"], run=ask)) & HEAVY


def test_a_heavy_import_would_be_seen() -> None:
    """The check above is worth something: it sees a heavy library, and a lazy one of the compiler."""
    assert tops(loaded_by(["sklearn"])) & HEAVY
    assert "tlc.compiler" in loaded_by(["tlc.compiler"])


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
    """Return a file's text and its module's name, packages as `tlc.room.__init__`."""
    return path.read_text(encoding="utf-8"), ".".join(("tlc", *path.relative_to(ROOT).with_suffix("").parts))


def within(name: str, allowed: Iterable[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in allowed)


def files(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", files(*ROOMS), ids=named)
def test_rooms_import_one_way(path: Path) -> None:
    ours = {name for name in imported(*text_of(path)) if within(name, ["tlc"])}
    room = path.relative_to(ROOT).parts[0]
    assert {name for name in ours if not within(name, MAY_IMPORT[room])} == set()


@pytest.mark.parametrize("path", files("runtime"), ids=named)
def test_the_runtime_names_no_other_library_and_engines_only_inside_functions(path: Path) -> None:
    at_once = tops(imported(*text_of(path), lazy=False))
    assert at_once <= {*sys.stdlib_module_names, "numpy", "PIL", "tlc"}
    assert tops(imported(*text_of(path))) - at_once <= {*sys.stdlib_module_names, "numpy", "PIL", *ENGINES}


@pytest.mark.parametrize("path", files("targets"), ids=named)
def test_targets_need_the_standard_library_and_the_errors(path: Path) -> None:
    assert tops(imported(*text_of(path))) <= {*sys.stdlib_module_names, "tlc"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import tensorflow as tf", {"tensorflow"}),
        ("def f():\n    from keras import layers", {"keras.layers"}),
        ("from .errors import TlcError", {"tlc.runtime.errors.TlcError"}),
        ("from . import bundle", {"tlc.runtime.bundle"}),
        ("from ..compiler import shave", {"tlc.compiler.shave"}),
        ("from tlc import compiler", {"tlc.compiler"}),
        ("x = 'import torch'", set[str]()),
    ],
)
def test_imported_reads_every_form(source: str, names: set[str]) -> None:
    assert imported(source, "tlc.runtime.gallery") == names


def test_imported_can_leave_out_what_is_lazy() -> None:
    source = "import json\nif TYPE_CHECKING:\n    import keras\ndef f():\n    import onnx\nclass C:\n  import ast"
    assert imported(source, "tlc.runtime.x", lazy=False) == {"json", "ast"}
    assert imported(source, "tlc.runtime.x") == {"json", "ast", "keras", "onnx"}
