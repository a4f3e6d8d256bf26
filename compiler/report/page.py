"""`report.html`: the findings as one page that needs no network and no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from .evidence import Pictures
from .figures import accuracy_plot, curve_plot, map_plot, marker, names_fit, reliability_plot, shapes
from .findings import Findings, worst_class
from .html import name, percent, size, table
from .images import images_section
from .layers import layer_tables
from .settings import to_manifest
from .style import STYLE
from .tables import (
    accuracy_table,
    choice_table,
    class_table,
    confusion_table,
    duplicates_table,
    parity_table,
    settings_table,
    size_table,
    skipped_table,
)
from .warnings import find_warnings

# Nothing from elsewhere, no script: even if an escape were forgotten.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def report_html(findings: Findings, pictures: Pictures | None, bundle: str) -> bytes:
    """Return the page as UTF-8; the same for equal findings.

    Args:
        findings: what the page says.
        pictures: what it may show; None for no images at all.
        bundle: the name of its file or folder.
    """
    title = f"{bundle} for {findings.manifest.target['title']}: {len(findings.labels)} classes"
    sections = [(key, heading, make(findings, pictures)) for key, heading, make in _SECTIONS]
    links = " ".join(f'<a href="#{key}">{heading}</a>' for key, heading, _ in sections)
    body = "".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{heading}</h2>{content}</section>'
        for key, heading, content in sections
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{shapes()}<main>"
        f"<h1>{escape(title)}</h1>{_subtitle(findings)}{_tiles(findings)}{_worries(findings)}"
        f"<nav aria-label=Sections>{links}</nav>{body}</main></body></html>\n"
    )
    return page.encode("utf-8", "backslashreplace")  # a file's name need not be text


def _subtitle(f: Findings) -> str:
    m = f.manifest
    return (
        f"<p class=note>{escape(str(m.backbone['name']))}, shaved at {escape(str(m.shave['layer']))}, "
        f"{escape(str(m.head['kind']))} head; {f.images.get('train', 0)} training images, {len(f.truth)} held out.</p>"
    )


def _tiles(f: Findings) -> str:
    a, first = f.first.accuracy, f.first
    worst = worst_class(f)
    if worst is None or worst.recall is None:
        weakest = "all held-out images of every class were found"
    else:
        weakest = f"worst class: {name(worst.label)}, {worst.recall.right} of {worst.held_out} found"
    tiles = [
        ("How good", percent(a.share), f"{a.right} of {a.total} held-out images right; {weakest}"),
        ("How sure", f"{100 * a.low:.0f} to {100 * a.high:.0f} %", "the true accuracy lies there with 95 % confidence"),
        ("How big", size(first.bytes), f"{escape(first.file)}, {escape(first.scheme)}{_work(f)}"),
    ]
    if first.reliability:
        said = "how far a stated probability is from the share that is right, on average"
        tiles.append(("How honest", f"± {100 * first.reliability.error:.1f} points", said))
    return "<dl class=tiles>" + "".join(f"<div><dt>{t}</dt><dd><b>{v}</b>{s}</dd></div>" for t, v, s in tiles) + "</dl>"


def _work(f: Findings) -> str:
    return "" if f.study.macs is None else f"; {f.study.macs / 1e6:,.0f} million multiply-accumulates an image"


def _worries(f: Findings) -> str:
    found = find_warnings(f)
    if not found:
        return '<p class="worries fine">Nothing stands out that should worry you.</p>'
    items = "".join(f"<li>{escape(w.text)}</li>" for w in found)
    return (
        f"<section aria-labelledby=worry><h3 id=worry>What to worry about</h3><ul class=worries>{items}</ul></section>"
    )


def _accuracy(f: Findings, _pictures: Any) -> str:
    how = (
        ""
        if f.manifest.labels
        else (
            "<p>The bundle has no classes of its own. Accuracy here is that of the nearest training image: "
            "what teaching the device all of them would give.</p>"
        )
    )
    return (
        f"{how}<figure>{accuracy_plot((*f.files, f.reference))}<figcaption>The dot is the measured accuracy, the bar "
        "its 95 % Wilson interval: with few images it is wide.</figcaption></figure>" + accuracy_table(f)
    )


def _classes(f: Findings, _pictures: Any) -> str:
    return f"<p class=note>By {escape(f.first.file)}, the file that the device prefers.</p>" + class_table(f)


def _confusion(f: Findings, _pictures: Any) -> str:
    return confusion_table(f)


def _reliability(f: Findings, _pictures: Any) -> str:
    measured = [(x, x.reliability) for x in f.files if x.reliability]
    if not measured:
        return "<p>A bundle without a head gives no probabilities that could be judged.</p>"
    figures = "".join(
        f"<figure>{reliability_plot(r, x.file)}<figcaption>{escape(x.file)}: expected calibration error {r.error:.3f}; "
        f"a model with perfect probabilities stays below {r.chance:.3f} on so many images.</figcaption></figure>"
        for x, r in measured
    )
    return (
        "<p>Of the answers given with a probability of about 0.8, about 80 % should be right: bars should end at the "
        "dashed line. The number above a bar counts its images; bars of few images say little.</p>"
        f"<div class=pair>{figures}</div>"
    )


def _curve(f: Findings, _pictures: Any) -> str:
    curve = f.study.curve
    if curve.skipped:
        return f"<p>No learning curve: {escape(curve.skipped)}.</p>"
    own = f.study.train_accuracy
    return (
        f"<figure>{curve_plot(curve)}<figcaption>Trained for the curve: {escape(curve.head)}, on the float features of "
        "a growing part of the training images, each part drawn three times. Band: 95 % interval. A curve that still "
        "rises at its end says that more images help; a flat one that they do not.</figcaption></figure>"
        + (f"<p>The bundle's own head gets {percent(own)} of its training images right.</p>" if own is not None else "")
    )


def _map(f: Findings, _pictures: Any) -> str:
    shown, named = f.study.map, names_fit(f.labels)
    legend = "".join(
        f'<li><svg viewBox="-9 -9 18 18" class=key aria-hidden=true>{marker(i, 0, 0, "judged")}</svg>'
        f"{'' if named else f'{i + 1} '}{name(label)}</li>"
        for i, label in enumerate(f.labels)
    )
    how = (
        "Neighbours are alike to the model; distances between far groups mean nothing (t-SNE)."
        if shown.method == "t-SNE"
        else "The two directions in which the images differ most (PCA)."
    )
    return (
        f"<figure>{map_plot(f)}<figcaption>{len(shown.train)} training images (hollow) and {len(shown.held_out)} "
        f"held-out ones (filled; ringed where the answer was wrong). {how} A point amid another class may have a wrong "
        f"label; hover over it for its name.</figcaption></figure><ul class=legend>{legend}</ul>"
    )


def _parity(f: Findings, _pictures: Any) -> str:
    return parity_table(f)


def _layers(f: Findings, _pictures: Any) -> str:
    return layer_tables(f.layers)


def _sizes(f: Findings, _pictures: Any) -> str:
    expected: Any = f.manifest.target.get("expect", ())
    rows = [[escape(str(e["what"])), f"{e['milliseconds']:g}", escape(str(e["source"]))] for e in expected]
    caption = "Milliseconds an image that others measured on such a device, with other networks."
    others = table(caption, ("what", "milliseconds", "source"), rows, "text") if rows else ""
    note = (
        "The speed of this bundle is left out on purpose: it differs from run to run and from machine to machine, "
        "and a build can be repeated to the byte. The build prints what it measured on the workstation; "
        "<code>tlc bench</code> measures on the device."
    )
    return f"{size_table(f)}{others}<p class=note>{note}</p>"


def _unknown(f: Findings, _pictures: Any) -> str:
    metrics: Any = f.manifest.metrics
    unknown = metrics["unknown"]
    if not unknown["test_images"]:
        return "<p>Not measured: no test images, or nothing to compare them with.</p>"
    text = (
        f"Calibrated to call {100 * f.manifest.unknown.rate:g} % of known images unknown. On "
        f"{unknown['test_images']} test images it did so for {unknown['false_alarms']}."
    )
    if unknown.get("foreign_images"):
        text += (
            f" Of {unknown['foreign_images']} foreign images ({escape(unknown['foreign'])}) "
            f"{unknown['false_accepts']} passed for known."
        )
    return f"<p>{text}</p>"


def _data(f: Findings, _pictures: Any) -> str:
    parts = [[escape(part), str(f.images.get(part, 0))] for part in ("train", "validation", "test")]
    largest, smallest = max(f.classes, key=lambda c: c.train), min(f.classes, key=lambda c: c.train)
    if largest.train == smallest.train:
        balance = f"<p>Every class has {largest.train} training images.</p>"
    else:
        balance = (
            f"<p>The largest class, {name(largest.label)}, has {largest.train} training images; the smallest, "
            f"{name(smallest.label)}, has {smallest.train}.</p>"
        )
    counts = table("Images in each part of the split, near-duplicates kept together.", ("part", "images"), parts)
    return counts + balance + duplicates_table(f) + skipped_table(f)


def _made(f: Findings, _pictures: Any) -> str:
    m = f.manifest
    rows: Sequence[tuple[str, Any]] = [
        ("weights", m.backbone.get("source", "")),
        ("weights licence", m.backbone.get("licence", "")),
        *((f"head: {key}", value) for key, value in m.head.items()),
        *to_manifest(f.settings).items(),
        ("fingerprint", m.fingerprint),
        *m.versions.items(),
    ]
    return choice_table(f) + f"<details><summary>All settings and versions</summary>{settings_table(rows)}</details>"


_SECTIONS: Sequence[tuple[str, str, Callable[[Findings, Pictures | None], str]]] = (
    ("accuracy", "Accuracy", _accuracy),
    ("classes", "Class by class", _classes),
    ("confusion", "What is taken for what", _confusion),
    ("look", "Images to look at", images_section),
    ("calibration", "How far to trust a probability", _reliability),
    ("curve", "Would more images help?", _curve),
    ("map", "Map of the embeddings", _map),
    ("sizes", "Sizes", _sizes),
    ("parity", "File against file", _parity),
    ("layers", "Layer by layer", _layers),
    ("unknown", "Unknown", _unknown),
    ("data", "The data", _data),
    ("made", "How it was made", _made),
)
