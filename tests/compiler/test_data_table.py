"""Pixel tables: one flattened image per row, and the labels in a table of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tlc_edge.compiler.data.forms.pixel_table import parse_shape
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.data.records import Dataset
from tlc_edge.runtime.errors import DataError, UsageError

IMAGES = np.random.default_rng(1).integers(0, 256, (6, 2, 3)).astype(np.uint8)
NAMES = ["cat", "dög", "cat", "ant", "dög", "cat"]


def text(rows: NDArray[np.generic], header: str = "") -> str:
    return (header + "\n" if header else "") + "".join(",".join(map(str, row.ravel().tolist())) + "\n" for row in rows)


def load(folder: Path, images: str, labels: str = "label\n" + "\n".join(NAMES), **options: object) -> Dataset:
    (folder / "images.csv").write_text(images, "utf-8")
    (folder / "labels.csv").write_text(labels, "utf-8")
    shape = str(options.pop("shape", "2,3"))
    limit = options.pop("limit", None)
    assert limit is None or isinstance(limit, int)
    return load_dataset(Origin(str(folder / "images.csv"), str(folder / "labels.csv"), shape), limit=limit)


def pixels(data: Dataset) -> NDArray[np.uint8]:
    return np.stack([np.asarray(sample.source) for sample in data.samples])


@pytest.mark.parametrize(
    "header",
    ["", "0,1,2,3,4,5", "1,2,3,4,5,6", '"0","1","2","3","4","5"', "p1,p2,p3,p4,p5,p6", "\ufeffp1,p2,p3,p4,p5,p6"],
)
def test_with_and_without_a_header(header: str, tmp_path: Path) -> None:
    data = load(tmp_path, text(IMAGES, header))
    np.testing.assert_array_equal(pixels(data), IMAGES)
    assert [s.label for s in data.samples] == NAMES
    assert data.labels == ("ant", "cat", "dög")
    assert [s.name for s in data.samples][:2] == ["images[0]", "images[1]"]
    assert any("its first row is a header" in note for note in data.notes) == bool(header)


def test_the_column_of_row_numbers_that_pandas_writes(tmp_path: Path) -> None:
    numbered = ",0,1,2,3,4,5\n" + "".join(f"{i},{text(row[None])}" for i, row in enumerate(IMAGES))
    labels = ",label\n" + "".join(f"{i},{name}\n" for i, name in enumerate(NAMES))
    data = load(tmp_path, numbered, labels)
    np.testing.assert_array_equal(pixels(data), IMAGES)
    assert [s.label for s in data.samples] == NAMES


@pytest.mark.parametrize(("one", "zero"), [("1", "0"), ("1.0", "0"), ("True", "False"), ("TRUE", "FALSE")])
def test_one_hot_labels(one: str, zero: str, tmp_path: Path) -> None:
    classes = ["cat", "dög", "ant"]
    rows = "".join(",".join(one if c == name else zero for c in classes) + "\n" for name in NAMES)
    assert [s.label for s in load(tmp_path, text(IMAGES), "cat,dög,ant\n" + rows).samples] == NAMES


@pytest.mark.parametrize(("shape", "expected"), [("2,3,1", (2, 3, 1)), ("1,2,3", (1, 2, 3)), ("3x2", (3, 2))])
def test_shapes(shape: str, expected: tuple[int, ...], tmp_path: Path) -> None:
    data = load(tmp_path, text(IMAGES), shape=shape)
    np.testing.assert_array_equal(pixels(data), IMAGES.reshape(6, *expected))


def test_values_up_to_1_are_stretched_and_both_scales_are_told(tmp_path: Path) -> None:
    small = load(tmp_path, text((IMAGES / 255).round(6)))
    np.testing.assert_array_equal(pixels(small), IMAGES)
    assert "from 0 to 1, taken as black to white (times 255)" in small.notes[-1]
    large = load(tmp_path, text(IMAGES.astype(float)))
    np.testing.assert_array_equal(pixels(large), IMAGES)
    assert f"up to {IMAGES.max()}, taken as pixels from 0 to 255" in large.notes[-1]


def test_the_scale_is_that_of_all_rows_not_of_the_first(tmp_path: Path) -> None:
    rows = np.zeros((2500, 6), int)
    rows[:2000, 0] = 1  # two blocks of rows that could be on either scale
    rows[2400] = 200
    names = "label\n" + "a\nb\n" * 1250
    data = load(tmp_path, text(rows), names)
    np.testing.assert_array_equal(pixels(data).reshape(2500, 6), rows)


def test_a_limit_reads_the_first_rows_and_not_the_rest(tmp_path: Path) -> None:
    images = text(IMAGES, "0,1,2,3,4,5") + "this,is,no,table,of,pixels\n"
    labels = "label\n" + "\n".join(NAMES) + "\n\xff,and,worse\n"
    for limit in (4, 6):
        data = load(tmp_path, images, labels, limit=limit)
        np.testing.assert_array_equal(pixels(data), IMAGES[:limit])
        assert [s.label for s in data.samples] == NAMES[:limit]
    with pytest.raises(DataError, match=r"images\.csv, line 8: 'this' is not a number"):
        load(tmp_path, images, labels, limit=7)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ("1,2,3\n", None, "images.csv, line 1: 3 cells, expected 6"),
        ("1,2,3,4,5,7\n\n1,2,3,4,5\n", None, "images.csv, line 3: 5 cells, expected 6"),
        ("1,2,3,4,5,7\n1,2,x,4,5,6\n", None, "images.csv, line 2: 'x' is not a number"),
        ("1,2,3,4,5,-7\n", None, "values from -7 to 5, expected pixels"),
        ("1,2,3,4,5,999\n", None, "values from 1 to 999, expected pixels"),
        ("1,2,3,4,5,nan\n", None, "values from nan to nan, expected pixels"),
        ("", None, "images.csv: no rows of pixels"),
        ("a,b,c,d,e,f\n", None, "images.csv: no rows of pixels"),
        (None, "label\ncat\n", "6 images, but .*labels.csv has 1 labels"),
        (None, "label\n", "labels.csv: no labels in it"),
        (None, "", "labels.csv: no labels in it"),
        (None, "label\ncat\n" + "cat,dog\n" * 5, "labels.csv, line 3: 2 labels or marks, expected 1"),
        (None, "a,b\n" + "True,False\n" * 5 + "True,True\n", "labels.csv, line 7: neither one column of names nor one"),
        (None, "a,b\n" + "True,False\n" * 5 + "True,maybe\n", "labels.csv, line 7: neither one column"),
        (None, "a,b\n" + "1,0\n" * 5 + "1,1\n", "labels.csv, line 7: neither one column of names nor one-hot"),
        (None, "a,b\n" + "0,0\n" * 6, "labels.csv, line 2: neither"),
        (None, "id,name\n" + "1,cat\n" * 6, "labels.csv, line 2: neither"),
        (None, "label\n" + "cat\n" * 6, "only one class, 'cat'"),
    ],
)
def test_errors_name_file_and_line(images: str | None, labels: str | None, message: str, tmp_path: Path) -> None:
    given = {} if labels is None else {"labels": labels}
    with pytest.raises(DataError, match=message):
        load(tmp_path, text(IMAGES) if images is None else images, **given)


def test_labels_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text(text(IMAGES))
    (tmp_path / "labels.csv").write_bytes("label\nd\xf6g\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"labels\.csv: not UTF-8 .*; save it as UTF-8"):
        load_dataset(Origin(str(tmp_path / "images.csv"), str(tmp_path / "labels.csv"), "2,3"))


def test_what_belongs_together_must_be_given_together(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text(text(IMAGES))
    for labels, shape in (("labels.csv", None), (None, "2,3")):
        with pytest.raises(UsageError, match="needs both --labels and --shape"):
            load_dataset(Origin(str(tmp_path / "images.csv"), labels, shape))
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        load_dataset(Origin(str(tmp_path / "images.csv"), str(tmp_path / "gone.csv"), "2,3"))
    with pytest.raises(DataError, match="for a table of pixels give --labels and --shape"):
        load_dataset(str(tmp_path / "images.csv"))


@pytest.mark.parametrize("shape", ["", "28", "28,28,2", "0,28", "a,b", "1,2,3,4", "-1,2"])
def test_bad_shapes(shape: str) -> None:
    with pytest.raises(UsageError, match=r"expected height,width or height,width,channels"):
        parse_shape(shape)
