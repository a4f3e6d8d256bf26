"""Where output cannot go, where an image comes from standard input, and the tables for people."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_runs import COMMAND, Done, apart, here, shell
from test_selftest import EXPECTED, expected, tampered

from tlc_edge.runtime import Bundle, Gallery

Tlc = Callable[..., Done]
SKETCH = Path(__file__).parents[1] / "data" / "tfjs_sketch"
FULL = "Error: the output: No space left on device\n"


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args)


@pytest.fixture
def image(photos: Path) -> Path:
    return photos / "0" / "0.png"


@pytest.fixture
def failing(bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle that gives other answers than where it was built: `selftest` prints its figures, then fails."""
    name = "model.tflite:embedding"
    return tampered(bundle, tmp_path / "f.tlc", EXPECTED, expected(bundle, lambda a: a.update({name: -a[name]})))


# --- output that cannot be written


def broken_pipe(*args: object) -> Done:
    """Run the command with an output whose reader has gone before it began."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *map(str, args)], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    return Done(done.returncode, "", done.stderr.decode())


WITHOUT_A_BUNDLE = ["--help", "build --help", "gallery --help", "--version", "targets", "backbones", "cache info"]
WITH_A_BUNDLE = ["inspect", "selftest", "gallery list", "predict", "bench --runs 1"]


def words(command: str, bundle: Path, image: Path) -> list[object]:
    if command not in WITH_A_BUNDLE:
        return [*command.split()]
    return [*command.split(), bundle, *([image] if command.startswith(("predict", "bench")) else [])]


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("command", [*WITHOUT_A_BUNDLE, *WITH_A_BUNDLE])
def test_output_to_a_full_disk_or_to_a_reader_that_has_gone(
    bundle_path: Path, image: Path, command: str, json: list[str]
) -> None:
    if "--" in command.replace("--runs", "") and json:
        pytest.skip("has no --json")
    full = shell("tlc >/dev/full", *words(command, bundle_path, image), *json)
    assert full.code == 1
    assert full.err.endswith(FULL)
    assert full.err.count("Error") == 1
    gone = broken_pipe(*words(command, bundle_path, image), *json)
    assert gone.code == 1
    assert "Error" not in gone.err
    assert "Traceback" not in gone.err


def test_what_cannot_be_told_is_done_all_the_same(bundle_path: Path, image: Path) -> None:
    for number, run in enumerate((lambda *a: shell("tlc >/dev/full", *a), broken_pipe)):
        done = run("enroll", bundle_path, f"class {number}", image)
        assert (done.code, FULL in done.err) == (1, number == 0)
        with Gallery.open_any(Path(f"{bundle_path}.gallery")) as gallery:
            assert gallery.classes()[f"class {number}"] == 1
        apart("forget", bundle_path, f"class {number}")


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["text", "json"])
def test_of_two_failures_the_first_is_told(failing: Path, json: list[str]) -> None:
    assert "gives other answers on this device" in apart("selftest", failing, *json).failed()
    full = shell("tlc >/dev/full", "selftest", failing, *json)  # its figures come before its failure
    assert (full.code, full.err) == (1, FULL)
    gone = broken_pipe("selftest", failing, *json)
    assert (gone.code, gone.err) == (1, "")


@pytest.mark.parametrize("redirect", ["2>/dev/full", ">/dev/full 2>/dev/full"])
def test_messages_that_cannot_be_written_leave_the_exit_code(bundle_path: Path, redirect: str) -> None:
    assert shell(f"tlc {redirect}", "predict", bundle_path, "no such image").code == 1
    assert shell(f"tlc {redirect}", "inspect", bundle_path.with_name("gone")).code == 1
    assert shell(f"tlc {redirect}", "inspect", bundle_path).code == (1 if redirect.startswith(">") else 0)


# --- an image from standard input


def test_an_image_from_standard_input(bundle_path: Path, image: Path) -> None:
    by_name = apart("predict", bundle_path, image)
    by_input = apart("predict", bundle_path, "-", stdin=image.read_bytes())
    assert (by_input.code, by_input.err) == (0, "")
    assert by_input.out == by_name.out.replace(str(image), "-")
    assert apart("enroll", bundle_path, "mug", "-", stdin=image.read_bytes()).out.startswith("mug: 1 example added\n")
    found = apart("predict", bundle_path, image, "-", "--json", stdin=image.read_bytes()).json()["results"]
    assert [(r["image"], r["label"]) for r in found] == [(str(image), "mug"), ("-", "mug")]
    timed = apart("bench", bundle_path, "-", "--runs", 1, "--json", stdin=image.read_bytes())
    assert (timed.code, len(timed.json()["images"])) == (0, 1)


def test_standard_input_that_is_empty_no_image_or_closed(bundle_path: Path, image: Path) -> None:
    empty = "<stdin>: empty (0 bytes), expected an image"
    for command in (["predict", bundle_path], ["enroll", bundle_path, "mug"], ["bench", bundle_path]):
        assert empty in apart(*command, "-").failed()
        assert "<stdin>: not an image" in apart(*command, "-", stdin=b"no image at all").failed()
        done = shell("tlc <&-", *command, "-")
        assert (done.code, done.err) == (1, "Error: -: standard input is closed, expected an image there\n")
    assert not Path(f"{bundle_path}.gallery").exists()
    done = apart("predict", bundle_path, image, "-", "--json")
    assert empty in done.failed()
    assert [r["image"] for r in done.json()["results"]] == [str(image)]
    assert [(e["image"], empty in e["error"]) for e in done.json()["errors"]] == [("-", True)]


# --- verify --layers


@pytest.fixture
def without_float(bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle of which the manifest calls no model float32."""
    from tlc_edge.runtime.bundle.bundle import write_bundle

    models = tuple(replace(m, scheme="int8") for m in bundle.manifest.models)
    files = {name: data for name, data in bundle.files.items() if name != "manifest.json"}
    write_bundle(tmp_path / "int8.tlc", replace(bundle.manifest, models=models), files)
    return tmp_path / "int8.tlc"


