"""JSON Schemas of what commands print with `--json`, one file per shape."""
