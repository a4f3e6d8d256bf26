"""Numbers that a build is asked for, checked before any work: a wrong one would be found late, or not at all."""

from __future__ import annotations

import math

from tlc.runtime.errors import UsageError

from .build_records import Options

SEEDS = 2**32
"""Seeds run from 0 up to, not including, this: numpy takes no lower ones, scikit-learn no higher ones."""


def check_numbers(options: Options) -> None:
    """Check the numbers in a build's options that nothing else checks.

    Raises:
        UsageError: one is not a number, or out of its range.
    """
    check_seed(options.seed)
    if not 0 <= options.max_drop <= 100:  # not a number fails this too
        raise UsageError(f"max_drop is {options.max_drop}, expected 0 to 100 points of accuracy")
    if options.copies < 0:
        raise UsageError(f"copies is {options.copies}, expected 0 or more changed copies of each image")
    if options.copies > 1 and not options.augment:
        raise UsageError(f"copies is {options.copies}, but augment names nothing that changes them; give it too")
    tuning = options.fine_tune
    if tuning is None:
        return
    if tuning.epochs < 1:
        raise UsageError(f"epochs is {tuning.epochs}, expected 1 or more")
    if not (math.isfinite(tuning.learning_rate) and tuning.learning_rate > 0):
        raise UsageError(f"learning_rate is {tuning.learning_rate}, expected a number above 0, such as 3e-4")


def check_seed(seed: int) -> None:
    """Check a seed.

    Raises:
        UsageError: it is out of its range.
    """
    if not 0 <= seed < SEEDS:
        raise UsageError(f"the seed is {seed}, expected a whole number from 0 to {SEEDS - 1}")