def test_layers_of_a_bundle_that_has_them(tlc: Tlc, bundle_path: Path, photos: Path) -> None:
    given = ["verify", bundle_path, "--data", photos, "--limit", 8, "--layers"]
    found = tlc(*given, "--json").json()
    (file,) = found["layers"]
    rows = found["layers"][file]
    assert [r["snr"] for r in rows] == sorted(r["snr"] for r in rows)
    done = tlc(*given)
    assert done.code == 0
    lines = done.out[done.out.index(f"\n{file}: ") :].split("\n")[1:]
    assert lines[0] == f"{file}: {len(rows)} layers against float32, the noisiest first"
    assert lines[1].split() == ["layer", "operation", "SNR,", "dB", "cosine", "noise", "of", "its", "own,", "%"]
    for line, row in zip(lines[2:22], rows, strict=False):
        figures = (f"{row['snr']:.1f}", f"{row['cosine']:.4f}", f"{100 * row['added']:.2f}")
        assert line.split() == [*row["name"].split(), row["operation"], *figures]
    assert lines[22] == f"… and {len(rows) - 20} more; --json lists all"


def test_where_layers_cannot_be_had_the_rest_is_told(tlc: Tlc, without_float: Path, photos: Path) -> None:
    given = ["verify", without_float, "--data", photos, "--limit", 8]
    why = f"no layers: {without_float}: no model in it is float32, so there is nothing to compare layers with; "
    done = tlc(*given, "--layers", "--json")
    assert (done.code, why in done.err) == (0, True)
    found = done.json()
    assert (found["layers"], len(found["models"]), found["images"]) == (None, 2, 8)
    assert [note for note in found["notes"] if note.startswith(why)]
    done = tlc(*given, "--layers")
    assert (done.code, done.out) == (0, tlc(*given).out)
    assert why in done.err


