"""Libraries that tlc can do without, there but broken: named in a sentence, by doctor and where they are used."""

from __future__ import annotations

import os
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from command_runs import apart

from tlc_edge.runtime.optional import hides_the_system

SIZE = "numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88"
BROKEN = [
    pytest.param(
        f"raise ValueError({SIZE!r})", ["does not load (numpy.dtype size changed", "pip install 'numpy"], id="abi"
    ),
    pytest.param("import libcamera", ["No module named 'libcamera'", "--system-site-packages"], id="libcamera"),
    pytest.param(
        "raise ImportError('libfoo.so.1: cannot open')", ["does not load (libfoo.so.1: cannot open)"], id="so"
    ),
    pytest.param("x = 1 / 0", ["does not load (division by zero)"], id="any"),
    pytest.param(
        "import os; os.write(2, b'Traceback (most recent call last)'); raise AttributeError('_ARRAY_API not found')",
        ["does not load (_ARRAY_API not found)"],
        id="prints",
    ),
    pytest.param("raise RuntimeError('word ' * 9000)", ["does not load (word word", "…)"], id="long"),
]
LIBRARIES = {"picamera2": "picamera2", "cv2": "opencv-python-headless", "paho": "paho-mqtt"}


def faked(folder: Path, module: str, source: str) -> dict[str, str]:
    """Return the environment of a Python whose `module` is this source."""
    package = folder / "faked" / module
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    return {"PYTHONPATH": os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])}


def extra(document: Any, name: str) -> dict[str, Any]:
    (found,) = (e for e in document["extras"] if e["name"] == name)
    return dict(found)


@pytest.mark.parametrize(("source", "said"), BROKEN)
@pytest.mark.parametrize("module", LIBRARIES)
def test_a_broken_library_is_a_sentence(
    bundle_path: Path, tmp_path: Path, module: str, source: str, said: list[str]
) -> None:
    environment = faked(tmp_path, module, source)
    if module == "picamera2" or "ARRAY" in source:  # one of them each way is enough: it starts Python twice more
        found = apart("doctor", "--json", **environment)
        row = extra(found.json(), LIBRARIES[module])
        assert row["works"] is False
        assert all(words in row["trouble"] for words in said), row
        assert len(row["trouble"]) < 500
        assert "Traceback" not in found.err + found.out
    camera = tmp_path if module == "paho" else 97
    done = apart(
        "watch", bundle_path, "--camera", camera, *(["--mqtt", "host/x"] if module == "paho" else []), **environment
    )
    error = done.failed()
    assert all(words in error for words in said), error
    assert error.count("\n") == 1


def test_a_library_that_takes_its_process_down_leaves_doctor_alone(tmp_path: Path) -> None:
    done = apart("doctor", **faked(tmp_path, "picamera2", "import os, signal; os.kill(os.getpid(), signal.SIGILL)"))
    (row,) = (line for line in done.out.splitlines() if " picamera2 " in line)
    assert row.endswith("? crashes (SIGILL); its wheel may be for another processor")


def test_an_older_paho_is_told(bundle_path: Path, tmp_path: Path) -> None:
    environment = faked(tmp_path, "paho", "")
    (tmp_path / "faked" / "paho" / "mqtt").mkdir()
    for name in ("__init__.py", "client.py"):
        (tmp_path / "faked" / "paho" / "mqtt" / name).touch()
    about = tmp_path / "faked" / "paho_mqtt-1.6.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: paho-mqtt\nVersion: 1.6.1\n")
    done = apart("watch", bundle_path, "--camera", tmp_path, "--mqtt", "host/x", **environment)
    assert "needs paho-mqtt 2.0 or later, an older one is installed; run: pip install 'paho-mqtt>=2'" in done.failed()
    row = extra(apart("doctor", "--json", **environment).json(), "paho-mqtt")
    assert (row["version"], row["works"]) == ("1.6.1", False)
    assert row["trouble"].startswith("is too old, 2.0 or later is needed; run: pip install")


@pytest.mark.parametrize("sees", [False, True])
def test_a_venv_that_hides_what_apt_installs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sees: bool
) -> None:
    venv.create(tmp_path, system_site_packages=sees, symlinks=True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert hides_the_system() is not sees
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))  # no venv at all
    assert not hides_the_system()
