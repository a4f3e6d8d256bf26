"""A fork while another thread is at something for the first time: the child waits for nothing that is not there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from gallery_samples import PRINT, WIDTH, add
from PIL import Image

from tlc_edge.runtime import Bundle, Gallery
from tlc_edge.runtime.errors import TlcError
from tlc_edge.runtime.gallery import schema

pytestmark = pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="this system has no fork")

KINDS = ("jpg", "png", "webp", "tif", "gif")
SCRIPT = """
import os, sys, threading
from pathlib import Path

from tlc_edge.runtime import Classifier

# Without the self-test, which loads some of it already where this machine has not made it before.
classifier = Classifier.open({bundle!r}, {gallery!r}, selftest=False)
photos = Path({photos!r})
"""
FORKED = """
name, work = {name!r}, {work}
begun, forked = threading.Event(), threading.Event()

class Finder:
    def find_spec(self, wanted, path=None, target=None):
        if wanted == name:
            begun.set()
            forked.wait(0.3)  # a fork that waits for this thread comes later

sys.meta_path.insert(0, Finder())
other = threading.Thread(target=work)
other.start()
assert begun.wait(20), "it loads no such module"
child = os.fork()
if child == 0:
    sys.meta_path.pop(0)
    try:
        classifier.predict(photos / "1.webp")
        work()
        classifier.enroll("child", photos / "1.jpg")
    finally:
        os._exit(int(sys.exc_info()[0] is not None))
forked.set()
other.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
EVERYTHING = """
threading.Thread(target=threading.Event().wait, daemon=True).start()
if os.fork() == 0:
    os._exit(0)
before = set(sys.modules)
for photo in sorted(photos.iterdir()):
    classifier.predict(photo)
list(classifier.predict_many([b"no picture", photos / "0.jpg"], errors="return"))
classifier.enroll("a", photos / "0.jpg", check_base=True)
classifier.enroll_not(photos / "1.jpg", check_base=True)
classifier.explain(photos / "0.png")
classifier.rename("a", "b")
classifier.move([1], "c")
classifier.undo()
try:
    classifier.forget("d")
except Exception as e:
    assert "unknown class" in str(e), e
classifier.forget("b")
print(sorted(set(sys.modules) - before))
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(2):
        picture = Image.effect_mandelbrot((48, 48), (-2, -2 + number, 1, 1), 50).convert("RGB")
        for kind in KINDS:
            picture.save(folder / f"{number}.{kind}")
    return folder


def run(script: str, bundle: Bundle, photos: Path, gallery: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own, which has loaded nothing yet."""
    given = {"bundle": str(bundle.path), "photos": str(photos), "gallery": str(gallery), **more}
    text = SCRIPT.format_map(given) + (script.format_map(given) if more else script)
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, env=dict(os.environ), check=False
    )


def test_once_all_is_loaded_nothing_is_loaded_any_more(bundle: Bundle, pictures: Path, tmp_path: Path) -> None:
    ran = run(EVERYTHING, bundle, pictures, tmp_path / "g")
    assert (ran.stdout, ran.stderr, ran.returncode) == ("[]\n", "", 0)


TEACH, ASK = 'lambda: classifier.enroll("mine", photos / "0.webp")', 'lambda: classifier.predict(photos / "0.jpg")'


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("logging", ASK),
        ("PIL.WebPImagePlugin", TEACH),
        *(
            pytest.param(name, work, marks=pytest.mark.slow)
            for name, work in (
                ("PIL.JpegImagePlugin", ASK),
                ("numpy.ma", TEACH),
                ("sqlite3", TEACH),
                ("tlc_edge.runtime.gallery.session", TEACH),
                ("tlc_edge.runtime.knn.enroll_warnings", TEACH),
                ("concurrent.futures.thread", 'lambda: list(classifier.predict_many([photos / "0.png"]))'),
            )
        ),
    ],
)
def test_a_module_that_another_thread_is_loading_is_whole_in_the_child(
    name: str, work: str, bundle: Bundle, pictures: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not here")
    ran = run(FORKED, bundle, pictures, tmp_path / "g", name=name, work=work)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("", "", 0)


def test_a_gallery_that_another_thread_is_opening_is_whole_before_the_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half open, its connection would stay in the child, where nothing could be written for as long as it lives."""
    begun, forked = threading.Event(), threading.Event()
    looked_at = schema.is_current

    def slowly(*given: object, **more: object) -> bool:
        found = looked_at(*given, **more)  # type: ignore[arg-type]
        if not begun.is_set():
            given[0].execute("BEGIN IMMEDIATE")  # type: ignore[attr-defined]
            begun.set()
            forked.wait(0.3)
            given[0].execute("COMMIT")  # type: ignore[attr-defined]
        return found

    monkeypatch.setattr(schema, "is_current", slowly)
    made: list[Gallery] = []
    other = threading.Thread(target=lambda: made.append(Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True)))
    other.start()
    assert begun.wait(100)
    child = os.fork()
    if child == 0:
        try:
            with Gallery.open(tmp_path / "g", PRINT, WIDTH, create=True) as gallery:
                add(gallery, "child", "a")
        except TlcError:
            os._exit(1)
        finally:
            os._exit(int(sys.exc_info()[0] is not None))
    forked.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert made[0].classes() == {"child": 1}
    made[0].close()
