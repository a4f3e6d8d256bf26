"""Public keys and signatures as minisign writes them, so that others can verify without tlc.

A file is a comment that nobody signed and a line of base64; a signature has two more lines, a comment that is signed
and what signs it. Source: https://jedisct1.github.io/minisign/, "Signature format" and "Public key format".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

PUBLIC, HASHED = b"Ed", b"ED"
"""How a public key begins, and a signature of a file's BLAKE2b hash: the one kind that minisign makes since 0.10."""
UNTRUSTED, TRUSTED = "untrusted comment: ", "trusted comment: "
SIGNATURE_COMMENT = "signature from minisign secret key"
"""No signature covers the first comment, so that only minisign's own one is let pass."""
LONGEST = 1024
"""Bytes of a public key's or a signature's file; nothing longer is looked at."""


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key."""

    number: bytes
    """Eight bytes by which a signature names its key."""
    key: bytes
    """32 bytes."""

    @property
    def id(self) -> str:
        """The number as minisign prints it, with the zeros before it that some versions leave out."""
        return key_id(self.number)

    @property
    def text(self) -> str:
        """The line that minisign takes with `-P`."""
        return base64.b64encode(PUBLIC + self.number + self.key).decode()

    @property
    def file(self) -> bytes:
        """What its file holds."""
        return f"{UNTRUSTED}minisign public key {self.id}\n{self.text}\n".encode()


@dataclass(frozen=True)
class Signature:
    """What is in a `.minisig`."""

    number: bytes
    """Of the key that made it."""
    signature: bytes
    """64 bytes, over the BLAKE2b-512 hash of the file."""
    comment: str
    """Signed too."""
    whole: bytes
    """64 bytes, over signature and comment."""

    @property
    def id(self) -> str:
        """The key's number as minisign prints it."""
        return key_id(self.number)

    @property
    def file(self) -> bytes:
        """What its file holds, to the byte."""
        first = base64.b64encode(HASHED + self.number + self.signature).decode()
        second = base64.b64encode(self.whole).decode()
        return f"{UNTRUSTED}{SIGNATURE_COMMENT}\n{first}\n{TRUSTED}{self.comment}\n{second}\n".encode()


def key_id(number: bytes) -> str:
    """Return a key's number as minisign prints it: 16 hexadecimal digits, the last byte first."""
    return number[::-1].hex().upper()


def file_hash(data: bytes) -> bytes:
    """Return what is signed of a file."""
    return hashlib.blake2b(data).digest()


def read_public(data: bytes) -> PublicKey:
    """Read a public key's file, or its line alone.

    Raises:
        ValueError: it is none.
    """
    if len(data) > LONGEST:
        raise ValueError("it is too long for a public key")
    lines = data.decode("ascii", "replace").split()
    if any("secret" in line for line in lines):
        raise ValueError("it is a secret key, which stays where it is; give the public one")
    raw = _decoded(lines[-1]) if lines else b""
    if len(raw) != 42 or raw[:2] != PUBLIC:
        raise ValueError("it is no public key of minisign's format")
    return PublicKey(raw[2:10], raw[10:])


def read_signature(data: bytes) -> Signature:
    """Read a signature's file; any byte that could be another one is refused.

    Raises:
        ValueError: it is none, is of the kind before hashing, or is written in another way than minisign does.
    """
    text = data.decode("ascii", "replace") if len(data) <= LONGEST else ""
    lines = text.split("\n")
    if len(lines) != 5 or not lines[2].startswith(TRUSTED):
        raise ValueError("it is no signature of minisign's format")
    first, second = _decoded(lines[1]), _decoded(lines[3])
    if first[:2] == PUBLIC and len(first) == 74:
        raise ValueError("it is of minisign's format before 0.10; sign again with a later one, or with tlc")
    if len(first) != 74 or first[:2] != HASHED or len(second) != 64:
        raise ValueError("it is no signature of minisign's format")
    found = Signature(first[2:10], first[10:], lines[2].removeprefix(TRUSTED), second)
    if found.file != data:
        raise ValueError("it is not written as minisign writes it")
    return found


def _decoded(line: str) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        return b""
