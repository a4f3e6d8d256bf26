"""Signed bundles: what a device that trusts a key opens, and minisign's formats against minisign itself."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_runs import apart, without
from signed_samples import signed, trusting
from test_bundle import FORMS, write

from tlc_edge.runtime.bundle.bundle import DIGEST, MANIFEST, SIGNATURE, Bundle
from tlc_edge.runtime.bundle.sign import sign_bundle
from tlc_edge.runtime.errors import BundleError, TrustError, UsageError
from tlc_edge.runtime.signing.key_files import new_key, sign_file
from tlc_edge.runtime.signing.minisign import read_public, read_signature
from tlc_edge.runtime.signing.newest import newest, start_anew
from tlc_edge.runtime.signing.release import MOST, Release, make_release, read_release
from tlc_edge.runtime.signing.secret_key import SecretKey, make_secret, read_secret, scrypt_numbers, secret_file
from tlc_edge.runtime.signing.trust_key import trust_key
from tlc_edge.runtime.signing.trusted import add_key, remove_key, trusted_keys

pytest.importorskip("cryptography")
MINISIGN = shutil.which("minisign")
needs_minisign = pytest.mark.skipif(MINISIGN is None, reason="minisign is not installed (apt install minisign)")

# Made by minisign 0.11 with -W, and its signature of b"hello" with -t 'tlc serial:1'.
MINISIGN_KEY = (
    b"untrusted comment: minisign encrypted secret key\n"
    b"RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABfBv3ZxtJa+NO2u/h2+sJJW6chpebi8vBhr1DciDqe"
    b"dAw3DrnZGaV91NMk1VnaPRxGngyxFX/2IMlZeHl9pYINsny8xXhukDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
)
MINISIGN_PUBLIC = (
    b"untrusted comment: minisign public key AF256D9CDD6FF005\n"
    b"RWQF8G/dnG0lr91NMk1VnaPRxGngyxFX/2IMlZeHl9pYINsny8xXhukD\n"
)
MINISIGN_SIGNATURE = (
    b"untrusted comment: signature from minisign secret key\n"
    b"RUQF8G/dnG0lr71b7oKXmxuNACu95QUzDafUzq7CKxSvnZK4l+wgtZQYXlXIYVP8Whi8Tkgq+i0/Y8/l1Q0s6labo51DLPUAAAo=\n"
    b"trusted comment: tlc serial:1\n"
    b"plZK3RV55O6U8d/95E/RTlQvEb2kR25I8b813HUMmOD4k7cmJZtPPMzVot4AT2QP9t53Jue9KMQW1AfCUKeOBQ==\n"
)


@pytest.fixture(scope="module")
def key() -> SecretKey:
    return make_secret()


@pytest.fixture
def trust(tmp_path: Path, key: SecretKey) -> Iterator[Path]:
    """A device that trusts `key`."""
    with trusting(tmp_path / "trust", key) as folder:
        yield folder


# --- the formats, against minisign


def test_what_minisign_made_is_made_again_to_the_byte(tmp_path: Path) -> None:
    """Ed25519 has one signature of a message by a key, so that it can be frozen."""
    (tmp_path / "a.key").write_bytes(MINISIGN_KEY)
    key = read_secret(tmp_path / "a.key")
    assert key.public.file == MINISIGN_PUBLIC
    assert read_public(MINISIGN_PUBLIC) == read_public(MINISIGN_PUBLIC.split()[-1]) == key.public
    assert key.sign(b"hello", "tlc serial:1").file == MINISIGN_SIGNATURE
    assert read_signature(MINISIGN_SIGNATURE).file == MINISIGN_SIGNATURE
    assert read_signature(MINISIGN_SIGNATURE).id == key.public.id == "AF256D9CDD6FF005"


@needs_minisign
@pytest.mark.parametrize("form", FORMS)
def test_minisign_verifies_a_bundle_that_tlc_signed_and_the_reverse(tmp_path: Path, form: str) -> None:
    key, public = new_key(tmp_path / "tlc.key")
    path = signed(tmp_path / form, key, 7, "hall")
    folder = path
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "unpacked")
        folder = tmp_path / "unpacked"
    assert "tlc serial:7 name:hall" in minisign("-Vm", folder / MANIFEST, "-p", public)
    changed = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(changed.replace(b"cup", b"cap"))
    assert "verification failed" in minisign("-Vm", folder / MANIFEST, "-p", public, code=1)
    (folder / MANIFEST).write_bytes(changed)

    # What minisign signs with a key of ours, a device opens.
    minisign("-Sm", folder / MANIFEST, "-s", tmp_path / "tlc.key", "-t", "tlc serial:9 name:hall")
    with trusting(tmp_path / "trust", key):
        opened = Bundle.open(folder).signed
        assert opened is not None
        assert (opened.key, opened.release, opened.verified) == (key.public.id, Release(9, "hall"), True)
        assert newest() == {"hall": 9}


@needs_minisign
def test_keys_of_minisign_sign_here_and_ours_there(tmp_path: Path) -> None:
    minisign("-GWp", tmp_path / "m.pub", "-s", tmp_path / "m.key")
    key = read_secret(tmp_path / "m.key")
    assert read_public((tmp_path / "m.pub").read_bytes()) == key.public
    (tmp_path / "file").write_bytes(b"what is signed")
    to = sign_file(tmp_path / "file", key, "a comment")
    assert "a comment" in minisign("-Vm", tmp_path / "file", "-p", tmp_path / "m.pub")
    ours = to.read_bytes()
    minisign("-Sm", tmp_path / "file", "-s", tmp_path / "m.key", "-t", "a comment")
    assert to.read_bytes() == ours


@needs_minisign
@pytest.mark.slow  # minisign's own limits: a gigabyte, and seconds
def test_a_key_with_a_password_goes_both_ways(tmp_path: Path) -> None:
    new_key(tmp_path / "tlc.key", "sésame")
    (tmp_path / "file").write_bytes(b"what is signed")
    minisign("-Sm", tmp_path / "file", "-s", tmp_path / "tlc.key", stdin="sésame\n")
    minisign("-Vm", tmp_path / "file", "-p", tmp_path / "tlc.pub")
    minisign("-Gp", tmp_path / "m.pub", "-s", tmp_path / "m.key", stdin="open\nopen\n")
    assert read_secret(tmp_path / "m.key", lambda: "open").public == read_public((tmp_path / "m.pub").read_bytes())
    with pytest.raises(TrustError, match="the password is not its own, or the key is damaged"):
        read_secret(tmp_path / "m.key", lambda: "shut")


def minisign(*words: object, code: int = 0, stdin: str = "") -> str:
    assert MINISIGN is not None
    done = subprocess.run([MINISIGN, *map(str, words)], capture_output=True, text=True, input=stdin)
    assert done.returncode == code, done
    return done.stdout + done.stderr


def test_another_implementation_verifies_too(tmp_path: Path, key: SecretKey) -> None:
    minisign_py = pytest.importorskip("minisign")
    folder = signed(tmp_path / "a", key)
    public = minisign_py.PublicKey.from_base64(key.public.text)
    found = minisign_py.Signature.from_bytes((folder / SIGNATURE).read_bytes())
    public.verify((folder / MANIFEST).read_bytes(), found)
    with pytest.raises(minisign_py.VerifyError):
        public.verify((folder / MANIFEST).read_bytes() + b" ", found)


# --- keys


def test_a_key_with_a_password_is_read_with_it_alone(tmp_path: Path, key: SecretKey) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(secret_file(key, b"open", 1 << 15, 1 << 20))  # little work, so that the test has little
    assert read_secret(path, lambda: "open") == key
    assert key.seed not in base64.b64decode(path.read_bytes().splitlines()[1])
    with pytest.raises(TrustError, match="the password is not its own"):
        read_secret(path, lambda: "shut")
    with pytest.raises(UsageError, match="there is nobody to ask"):
        read_secret(path)
    path.write_bytes(secret_file(key, b"open", 1 << 15, 1 << 20).replace(b"RWRT", b"RWRU"))
    with pytest.raises(TrustError, match="no secret key"):
        read_secret(path, lambda: "open")


def test_scrypts_numbers_are_those_of_libsodium() -> None:
    assert scrypt_numbers(33554432, 1073741824) == (1 << 20, 8, 1)  # its documented "sensitive"
    assert scrypt_numbers(524288, 16777216) == (1 << 14, 8, 1)  # and "interactive"


def test_a_password_may_not_take_more_work_than_minisigns(tmp_path: Path, key: SecretKey) -> None:
    path = tmp_path / "a.key"
    raw = bytearray(base64.b64decode(secret_file(key, b"open", 1 << 15, 1 << 20).splitlines()[1]))
    raw[46:54] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(b"untrusted comment: x\n" + base64.b64encode(bytes(raw)))
    with pytest.raises(TrustError, match="more work than minisign"):
        read_secret(path, lambda: "open")


def test_a_damaged_secret_key_signs_nothing(tmp_path: Path, key: SecretKey) -> None:
    path = tmp_path / "a.key"
    whole = base64.b64decode(secret_file(key).splitlines()[1])
    for at in range(len(whole)):
        if 6 <= at < 54:  # salt and limits, which mean nothing without a password
            continue
        damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        path.write_bytes(b"untrusted comment: x\n" + base64.b64encode(damaged))
        with pytest.raises((TrustError, UsageError)):
            read_secret(path)


def test_keys_are_for_their_owner_alone_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    key, public = new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secret(path) == key
    assert repr(key.seed) not in repr(key)
    before = (path.read_bytes(), public.read_bytes())
    for there in ("a.key", "b.key"):
        (tmp_path / "b.pub").touch()
        with pytest.raises(UsageError, match=r"exists already, and no key is ever replaced"):
            new_key(tmp_path / there)
    assert (path.read_bytes(), public.read_bytes()) == before
    (tmp_path / "c.key").symlink_to(tmp_path / "elsewhere")  # a link that leads nowhere yet is not followed
    with pytest.raises(UsageError, match="exists already"):
        new_key(tmp_path / "c.key")
    with pytest.raises(UsageError, match="name the secret one"):
        new_key(tmp_path / "d.pub")
    with pytest.raises(TrustError, match="cannot be written"):
        new_key(tmp_path / "no" / "d.key")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.key", "a.pub", "b.pub", "c.key"]


# --- what is opened


@pytest.mark.parametrize("form", FORMS)
def test_where_no_key_is_trusted_everything_opens(tmp_path: Path, form: str, key: SecretKey) -> None:
    with trusting(tmp_path / "trust"):
        plain = write(tmp_path / form)
        assert Bundle.open(plain).signed is None
        found = Bundle.open(signed(plain, key, 3, "hall")).signed
        assert found is not None
        assert (found.key, found.release, found.verified) == (key.public.id, Release(3, "hall"), False)
        assert not (tmp_path / "trust").exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_trusted_key_opens_what_it_signed_and_nothing_else(
    tmp_path: Path, form: str, trust: Path, key: SecretKey
) -> None:
    path = write(tmp_path / form)
    with pytest.raises(TrustError, match=r"not signed, and this device opens only .*--allow-unsigned"):
        Bundle.open(path)
    signed(path, make_secret())
    with pytest.raises(
        TrustError, match=rf"signed by the key \w{{16}}, which this device does not trust .*{key.public.id}"
    ):
        Bundle.open(path)
    signed(path, key)
    found = Bundle.open(path).signed
    assert found is not None
    assert found.verified
    # A stranger's signature that names the trusted key.
    stranger = make_secret()
    signed(path, SecretKey(key.number, stranger.seed, stranger.key))
    with pytest.raises(TrustError, match="changed since it was signed, or not signed by the key"):
        Bundle.open(path)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_allowed_this_once_is_told(tmp_path: Path, form: str, trust: Path, key: SecretKey) -> None:
    told: list[str] = []
    path = write(tmp_path / form)
    opened = Bundle.open(path, allow_unsigned=told.append)
    assert (opened.signed, opened.manifest.labels) == (None, ("cup", "mug"))
    assert len(told) == 1
    assert "is opened all the same (" in told[0]
    with pytest.raises(TrustError):
        Bundle.open(path)
    signed(path, key)
    assert Bundle.open(path, allow_unsigned=told.append).signed is not None
    assert len(told) == 1  # of what is trusted nothing is said
    # What is damaged stays refused.
    if path.is_dir():
        (path / "labels.txt").write_bytes(b"cup\nmag\n")
        with pytest.raises(BundleError, match="is damaged"):
            Bundle.open(path, allow_unsigned=told.append)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_older_than_the_newest_seen_is_opened(tmp_path: Path, form: str, trust: Path, key: SecretKey) -> None:
    path = tmp_path / form
    Bundle.open(signed(path, key, 5))
    Bundle.open(signed(path, key, 5))  # the same again
    Bundle.open(signed(path, key, 7))
    assert newest() == {"": 7}
    with pytest.raises(TrustError, match=r"older than what was opened here already \(serial number 6, seen 7\)"):
        Bundle.open(signed(path, key, 6))
    Bundle.open(signed(path, key, 1, "hall"))  # counts apart
    with pytest.raises(TrustError, match="seen 1 under the name hall"):
        Bundle.open(signed(path, key, 0, "hall"))
    assert newest() == {"": 7, "hall": 1}
    other = make_secret()  # the keys share the count: a change of keys opens no way back
    add_key(other.public)
    with pytest.raises(TrustError, match="older"):
        Bundle.open(signed(path, other, 6))
    start_anew("")
    Bundle.open(signed(path, other, 6))
    with pytest.raises(UsageError, match="no bundle signed under the name 'cellar'"):
        start_anew("cellar")


def test_a_bundle_that_is_not_whole_raises_no_count(tmp_path: Path, trust: Path, key: SecretKey) -> None:
    path = signed(tmp_path / "a", key, 9)
    (path / "model.tflite").write_bytes(b"other")
    with pytest.raises(BundleError):
        Bundle.open(path)
    assert newest() == {}


def test_signed_as_something_else_is_not_signed_as_a_bundle(tmp_path: Path, trust: Path, key: SecretKey) -> None:
    path = signed(tmp_path / "a", key)
    for comment in ("timestamp:1\tfile:manifest.json\thashed", "tlc serial:05", "tlc serial:1 name:", "tlc key", ""):
        sign_file(path / MANIFEST, key, comment)
        assert read_release(comment) is None
        with pytest.raises(TrustError, match="says no serial number"):
            Bundle.open(path)


def test_signatures_from_before_hashing_are_refused(tmp_path: Path, trust: Path, key: SecretKey) -> None:
    path = signed(tmp_path / "a", key)
    lines = (path / SIGNATURE).read_bytes().split(b"\n")
    lines[1] = base64.b64encode(b"Ed" + base64.b64decode(lines[1])[2:])
    (path / SIGNATURE).write_bytes(b"\n".join(lines))
    with pytest.raises(TrustError, match=r"minisign's format before 0\.10"):
        Bundle.open(path)


# --- one byte changed anywhere


def places(path: Path) -> dict[str, bytes]:
    """Every file of a bundle by its name; of one in one file, that."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {str(p.relative_to(path.parent)): p.read_bytes() for p in files}


