"""Make shards of a plan: those that are named, or all that are missing. Any number may run at once, and be killed.

\b
tlc features run STORE --shard $SLURM_ARRAY_TASK_ID
seq 0 31 | xargs -P 8 -I{} tlc features run STORE --shard {} --threads 1
"""

from __future__ import annotations

import click

from tlc_edge.cli.build_options import threads_option
from tlc_edge.cli.options import json_option
from tlc_edge.cli.output import StepLines, put, put_json


@click.command(help=__doc__)
@click.argument("store")
@click.option(
    "--shard",
    "shards",
    multiple=True,
    type=click.IntRange(0),
    metavar="I",
    help="Which; may be repeated.  [default: all]",
)
@threads_option
@json_option
def run(store: str, shards: tuple[int, ...], threads: int, as_json: bool) -> None:
    from dataclasses import asdict

    from tlc_edge.compiler.shards.run import run_shards

    with StepLines(quiet=as_json) as progress:
        costs = run_shards(store, shards, threads, lambda done, total: progress("shards", done, total))
    if as_json:
        put_json({"store": store, "made": [{"pass": p, "shard": i, **asdict(cost)} for p, i, cost in costs]})
        return
    images, skipped = (sum(getattr(cost, name) for _, _, cost in costs) for name in ("images", "skipped"))
    lost = f", {skipped} of them of no use" if skipped else ""
    put(f"{len(costs)} shards made, of {images:,} images{lost}" if costs else "nothing to do: all of these are there")
