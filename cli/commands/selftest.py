"""Run the bundle's golden samples on this device; fails if the answers are not the expected ones."""

from __future__ import annotations

from dataclasses import asdict

import click

from tlc_edge.cli.options import bundle_argument, engine_options, json_option
from tlc_edge.cli.output import put, put_json, table
from tlc_edge.runtime.errors import SelftestError


@click.command(help=__doc__)
@bundle_argument
@engine_options
@json_option
def selftest(bundle: str, engine: str | None, threads: int | None, as_json: bool) -> None:
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.engines.open import open_engine
    from tlc_edge.runtime.engines.selftest import failure
    from tlc_edge.runtime.engines.selftest import selftest as run

    opened = Bundle.open(bundle)
    runner, model = open_engine(opened, engine, threads)
    result = run(opened, runner, model)
    if as_json:
        put_json({**asdict(result), "passed": result.passed})
    else:
        rows = [
            (
                s.name,
                f"{s.cosine:.4f}",
                "-" if s.expected is None else f"{s.difference:.3f}",
                s.expected or "-",
                s.answer or "-",
                "" if s.passed else "FAILED",
            )
            for s in result.samples
        ]
        head = ("sample", "embedding cosine", "largest probability difference", "expected", "answer", "")
        put(*table(rows, head), "")
        if result.image_difference is not None:
            put(
                f"images: the test card's pixels differ by {result.image_difference:.1f} of 255 in the mean (at most "
                f"{result.image_tolerance}): {'passed' if result.prepared else 'FAILED'}"
            )
        put(
            f"{result.file} on {result.engine}: {result.images} golden samples, lowest embedding cosine "
            f"{result.lowest_cosine:.4f} (at least {result.tolerance}), largest probability difference "
            f"{result.largest_difference:.3f} (at most {result.difference_tolerance}), {result.wrong_labels} labels "
            f"differ: {'passed' if result.passed else 'FAILED'}"
        )
    if not result.passed:
        raise SelftestError(failure(opened, result))
