"""What a request forecast must beat: the last value, yesterday's, last week's, each with its own errors."""

from __future__ import annotations

from typing import Final

import numpy as np

from forecasting.frames import Floats

RULES: Final = ("last_value", "same_time_yesterday", "same_time_last_week")
FORMS: Final = ("added", "multiplied")
"""How errors are kept: differences, or ratios of (requests + 1)."""
WINDOW_DAYS: Final = 7
_LEAST_ERRORS: Final = 20
_RENEWED_MINUTES: Final = 60


def rival_quantiles(
    requests: Floats, *, rule: str, form: str, lead: int, minutes: int, levels: Floats
) -> Floats:
    """Quantiles (levels, steps) of each step as told `lead` steps before it; NaN before enough is known.

    The rule's value moved by the quantiles of its own errors at this lead over the last seven days; they are
    taken anew every hour.
    """
    per_day = 1440 // minutes
    lag = {"last_value": lead, "same_time_yesterday": per_day, "same_time_last_week": 7 * per_day}[rule]
    lag = -(-lead // lag) * lag  # what was known at issue
    filled = _last_known(requests)
    value = np.full(len(requests), np.nan)
    value[lag:] = filled[:-lag]
    error = requests - value if form == "added" else np.log((requests + 1.0) / (value + 1.0))
    found = np.full((len(levels), len(requests)), np.nan)
    every, window = max(1, _RENEWED_MINUTES // minutes), WINDOW_DAYS * per_day
    for start in range(0, len(requests), every):
        known = error[max(0, start - lead + 1 - window) : max(0, start - lead + 1)]
        known = known[~np.isnan(known)]
        if len(known) < _LEAST_ERRORS:
            continue
        moves = np.quantile(known, levels)[:, None]
        told = value[start : start + every]
        moved = told + moves if form == "added" else (told + 1.0) * np.exp(moves) - 1.0
        found[:, start : start + every] = moved
    return np.maximum(found, 0.0)


def _last_known(values: Floats) -> Floats:
    """The values, unknown ones as the last known before them."""
    place = np.where(np.isnan(values), 0, np.arange(len(values)))
    filled: Floats = values[np.maximum.accumulate(place)]
    return filled
