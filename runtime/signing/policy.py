"""What a device opens: anything as long as it trusts no key; then what a trusted key signed, and nothing older."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from tlc_edge.runtime.errors import TrustError

from .trusted import trusted_keys

# A device that trusts no key, and opens what nobody signed, loads none of these.
if TYPE_CHECKING:
    from .minisign import Signature
    from .release import Release, Signed
    from .trusted import Trusted

Tell = Callable[[str], object]
"""Takes a sentence."""

_HINT = "sign it with `tlc sign`, or open it this once with --allow-unsigned"
_allowed: list[Tell] = []


@contextlib.contextmanager
def allowing(tell: Tell) -> Generator[None]:
    """Open, until the block is left, also what this device does not trust; `tell` gets a sentence for each."""
    _allowed.append(tell)
    try:
        yield
    finally:
        _allowed.remove(tell)


def allowed() -> bool:
    """Return whether what is not trusted is opened for now."""
    return bool(_allowed)


def trusts() -> bool:
    """Return whether this device trusts any key.

    Raises:
        TrustError: it cannot be told.
    """
    return bool(trusted_keys())


def told(done: str, error: TrustError, allow: Tell | None) -> None:
    """Say what is done all the same, where that is allowed.

    Raises:
        TrustError: the one that was given; it is not allowed.
    """
    tell = allow or (_allowed[-1] if _allowed else None)
    if tell is None:
        raise error
    tell(f"{done} all the same ({error})")


def check(where: str, manifest: bytes, signature: bytes | None, allow: Tell | None = None) -> Signed | None:
    """Return what a bundle's signature says; None without one. Where no key is trusted nothing is checked.

    Raises:
        TrustError: a key is trusted, and the bundle is not signed by one, was changed, or is older than one seen;
            or that cannot be told.
    """
    said = None if signature is None else _said(signature)
    try:
        keys = trusted_keys()
        if not keys:
            return said
        release = _verified(where, manifest, signature, keys)
    except TrustError as e:
        told(f"{where} is opened", e, allow)
        return said
    assert said is not None
    return replace(said, release=release, verified=True)


def keep(where: str, signed: Signed | None, allow: Tell | None = None) -> None:
    """Keep the serial number of a bundle that was found whole.

    Raises:
        TrustError: it cannot be written down.
    """
    if signed is None or not signed.verified or signed.release is None:
        return
    from .newest import see

    try:
        see(signed.release)
    except TrustError as e:
        told(f"{where} is opened", e, allow)


def _said(signature: bytes) -> Signed | None:
    """Return what a signature says, whoever made it; None of one that is none."""
    from .minisign import read_signature
    from .release import Signed, read_release

    try:
        found = read_signature(signature)
    except ValueError:
        return None
    return Signed(found.id, read_release(found.comment), verified=False)


def _verified(where: str, manifest: bytes, data: bytes | None, keys: tuple[Trusted, ...]) -> Release:
    """Return what a trusted key has signed.

    Raises:
        TrustError: none has.
    """
    from .ed25519 import is_signed
    from .minisign import read_signature

    if data is None:
        raise TrustError(
            f"{where}: not signed, and this device opens only what a key that it trusts has signed; {_HINT}"
        )
    try:
        signature = read_signature(data)
    except ValueError as e:
        raise TrustError(f"{where}: its signature is damaged ({e}); copy the bundle again") from None
    by_number = [t.key for t in keys if t.key.number == signature.number]
    if not by_number:
        ids = ", ".join(dict.fromkeys(t.key.id for t in keys))
        raise TrustError(
            f"{where}: signed by the key {signature.id}, which this device does not trust (it trusts {ids})"
        )
    if not any(is_signed(key, manifest, signature) for key in by_number):
        raise TrustError(f"{where}: changed since it was signed, or not signed by the key {signature.id} that it names")
    return _not_older(where, signature)


def _not_older(where: str, signature: Signature) -> Release:
    from .newest import newest
    from .release import read_release

    release = read_release(signature.comment)
    if release is None:
        raise TrustError(f"{where}: its signature says no serial number; sign it with `tlc sign`")
    seen = newest().get(release.name, -1)
    if release.serial < seen:
        raise TrustError(
            f"{where}: older than what was opened here already (serial number {release.serial}, seen {seen}"
            f"{f' under the name {release.name}' if release.name else ''}); sign it again to go back to it, or another "
            "bundle with a --name of its own"
        )
    return release
