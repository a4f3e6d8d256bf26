"""The OpenAPI document of `tlc serve` holds: requests made from it are answered as it says, and never with a fault."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image
from serving import Running, picture, running

pytestmark = pytest.mark.slow


@pytest.fixture
def server(bundle_path: Path, tmp_path: Path) -> Iterator[Running]:
    images = tmp_path / "images"
    images.mkdir()
    options = {"camera": str(images), "queue": str(tmp_path / "queue")}
    with running(bundle_path, state=tmp_path / "state", **options) as server:
        with server.client() as client:
            for i in range(3):
                client.post(f"enroll?label=class {i}", content=picture(i))
            client.post("predict", content=picture(9))
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(images / "a.png")
        yield server


def test_requests_made_from_the_document(server: Running) -> None:
    asked, wrong = ask_all(server, examples=40)
    assert wrong == [], "\n\n".join(wrong)
    assert asked > 500
    assert not any("fault" in text for text in server.said)


def test_a_fault_and_an_answer_of_another_shape_would_be_seen(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlc_edge.runtime.serve.api.about_document", lambda *_: 1 // 0)
    monkeypatch.setattr("tlc_edge.runtime.serve.api.classes_document", lambda *_: {"classes": "none"})
    _, wrong = ask_all(server, examples=3, ending=("{bundle}", "/classes"))
    assert sorted(text.split(":")[0] for text in wrong) == [
        "GET /api/v1/bundles/{bundle}",
        "GET /api/v1/bundles/{bundle}/classes",
    ]
    assert any("ZeroDivisionError" in text for text in server.said)


def ask_all(server: Running, examples: int, ending: tuple[str, ...] = ("",)) -> tuple[int, list[str]]:
    """Ask for everything whose path ends so; return how many requests there were, and what was wrong."""
    schemathesis: Any = pytest.importorskip("schemathesis")
    asked: list[str] = []
    wrong: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schema = schemathesis.openapi.from_url(f"{server.url}openapi.json")
        schema.config.update(base_url=server.url.rstrip("/"))
        for found in schema.get_all_operations():
            operation = found.ok()
            # Streams have no end, and each of the rest is asked of the bundle that is there, mostly.
            if operation.path.endswith(("/events", "/stream.mjpg")) or not operation.path.endswith(ending):
                continue

            def ask(case: Any) -> None:
                asked.append(case.path)
                if "bundle" in (case.path_parameters or ()) and len(asked) % 5:
                    case.path_parameters["bundle"] = "photos"
                case.validate_response(case.call(timeout=60), checks=checks())

            try:
                _generated(operation, examples)(ask)()
            except (Exception, BaseExceptionGroup) as e:  # schemathesis raises groups
                wrong.append(f"{operation.method.upper()} {operation.path}: {e}")
    return len(asked), wrong


def _generated(operation: Any, examples: int) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    def decorate(ask: Callable[[Any], None]) -> Callable[[], None]:
        repeated: Callable[[], None] = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(case=operation.as_strategy())(ask))
        return repeated

    return decorate


def checks() -> list[Any]:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks as openapi

    return [
        not_a_server_error,
        openapi.status_code_conformance,
        openapi.content_type_conformance,
        openapi.response_schema_conformance,
    ]
