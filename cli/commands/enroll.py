"""Teach the class LABEL from a few example IMAGEs; it is on disk when this returns."""

from __future__ import annotations

from typing import Any

import click

from tlc_edge.cli.change import print_change
from tlc_edge.cli.options import device_options, image_source, json_option


@click.command(help=__doc__)
@click.argument("bundle")
@click.argument("label")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option(
    "--no-thumbnails",
    is_flag=True,
    help="Keep no picture of the examples; they can then not be migrated to another model.",
)
@device_options
@json_option
def enroll(
    bundle: str, label: str, images: tuple[str, ...], no_thumbnails: bool, as_json: bool, **options: Any
) -> None:
    from tlc_edge.runtime.classifier import Classifier

    with Classifier.open(bundle, **options) as classifier:
        sources = [image_source(i) for i in images]
        change = classifier.enroll(label, sources, thumbnails=not no_thumbnails, check_base=True)
    print_change(change, as_json, added=True)
