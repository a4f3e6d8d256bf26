"""What every command prints with `--json` has the shape that its schema in cli/schemas/ promises, and no other key."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from command_runs import Done, here
from jsonschema import Draft202012Validator
from PIL import Image
from test_migrate import teach

from tlc_edge.cli.build_summary import document
from tlc_edge.cli.commands import cli
from tlc_edge.compiler import Options, build
from tlc_edge.compiler.records import Restored
from tlc_edge.compiler.result import Rung

FOLDER = Path(__file__).parents[2] / "cli" / "schemas"
SCHEMAS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}
Tlc = Callable[..., Done]


def closed(schema: Any) -> Any:
    """Return a schema that allows no keys but those that it names, so that none goes without its line in the docs."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    return {**found, "additionalProperties": False} if "properties" in found else found


def hold(name: str, document: Any) -> None:
    """Check a document against a schema, read strictly."""
    errors = [e.message for e in Draft202012Validator(closed(SCHEMAS[name])).iter_errors(document)]
    assert errors == [], f"{name}: {errors}"


def leaves(group: click.Group, before: str = "") -> Iterator[str]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from leaves(command, f"{name}-")
        else:
            yield f"{before}{name}"


@pytest.fixture
def tlc(capfd: pytest.CaptureFixture[str]) -> Tlc:
    return lambda *args: here(capfd, *args, "--json")


@pytest.fixture
def mugs(tmp_path: Path) -> list[Path]:
    """Pictures of a thing that is no digit."""
    paths = [tmp_path / f"mug{i}.jpg" for i in range(3)]
    for i, path in enumerate(paths):
        pixels = np.full((60, 80, 3), (200, 180, 160), np.uint8)
        pixels[10 + i : 50 + i, 20 : 55 + 2 * i] = (190, 30, 30)
        Image.fromarray(pixels).save(path, quality=92)
    return paths


def test_every_command_has_a_schema_that_is_one() -> None:
    assert {*SCHEMAS} == {*leaves(cli), "inspect-report", "error"}
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_an_undocumented_key_would_be_seen() -> None:
    hold("cache-clear", {"freed": 1})
    with pytest.raises(AssertionError, match="more"):
        hold("cache-clear", {"freed": 1, "more": 2})
    with pytest.raises(AssertionError, match="freed"):
        hold("cache-clear", {})
    Draft202012Validator(SCHEMAS["cache-clear"]).validate({"freed": 1, "more": 2})  # what users read with is open


def test_what_needs_no_bundle(tlc: Tlc, tmp_path: Path) -> None:
    hold("backbones", tlc("backbones").json())
    hold("targets", tlc("targets").json())
    hold("cache-info", tlc("cache", "info", "--cache", tmp_path).json())
    hold("cache-info", tlc("cache", "info", "--cache", "off").json())
    hold("completion", tlc("completion", "bash").json())
    hold("cache-clear", tlc("cache", "clear", "--yes", "--cache", tmp_path).json())


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ("build --target rpi --data gone", 1, "DataError"),
        ("build --target rpii --data gone", 2, "UsageError"),
        ("build --target rpi", 2, "UsageError"),
        ("build --target rpi --data gone --colour", 2, "UsageError"),
        ("predict gone.tlc gone.png", 1, "BundleError"),
        ("predcit", 2, "UsageError"),
        ("gallery list gone.tlc", 1, "BundleError"),
        ("verify gone.tlc --data gone", 1, "BundleError"),
        ("sweep --target rpi --data gone", 1, "DataError"),
    ],
)
def test_a_failure_is_one_document_too(words: str, code: int, kind: str, tlc: Tlc) -> None:
    done = tlc(*words.split())
    hold("error", done.json())
    error = done.json()["error"]
    assert (done.code, error["exit_code"], error["kind"]) == (code, code, kind)
    assert error["what"] in done.failed(code)
    assert error["step"] == ("load data" if kind == "DataError" else error["step"])


def test_without_the_option_there_is_no_document(capfd: pytest.CaptureFixture[str]) -> None:
    assert here(capfd, "predict", "gone.tlc", "gone.png").out == ""
    assert here(capfd, "predict", "gone.tlc", "--", "--json").out == ""  # a file of that name


