"""Try one library, in a process of its own: `python -P -m tlc_edge.runtime.doctor.try_library MODULE`.

Prints what is wrong with it, null where it loads, as JSON. One that is built for another processor takes the process
down before that.
"""

from __future__ import annotations

import json
import sys

from tlc_edge.runtime.optional import NotThereError, load


def try_library(module: str) -> str | None:
    """Import it; return what is wrong."""
    try:
        load(module)
    except NotThereError as e:
        return str(e)
    return None


if __name__ == "__main__":
    print(json.dumps(try_library(sys.argv[1])))
