"""`manifest.json`: frozen by exact bytes, read back as written, and every flaw of it refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.bundle.manifest import (
    SCHEMA,
    Decision,
    Manifest,
    ModelFile,
    Preprocessing,
    Unknown,
    fingerprint,
    from_json,
    to_json,
)
from tlc_edge.runtime.errors import BundleError

SMALL = Manifest(
    fingerprint="ab" * 32,
    labels=("cup", "Tür"),
    preprocessing=Preprocessing(224, 192, passes=""),
    models=(ModelFile("model.tflite", "tflite", "int8", 5),),
    embedding_width=4,
    decision=Decision(3, 0.1),
    unknown=Unknown(0.05, (0.5, 0.75)),
    target={"name": "rpi", "threads": 4},
    files={"model.tflite": "c" * 64, "golden/00.png": "d" * 64},
    created="2024-05-01T12:00:00+00:00",
)

# Bundles in the field are read by what was frozen here. Add fields; never change or drop one of schema 1.
FROZEN = """{
 "backbone": {},
 "created": "2024-05-01T12:00:00+00:00",
 "decision": {
  "k": 3,
  "temperature": 0.1
 },
 "embedding_width": 4,
 "files": {
  "golden/00.png": "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
  "model.tflite": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
 },
 "fingerprint": "abababababababababababababababababababababababababababababababab",
 "head": {},
 "labels": [
  "cup",
  "Tür"
 ],
 "metrics": {},
 "models": [
  {
   "bytes": 5,
   "file": "model.tflite",
   "format": "tflite",
   "scheme": "int8"
  }
 ],
 "neck": {},
 "preprocessing": {
  "background": [
   255,
   255,
   255
  ],
  "channels": 3,
  "filter": "bilinear",
  "fit": "stretch",
  "height": 224,
  "width": 192
 },
 "schema": 1,
 "scheme": "int8",
 "shave": {},
 "target": {
  "name": "rpi",
  "threads": 4
 },
 "unknown": {
  "rate": 0.05,
  "scores": [
   0.5,
   0.75
  ]
 },
 "versions": {}
}
"""


def document() -> dict[str, Any]:
    return json.loads(FROZEN)


def read(doc: object) -> Manifest:
    return from_json(json.dumps(doc).encode(), "x.tlc")


# --- the format


@pytest.mark.parametrize(
    ("target", "memory"),
    [
        ({"peak_memory_bytes": 256 << 20}, 128 << 20),
        ({"peak_memory_bytes": 2 << 30}, 1920 << 20),
        ({"peak_memory_bytes": 196608}, 0),
        ({"peak_memory_bytes": "256"}, 0),
        ({"peak_memory_bytes": True}, 0),
        ({}, 0),
    ],
)
def test_what_a_target_has_for_one_image(target: dict[str, Any], memory: int) -> None:
    assert replace(SMALL, target=target).image_memory == memory


def test_the_written_bytes_are_frozen() -> None:
    assert to_json(SMALL) == FROZEN.encode()


def test_what_the_decision_gained_later_is_written_where_it_is_not_0() -> None:
    weighed = replace(SMALL, decision=Decision(3, 0.1, 0.5, 1.0))
    written = {"k": 3, "temperature": 0.1, "mean": 0.5, "balance": 1.0}
    assert json.loads(to_json(weighed))["decision"] == written
    assert from_json(to_json(weighed), "x.tlc").decision == Decision(3, 0.1, 0.5, 1.0)
    assert read(document()).decision == Decision(3, 0.1, 0.0, 0.0)
    heard = replace(SMALL, decision=Decision(3, 0.1, means=0.5, means_temperature=0.2))
    assert json.loads(to_json(heard))["decision"].items() >= {"means": 0.5, "means_temperature": 0.2}.items()
    assert from_json(to_json(heard), "x.tlc").decision == heard.decision
    for name in ("mean", "balance"):
        doc = document()
        doc["decision"][name] = 1.5
        with pytest.raises(BundleError, match=rf"{name} 1\.5, expected a number from 0 to 1"):
            read(doc)


def test_what_was_written_is_read_back() -> None:
    again = from_json(to_json(SMALL), "x.tlc")
    assert asdict(again) == asdict(SMALL)
    assert to_json(again) == to_json(SMALL)


def test_the_real_bundles_manifest_is_read_back(bundle: Bundle) -> None:
    data = bundle.read("manifest.json")
    assert to_json(from_json(data, "x")) == data
    assert asdict(from_json(data, "x")) == asdict(bundle.manifest)


def test_the_order_in_which_mappings_were_filled_does_not_show() -> None:
    turned = replace(SMALL, files=dict(reversed(SMALL.files.items())), target={"threads": 4, "name": "rpi"})
    assert to_json(turned) == to_json(SMALL)


def test_a_later_tlcs_extra_fields_are_passed_over() -> None:
    doc = document() | {"signature": "x"}
    doc["decision"]["rule"] = "y"
    assert asdict(read(doc)) == asdict(SMALL)


# --- what is refused


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"3", b'"x"', b"[" * 100_000])
def test_what_is_no_json_object_is_no_manifest(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^x\.tlc: manifest\.json is not .*build the bundle again$"):
        from_json(data, "x.tlc")


def test_a_future_schema_asks_for_an_upgrade() -> None:
    with pytest.raises(BundleError, match=r"bundle has schema 2, this tlc reads up to 1; upgrade tlc"):
        read(document() | {"schema": SCHEMA + 1})
    with pytest.raises(BundleError, match="upgrade"):
        read({"schema": 99})  # whatever else such a manifest holds


@pytest.mark.parametrize("schema", [0, -1, True, "1", 1.0, None])
def test_a_schema_that_is_no_number_from_1_is_refused(schema: object) -> None:
    with pytest.raises(BundleError, match=r"has schema .*, expected a number from 1 to 1"):
        read(document() | {"schema": schema})


PATHS = [
    *((name,) for name in document()),
    *(("preprocessing", name) for name in document()["preprocessing"]),
    *(("decision", name) for name in document()["decision"]),
    *(("unknown", name) for name in document()["unknown"]),
    *(("models", 0, name) for name in document()["models"][0]),
]


def changed(path: tuple[str | int, ...], change: Callable[[Any, str | int], None]) -> dict[str, Any]:
    doc: Any = document()
    place = doc
    for step in path[:-1]:
        place = place[step]
    change(place, path[-1])
    return doc


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_every_field_is_needed(path: tuple[str | int, ...]) -> None:
    wanted = "has schema None" if path == ("schema",) else rf"lacks the field '{path[-1]}'"
    with pytest.raises(BundleError, match=wanted):
        read(changed(path, lambda place, name: place.pop(name)))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_every_field_has_its_type(path: tuple[str | int, ...]) -> None:
    place: Any = document()
    for step in path:
        place = place[step]
    right = (int, float) if isinstance(place, float) else type(place)
    assert read(document())
    for wrong in (None, True, -7, 0.5, "text", ["list", []], {"an": "object"}):
        if not isinstance(wrong, right) or wrong is True:
            with pytest.raises(BundleError, match=rf"{path[-1]} .*, expected .*; build|has schema"):
                read(changed(path, lambda place, name, wrong=wrong: place.__setitem__(name, wrong)))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("labels",), "cup", r"labels 'cup', expected a list"),
        (("labels",), ["cup", "cup"], r"a label twice"),
        (("labels",), ["cup", "\ud800"], r"expected text"),
        (("embedding_width",), 0, r"embedding_width 0, expected a whole number from 1"),
        (("preprocessing", "background"), [1, 2], r"background \[1, 2\], expected three numbers"),
        (("preprocessing", "background"), [1, 2, 256], r"256"),
        (("preprocessing", "background"), [1, -1, 2], r"background -1, expected a whole number from 0"),
        (("decision", "temperature"), 0, r"temperature 0, expected a number from 1e-06"),
        (("unknown", "rate"), 1.5, r"rate 1\.5, expected a number from 0 to 1"),
        (("unknown", "scores"), [10**400], r"scores 1000"),
        (("unknown", "scores"), [0.5, -2.1], r"scores -2\.1, expected a number from -2 to 2"),
        (("unknown", "scores"), [2.1, 0.5], r"scores 2\.1, expected a number from -2 to 2"),
        (("decision", "mean"), -0.1, r"mean -0\.1, expected a number from 0 to 1"),
        (("decision", "balance"), 1.1, r"balance 1\.1, expected a number from 0 to 1"),
        (("embedding_width",), 2**40 + 1, r"embedding_width 1099511627777, expected a whole number from 1"),
        (("files",), {"../../etc/passwd": "c"}, r"names of files inside the bundle"),
        (("files",), {"/etc/passwd": "c"}, r"names of files inside the bundle"),
        (("files",), {"a\\..\\b": "c"}, r"names of files inside the bundle"),
        (("files",), {"model.tflite": None}, r"as hash of model\.tflite None"),
    ],
)
def test_a_misused_field_is_named_with_its_value(path: tuple[str | int, ...], value: object, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read(changed(path, lambda place, name: place.__setitem__(name, value)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("preprocessing", "background"), [0, 0, 255]),
        (("unknown", "scores"), [-2.0, 2.0]),
        (("unknown", "rate"), 0),
        (("unknown", "rate"), 1),
        (("decision", "k"), 1),
        (("decision", "mean"), 0),
        (("decision", "mean"), 1),
        (("decision", "balance"), 0),
        (("decision", "balance"), 1),
        (("decision", "temperature"), 1e-6),
        (("embedding_width",), 2**40),
        (("preprocessing", "height"), 1),
        (("models", 0, "bytes"), 0),
    ],
)
def test_the_ends_of_what_is_allowed_are_allowed(path: tuple[str | int, ...], value: object) -> None:
    assert read(changed(path, lambda place, name: place.__setitem__(name, value)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused_even_where_only_people_read(number: str) -> None:
    text = FROZEN.replace('"metrics": {}', f'"metrics": {{"accuracy": {number}}}')
    assert text != FROZEN
    with pytest.raises(BundleError, match=f"{number} is no number"):
        from_json(text.encode(), "x.tlc")


# --- anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_bundle_error(data: bytes) -> None:
    with pytest.raises(BundleError):
        from_json(data, "x.tlc")


@settings(max_examples=300)
@given(st.sampled_from(PATHS), JSON)
def test_any_value_in_any_field_gives_a_manifest_or_a_bundle_error(path: tuple[str | int, ...], value: object) -> None:
    doc = changed(path, lambda place, name: place.__setitem__(name, value))
    try:
        manifest = read(doc)
    except BundleError:
        return
    assert to_json(from_json(to_json(manifest), "x.tlc")) == to_json(manifest)


# --- the fingerprint


def test_the_fingerprint_follows_every_part_and_not_their_order() -> None:
    parts = {"neck": {"width": 4}, "scheme": "int8", "trunk": "ab"}
    first = fingerprint(parts)
    assert first == "3866246fe3ff8b04aa8c68b448a7af05d8340c99a9e8169f4c3a5b1f595ad451"
    assert fingerprint(dict(reversed(parts.items()))) == first
    others = [parts | {"scheme": "float32"}, parts | {"neck": {"width": 5}}, parts | {"new": 0}]
    assert len({first, *map(fingerprint, others)}) == 4


def test_the_order_of_the_passes_is_written_and_read() -> None:
    new = replace(SMALL, preprocessing=Preprocessing(224, 192))
    text = to_json(new)
    assert json.loads(text)["preprocessing"]["passes"] == "tall-vertical"
    assert from_json(text, "x").preprocessing == new.preprocessing
    assert from_json(to_json(SMALL), "x").preprocessing.passes == ""
