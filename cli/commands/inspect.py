"""Show what is in a bundle, who signed it and what it was made from; opening it checks every file's hash.

\b
tlc inspect photos.tlc
tlc inspect photos.tlc --report -o photos.html
tlc inspect photos.tlc --sbom > photos.cdx.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.cli.options import bundle_argument, json_option
from tlc_edge.cli.output import put, put_json, size, table, unknown_figures
from tlc_edge.runtime.errors import UsageError

if TYPE_CHECKING:
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.bundle.manifest import Manifest
    from tlc_edge.runtime.signing.release import Signed


def _made_with(m: Manifest) -> str:
    """Return what the network came through: TensorFlow, or for an ONNX file onnxruntime."""
    if all(model.format == "onnx" for model in m.models):
        return f"onnxruntime {m.versions.get('onnxruntime')}"
    return f"TensorFlow {m.versions.get('tensorflow')}"


@click.command(help=__doc__)
@bundle_argument
@click.option("--report", is_flag=True, help="Write the bundle's report, a page for the browser, to a file.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where the report goes; one that ends in .json is for machines.  [default: <bundle>.report.html]",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--sbom", is_flag=True, help="Print its bill of materials instead: CycloneDX 1.6, which is JSON.")
@json_option
def inspect(bundle: str, report: bool, output: str | None, force: bool, sbom: bool, as_json: bool) -> None:
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.bundle.manifest import to_json
    from tlc_edge.runtime.bundle.report import write_report
    from tlc_edge.runtime.bundle.sbom import bill_of_materials
    from tlc_edge.runtime.gallery.gallery import Gallery
    from tlc_edge.runtime.gallery.path import default_gallery

    if not report and (output or force):
        raise UsageError("-o and --force say where the report goes; add --report")
    if report and sbom:
        raise UsageError("--report and --sbom are one thing each; give one of them")
    opened = Bundle.open(bundle)
    if sbom:
        put_json(bill_of_materials(opened))
        return
    if report:
        path = write_report(opened, Path(output) if output else None, force)
        if as_json:
            put_json({"report": str(path), "bytes": path.stat().st_size})
        else:
            put(f"{path}: open it in a browser")
        return
    enrolled: dict[str, int] = {}
    gallery = Gallery.open_any_if_exists(default_gallery(opened.path))
    if gallery is not None:
        with gallery:
            enrolled = gallery.classes()
    m = opened.manifest
    if as_json:
        document: dict[str, Any] = json.loads(to_json(m))
        put_json(
            {
                "path": str(opened.path),
                "bytes": opened.bytes,
                "manifest": document,
                "enrolled": enrolled,
                "signed": None if opened.signed is None else asdict(opened.signed),
            }
        )
        return
    for key, value in _facts(opened, enrolled):
        put(f"{key:<12} {value}")
    notes: Any = m.target.get("notes")
    for note in notes if isinstance(notes, list) else ():
        put(f"{'note':<12} {note}")
    put("", *table(_models(m), ("model", "scheme", "size", "accuracy", "95 % interval", "same answer as float")))
    metrics: Any = m.metrics
    put(f"measured on {metrics.get('held_out')} held-out images; float graph {_figure(metrics, 'float', 'accuracy')}")


def _facts(opened: Bundle, enrolled: Mapping[str, int]) -> list[tuple[str, Any]]:
    """Return what a bundle is, a name and a value each."""
    m = opened.manifest
    metrics: Any = m.metrics
    shape = f"{m.preprocessing.height}x{m.preprocessing.width}x{m.preprocessing.channels}"
    return [
        ("target", f"{m.target.get('title')} ({m.target.get('name')})"),
        ("classes", f"{len(m.labels)}: {', '.join(m.labels[:12])}{', …' if len(m.labels) > 12 else ''}"),
        ("enrolled", ", ".join(f"{c} {n}" for c, n in enrolled.items()) or "nothing"),
        (
            "backbone",
            f"{m.backbone.get('name')}, {m.backbone.get('pretrained_on')}, {m.backbone.get('licence')}",
        ),
        ("shave", f"{m.shave.get('layer')}, {m.shave.get('pool')} pooling, {m.shave.get('width')} features"),
        ("neck", f"{m.neck.get('kind')}, embedding of {m.embedding_width}"),
        ("head", m.head.get("kind")),
        ("input", f"{shape} uint8, {m.preprocessing.fit}, {m.preprocessing.filter}"),
        ("unknown", unknown_figures(metrics.get("unknown"))),
        (
            "built",
            f"{m.created} with tlc {m.versions.get('tlc-edge', m.versions.get('tlc'))}, " + _made_with(m),
        ),
        ("signed", _signed(opened.signed)),
        ("data", f"SHA-256 {metrics['data_sha256']}" if metrics.get("data_sha256") else "of before digests were kept"),
        ("weights", f"SHA-256 {m.backbone.get('sha256')}"),
        ("trunk", f"SHA-256 {m.shave.get('trunk_sha256')}"),
        ("fingerprint", m.fingerprint[:16]),
        ("size", size(opened.bytes)),
    ]


def _models(m: Manifest) -> list[tuple[str, ...]]:
    """Return a row for each model file: what the build measured of it."""
    found: Any = m.metrics.get("models")
    rows: list[tuple[str, ...]] = []
    for model in m.models:
        low, high = _figure(found, model.file, "interval", 0), _figure(found, model.file, "interval", 1)
        accuracy, same = _figure(found, model.file, "accuracy"), _figure(found, model.file, "agreement")
        rows.append((model.file, model.scheme, size(model.bytes), accuracy, f"{low} to {high}", same))
    return rows


def _signed(signed: Signed | None) -> str:
    if signed is None:
        return "by nobody"
    release = signed.release
    text = f"by the key {signed.key}"
    if release is not None:
        text += f", serial number {release.serial}" + (f" under the name {release.name}" if release.name else "")
    return text + ("; verified" if signed.verified else "; not verified, as that key is not trusted here")


def _figure(metrics: Any, *path: str | int) -> str:
    """Return a figure of the manifest's metrics, which hold what the tlc of that day wrote; `-` where there is none."""
    for step in path:
        try:
            metrics = metrics[step]
        except (KeyError, IndexError, TypeError):
            return "-"
    return f"{metrics:.3f}" if isinstance(metrics, int | float) else "-"