def test_what_was_tried_is_told(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from tlc_edge.cli.commands import targets
    from tlc_edge.compiler.ladder import tried_ways
    from tlc_edge.runtime.errors import BuildError

    def fail(**_: object) -> None:
        error = BuildError("no way is good enough")
        error.tried = tried_ways([Rung("model.tflite", "int8", "as asked", 0.5, (0.4, 0.6), 0.9, 10, 0, taken=False)])
        raise error

    monkeypatch.setattr(targets.targets, "callback", fail)
    document = here(capfd, "targets", "--json").json()
    hold("error", document)
    assert document["error"]["tried"] == ["model.tflite as int8, as asked: accuracy 0.500"]


def test_a_bundle_looked_at(tlc: Tlc, bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    hold("doctor", tlc("doctor", bundle_path).json())
    hold("doctor", tlc("doctor", tmp_path / "none.tlc").json())
    hold("inspect", tlc("inspect", bundle_path).json())
    hold("inspect-report", tlc("inspect", bundle_path, "--report", "-o", tmp_path / "r.html").json())
    hold("selftest", tlc("selftest", bundle_path).json())
    hold("bench", tlc("bench", bundle_path, photos / "0" / "0.png", "--runs", 2).json())


def test_predictions_and_what_was_taught(tlc: Tlc, bundle_path: Path, mugs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "not.png").write_text("no image")
    hold("enroll", tlc("enroll", bundle_path, "mug", *mugs[:2]).json())
    hold("enroll", tlc("enroll", bundle_path, "cup", mugs[0]).json())  # with warnings
    answers = tlc("predict", bundle_path, mugs[2], tmp_path / "not.png").json()
    assert answers["errors"]
    hold("predict", answers)
    hold("predict", tlc("predict", bundle_path, mugs[2], "--unknown", "off").json())
    hold("forget", tlc("forget", bundle_path, "mug").json())
    hold("undo", tlc("undo", bundle_path).json())
    hold("service-install", tlc("service", "install", "--to", "-", bundle_path, "--camera", 0).json())
    unit = tmp_path / "hall.service"
    hold("service-install", tlc("service", "install", "--to", unit, bundle_path, "--camera", 0).json())


def test_galleries(tlc: Tlc, bundle_path: Path, mugs: list[Path], tmp_path: Path) -> None:
    assert tlc("enroll", bundle_path, "mug", *mugs).code == 0
    out, other, all_of_it = (tmp_path / name for name in ("out.gallery", "other.gallery", "all.gallery"))
    hold("gallery-list", tlc("gallery", "list", bundle_path).json())
    hold("gallery-list", tlc("gallery", "list", bundle_path, "mug", "--thumbnails", tmp_path / "s.html").json())
    hold("gallery-show", tlc("gallery", "show", bundle_path, mugs[0]).json())
    hold("gallery-show", tlc("gallery", "show", bundle_path, mugs[0], "--page", tmp_path / "p.html").json())
    hold("gallery-move", tlc("gallery", "move", bundle_path, 1, "pen").json())
    hold("gallery-remove", tlc("gallery", "remove", bundle_path, 1).json())
    hold("undo", tlc("undo", bundle_path).json())
    hold("undo", tlc("undo", bundle_path).json())
    hold("gallery-export", tlc("gallery", "export", bundle_path, out).json())
    hold("gallery-rename", tlc("gallery", "rename", bundle_path, "mug", "cup").json())
    imported = tlc("gallery", "import", bundle_path, out).json()
    assert imported["conflicts"]
    hold("gallery-import", imported)
    hold("gallery-merge", tlc("gallery", "merge", bundle_path, out, "-o", all_of_it).json())
    hold("gallery-limit", tlc("gallery", "limit", bundle_path, "--class", 2).json())
    hold("gallery-check", tlc("gallery", "check", bundle_path).json())
    hold("gallery-compact", tlc("gallery", "compact", bundle_path).json())
    hold("gallery-recover", tlc("gallery", "recover", bundle_path, "-o", other).json())


def test_a_gallery_of_another_model(tlc: Tlc, bundle_path: Path) -> None:
    path = bundle_path.with_name(f"{bundle_path.name}.gallery")
    picture = io.BytesIO()
    Image.new("RGB", (80, 80), (200, 30, 30)).save(picture, "JPEG")
    teach(path, "mug", None)
    teach(path, "cup", picture.getvalue())
    hold("gallery-migrate", tlc("gallery", "migrate", bundle_path).json())


def test_layers(tlc: Tlc) -> None:
    hold("layers", tlc("layers", "efficientnet-lite0").json())


def test_a_bundle_verified(tlc: Tlc, bundle_path: Path, photos: Path) -> None:
    hold("verify", tlc("verify", bundle_path, "--data", photos, "--layers").json())


def test_what_a_watched_folder_tells(bundle: Any, photos: Path) -> None:
    from tlc_edge.runtime.classifier import Classifier
    from tlc_edge.runtime.watch.frames import Frame
    from tlc_edge.runtime.watch.steady import Steady
    from tlc_edge.runtime.watch.watch import watch

    with Classifier.open(bundle.path) as classifier:
        frames = [Frame(photos / label / "0.png", name=f"{label}.png") for label in "01"]
        events = [e.document() for e in watch(classifier, frames, Steady(1), print)]
    assert len(events) == 2
    for event in events:
        hold("watch", event)


@pytest.mark.slow
def test_builds_and_a_sweep(tlc: Tlc, photos: Path, tmp_path: Path) -> None:
    data = shutil.copytree(photos, tmp_path / "photos")
    shutil.copy(data / "0" / "1.png", data / "1" / "copy.png")
    (data / "2" / "damaged.png").write_bytes(b"\x89PNG")
    given = ("--data", data, "--cache", tmp_path / "cache")
    built = tlc("build", *given, "--target", "rpi,android", "-o", tmp_path / "a.tlc", "--max-drop", 50).json()
    assert set(built["accuracy"]) > {"float", "rpi/model.tflite"}
    assert built["duplicates"]
    assert built["skipped"]
    hold("build", built)
    hold("sweep", tlc("sweep", *given, "--target", "rpi", "--layer", "block3b_add").json())


@pytest.mark.slow
def test_a_build_that_climbed_and_restored(photos: Path, tmp_path: Path) -> None:
    options = Options(data=str(photos), targets=("android",), output=tmp_path / "a.tlc", max_drop=50, calibration=12)
    rung = Rung("model.tflite", "int8", "as asked", 0.5, (0.4, 0.6), 0.9, 4_000_000, 0, False)
    result = replace(build(options), rungs=(rung,), restored=(Restored("conv/kernel", "shape", "3 by 3 there"),))
    hold("build", json.loads(json.dumps(document(result))))