def opens_with(path: Path, name: str, data: bytes) -> bool:
    (path.parent / name).write_bytes(data)
    try:
        Bundle.open(path)
    except BundleError:
        return False
    return True


@pytest.mark.parametrize("form", FORMS)
def test_one_byte_changed_anywhere_is_refused(tmp_path: Path, form: str, trust: Path, key: SecretKey) -> None:
    path, chance = signed(tmp_path / form, key), random.Random(form)
    tried = 0
    for name, data in places(path).items():
        for at in range(len(data)):
            other = data[at] ^ chance.randrange(1, 256)
            assert not opens_with(path, name, data[:at] + bytes([other]) + data[at + 1 :]), (name, at, other)
            tried += 1
        assert opens_with(path, name, data)
    assert tried == sum(len(data) for data in places(path).values()) > 1300


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_one_bit_flipped_anywhere_is_refused(tmp_path: Path, form: str, trust: Path, key: SecretKey) -> None:
    path = signed(tmp_path / form, key)
    for name, data in places(path).items():
        for at in range(8 * len(data)):
            changed = data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]
            assert not opens_with(path, name, changed), (name, at)
        assert opens_with(path, name, data)


@pytest.mark.parametrize("form", FORMS)
def test_a_byte_more_or_less_is_refused(tmp_path: Path, form: str, trust: Path, key: SecretKey) -> None:
    path = signed(tmp_path / form, key)
    for name, data in places(path).items():
        for changed in (data + b"\n", data + b"\0", b"\n" + data, data[:-1], data[1:], b"", data + data):
            assert not opens_with(path, name, changed), (name, changed[:9])
        assert opens_with(path, name, data)


