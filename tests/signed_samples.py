"""A device that trusts a key, and small bundles that are signed, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_bundle import write

from tlc_edge.runtime.bundle.sign import sign_bundle
from tlc_edge.runtime.signing.release import make_release
from tlc_edge.runtime.signing.secret_key import SecretKey, make_secret
from tlc_edge.runtime.signing.trusted import add_key, remove_key


def signed(path: Path, key: SecretKey, serial: int = 5, name: str = "", **more: bytes) -> Path:
    """Write a small bundle, and sign it."""
    from test_bundle import contents

    write(path, contents(**more), force=path.exists())
    sign_bundle(path, key, make_release(serial, name))
    return path


@contextmanager
def trusting(folder: Path, *keys: SecretKey) -> Iterator[Path]:
    """Keep trust in this folder, and trust these keys, for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLC_TRUST", str(folder))
        for key in keys:
            add_key(key.public)
        yield folder


__all__ = ["make_secret", "remove_key", "signed", "trusting"]
