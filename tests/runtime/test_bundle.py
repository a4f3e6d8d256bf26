"""Bundles on disk: both forms, frozen bytes, every kind of damage, and writing that is whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from killed import FAILED, INTERRUPTED, Killed, moments

from tlc_edge.runtime.bundle.bundle import DIGEST, EXEMPLARS, MANIFEST, Bundle, check_writable, write_bundle
from tlc_edge.runtime.bundle.manifest import Decision, Manifest, ModelFile, Preprocessing, Unknown, to_json
from tlc_edge.runtime.errors import BundleError, UsageError

FORMS = ["small.tlc", "small"]


def contents(**more: bytes) -> dict[str, bytes]:
    return {"model.tflite": bytes(range(64)), "labels.txt": b"cup\nmug\n", "golden/00.png": b"png", **more}


def manifest_of(files: Mapping[str, bytes]) -> Manifest:
    return Manifest(
        fingerprint="ab" * 32,
        labels=("cup", "mug"),
        preprocessing=Preprocessing(8, 8, passes=""),
        models=(ModelFile("model.tflite", "tflite", "int8", 64),),
        embedding_width=4,
        decision=Decision(5, 0.05),  # spelled out: the defaults may become better ones
        unknown=Unknown(0.05),
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )


def write(path: Path, files: Mapping[str, bytes] | None = None, force: bool = False) -> Path:
    files = contents() if files is None else files
    write_bundle(path, manifest_of(files), files, force)
    return path


def npz(**arrays: object) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def packed(**arrays: object) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# --- the format


@pytest.mark.parametrize("form", FORMS)
def test_what_was_written_is_read_back(tmp_path: Path, form: str) -> None:
    bundle = Bundle.open(write(tmp_path / form))
    assert bundle.path == tmp_path / form
    assert to_json(bundle.manifest) == to_json(manifest_of(contents())) == bundle.read(MANIFEST)
    assert bundle.files == {MANIFEST: bundle.read(MANIFEST), **contents()}
    assert bundle.bytes == sum(map(len, bundle.files.values()))
    assert (tmp_path / form).is_dir() == (form == "small")
    with pytest.raises(BundleError, match=r"no file 'x' in the bundle"):
        bundle.read("x")


def test_the_two_forms_hold_the_same_and_one_becomes_the_other_with_any_zip_tool(tmp_path: Path) -> None:
    one_file, folder = write(tmp_path / "a.tlc"), write(tmp_path / "a")
    with zipfile.ZipFile(one_file) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert Bundle.open(tmp_path / "unpacked").files == Bundle.open(folder).files == Bundle.open(one_file).files


def test_the_written_bytes_are_frozen_and_the_same_each_time(tmp_path: Path) -> None:
    first = write(tmp_path / "a.tlc").read_bytes()
    second = write(tmp_path / "b.tlc", dict(reversed(contents().items()))).read_bytes()
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        entries = archive.infolist()
    assert [e.filename for e in entries] == [
        "golden/00.png",
        "labels.txt",
        "manifest.json",
        "manifest.sha256",
        "model.tflite",
    ]
    assert {(e.compress_type, e.date_time, e.external_attr) for e in entries} == {
        (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0), 0o644 << 16)
    }
    # What is in the field stays readable and reproducible: this never changes for schema 1.
    assert hashlib.sha256(first).hexdigest() == "cfa1c1ee417445cb3c1db4bf8b8e02837550b5a706b88e1b81395da37e4e3866"


def test_other_files_beside_the_bundles_own_are_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    shutil.copy(write(tmp_path / "a.tlc"), tmp_path / "more.tlc")
    (folder / "notes.txt").write_text("mine")
    (folder / EXEMPLARS).write_bytes(b"not the bundle's")
    os.mkfifo(folder / "golden" / "pipe")  # reading it would wait for ever
    with zipfile.ZipFile(tmp_path / "more.tlc", "a") as archive:
        archive.writestr("notes.txt", "mine")
        archive.writestr("../../outside.txt", "mine")
    for path in (folder, tmp_path / "more.tlc"):
        bundle = Bundle.open(path)
        assert bundle.files == {MANIFEST: bundle.read(MANIFEST), **contents()}
        assert len(bundle.exemplars().labels) == 0
    assert names(tmp_path) == ["a", "a.tlc", "more.tlc"]


# --- damage


def test_a_flipped_byte_anywhere_is_found_or_changes_nothing(tmp_path: Path) -> None:
    """Headers hold a few bytes that say nothing, such as dates; whatever decides the contents is covered."""
    whole = write(tmp_path / "whole.tlc").read_bytes()
    expected, path = Bundle.open(tmp_path / "whole.tlc").files, tmp_path / "flipped.tlc"
    found: list[str] = []
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        try:
            assert Bundle.open(path).files == expected
        except BundleError as e:
            found.append(str(e))
    assert len(found) > 0.8 * len(whole)
    assert not [message for message in found if "\n" in message]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_flipped_byte_in_the_real_bundle_is_found(built_bundle: Path, tmp_path: Path, share: float) -> None:
    data = bytearray(built_bundle.read_bytes())
    data[int(share * len(data))] ^= 0x10
    path = tmp_path / "flipped.tlc"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"flipped\.tlc: .*(damaged|copy or build it again)"):
        Bundle.open(path)


@pytest.mark.parametrize("name", contents())
def test_a_flipped_byte_in_a_folder_names_the_file(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "small")
    data = bytearray((folder / name).read_bytes())
    data[0] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name} is damaged \(SHA-256 \w{{12}}…, expected \w{{12}}…\); copy"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", contents())
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "small")
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} is missing; copy or build the bundle again"):
        Bundle.open(folder)
    (folder / name).mkdir()
    with pytest.raises(BundleError, match=rf"{name} is missing"):
        Bundle.open(folder)


def test_a_bundle_cut_short_anywhere_is_damaged(tmp_path: Path) -> None:
    whole, path = write(tmp_path / "whole.tlc").read_bytes(), tmp_path / "short.tlc"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(BundleError, match=r"short\.tlc: .*copy or build it again"):
            Bundle.open(path)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.tlc"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in Bundle.open(write(tmp_path / "a.tlc")).files.items():
            archive.writestr(name, data)
    with pytest.raises(BundleError, match=r"compressed or damaged; a bundle's files are stored as they are"):
        Bundle.open(path)


def test_what_is_no_bundle_says_so(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8" * 100)
    (tmp_path / "empty.tlc").touch()
    (tmp_path / "photos").mkdir()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "b")
    for name, message in {
        "photo.jpg": "not a tlc bundle",
        "empty.tlc": "not a tlc bundle",
        "photos": "no manifest.json in it, so this is not a tlc bundle",
        "other.zip": "no manifest.json in it, so this is not a tlc bundle",
        "missing.tlc": "no such bundle; make one with `tlc build`",
        "photo.jpg/missing.tlc": "cannot be read",
        "x" * 300: "cannot be read",
        "null\0byte": "cannot be read",
    }.items():
        with pytest.raises(BundleError, match=message):
            Bundle.open(tmp_path / name)


def test_a_folder_that_is_no_bundle_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # whoever reads all that lies there waits for ever
    with pytest.raises(BundleError, match=r"no manifest\.json in it"):
        Bundle.open(tmp_path)


def test_names_that_lead_out_of_the_bundle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = write(tmp_path / "small")
    honest = manifest_of(contents())
    for name in ("../secret", str(tmp_path / "secret"), "golden/../../secret"):
        files = {**honest.files, name: hashlib.sha256(b"secret").hexdigest()}
        (folder / MANIFEST).write_bytes(to_json(replace(honest, files=files)))
        (folder / DIGEST).unlink(missing_ok=True)
        with pytest.raises(BundleError, match="names of files inside the bundle"):
            Bundle.open(folder)


def test_a_bundle_needs_a_model_that_its_hashes_cover(tmp_path: Path) -> None:
    folder, honest = write(tmp_path / "small"), manifest_of(contents())
    other = ModelFile("other.onnx", "onnx", "float32", 3)
    (folder / "other.onnx").write_bytes(b"abc")
    for models, message in (((), "no hash for any model"), ((*honest.models, other), "no hash for other.onnx")):
        (folder / MANIFEST).write_bytes(to_json(replace(honest, models=models)))
        (folder / DIGEST).unlink(missing_ok=True)
        with pytest.raises(BundleError, match=message):
            Bundle.open(folder)


@pytest.mark.parametrize("name", [MANIFEST, DIGEST, "labels.txt", "model.tflite"])
def test_a_flipped_bit_anywhere_in_a_folder_is_found(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "a")
    whole = (folder / name).read_bytes()
    for position in range(len(whole)):
        flipped = whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :]
        (folder / name).write_bytes(flipped)
        with pytest.raises(BundleError):
            Bundle.open(folder)
    (folder / name).write_bytes(whole)
    Bundle.open(folder)


def test_a_bundle_of_before_opens_with_what_it_can_prove(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (folder / DIGEST).unlink()
    manifest = (folder / MANIFEST).read_bytes()
    assert Bundle.open(folder).manifest.labels == ("cup", "mug")
    exchanged = manifest.replace(b'"cup"', b'"-"').replace(b'"mug"', b'"cup"').replace(b'"-"', b'"mug"')
    (folder / MANIFEST).write_bytes(exchanged)
    with pytest.raises(BundleError, match=r"the labels in manifest\.json are not those of labels\.txt"):
        Bundle.open(folder)


# --- exemplars


def test_exemplars_come_as_rows_of_unit_length(tmp_path: Path) -> None:
    stored = np.array([[100, 0, 0, 0], [3, 4, 0, 0]], np.int8)
    data = npz(vectors=stored, scales=np.ones(2, np.float32), labels=np.array([1, 0], np.int32))
    exemplars = Bundle.open(write(tmp_path / "a.tlc", contents(**{EXEMPLARS: data}))).exemplars()
    assert exemplars.vectors.dtype == np.float32
    assert np.allclose(exemplars.vectors, [[1, 0, 0, 0], [0.6, 0.8, 0, 0]])
    assert exemplars.labels.tolist() == [1, 0]


def test_a_bundle_without_exemplars_has_none(tmp_path: Path) -> None:
    exemplars = Bundle.open(write(tmp_path / "a.tlc")).exemplars()
    assert exemplars.vectors.shape == (0, 4)
    assert exemplars.labels.shape == (0,)


ROWS, LABELS = np.ones((2, 4), np.int8), np.zeros(2, np.int32)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04 not a zip", "cannot be read"),
        (npz(vectors=ROWS), "cannot be read"),
        (npz(vectors=np.array(["a"]), labels=LABELS), "cannot be read"),
        (npz(vectors=np.array([{}], object), labels=LABELS), "cannot be read"),
        (packed(vectors=ROWS, labels=LABELS), "is compressed; a bundle's arrays are stored as they are"),
        (packed(vectors=np.zeros((1 << 20, 4), np.int8), labels=LABELS), "longer than itself"),
        (npz(vectors=np.ones((2, 5), np.int8), labels=LABELS), "does not fit the manifest"),
        (npz(vectors=ROWS, labels=LABELS[:1]), "does not fit the manifest"),
        (npz(vectors=ROWS, labels=LABELS.reshape(2, 1)), "does not fit the manifest"),
        (npz(vectors=ROWS, labels=LABELS + 2), "does not fit the manifest"),
        (npz(vectors=ROWS, labels=LABELS - 1), "does not fit the manifest"),
        (npz(vectors=np.full((2, 4), np.nan, np.float32), labels=LABELS), "does not fit the manifest"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_exemplars_that_cannot_be_used_are_a_bundle_error(tmp_path: Path, data: bytes, message: str) -> None:
    bundle = Bundle.open(write(tmp_path / "a.tlc", contents(**{EXEMPLARS: data})))
    with pytest.raises(BundleError, match=message):
        bundle.exemplars()


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._path,)


def test_no_code_runs_that_comes_with_exemplars(tmp_path: Path) -> None:
    data = npz(vectors=np.array([Trap(tmp_path / "sprung")], object), labels=LABELS[:1])
    bundle = Bundle.open(write(tmp_path / "a.tlc", contents(**{EXEMPLARS: data})))
    with pytest.raises(BundleError, match="cannot be read"):
        bundle.exemplars()
    assert names(tmp_path) == ["a.tlc"]


# --- writing


@pytest.mark.parametrize("form", FORMS)
def test_an_existing_bundle_is_replaced_only_by_force(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / form)
    other = contents(extra=b"new")
    with pytest.raises(UsageError, match=r"exists already; choose another -o or replace it with --force"):
        write(path, other)
    assert Bundle.open(path).files.keys() == {MANIFEST, *contents()}
    write(path, other, force=True)
    assert Bundle.open(path).files.keys() == {MANIFEST, *other}
    assert names(tmp_path) == [form]
    if path.is_dir():
        assert names(path) == ["extra", "golden", "labels.txt", "manifest.json", "manifest.sha256", "model.tflite"]


def test_force_does_not_replace_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"mine")
    (tmp_path / "folder.tlc").mkdir()
    (tmp_path / "notes").write_bytes(b"mine")
    for name, message in {
        "photos": "is a folder but not a bundle",
        "folder.tlc": "is a folder; a name ending in .tlc is written as one file",
        "notes": "is a file; a name not ending in .tlc is written as a folder",
    }.items():
        with pytest.raises(UsageError, match=message):
            write(tmp_path / name, force=True)
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == (tmp_path / "notes").read_bytes() == b"mine"
    assert names(tmp_path) == ["folder.tlc", "notes", "photos"]


def test_an_empty_folder_becomes_a_bundle_by_force(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    assert Bundle.open(write(tmp_path / "small", force=True))


def test_a_folder_that_is_missing_or_cannot_be_written_is_named_before_the_work(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "a.tlc", tmp_path / "no" / "a"):
        with pytest.raises(BundleError, match=r"no: no such folder to write a.* into; make it first"):
            check_writable(path, False)
    with pytest.raises(BundleError, match=r"/proc/a\.tlc: cannot be written \(.*\); choose another -o"):
        check_writable(Path("/proc/a.tlc"), False)  # root may write anywhere else
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(BundleError, match=r"cannot be written \(Permission denied\); choose another -o"):
        check_writable(tmp_path / "a.tlc", False)
    tmp_path.chmod(0o755)


def test_looking_whether_it_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.tlc", False)
    check_writable(tmp_path / "a", True)
    assert names(tmp_path) == []


def test_files_and_hashes_must_belong_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="differ"):
        write_bundle(tmp_path / "a.tlc", manifest_of(contents()), contents(more=b""))
    assert names(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tlc-test", str(disk)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a tiny disk, and not everywhere")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_leaves_the_old_bundle_and_nothing_else(tiny_disk: Path, form: str) -> None:
    path = write(tiny_disk / form)
    with pytest.raises(BundleError, match=r"cannot be written \(No space left on device\); nothing was left behind"):
        write(path, contents(big=bytes(100_000)), force=True)
    assert names(tiny_disk) == [form]
    assert Bundle.open(path).files.keys() == {MANIFEST, *contents()}


WRITE = """
import sys
from pathlib import Path
from test_bundle import contents, write
print("ready", flush=True)
for number in range(100_000):
    write(Path(sys.argv[1]), contents(**{"big": bytes(300_000), f"number{number % 2}": b""}), force=True)
    print(number, flush=True)
"""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_at_any_moment_there_is_a_whole_bundle(
    tmp_path: Path, form: str, stop: signal.Signals, killed: Killed
) -> None:
    path = tmp_path / form
    events = killed.events(WRITE, path, lines=2)
    for at in moments(random.Random(form), 8, events):
        write(path, force=path.exists())
        end = killed.run(WRITE, (path,), line=0, at=at, stop=stop)
        assert end.code in ((INTERRUPTED, FAILED) if stop == signal.SIGINT else (-signal.SIGKILL,))
        if stop == signal.SIGINT:
            # Python's own rmtree makes an OSError of a Ctrl-C within `os.close`; the command line tells the two apart.
            assert names(tmp_path) == [form]
        if path.exists() or form == "small.tlc":  # a folder is away for the moment between two renames
            more = len(Bundle.open(path).files) - len(contents())
            assert more == 3 or (more == 1 and end.said == ["ready"])
