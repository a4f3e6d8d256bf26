"""What the page of `tlc serve` says where it is refused something, by the device or by what stands between."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sites import in_node

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")


def test_a_refusal_is_said_in_its_own_words_or_by_its_status(tmp_path: Path) -> None:
    told: list[tuple[int, str, list[str]]] = [
        (400, '{"error": {"what": "x: too large", "kind": "ImageError"}}', ["ImageError", "x: too large"]),
        (403, '{"error": {"what": "may only look", "kind": "TlcError"}}', ["RefusedError", "may only look"]),
        (401, '{"error": "log in first"}', ["RefusedError", "log in first"]),
        (500, "{}", ["TlcError", "500 Internal Server Error"]),
        (500, "null", ["TlcError", "500 Internal Server Error"]),
        (500, '{"error": {}}', ["TlcError", "500 Internal Server Error"]),
        (500, '{"error": {"what": null}}', ["TlcError", "500 Internal Server Error"]),
        (502, "<html>", ["UnreachableError", "502 Bad Gateway"]),
    ]
    asked = tmp_path / "answers.json"
    asked.write_text(json.dumps([(status, body) for status, body, _ in told]), encoding="utf-8")
    assert in_node("refusals.mjs", asked) == [said for _, _, said in told]
