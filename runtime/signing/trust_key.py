"""Trust a further key: one that a trusted key has signed, so that a key which comes by mail cannot be a stranger's."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tlc_edge.runtime.errors import TrustError

from .ed25519 import is_signed, load_ed25519
from .minisign import LONGEST, PublicKey, Signature, read_public, read_signature
from .policy import Tell, told
from .trusted import Trusted, add_key, given_key, trusted_keys

KEY_COMMENT = "tlc key"
"""The trusted comment that `tlc sign` gives a key."""


def trust_key(named: str, allow: Tell | None = None) -> Trusted:
    """Trust a key, given by its file or its line; the first one as it is, a further one if a trusted one signed it.

    With `allow` also one that none has signed; it gets the sentence that says so.

    Raises:
        TrustError: it is no key, none that is trusted has signed it, or it cannot be written down.
    """
    load_ed25519()  # else nothing would be opened any more
    key, held = given_key(named), trusted_keys()
    same = next((t for t in held if t.key.number == key.number), None)
    if same is not None and same.key.key == key.key:
        return same
    if same is not None:
        raise TrustError(f"{named}: a key of the number {key.id} is trusted, and this is another one; make a new key")
    if held and not _vouched(named, key, held):
        ids = ", ".join(dict.fromkeys(t.key.id for t in held))
        told(
            f"the key {key.id} is trusted",
            TrustError(
                f"{named}: no signature of a key that is trusted ({ids}) beside it; sign it there with `tlc sign "
                "KEY.pub --key OLD.key`, or trust it all the same with --allow-unsigned"
            ),
            allow,
        )
    return add_key(key)


def _vouched(named: str, key: PublicKey, held: tuple[Trusted, ...]) -> bool:
    path = Path(named)
    found: Signature | None = None
    data = b""
    with contextlib.suppress(OSError, ValueError):
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
        with path.with_name(f"{path.name}.minisig").open("rb") as file:
            found = read_signature(file.read(LONGEST + 1))
    if found is None:
        return False
    if read_public(data) != key:
        return False
    return any(is_signed(t.key, data, found) for t in held if t.key.number == found.number)
