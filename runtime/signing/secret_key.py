"""Secret keys as minisign keeps them, with a password or without, and what is signed with them.

Source: https://jedisct1.github.io/minisign/, "Secret key format"; scrypt's parameters follow from two limits as
libsodium makes them (`pickparams` in crypto_pwhash/scryptsalsa208sha256).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tlc_edge.runtime.errors import TrustError, UsageError

from .ed25519 import is_signed, public_of, sign_bytes
from .minisign import PUBLIC, UNTRUSTED, PublicKey, Signature, file_hash

NO_PASSWORD, SCRYPT, CHECKSUM = b"\0\0", b"Sc", b"B2"
OPERATIONS, MEMORY = 1 << 25, 1 << 30
"""minisign's limits on a password's work: a second or two, and 1 GiB. More is not done for any file."""
_LENGTH = 158


@dataclass(frozen=True)
class SecretKey:
    """A key to sign with."""

    number: bytes
    seed: bytes = field(repr=False)
    """32 bytes."""
    key: bytes
    """The public key, 32 bytes."""

    @property
    def public(self) -> PublicKey:
        """What others verify with."""
        return PublicKey(self.number, self.key)

    def sign(self, data: bytes, comment: str) -> Signature:
        """Return the signature of a file, with a comment that it covers.

        Raises:
            TrustError: cryptography is missing, or what it made does not verify.
        """
        signature = sign_bytes(self.seed, file_hash(data))
        made = Signature(self.number, signature, comment, sign_bytes(self.seed, signature + comment.encode()))
        if not is_signed(self.public, data, made):  # a computer that errs would give the key away
            raise TrustError(f"a signature that the key {self.public.id} made does not verify; nothing was signed")
        return made


def make_secret() -> SecretKey:
    """Return a new key.

    Raises:
        TrustError: cryptography is missing.
    """
    seed = secrets.token_bytes(32)
    return SecretKey(secrets.token_bytes(8), seed, public_of(seed))


def secret_file(
    key: SecretKey, password: bytes | None = None, operations: int = OPERATIONS, memory: int = MEMORY
) -> bytes:
    """Return what a secret key's file holds; the limits are those that its password's work is set by."""
    check = hashlib.blake2b(PUBLIC + key.number + key.seed + key.key, digest_size=32).digest()
    inner = key.number + key.seed + key.key + check
    salt, limits, kind = bytes(32), bytes(16), NO_PASSWORD
    if password is not None:
        salt, kind = secrets.token_bytes(32), SCRYPT
        limits = operations.to_bytes(8, "little") + memory.to_bytes(8, "little")
        inner = _exclusive_or(inner, _stream(password, salt, operations, memory))
    text = base64.b64encode(PUBLIC + kind + CHECKSUM + salt + limits + inner).decode()
    return f"{UNTRUSTED}minisign encrypted secret key\n{text}\n".encode()


def read_secret(path: Path, password: Callable[[], str] | None = None) -> SecretKey:
    """Read a secret key's file; `password` is asked where it has one.

    Raises:
        TrustError: it cannot be read, is none, or the password is not its own.
        UsageError: it has a password, and there is nobody to ask.
    """
    try:
        raw = base64.b64decode(path.read_bytes()[:1024].splitlines()[1], validate=True)
    except OSError as e:
        raise TrustError(f"{path}: cannot be read ({e.strerror or e}); make a key with `tlc keygen`") from None
    except (ValueError, IndexError):
        raw = b""
    if len(raw) != _LENGTH or raw[:2] != PUBLIC or raw[4:6] != CHECKSUM or raw[2:4] not in (NO_PASSWORD, SCRYPT):
        raise TrustError(f"{path}: no secret key as `tlc keygen` and minisign make them")
    inner, encrypted = raw[54:], raw[2:4] == SCRYPT
    if encrypted:
        operations, memory = (int.from_bytes(raw[i : i + 8], "little") for i in (38, 46))
        if operations > OPERATIONS or memory > MEMORY:
            raise TrustError(f"{path}: its password would take more work than minisign's own keys do")
        if password is None:
            raise UsageError(f"{path}: the key has a password, and there is nobody to ask for it")
        inner = _exclusive_or(inner, _stream(password().encode(), raw[6:38], operations, memory))
    number, seed, key, check = inner[:8], inner[8:40], inner[40:72], inner[72:]
    expected = hashlib.blake2b(PUBLIC + inner[:72], digest_size=32).digest()
    # Without a password minisign writes no check sum.
    if check != expected and (encrypted or any(check)):
        raise TrustError(f"{path}: {'the password is not its own, or ' if encrypted else ''}the key is damaged")
    if public_of(seed) != key:
        raise TrustError(f"{path}: the key is damaged; its two halves do not belong together")
    return SecretKey(number, seed, key)


def _stream(password: bytes, salt: bytes, operations: int, memory: int) -> bytes:
    n, r, p = scrypt_numbers(operations, memory)
    try:
        return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=128 * n * r + (1 << 24), dklen=104)
    except (MemoryError, ValueError, OverflowError):
        raise TrustError(f"the key's password takes {memory >> 20} MiB of memory, which is not there") from None


def scrypt_numbers(operations: int, memory: int) -> tuple[int, int, int]:
    """Return scrypt's N, r and p for libsodium's two limits."""
    operations, r = max(operations, 32768), 8
    few = operations < memory // 32
    most = operations // (r * 4) if few else memory // (r * 128)
    bits = next(b for b in range(1, 64) if b == 63 or (1 << b) > most // 2)
    p = 1 if few else min((operations // 4) >> bits, 0x3FFFFFFF) // r
    return 1 << bits, r, max(1, p)


def _exclusive_or(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
