"""The compiler from Python: paths of all kinds, one or several, and a user's mistakes as sentences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tlc_edge
from tlc_edge.runtime.errors import DataError, UsageError


def test_importing_it_loads_nothing() -> None:
    code = "import sys, tlc_edge; sys.exit(bool({'numpy', 'PIL', 'click', 'tlc_edge.compiler'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_that_there_are_and_are_not() -> None:
    assert all(callable(getattr(tlc_edge, name)) for name in ("build", "sweep", "layers", "verify"))
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        tlc_edge.train  # type: ignore[attr-defined]  # noqa: B018


def test_strings_and_paths_alike(built_bundle: Path, photos: Path) -> None:
    for bundle, data in ((built_bundle, photos), (str(built_bundle), [str(photos), photos])):
        found = tlc_edge.verify(bundle, data, limit=8).found
        assert (found.images, len(found.scores)) == (8, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_acuracy": 0.9}, "no option 'min_acuracy'; did you mean min_accuracy?"),
        ({"min_accuracy": "0.9"}, "min_accuracy is '0.9', expected float"),
        ({"seed": 1.5}, "seed is 1.5, expected int"),
        ({"seed": True}, "seed is True, expected int"),
        ({"strict": 1}, "strict is 1, expected bool"),
        ({"augment": "mirror"}, "augment is 'mirror', expected tuple"),
        ({"head": None}, "head is None, expected str"),
        ({"output": 3}, "output is 3, expected a string or a path"),
        ({"fine_tune": 1.5}, "fine_tune is 1.5, expected FineTune"),
        ({"fine_tune": True}, "fine_tune is True, expected FineTune"),
        ({"asked": {"alpha": 0.5}}, "asked is {'alpha': 0.5}, expected Asked"),
        ({"progress": 3}, "progress is 3, expected what can be called"),
        ({"target": None}, "target is None, expected a string or a path, or several"),
        ({"more": ("x",)}, "no option 'more'"),
        ({"target": "nowhere"}, "unknown target 'nowhere'"),
        ({"target": ["rpi", 3]}, "target holds 3, expected a string or a path"),
    ],
)
def test_mistakes_are_sentences(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        tlc_edge.build(tmp_path, **{"output": tmp_path / "x.tlc", **options})
    assert said in str(raised.value)
    assert "defect" not in str(raised.value)


def test_paths_are_taken_where_strings_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in it"):
        tlc_edge.build(tmp_path, ["rpi", "web"], tmp_path / "x.tlc", cache=tmp_path / "cache", augment=["mirror"])
    with pytest.raises(DataError, match="no images in it"):
        tlc_edge.sweep([tmp_path], limit=4)
    with pytest.raises(UsageError, match="data is empty"):
        tlc_edge.build([])
    with pytest.raises(DataError, match="no images in it"):
        tlc_edge.build(tmp_path, fine_tune="auto")
    with pytest.raises(UsageError, match=r"demands is 0\.9, expected Demands"):
        tlc_edge.verify(tmp_path, tmp_path, demands=0.9)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="limit is '8', expected int"):
        tlc_edge.verify(tmp_path, tmp_path, limit="8")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="bundle is 3, expected a string or a path"):
        tlc_edge.verify(3, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="backbone is None, expected a string or a path"):
        tlc_edge.layers(None)  # type: ignore[arg-type]