def test_files_added_removed_or_renamed_are_refused(tmp_path: Path, trust: Path, key: SecretKey) -> None:
    path = signed(tmp_path / "a", key)
    names = [name.removeprefix("a/") for name in places(path)]
    assert {MANIFEST, DIGEST, SIGNATURE} < {*names}
    for name in names:
        whole = (path / name).read_bytes()
        (path / name).rename(tmp_path / "away")
        with pytest.raises(BundleError):
            Bundle.open(path)
        (path / f"{name}.old").write_bytes(whole)
        with pytest.raises(BundleError):
            Bundle.open(path)
        (tmp_path / "away").rename(path / name)
        with pytest.raises(TrustError, match="is no part of what was signed"):
            Bundle.open(path)
        (path / f"{name}.old").unlink()
        Bundle.open(path)
    for name in ("notes.txt", ".hidden", "golden/01.png", "more/deep/file"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
        with pytest.raises(TrustError, match="is no part of what was signed"):
            Bundle.open(path)
        (path / name).unlink()
    os.mkfifo(path / "pipe")
    with pytest.raises(TrustError, match="'pipe' is no part"):
        Bundle.open(path)
    (path / "pipe").unlink()
    (path / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(TrustError, match="'link' is no part"):
        Bundle.open(path)
    (path / "link").unlink()
    Bundle.open(path)


def test_a_file_more_in_an_archive_is_refused(tmp_path: Path, trust: Path, key: SecretKey) -> None:
    path = signed(tmp_path / "a.tlc", key)
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("notes.txt", b"")
    with pytest.raises(TrustError, match="not the file that was signed"):
        Bundle.open(path)
    with pytest.raises(BundleError, match=r"'notes\.txt' in it is no part of the bundle"):
        sign_bundle(path, key, make_release(6))
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        parts = {e.filename: archive.read(e) for e in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # the same files, another order and date
        for name, data in reversed(parts.items()):
            archive.writestr(name, data)
    with pytest.raises(TrustError, match="packed by another tool"):
        Bundle.open(path)
    sign_bundle(path, key, make_release(5))
    assert path.read_bytes() == whole  # signing packs it as it must be, and nothing is by chance


def test_a_bundle_in_one_form_is_signed_in_the_other_too(tmp_path: Path, trust: Path, key: SecretKey) -> None:
    with zipfile.ZipFile(signed(tmp_path / "a.tlc", key)) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert Bundle.open(tmp_path / "unpacked").files == Bundle.open(tmp_path / "a.tlc").files


def test_a_bundle_of_before_digests_is_signed_with_one(tmp_path: Path, trust: Path, key: SecretKey) -> None:
    path = write(tmp_path / "a")
    (path / DIGEST).unlink()
    sign_bundle(path, key, make_release(1))
    Bundle.open(path)
    (path / DIGEST).unlink()
    with pytest.raises(TrustError, match=r"manifest\.sha256 is missing"):
        Bundle.open(path)


def test_what_is_not_whole_is_not_signed(tmp_path: Path, key: SecretKey) -> None:
    path = write(tmp_path / "a")
    (path / "notes.txt").touch()
    with pytest.raises(TrustError, match=r"'notes\.txt' is no part"):
        sign_bundle(path, key, make_release(1))
    (path / "notes.txt").unlink()
    (path / "model.tflite").write_bytes(b"other")
    with pytest.raises(BundleError, match="is damaged"):
        sign_bundle(path, key, make_release(1))
    assert not (path / SIGNATURE).exists()


# --- what a device keeps


def test_trust_that_others_could_have_written_opens_nothing(tmp_path: Path, trust: Path, key: SecretKey) -> None:
    path = signed(tmp_path / "a", key)
    Bundle.open(path)
    (kept,) = trust.glob("*.pub")
    for place, mode, right in ((trust, 0o777, 0o700), (kept, 0o666, 0o600), (trust / "newest.json", 0o620, 0o600)):
        place.chmod(mode)
        with pytest.raises(TrustError, match="others may write it"):
            Bundle.open(path)
        place.chmod(right)
        Bundle.open(path)
    if os.geteuid() == 0:
        os.chown(kept, 12345, -1)
        with pytest.raises(TrustError, match="belongs to another user"):
            Bundle.open(path)


def test_trust_that_cannot_be_read_is_not_trust_in_everything(tmp_path: Path, trust: Path, key: SecretKey) -> None:
    path = signed(tmp_path / "a", key)
    (kept,) = trust.glob("*.pub")
    whole = kept.read_bytes()
    for damaged in (b"", b"not a key", whole[:60], bytes(5000), secret_file(key)):
        kept.write_bytes(damaged)
        with pytest.raises(TrustError, match=kept.name):
            Bundle.open(path)
        with pytest.raises(TrustError, match=kept.name):
            Bundle.open(write(tmp_path / "plain", force=True))
    kept.write_bytes(whole)
    Bundle.open(path)
    for damaged in (b"", b"{", b"[]", b'{"newest": {"": -1}}', b'{"newest": {"": "7"}}', b"[" * 100_000):
        (trust / "newest.json").write_bytes(damaged)
        with pytest.raises(TrustError, match=r"newest\.json: damaged, so it cannot be told"):
            Bundle.open(path)
    (trust / "newest.json").unlink()
    Bundle.open(path)
    shutil.rmtree(trust)
    trust.write_text("no folder")
    with pytest.raises(TrustError, match="is no folder"):
        Bundle.open(path)


def test_a_serial_number_that_cannot_be_kept_opens_nothing(
    tmp_path: Path, trust: Path, key: SecretKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signed(tmp_path / "a", key, 5)
    (trust / "newest.lock").mkdir()
    with pytest.raises(TrustError, match=r"cannot be written .* name a folder that can be written with TLC_TRUST"):
        Bundle.open(path)
    (trust / "newest.lock").rmdir()
    Bundle.open(path)
    (trust / "newest.lock").unlink()
    (trust / "newest.lock").mkdir()
    Bundle.open(path)  # it is kept already


SEE = """
import sys
from tlc_edge.runtime.signing.newest import see
from tlc_edge.runtime.signing.release import Release
for number in range(int(sys.argv[1]), 40, 4):
    see(Release(number, f"n{number % 10}"))
"""


def test_many_that_open_at_once_all_count(trust: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", SEE, str(first)]) for first in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert newest() == {f"n{i}": 30 + i for i in range(10)}
    assert stat.S_IMODE((trust / "newest.json").stat().st_mode) == 0o600


def test_a_further_key_is_trusted_if_one_of_before_signed_it(tmp_path: Path) -> None:
    with trusting(tmp_path / "trust"):
        old, old_public = new_key(tmp_path / "old.key")
        next_, next_public = new_key(tmp_path / "next.key")
        trust_key(str(old_public))  # the first one is taken as it is
        trust_key(str(old_public))
        with pytest.raises(TrustError, match=rf"no signature of a key that is trusted \({old.public.id}\) beside it"):
            trust_key(str(next_public))
        with pytest.raises(TrustError, match="no signature"):
            trust_key(next_.public.text)
        sign_file(next_public, make_secret(), "tlc key")
        with pytest.raises(TrustError, match="no signature"):
            trust_key(str(next_public))
        sign_file(next_public, old, "tlc key")
        trust_key(str(next_public))
        assert {t.key for t in trusted_keys()} == {old.public, next_.public}
        path = signed(tmp_path / "a", old, 1)
        Bundle.open(path)
        Bundle.open(signed(path, next_, 2))
        remove_key(old.public.id.lower())
        with pytest.raises(TrustError, match="which this device does not trust"):
            Bundle.open(signed(path, old, 3))
        told: list[str] = []
        lost = make_secret()
        trust_key(lost.public.text, told.append)  # where the old key is lost
        assert "is trusted all the same (" in told[0]
        with pytest.raises(TrustError, match="and this is another one"):
            trust_key(SecretKey(lost.number, b"", make_secret().key).public.text, told.append)
        with pytest.raises(UsageError, match=r"no key 'ABC' is trusted; trusted: "):
            remove_key("ABC")
        with pytest.raises(TrustError, match="give the public one"):
            trust_key(str(tmp_path / "old.key"))


def test_keys_for_all_users_count_wherever_a_users_own_are(
    tmp_path: Path, key: SecretKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlc_edge.runtime.signing import trusted

    monkeypatch.setattr(trusted, "SYSTEM", tmp_path / "etc")
    with trusting(tmp_path / "trust"):
        path = write(tmp_path / "a")
        Bundle.open(path)
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "workshop.pub").write_bytes(key.public.file)
        with pytest.raises(TrustError, match="not signed"):
            Bundle.open(path)
        Bundle.open(signed(path, key))
        assert newest() == {"": 5}


def test_without_cryptography_a_device_that_trusts_a_key_opens_nothing(
    tmp_path: Path, trust: Path, key: SecretKey
) -> None:
    path = signed(tmp_path / "a", key)
    hidden = without(tmp_path, "cryptography", "cryptography.hazmat")
    said = apart("inspect", path, **hidden).failed()
    assert "the library cryptography is not installed; run: pip install " in said
    assert "[signed]" in said
    assert apart("inspect", path, "--allow-unsigned", **hidden).code == 0
    assert apart("inspect", path).code == 0
    for (kept,) in [tuple(trust.glob("*.pub"))]:
        kept.unlink()
    assert apart("inspect", path, **hidden).code == 0  # where no key is trusted it is not needed
    assert "[signed]" in apart("trust", key.public.text, **hidden).failed()
    assert not [*trust.glob("*.pub")]


def test_serial_numbers_and_names() -> None:
    assert read_release(make_release(17, "hall-2").comment) == Release(17, "hall-2")
    assert read_release(make_release(0).comment) == Release(0)
    first, second = make_release(), make_release()
    assert 1_700_000_000_000 < first.serial <= second.serial < MOST
    for serial, name in ((-1, ""), (MOST + 1, ""), (1, "a b"), (1, "-a"), (1, "a" * 65), (1, "ä")):
        with pytest.raises(UsageError, match="expected"):
            make_release(serial, name)


def test_the_signed_bytes_are_frozen(tmp_path: Path) -> None:
    (tmp_path / "a.key").write_bytes(MINISIGN_KEY)
    path = write(tmp_path / "a.tlc")
    sign_bundle(path, read_secret(tmp_path / "a.key"), make_release(1))
    assert (
        hashlib.sha256(path.read_bytes()).hexdigest()
        == "edb9aa7d7fb4c824bff0ef05a186510ce1f3ff0ce3d588cbb585cde5cc68061d"
    )
    assert json.loads(zipfile.ZipFile(path).read(MANIFEST))["schema"] == 1
