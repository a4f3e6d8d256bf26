"""Plan the shards of a data set; with the store alone, those of the second look, once all of the first are there.

\b
tlc features plan s3://bucket/store --data s3://bucket/photos --shards 256
tlc features plan s3://bucket/store
tlc features plan --data s3://bucket/photos --shards 256 -o s3://bucket/store
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tlc_edge.cli.build_options import loading_options, pool_option, scheme_option, seed_option, threads_option
from tlc_edge.cli.options import data_options, json_option
from tlc_edge.cli.output import StepLines, put_json
from tlc_edge.cli.shards import print_states, states_document
from tlc_edge.compiler.options import AUGMENTATIONS, DEFAULT_AUGMENT, Options, parse_augment


@click.command(help=__doc__)
@click.argument("store", required=False)
@click.option("-o", "--output", "named", metavar="STORE", help="STORE, where it is not given as an argument.")
@data_options(required=False)
@click.option(
    "--shards",
    type=click.IntRange(1, 1_000_000),
    default=32,
    show_default=True,
    metavar="N",
    help="Parts to make; a thousand images each is a good size, and ten thousand the most.",
)
@click.option(
    "--target", default="rpi", show_default=True, metavar="NAME[,NAME…]", help="Device that will be built for."
)
@click.option(
    "--backbone", default=Options.backbone, show_default=True, metavar="NAME|PATH", help="As for `tlc build`."
)
@loading_options
@click.option("--shave", metavar="LAYER", help="As for `tlc build`.")
@pool_option
@click.option(
    "--augment",
    metavar="LIST|none",
    help=f"As for `tlc build`: {', '.join(AUGMENTATIONS)}.  [default: {','.join(DEFAULT_AUGMENT)}]",
)
@click.option(
    "--copies", default=Options.copies, show_default=True, type=click.IntRange(0, 100), help="As for `tlc build`."
)
@scheme_option
@seed_option
@threads_option
@json_option
def plan(
    store: str | None,
    named: str | None,
    shards: int,
    target: str,
    augment: str | None,
    data: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    from tlc_edge.compiler.spread import plan_features

    store = _one_of(store, named)
    options = Options(
        data=data or "",
        targets=tuple(t.strip() for t in target.split(",") if t.strip()),
        output=Path(),
        augment=DEFAULT_AUGMENT if augment is None else parse_augment(augment),
        **given,
    )
    with StepLines(quiet=as_json) as progress:
        found = plan_features(options, store, shards, progress)
    if as_json:
        put_json(states_document(store, found))
    else:
        print_states(store, found)


def _one_of(store: str | None, named: str | None) -> str:
    """Return the one name of the store that was given."""
    if store and named and store != named:
        raise click.UsageError(f"two stores are named, {store} and, with -o, {named}; give one")
    if found := store or named:
        return found
    raise click.UsageError("give the STORE that is planned: a folder, or an address such as s3://bucket/store")
