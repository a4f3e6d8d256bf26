"""Whom to trust over TLS, and what went wrong where that failed."""

from __future__ import annotations

import ssl
from urllib.error import URLError

from tlc_edge.runtime.errors import UsageError


def trusted(path: str) -> ssl.SSLContext:
    """Return what trusts the certificates of a PEM file, and no others.

    Raises:
        UsageError: it cannot be read, or holds none.
    """
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as e:  # what OpenSSL raises is one too
        why = "holds no certificate in PEM form" if isinstance(e, ssl.SSLError) else e.strerror
        raise UsageError(f"--ca {path}: {why}; give the server's certificate, or that of its authority") from None


def explained(error: BaseException) -> str:
    """Return what the system, or urllib, says went wrong with a connection, as a sentence's part."""
    inner = error.reason if isinstance(error, URLError) else error  # urllib wraps what the socket said
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {inner.verify_message}; give it, or its authority's, with --ca FILE"
    if isinstance(inner, ssl.SSLError):
        return f"TLS: {inner.reason or inner}"
    return str(getattr(inner, "strerror", None) or inner) or type(inner).__name__
