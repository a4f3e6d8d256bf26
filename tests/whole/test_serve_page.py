"""The page of `tlc serve` in Chromium and Firefox, used as a person would: taught, its server killed and back."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sites import in_node, write_mugs
from test_web_page import HEIGHT, WIDTH, learned, scenes, write_film

from tlc_edge.runtime import Bundle, Classifier
from tlc_edge.runtime.images.load import load_image
from tlc_edge.runtime.serve.tokens import Tokens

pytestmark = pytest.mark.slow


NAMES = ("film.y4m", "device.avi", "taught.gallery", "state")
PROGRAM = "import sys; from tlc_edge.cli import main; sys.exit(main())"


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def write_video(path: Path) -> None:
    """Write what the device's camera sees: something that nobody taught yet."""
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for image in scenes()["green"]:
        writer.write(np.asarray(image)[..., ::-1].copy())
    writer.release()


@pytest.fixture(scope="module")
def bundle(built_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's bundle, served under the name `one`; beside it lies another, `two`."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("one.tlc", "two.tlc"):
        shutil.copy(built_bundle, folder / name)
    return folder / "one.tlc"


@pytest.fixture(scope="module")
def asked(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the scripts are told, as JSON: how to start the server, and who may."""
    out = tmp_path_factory.mktemp("asked")
    film, video, gallery, state, port = (*(out / name for name in NAMES), free_port())
    write_film(film)
    write_video(video)
    with Classifier.open(bundle, gallery) as classifier:
        classifier.enroll("brought", [np.asarray(image) for image in scenes()["green"][:3]])
    bundles = [str(bundle), str(bundle.with_name("two.tlc"))]
    options = ["--port", str(port), "--host-name", "device.test", "--path-prefix", "/tlc", "--state", str(state)]
    shown = ["--camera", str(video), "--queue", str(out / "unsure")]
    told = {
        "film": str(film),
        "command": [sys.executable, "-c", PROGRAM, "serve", *bundles, *options, *shown],
        "url": f"http://127.0.0.1:{port}/tlc/",
        "plain": f"http://device.test:{port}/tlc/",
        "tokens": {"all": Tokens(state).add("all")[1], "look": Tokens(state).add("look", read_only=True)[1]},
        "gallery": str(gallery),
        "out": str(out),
    }
    (out / "asked.json").write_text(json.dumps(told))
    return out / "asked.json"


@pytest.fixture(scope="module")
def seen(chromium: str, asked: Path) -> tuple[dict[str, Any], Path]:
    found = in_node("serve_page.mjs", chromium, asked)
    print(f"first paint after {found['firstPaint']:.0f} ms; {found['loaded']} bytes of the page")
    return found, asked.parent


def test_it_learns_from_the_camera_here_and_says_unknown(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    learned(found)
    assert found["reloaded"] == found["taught"]  # a picture was removed and brought back, and all is kept
    assert found["errors"] == []


def test_the_device_gets_the_pixels_that_it_would_make_itself(seen: tuple[dict[str, Any], Path], bundle: Path) -> None:
    _, out = seen
    spec = Bundle.open(bundle).manifest.preprocessing
    for name in ("red", "blue"):
        with Image.open(out / f"{name}-sent.png") as picture:
            assert picture.size == (spec.width, spec.height)
            assert np.array_equal(np.asarray(picture.convert("RGB")), load_image(out / f"{name}.png", spec))


def test_it_learns_from_the_camera_of_the_device(seen: tuple[dict[str, Any], Path]) -> None:
    assert seen[0]["there"].startswith("lamp ")


def test_a_closed_tab_takes_nothing_along(seen: tuple[dict[str, Any], Path]) -> None:
    before, after = seen[0]["afterClosed"]["before"], seen[0]["afterClosed"]["after"]
    assert before == {**after, "lamp": before["lamp"]}
    assert int(after["lamp"]) >= int(before["lamp"])


def test_a_killed_server_is_told_and_comes_back_with_all_that_was_learned(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert found["lost"] == "127.0.0.1 does not answer. Trying again…"
    assert found["found"] == "127.0.0.1 answers again."
    assert found["afterKill"]["before"] == found["afterKill"]["after"]
    assert int(found["heldMeanwhile"]["after"]) > int(found["heldMeanwhile"]["before"])


def test_what_was_unsure_is_sorted_by_a_tap(seen: tuple[dict[str, Any], Path]) -> None:
    assert seen[0]["sorted"]["sorted"] == "1"


def test_what_it_exports_tlc_opens_with_the_same_answers(seen: tuple[dict[str, Any], Path], bundle: Path) -> None:
    found, out = seen
    with Classifier.open(bundle, out / "exported.gallery") as classifier:
        told = {name: count for name, count in found["exported"].items() if name != "None of these"}
        assert told == {label: str(count) for label, count in classifier.classes().items()}
        # The answers that the page gave before the device's camera taught a third class were of two alone.
        for label in ("lamp", "sorted"):
            classifier.forget(label)
        for name in ("red.png", "blue.png"):
            answer = classifier.predict(out / name)
            assert found[name].split()[0] == answer.label


def test_it_imports_what_tlc_taught_and_refuses_what_is_none(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert found["imported"] == {**found["exported"], "brought": "3"}
    assert found["afterBadImport"] == found["imported"]


def test_each_bundle_has_its_own_classes(seen: tuple[dict[str, Any], Path], bundle: Path) -> None:
    labels = Bundle.open(bundle).manifest.labels
    assert seen[0]["two"] == {**dict.fromkeys(labels, "0"), "None of these": "0"}


def test_it_changes_its_language_whole(seen: tuple[dict[str, Any], Path]) -> None:
    spoken = seen[0]["spoken"]
    assert {name: said["direction"] for name, said in spoken.items()} == {"de": "ltr", "ar": "rtl", "en": "ltr"}
    for part in ("ways", "queue"):
        assert len({said[part] for said in spoken.values()}) == 3


def test_who_may_only_look_cannot_teach_and_is_told(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert found["hint"] == "This link is for looking only: nothing can be taught with it."
    assert not found["mayHold"]
    assert not found["mayName"]
    assert found["lookedAt"].startswith("mug ")


def test_over_plain_http_a_picture_is_taken_and_learned_from(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert found["ways"].startswith("This page came over plain http")
    assert found["photographed"] == "1"
    assert found["unwanted"] == "1"


def test_a_token_is_in_no_address_and_no_script_reads_it(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert "token" not in found["address"]
    assert found["scriptSees"] == ""


def test_it_asks_nobody_else_fits_a_phone_and_can_be_read_out(seen: tuple[dict[str, Any], Path]) -> None:
    found, _ = seen
    assert found["foreign"] == []
    assert max(found["wide"].values()) <= 390
    assert found["serious"] == []


def test_it_works_in_firefox_too(asked: Path, tmp_path: Path) -> None:
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox is None:
        pytest.skip("firefox is not here")
    if shutil.which("node") is None:
        pytest.skip("node is not here")
    found = in_node("serve_firefox.mjs", firefox, asked, *write_mugs(tmp_path, 3))
    assert found["there"]
    assert found["still"].startswith("vase ")
    assert found["found"] == "127.0.0.1 answers again."
    assert found["taught"] == "vase3"
