"""Ed25519, which the library `cryptography` brings; loaded when something is signed or checked, and not before."""

from __future__ import annotations

from typing import Any

from tlc_edge.runtime.errors import TrustError
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.optional import NotThereError, load

from .minisign import PublicKey, Signature, file_hash


def load_ed25519() -> Any:
    """Return cryptography's module.

    Raises:
        TrustError: it is not installed, or does not load.
    """
    try:
        return load("cryptography.hazmat.primitives.asymmetric.ed25519")
    except NotThereError as e:
        raise TrustError(
            f"a signature cannot be checked or made: the library cryptography {e}; run: {pip_line('signed')}"
        ) from None


def public_of(seed: bytes) -> bytes:
    """Return the public key, 32 bytes, of a secret one's seed, 32 bytes."""
    found: bytes = load_ed25519().Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return found


def sign_bytes(seed: bytes, data: bytes) -> bytes:
    """Return a signature, 64 bytes."""
    made: bytes = load_ed25519().Ed25519PrivateKey.from_private_bytes(seed).sign(data)
    return made


def is_signed(key: PublicKey, data: bytes, signature: Signature) -> bool:
    """Return whether a key made a signature, of this file and with this comment.

    Raises:
        TrustError: as `load_ed25519`.
    """
    ed25519 = load_ed25519()
    try:
        public = ed25519.Ed25519PublicKey.from_public_bytes(key.key)
        public.verify(signature.signature, file_hash(data))
        public.verify(signature.whole, signature.signature + signature.comment.encode())
    except Exception:  # InvalidSignature, and whatever a key that is no point of the curve gives
        return False
    return key.number == signature.number
