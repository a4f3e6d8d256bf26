"""The report's images: those to look at, as small pictures of the user's own."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlc_edge.compiler.study.odd_labels import AGREEING, NEIGHBOURS

from .evidence import ODD_THUMBNAILS, Pictures
from .findings import AnsweredImage, Findings
from .html import count_of, name

THUMBNAILS = 24
"""Held-out images in a page, at most."""
_SIDE = 128


def images_section(f: Findings, pictures: Pictures | None) -> str:
    """Return the wrong answers, or the least sure right ones, and the odd training images."""
    if f.wrong:
        shown = f.wrong[:THUMBNAILS]
        total = f.first.accuracy.total - f.first.accuracy.right
        first = f"the {len(shown)} surest of {total}" if total > len(shown) else f"all {total}"
        said = (
            f"<p>Wrong answers, {first}, the surest first. Look at the first ones closely: an image that the model is "
            "sure about and wrong is often one with a wrong label.</p>"
        )
    else:
        shown = f.unsure
        said = "<p>No held-out image was answered wrong. "
        said += "These were the least certain ones.</p>" if shown else "</p>"
    cards = "".join(f"<li>{_card(m, pictures)}</li>" for m in shown)
    return f"{said}<ul class=cards>{cards}</ul>{_odd(f, pictures)}"


def _odd(f: Findings, pictures: Pictures | None) -> str:
    if not f.odd:
        return ""
    total = len(f.study.odd)
    heading = f"<h3>{count_of(total, 'training image')} amid another class</h3>"
    said = (
        f"<p>Of the {NEIGHBOURS} training images most like each of these, none has its label and {AGREEING} or more "
        "have the one that is named. Where such an image is not just a hard one, its label is wrong.</p>"
    )
    shown = f.odd[:ODD_THUMBNAILS]
    cards = "".join(
        f"<li>{'' if pictures is None else _picture(pictures.odd[i], o.image)}<span>looks like <b>{name(o.looks_like)}"
        f"</b><br>label <b>{name(o.label)}</b></span><span class=file>{name(o.image)}</span></li>"
        for i, o in enumerate(shown)
    )
    more = f"<p class=note>{total - len(shown)} more; report.json lists them.</p>" if total > len(shown) else ""
    return f"{heading}{said}<ul class=cards>{cards}</ul>{more}"


def _picture(image: NDArray[np.uint8], file: str) -> str:
    return f'<img src="{data_uri(image)}" alt="{escape(file)}">'


def _card(m: AnsweredImage, pictures: Pictures | None) -> str:
    picture = "" if pictures is None else _picture(pictures.held_out[m.index], m.image)
    if m.truth == m.answer:
        said = f"{name(m.truth)} {_probability(m.probability)}"
    else:
        said = (
            f"answer <b>{name(m.answer)}</b> {_probability(m.probability)}<br>"
            f"label <b>{name(m.truth)}</b> {_probability(m.probability_of_truth)}"
        )
    return f"{picture}<span>{said}</span><span class=file>{name(m.image)}</span>"


def _probability(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def data_uri(image: NDArray[np.uint8]) -> str:
    """Return an image [H, W, C] as a small JPEG in a `data:` address."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