def test_where_verify_itself_fails_there_are_no_layers(tlc: Tlc, bundle_path: Path, photos: Path) -> None:
    done = tlc("verify", bundle_path, "--data", photos, "--layers", "--engine", "edge-litert", "--json")
    assert done.failed(2).startswith("Error: unknown engine 'edge-litert'; known: ")
    assert done.json().keys() == {"error"}
    done = tlc("verify", bundle_path, "--data", photos.with_name("gone"), "--layers")
    assert ("no such file or folder" in done.failed(), done.out) == (True, "")


# --- the tables of layers and sweep


def cells(line: str) -> list[str]:
    """Return the cells of a table's line: what stands two spaces apart."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_table_of_layers(tlc: Tlc) -> None:
    found = tlc("layers", SKETCH, "--pixels", "0..1", "--json").json()
    done = tlc("layers", SKETCH, "--pixels", "0..1")
    assert done.code == 0
    table, rest = done.out.split("\n\n")
    head, *lines = table.split("\n")
    assert cells(head) == ["layer", "kind", "output", "parameters", "MACs", "shave"]
    for line, row in zip(lines, found["layers"], strict=True):
        assert cells(line) == [
            str(row["index"]),
            row["name"],
            row["kind"],
            "x".join(map(str, row["shape"])),
            f"{row['parameters']:,}",
            "?" if row["macs"] is None else f"{row['macs']:,}",
            "default" if row["default"] else "yes" if row["shave"] else "no",
        ]
    said = rest.splitlines()
    parameters, macs = (sum(row[key] for row in found["layers"]) for key in ("parameters", "macs"))
    assert said[0].startswith(f"{parameters:,} parameters, {macs:,} MACs ")
    assert said[1] == f"Default: {found['default']}, {found['why']}"
    named = {line.split(":")[0].removeprefix("Not at ") for line in said if line.startswith("Not at ")}
    rows = found["layers"][1:]
    assert named == {r["name"] for r in rows if r["reason"] and not r["default"] and not r["shave"]}


def test_the_table_of_a_sweep(tlc: Tlc, photos: Path, tmp_path: Path) -> None:
    plot, cache = tmp_path / "sweep.svg", tmp_path / "cache"
    given = ["sweep", SKETCH, "--data", photos, "--target", "rpi", "--layer", "first", "--layer", "auto"]
    given += ["--pool", "flatten", "--cache", cache]
    done = tlc(*given, "--plot", plot)
    assert done.code == 0
    assert plot.read_text().startswith("<svg")
    table, rest = done.out.split("\n\n")
    head, *lines = table.split("\n")
    assert cells(head) == [
        *("backbone", "layer", "features", "parameters", "MMACs", "accuracy", "size", "ms here", "Pareto")
    ]
    found = tlc(*given, "--json").json()  # its features from the cache, its times its own
    for line, row in zip(lines, found["rows"], strict=True):
        got = cells(line)
        assert got[:6] == [
            row["backbone"],
            f"{row['layer']}, flatten",
            str(row["features"]),
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:.1f}",
            "{:.3f} {:.2f}-{:.2f}".format(row["cross_validated"], *row["interval"]),
        ]
        assert float(got[7]) >= 0
        assert got[8:] in ([], ["*"])
    assert any(line.endswith("*") for line in lines)
    assert "by cross-validation with 95 % interval" in rest


@pytest.mark.parametrize("name", ["sweep.png", "sweep", "no/sweep.svg"])
def test_a_plot_that_cannot_be_is_refused_before_the_work(tlc: Tlc, tmp_path: Path, name: str) -> None:
    said = tlc("sweep", SKETCH, "--data", "gone", "--target", "rpi", "--plot", tmp_path / name).failed(2)
    assert f"{str(tmp_path / name)!r}, expected a file that ends in .svg, in a folder that exists" in said
    assert list(tmp_path.iterdir()) == []
