"""Device profiles: the files that ship, files of one's own, and what bad ones are told."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from tlc_edge.runtime.engines import open as engines
from tlc_edge.runtime.errors import UsageError
from tlc_edge.targets import ENGINES, KEYS, MAX_THREADS, all_targets, load_target, target_names, with_formats

FOLDER = Path(__file__).parents[2] / "targets"
RPI = (FOLDER / "rpi.toml").read_text(encoding="utf-8")

Write = Callable[[str], str]


@pytest.fixture
def own(tmp_path: Path) -> Write:
    """Write a target file of one's own and return its path."""

    def write(text: str) -> str:
        path = tmp_path / "my-board.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def changed(old: str, new: str) -> str:
    assert RPI.count(old) == 1, f"{old!r} must be in rpi.toml once"
    return RPI.replace(old, new)


def refusal(name_or_path: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_target(name_or_path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def dotted(text: str) -> set[str]:
    keys = set[str]()
    for key, value in tomllib.loads(text).items():
        if isinstance(value, dict) and key != "sources":
            keys |= {f"{key}.{inner}" for inner in value}
        else:
            keys.add(key)
    return keys


# --- what ships


def test_the_folder_is_the_registry() -> None:
    assert target_names() == tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
    shipped = {"android", "coral", "desktop", "ios", "jetson", "mcu", "rpi", "rpi-32", "rpi-zero", "web"}
    assert shipped <= set(target_names())
    assert [target.name for target in all_targets()] == list(target_names())


@pytest.mark.parametrize("name", target_names())
def test_a_shipped_file_has_all_keys_and_no_other(name: str) -> None:
    assert dotted((FOLDER / f"{name}.toml").read_text(encoding="utf-8")) == set(KEYS)


@pytest.mark.parametrize("name", target_names())
def test_a_shipped_file_cites_each_number(name: str) -> None:
    target = load_target(name)
    numbers = {"limits.model_bytes", "limits.peak_memory_bytes", "engine.threads"}
    assert set(target.sources) == numbers | ({"model.operations"} if target.operations else set())
    assert all(figure.source.startswith("https://") for figure in target.expect)


def test_the_docs_speak_of_each() -> None:
    """The table of them all is made from the files, see tools/docs."""
    docs = (FOLDER.parent / "docs" / "targets.md").read_text(encoding="utf-8")
    told = docs.partition("## The Raspberry Pis")[2]
    assert [name for name in target_names() if f"## {name}\n" not in told and f"| `{name}` |" not in told] == []


def test_rpi_says_what_the_board_takes() -> None:
    rpi = load_target("rpi")
    assert rpi.formats == ("tflite", "onnx")
    assert (rpi.scheme, rpi.onnx_scheme) == ("int8", "float32")
    assert (rpi.input_dtype, rpi.output_dtype) == ("uint8", "float32")
    assert rpi.engines == ("ai-edge-litert", "tflite-runtime", "onnxruntime")
    assert (rpi.threads, rpi.model_bytes, rpi.peak_memory_bytes) == (4, 0, 512 * 1024 * 1024)
    assert rpi.operations == ()
    assert min(figure.milliseconds for figure in rpi.expect) == 17


@pytest.mark.parametrize("name", ["android", "ios", "web"])
def test_phones_and_browsers_take_bytes_and_give_floats(name: str) -> None:
    """MediaPipe Tasks and LiteRT.js refuse int8 at either end."""
    target = load_target(name)
    assert (target.input_dtype, target.output_dtype, target.scheme) == ("uint8", "float32", "int8")


def test_a_microcontroller_takes_and_gives_int8() -> None:
    mcu = load_target("mcu")
    assert (mcu.input_dtype, mcu.output_dtype, mcu.full_int8, mcu.extras) == ("int8", "int8", True, ("c-array",))
    assert (mcu.model_bytes, mcu.peak_memory_bytes) == (512 * 1024, 192 * 1024)


def test_coral_lists_what_the_edge_tpu_runs_and_names_the_compiler_only() -> None:
    coral = load_target("coral")
    assert {"CONV_2D", "SOFTMAX", "QUANTIZE"} <= set(coral.operations)
    assert not {"DEQUANTIZE", "ELU", "HARD_SWISH", "CAST"} & set(coral.operations)
    assert coral.notes == ("Compile for the Edge TPU:  edgetpu_compiler -s model.tflite",)


def test_boards_without_onnxruntime_get_no_onnx() -> None:
    assert [t.name for t in all_targets() if t.engines[0] == "tflite-runtime"] == ["rpi-32", "rpi-zero"]
    assert load_target("rpi-32").formats == load_target("rpi-zero").formats == ("tflite",)


def test_desktop_leaves_the_number_of_threads_to_the_machine() -> None:
    assert load_target("desktop").threads == 0


def test_a_target_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        load_target("rpi").threads = 1  # type: ignore[misc]


# --- a file of one's own


def test_own_file_by_its_path(own: Write) -> None:
    board = load_target(own(changed("threads = 4", "threads = 2")))
    assert (board.name, board.threads) == ("my-board", 2)
    assert board.formats == load_target("rpi").formats


def test_own_file_by_a_relative_path(own: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(RPI)
    monkeypatch.chdir(tmp_path)
    assert load_target("my-board.toml").name == load_target("./my-board.toml").name == "my-board"
    (tmp_path / "my-board.toml").rename(tmp_path / "plain")
    assert load_target("./plain").name == "plain"


def test_a_shipped_name_is_never_a_file_beside_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rpi").write_text("nonsense", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_target("rpi").name == "rpi"


def test_the_list_of_operations_is_kept(own: Write) -> None:
    board = load_target(own(changed("operations = []", 'operations = ["CONV_2D", "SOFTMAX"]')))
    assert board.operations == ("CONV_2D", "SOFTMAX")


def test_no_published_figure_is_no_fault(own: Write) -> None:
    start, end = RPI.index("# Invocation only"), RPI.index("[sources]")
    assert load_target(own("expect = []\n" + RPI[:start] + RPI[end:])).expect == ()


# --- what is refused


def test_unknown_name_lists_the_nearest_first() -> None:
    message = refusal("dekstop")
    assert message.startswith("unknown target 'dekstop'; known: desktop, ")
    assert "rpi" in message


@pytest.mark.parametrize("name", ["", "RPI", "__init__", "rpi ", ".."])
def test_other_unknown_names(name: str) -> None:
    assert refusal(name).startswith(f"unknown target {name!r}")


def test_missing_file(tmp_path: Path) -> None:
    message = refusal(str(tmp_path / "none.toml"))
    assert "none.toml: no such target file" in message
    assert "rpi" in message


def test_a_folder_is_no_target_file(tmp_path: Path) -> None:
    folder = tmp_path / "board.toml"
    folder.mkdir()
    assert "board.toml: cannot be read" in refusal(str(folder))


def test_a_path_no_system_takes() -> None:
    assert "cannot be read" in refusal("./a\0b.toml")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(b'title = "\xff"')
    assert "not a text file in UTF-8 (byte 9)" in refusal(str(path))


@pytest.mark.parametrize("text", ["title = ", "[model", "x = " + "[" * 5000])
def test_bad_toml(own: Write, text: str) -> None:
    assert "my-board.toml: not valid TOML" in refusal(own(text))


@pytest.mark.parametrize(
    ("old", "new", "key", "nearest"),
    [
        ("threads = 4", "thread = 4", "engine.thread", "engine.threads"),
        ("title =", "titel =", "titel", "title"),
        ("[engine]", "[engines]", "engines", "engine.threads"),
        ("[model]", "[models]", "models", "model."),
        ("[limits]", "[extra]\n[limits]", "extra", ""),
        ("threads = 4", "threads = 4\nname = 'x'", "engine.name", "engine."),
    ],
)
def test_unknown_key(own: Write, old: str, new: str, key: str, nearest: str) -> None:
    assert f"unknown key {key!r}; known: {nearest}" in refusal(own(changed(old, new)))


@pytest.mark.parametrize("key", [*(key for key in KEYS if "." in key), "title", "description"])
def test_missing_key(own: Write, key: str) -> None:
    inner = key.split(".")[-1]
    kept = [line for line in RPI.splitlines() if not line.startswith(f"{inner} =")]
    assert len(kept) == len(RPI.splitlines()) - 1
    assert f"missing {key};" in refusal(own("\n".join(kept)))


def test_several_missing_keys_are_all_named(own: Write) -> None:
    assert "missing model.formats, model.scheme" in refusal(own("title = 'x'\ndescription = 'y'"))
    assert "missing title, description" in refusal(own(""))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("threads = 4", "threads = '4'", "engine.threads is '4'; expected a whole number, 0 to 128"),
        ("threads = 4", "threads = 4.0", "engine.threads is 4.0; expected a whole number"),
        ("threads = 4", "threads = true", "engine.threads is True; expected a whole number"),
        ("threads = 4", "threads = -1", "engine.threads is -1; expected a whole number"),
        ("threads = 4", "threads = 129", "engine.threads is 129; expected a whole number, 0 to 128"),
        ("threads = 4", "threads = 1000", "engine.threads is 1000; expected a whole number, 0 to 128"),
        ("model_bytes = 0", "model_bytes = -1", "limits.model_bytes is -1; expected a whole number, 0 or more"),
        ("model_bytes = 0", "model_bytes = []", "limits.model_bytes is []; expected a whole number"),
        ('scheme = "int8"', 'scheme = "int4"', "model.scheme: unknown scheme 'int4'; known: int8, "),
        ('scheme = "int8"', "scheme = 8", "model.scheme is 8; expected text"),
        ('onnx_scheme = "float32"', 'onnx_scheme = "dynamic"', "model.onnx_scheme: unknown scheme 'dynamic'"),
        (
            'input_dtype = "uint8"',
            'input_dtype = "uint16"',
            "model.input_dtype: unknown dtype 'uint16'; known: uint8",
        ),
        ('["tflite", "onnx"]', '"tflite"', "model.formats is 'tflite'; expected a list of text"),
        ('["tflite", "onnx"]', "[]", "model.formats is []; expected at least one format"),
        ('["tflite", "onnx"]', '["tflite", "onxx"]', "model.formats: unknown format 'onxx'; known: onnx"),
        ('["tflite", "onnx"]', '["onnx", "onnx"]', "expected each format once"),
        ('"tflite-runtime", ', '"tflite", ', "engine.preferred: unknown engine 'tflite'"),
        ("operations = []", "operations = [1]", "model.operations is 1; expected text"),
        ('input_dtype = "uint8"', 'input_dtype = "float32"', "unknown dtype 'float32'; known: "),
        ('output_dtype = "float32"', 'output_dtype = "uint8"', "unknown dtype 'uint8'; known: "),
        ("full_int8 = false", "full_int8 = 0", "model.full_int8 is 0; expected true or false"),
        ("extras = []", 'extras = ["c-aray"]', "model.extras: unknown extra 'c-aray'; known: c-array"),
        ("notes = []", 'notes = "none"', "notes is 'none'; expected a list of text"),
        ("notes = []", 'notes = [""]', "notes is ''; expected text, not empty"),
        ('title = "Raspberry Pi 4 and 5, 64-bit"', 'title = " "', "title is ' '; expected text, not empty"),
        ("milliseconds = 46", "milliseconds = 0", "expect[1].milliseconds is 0; expected a number above 0"),
        ("milliseconds = 46", "milliseconds = nan", "expect[1].milliseconds is nan; expected"),
        ("milliseconds = 46", "milliseconds = inf", "expect[1].milliseconds is inf; expected"),
        ("milliseconds = 46", "milliseconds = true", "expect[1].milliseconds is True; expected"),
        ("milliseconds = 46", "seconds = 46", "expect[1]: unknown key 'seconds'; known: milliseconds"),
        ("milliseconds = 46\n", "", "expect[1]: missing milliseconds"),
        ('"engine.threads" = "', '"engine.threads" = 4 #', 'sources "engine.threads" is 4; expected text'),
    ],
)
def test_wrong_value(own: Write, old: str, new: str, said: str) -> None:
    assert said in refusal(own(changed(old, new)))


def test_every_engine_of_the_runtime_can_be_preferred() -> None:
    """And the first names are its own, in its order: what follows is run by others."""
    own = tuple(kind.name for kind in engines.KINDS)
    assert ENGINES[: len(own)] == own


def test_the_most_threads_are_those_of_the_runtime(own: Write) -> None:
    """The rooms import one way, so the bound is written down twice."""
    assert MAX_THREADS == engines.MAX_THREADS
    assert load_target(own(changed("threads = 4", f"threads = {MAX_THREADS}"))).threads == MAX_THREADS


ONLY_TFLITE = [
    ("extras = []", 'extras = ["c-array"]', "model.extras has c-array"),
    ('input_dtype = "uint8"', 'input_dtype = "int8"', "model.input_dtype is int8"),
    ('output_dtype = "float32"', 'output_dtype = "int8"', "model.output_dtype is int8"),
    ("full_int8 = false", "full_int8 = true", "model.full_int8 is true"),
    ("operations = []", 'operations = ["CONV_2D"]', "model.operations is not empty"),
    ('preferred = ["', 'preferred = ["tflite-micro", "', "engine.preferred begins with tflite-micro"),
]
"""Changes of the Pi's file that only mean something for a TFLite file, and how each is named."""


@pytest.mark.parametrize(("old", "new", "said"), ONLY_TFLITE)
def test_what_is_of_the_tflite_file_needs_one(own: Write, old: str, new: str, said: str) -> None:
    text = changed(old, new)
    assert load_target(own(text)).formats == ("tflite", "onnx")
    only_onnx = text.replace('formats = ["tflite", "onnx"]', 'formats = ["onnx"]')
    message = refusal(own(only_onnx))
    assert f"my-board.toml: {said}, which is of the TFLite file, and model.formats is onnx; add tflite" in message


@pytest.mark.parametrize(("old", "new", "said"), [case for case in ONLY_TFLITE if "int8" in case[2]])
def test_int8_at_an_end_or_all_through_needs_the_scheme(own: Write, old: str, new: str, said: str) -> None:
    text = changed(old, new)
    assert load_target(own(text)).scheme == "int8"
    message = refusal(own(text.replace('\nscheme = "int8"', '\nscheme = "dynamic"')))
    assert f"my-board.toml: {said}, and model.scheme is dynamic" in message


def test_a_file_of_one_format_without_any_of_it_is_right(own: Write) -> None:
    for form in ("onnx", "tflite"):
        assert load_target(own(changed('["tflite", "onnx"]', f'["{form}"]'))).formats == (form,)
    assert load_target(own(changed('\nscheme = "int8"', '\nscheme = "dynamic"'))).scheme == "dynamic"


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("model = 3", "model is 3; expected a table [model]"),
        ("limits = []", "limits is []; expected a table [limits]"),
        ("sources = 'me'", "sources is 'me'; expected a table"),
        ("expect = 'fast'", "expect is 'fast'; expected a list of tables"),
        ("expect = ['fast']", "expect[0] is 'fast'; expected a table"),
    ],
)
def test_a_value_where_a_table_belongs(own: Write, prefix: str, said: str) -> None:
    key = prefix.split(" ")[0]
    parts = RPI.split("\n\n")
    kept = [part for part in parts if f"[{key}]" not in part]
    assert len(kept) < len(parts)
    assert said in refusal(own(prefix + "\n" + "\n\n".join(kept)))


