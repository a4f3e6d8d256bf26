"""How much of what was unsure is kept; apart, so that `--help` names it without loading what keeps it."""

MOST = 500
"""Pictures."""
MOST_MEGABYTES = 100
