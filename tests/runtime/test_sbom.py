"""The bill of materials, held against CycloneDX's own schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_runs import Done, here
from signed_samples import make_secret, signed, trusting
from test_bundle import write

from tlc_edge.runtime import Bundle
from tlc_edge.runtime.bundle.sbom import bill_of_materials

Check = Callable[[Any], None]


@pytest.fixture(scope="module")
def valid() -> Check:
    """Check a document against the strict schema, in which no key may stand that it does not name."""
    pytest.importorskip("cyclonedx")
    pytest.importorskip("referencing")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)

    def check(document: Any) -> None:
        found = validator.validate_str(json.dumps(document))
        assert found is None, found

    return check


def test_a_wrong_document_would_be_seen(valid: Check, tmp_path: Path) -> None:
    document = bill_of_materials(Bundle.open(write(tmp_path / "a.tlc")))
    valid(document)
    for wrong in ({"more": 1}, {"components": [{"type": "thing", "name": "a"}]}):
        with pytest.raises(AssertionError):
            valid({**document, **wrong})


def test_a_real_bundle(valid: Check, bundle: Bundle, bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    document = here(capfd, "inspect", bundle_path, "--sbom").json()
    valid(document)
    assert document == here(capfd, "inspect", bundle_path, "--sbom", "--json").json()
    parts = {part["bom-ref"]: part for part in document["components"]}
    m = bundle.manifest
    assert {f"file:{name}" for name in m.files} < {*parts}
    assert all(parts[f"file:{n}"]["hashes"] == [{"alg": "SHA-256", "content": h}] for n, h in m.files.items())
    assert parts["backbone"]["hashes"][0]["content"] == m.backbone["sha256"]
    assert parts["data"]["hashes"][0]["content"] == m.metrics["data_sha256"]
    assert parts["library:tensorflow"]["purl"] == f"pkg:pypi/tensorflow@{m.versions['tensorflow']}"
    card = parts["file:model.tflite"]["modelCard"]
    assert card["modelParameters"]["datasets"] == [{"ref": "data"}]
    (accuracy,) = card["quantitativeAnalysis"]["performanceMetrics"]
    assert float(accuracy["value"]) == m.metrics["models"]["model.tflite"]["accuracy"]
    refs = [*parts, "bundle"]
    assert len(refs) == len({*refs})
    assert all({d["ref"], *d["dependsOn"]} <= {*refs} for d in document["dependencies"])


def test_who_signed_it_is_in_it(valid: Check, tmp_path: Path) -> None:
    key = make_secret()
    path = signed(tmp_path / "a.tlc", key, 7)

    def said() -> dict[str, str]:
        document = bill_of_materials(Bundle.open(path))
        valid(document)
        return {p["name"]: p["value"] for p in document["metadata"]["component"]["properties"]}

    assert said()["tlc:signature_verified"] == "no"
    with trusting(tmp_path / "trust", key):
        assert said() | {"tlc:signed_by": key.public.id, "tlc:serial": "7", "tlc:signature_verified": "yes"} == said()


@pytest.mark.parametrize(
    "odd",
    [
        {"versions": {"numpy": 3, "": "1", "a b/c": "1 0", "ü": "ß"}},
        {"backbone": {"name": ["x"], "sha256": "short"}},
        {"backbone": {"name": "x", "sha256": 5, "licence": None, "source": {}}},
        {"metrics": {"data_sha256": "f" * 64, "images": [1]}},
        {
            "metrics": {
                "data_sha256": "f" * 64,
                "images": {"train": "many"},
                "models": {"model.tflite": {"interval": 3}},
            }
        },
        {"target": {"name": 3}, "shave": {"trunk_sha256": 1}, "neck": {"sha256": []}},
        {"created": "yesterday"},
        {"created": "2026-01-01T00:00:00+00:00"},
    ],
)
def test_what_a_manifest_may_hold_makes_no_invalid_document(valid: Check, tmp_path: Path, odd: dict[str, Any]) -> None:
    bundle = Bundle.open(write(tmp_path / "a.tlc"))
    valid(bill_of_materials(replace(bundle, manifest=replace(bundle.manifest, **odd))))


def test_the_data_digest_is_what_anybody_can_compute(bundle: Bundle, photos: Path) -> None:
    """As the page on the bundle says: lines of a file's SHA-256 and its label, sorted."""
    import hashlib

    files = list(photos.rglob("*.png"))
    lines = sorted(f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.parent.name}\n" for p in files)
    assert bundle.manifest.metrics["data_sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_what_inspect_says(bundle_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from tlc_edge.runtime.bundle.sign import sign_bundle
    from tlc_edge.runtime.signing.release import make_release

    def line(done: Done) -> str:
        return next(text for text in done.out.splitlines() if text.startswith("signed"))

    assert line(here(capfd, "inspect", bundle_path)).endswith("by nobody")
    key = make_secret()
    sign_bundle(bundle_path, key, make_release(3, "hall"))
    said = here(capfd, "inspect", bundle_path)
    assert line(said).endswith(
        f"{key.public.id}, serial number 3 under the name hall; not verified, as that key is not trusted here"
    )
    assert f"data         SHA-256 {Bundle.open(bundle_path).manifest.metrics['data_sha256']}" in said.out
    with trusting(tmp_path / "trust", key):
        assert line(here(capfd, "inspect", bundle_path)).endswith("; verified")
        assert here(capfd, "inspect", bundle_path, "--json").json()["signed"]["release"] == {
            "serial": 3,
            "name": "hall",
        }
    assert "are one thing each" in here(capfd, "inspect", bundle_path, "--sbom", "--report").failed(2)