@pytest.mark.parametrize("number", ["limits.model_bytes", "limits.peak_memory_bytes", "engine.threads"])
def test_a_number_without_a_source(own: Write, number: str) -> None:
    kept = [line for line in RPI.splitlines() if not line.startswith(f'"{number}" =')]
    assert f"{number} has no source" in refusal(own("\n".join(kept)))


def test_a_source_for_no_number(own: Write) -> None:
    message = refusal(own(RPI + '"engine.cores" = "https://example.org"\n'))
    assert "unknown number 'engine.cores'; known: engine.threads" in message


def test_an_unquoted_source_is_told_to_quote(own: Write) -> None:
    assert "keys are quoted" in refusal(own(changed('"engine.threads" =', "engine.threads =")))


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        ((), ("tflite", "onnx")),
        (("tflite",), ("tflite",)),
        (("onnx",), ("onnx",)),
        (("onnx", "tflite"), ("tflite", "onnx")),  # which one the device prefers is not asked for
    ],
)
def test_some_of_the_formats_and_nothing_else_is_changed(asked: tuple[str, ...], files: tuple[str, ...]) -> None:
    rpi = load_target("rpi")
    chosen = with_formats(rpi, asked)
    assert chosen.formats == files
    assert replace(chosen, formats=rpi.formats) == rpi


@pytest.mark.parametrize(
    ("target", "asked", "said"),
    [
        ("rpi", ("tflite", "onx"), "--formats: unknown format 'onx'; known: onnx, tflite"),
        ("coral", ("onnx",), "--formats onnx: target coral takes tflite files alone"),
        ("mcu", ("onnx", "tflite"), "--formats onnx: target mcu takes tflite files alone"),
    ],
)
def test_formats_that_a_target_has_not(target: str, asked: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        with_formats(load_target(target), asked)
    assert str(refused.value) == said


def test_formats_cannot_leave_out_what_a_target_wants_something_of(own: Write) -> None:
    board = load_target(own(changed('input_dtype = "uint8"', 'input_dtype = "int8"')))
    assert with_formats(board, ("tflite",)).formats == ("tflite",)
    with pytest.raises(
        UsageError, match=r"^--formats onnx: target .*: model.input_dtype is int8, which is of the TFLite"
    ):
        with_formats(board, ("onnx",))
