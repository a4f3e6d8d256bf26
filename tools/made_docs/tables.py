"""Tables of steps, targets, schemes and warnings; the modules of steps and warnings are read, not run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .markdown import code, table


def trailing_comment(lines: list[str], node: ast.stmt, body: ast.stmt) -> str:
    """Return what stands beside the head of a block, or on the comment lines right above it."""
    for line in lines[node.lineno - 1 : body.lineno - 1]:
        beside = line.partition("  # ")[2]
        if beside:
            return beside.strip()
    above: list[str] = []
    row = node.lineno - 2
    while row >= 0 and lines[row].strip().startswith("#"):
        above.insert(0, lines[row].strip().lstrip("# "))
        row -= 1
    return " ".join(above)


def steps(compiler: Path) -> list[tuple[str, str]]:
    """Return the steps of a build with their reasons, in order.

    They are those of compiler/pipeline.py, and in their places those of the functions that it calls in files beside it.
    """
    files = {path.stem: path for path in compiler.glob("*.py")}
    found: dict[str, str] = {}
    for name, why in _steps(files, "pipeline", "build"):
        found.setdefault(name, why)
    return list(found.items())


def _steps(files: dict[str, Path], file: str, function: str) -> Iterator[tuple[str, str]]:
    text = files[file].read_text("utf-8")
    tree = ast.parse(text)
    beside = {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module in files
        for alias in node.names
    }
    (body,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    here = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}

    def walk(node: ast.AST) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.With):
            for item in node.items:
                call = item.context_expr
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "step":
                    (name,) = call.args
                    assert isinstance(name, ast.Constant)
                    yield str(name.value), trailing_comment(text.splitlines(), node, node.body[0])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and _passes_step(node):
            if node.func.id in beside:
                yield from _steps(files, *beside[node.func.id])
            elif node.func.id in here:
                yield from _steps(files, file, node.func.id)
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    for statement in body.body:
        yield from walk(statement)


def _passes_step(call: ast.Call) -> bool:
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return any(isinstance(value, ast.Name) and value.id == "step" for value in given)


def steps_table(compiler: Path) -> str:
    """Return the table of a build's steps."""
    return table(("step", "what it does, and why there"), steps(compiler))


def size(count: int) -> str:
    """Return a number of bytes for people; `-` for no limit."""
    if not count:
        return "-"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def targets_table(targets: Any) -> str:
    """Return the table of the targets."""
    head = ("target", "device", "files", "scheme", "input, output", "threads", "largest model", "most memory")
    rows = [
        (
            code(t.name),
            t.title,
            ", ".join((*t.formats, *t.extras)),
            t.scheme if "onnx" not in t.formats else f"{t.scheme}; ONNX {t.onnx_scheme}",
            f"{t.input_dtype}, {t.output_dtype}",
            str(t.threads or "all"),
            size(t.model_bytes),
            size(t.peak_memory_bytes),
        )
        for t in targets
    ]
    return table(head, rows)


def schemes_table(schemes: Any) -> str:
    """Return the table of the schemes."""
    rows = []
    for scheme in schemes.values():
        for form, what in scheme.forms.items():
            further = ", ".join(map(code, what.next)) or "-"
            calibrated = "yes" if scheme.calibrated else "no"
            rows.append((code(scheme.name), form, scheme.weights, what.between, calibrated, further))
    head = ("scheme", "format", "weights", "between layers", "calibrated", "tried where it loses too much")
    return table(head, rows) + "\n" + "".join(f"- {code(s.name)}: {s.summary}\n" for s in schemes.values())


def warnings_table(text: str, beside: str) -> str:
    """Return the table of the warnings of compiler/report/warnings.py, whose functions' docstrings say when.

    A docstring names the limits, its own file's or those of the file `beside`; their values are put in their place.
    """
    tree = ast.parse(text)
    limits = _constants(ast.parse(beside)) | _constants(tree)
    said: dict[str, str] = {}
    kinds: list[tuple[str, str]] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            said[node.name] = " ".join((ast.get_docstring(node) or "").split())
        elif isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Tuple):
            for row in node.value.elts:
                assert isinstance(row, ast.Tuple)
                kind, function = row.elts
                assert isinstance(kind, ast.Constant)
                assert isinstance(function, ast.Name)
                kinds.append((str(kind.value), function.id))
    rows = [(code(kind), _with_limits(said[function], limits)) for kind, function in kinds]
    return table(("kind", "is said when"), rows)


def _constants(tree: ast.Module) -> dict[str, float]:
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, int | float)
    }


def _with_limits(text: str, limits: dict[str, float]) -> str:
    for name, value in limits.items():
        shown = f"{100 * value:g} %" if isinstance(value, float) and value < 1 else f"{value:g}"
        text = text.replace(code(name), shown)
    return text


def endpoints_table(openapi: dict[str, Any]) -> str:
    """Return what can be asked of `tlc serve`; what is of a bundle without the path that all of it has."""
    below = "/api/v1/bundles/{bundle}"
    rows: list[list[str]] = []
    for path, item in openapi["paths"].items():
        shown = f"…{path[len(below) :]}" if path.startswith(below) else path.removeprefix("/")
        for method, asked in item.items():
            if method == "parameters":
                continue
            wanted = [p["name"] for p in asked.get("parameters", ()) if p["in"] == "query"]
            query = f"?{'&'.join(f'{name}=' for name in wanted)}" if wanted else ""
            rows.append([code(f"{method.upper()} {shown}{query}"), asked["summary"]])
    return f"`…` is `api/v1/bundles/{{bundle}}`.\n\n{table(['request', 'what it does'], rows)}"
