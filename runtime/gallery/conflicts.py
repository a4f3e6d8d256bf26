"""What becomes of an image that comes under another label than it has already."""

from __future__ import annotations

CONFLICTS = ("first", "last", "both")
"""Which label stands: the one it has, the one it comes with, or both."""
