"""What one image takes, in a process of its own: `python -P decode_cost.py FILE` prints the MB said and those taken."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.doctor.memory import peak, resident
from tlc_edge.runtime.errors import ImageError
from tlc_edge.runtime.images.load import load_image

SPEC = Preprocessing(224, 224)


def cost(data: bytes) -> tuple[int, float]:
    """Return the MB that an image is said to take, and those that it takes."""
    load_image(Image.new("RGB", (300, 300)), SPEC)  # what is loaded once is not of the image
    said = 0
    try:
        load_image(data, SPEC, memory=1 << 20)
    except ImageError as e:
        said = int(re.findall(r"which take (\d+) MB", str(e))[0])
    before: Any = resident()
    load_image(data, SPEC)
    most: Any = peak()
    return said, (most - before) / (1 << 20)


if __name__ == "__main__":
    print(*cost(Path(sys.argv[1]).read_bytes()))
