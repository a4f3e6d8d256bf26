"""Sign a bundle that is there: the same files, and a signature beside the manifest."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tlc_edge.runtime.errors import BundleError
from tlc_edge.runtime.files import write_file
from tlc_edge.runtime.signing.release import Release, Signed
from tlc_edge.runtime.signing.secret_key import SecretKey

from .bundle import DIGEST, MANIFEST, SIGNATURE, Bundle, check_exact, digest_of, write_archive


def sign_bundle(path: str | os.PathLike[str], key: SecretKey, release: Release) -> Signed:
    """Sign a bundle, a folder or one file, in place; a signature that it has is replaced.

    Raises:
        BundleError: it is not whole, holds what is no part of it, or cannot be written.
        TrustError: the key cannot sign here.
    """
    opened = Bundle.open(path, allow_unsigned=lambda _: None)  # to sign is what makes it trusted
    where, data = opened.path, opened.files[MANIFEST]
    signature = key.sign(data, release.comment).file
    contents = {**opened.files, DIGEST: digest_of(data), SIGNATURE: signature}
    try:
        if where.is_dir():
            if not (where / DIGEST).exists():
                write_file(where / DIGEST, contents[DIGEST])
            check_exact(where, contents)
            write_file(where / SIGNATURE, signature)
        else:
            _refuse_others(where, contents)
            write_archive(where, contents)
    except OSError as e:
        raise BundleError(f"{where}: cannot be written ({e.strerror or e}); it is as it was") from None
    return Signed(key.public.id, release, verified=True)


def _refuse_others(where: Path, contents: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(where) as archive:
        other = next((name for name in archive.namelist() if name not in contents and not name.endswith("/")), None)
    if other is not None:
        raise BundleError(f"{where}: {other!r} in it is no part of the bundle, and would be lost; pack it without")
