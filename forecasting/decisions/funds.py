"""A day's funds as units: how many appointments what is left of a funds cap pays out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def funds_units(used_units: int, left_cny: Iterable[Sequence[float]], mean_cny: float) -> int | None:
    """The units that a limit can have before funds run out: those in use, and what is left ÷ mean payoff.

    left_cny: for each day of the limit what each funds cap above it has left, in yuan (negative counts as
    nothing); where a day is without any cap, so is the limit (None). mean_cny: more than 0.
    """
    days = [tuple(day) for day in left_cny]
    if not days or not all(days):
        return None
    return used_units + sum(math.floor(max(0.0, min(day)) / mean_cny + 1e-9) for day in days)
