"""On a telephone, 390 pixels wide, nothing of the report is cut off. Measured in a browser, where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_samples import make

from tlc_edge.compiler.report.page import report_html
from tlc_edge.compiler.study.learning_curve import Curve, CurvePoint
from tlc_edge.compiler.verify.layer_errors import LayerError
from tlc_edge.compiler.verify.parity import Pair, Parity

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
WIDTH = 390
# The page lies in a frame of that width, since a browser's window has a least width of its own.
FRAME = """<!doctype html><meta charset="utf-8">
<iframe style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>
<script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const wide = [], small = [];
  for (const e of page.querySelectorAll("main, main *")) {{
    const svg = e.closest("svg"), box = e.getBoundingClientRect();
    if (svg && e !== svg) {{
      const frame = svg.getBoundingClientRect();
      if (e.tagName === "text" && (box.left < frame.left - 1 || box.right > frame.right + 1)) wide.push(e.textContent);
      if (e.tagName === "text") small.push(parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a);
    }} else if (box.width > 1 && (box.left < -1 || box.right > {width} + 1)) wide.push(e.tagName + " " + e.className);
    else if (e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1) wide.push(e.tagName + " scrolls");
  }}
  const found = {{width: root.scrollWidth, inside: root.clientWidth, wide, small: Math.min(...small)}};
  document.title = JSON.stringify(found);
}};
</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine to look at the page with")


def measured(page: bytes, folder: Path, width: int = WIDTH) -> Any:
    """Return what a browser says of the page in a frame of this width."""
    framed = folder / "frame.html"
    framed.write_text(FRAME.format(width=width, page=html.escape(page.decode())), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, "--virtual-time-budget=10000", "--dump-dom", framed.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search("<title>(.*?)</title>", done.stdout)
    assert found is not None, done.stderr
    return json.loads(html.unescape(found[1]))


def full(classes: int, name: str) -> bytes:
    """Return a page with all sections filled."""
    curve = Curve("a linear head", tuple(CurvePoint(n, 0.8, (0.7, 0.9), 1.0) for n in (750, 1500, 3000, 56000)))
    labels = [f"{name}{i}" for i in range(classes)]
    findings, pictures = make(labels, 20 * classes, wrong=range(0, 5 * classes, 4), curve=curve, said="w" * 80)
    layers = {"model.tflite": tuple(LayerError("l" * 60, "CONV_2D", 20.0, 0.99, 0.1, "") for _ in range(30))}
    parity = Parity(6, (Pair("model.tflite int8", "model.tflite int8, int8 out", 0.9, 0.95, 0.1, 1.0),))
    return report_html(replace(findings, layers=layers, parity=parity), pictures, "b" * 80 + ".tlc")


@pytest.mark.parametrize(("classes", "name"), [(2, "x" * 90), (12, "class name "), (30, "class ")])
def test_nothing_is_cut_off(classes: int, name: str, tmp_path: Path) -> None:
    found = measured(full(classes, name), tmp_path)
    assert found["wide"] == []
    assert found["width"] == found["inside"] <= WIDTH
    assert found["small"] >= 10  # letters in figures, in pixels


def test_what_is_cut_off_would_be_seen(tmp_path: Path) -> None:
    page = full(3, "x").replace(
        b"<dl ", b'<p style="width:500px">wide</p><p style="overflow:auto;white-space:pre">' + b"w " * 200 + b"</p><dl "
    )
    found = measured(page, tmp_path)
    assert found["width"] > WIDTH
    assert {"P ", "P scrolls"} <= set(found["wide"])
