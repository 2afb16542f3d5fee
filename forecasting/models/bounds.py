"""Days whose demand is known only as "at least": which they are, and filled in for models to learn from.

`censoring` knows the method; here is what a daily series brings to it: closed days are no demand, and
holidays and month ends, which sell out first, have effects of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from forecasting.frames import CENSORED, TIME, TIME_DTYPE, Floats
from forecasting.models.calendar import WEEKDAY_PREFIX, Bools, regressors
from forecasting.models.censoring import unconstrain
from forecasting.models.openings import Openings


def at_least_days(histories: Mapping[str, pd.DataFrame]) -> dict[str, pd.DatetimeIndex]:
    """The days marked `censored` of each history (`ds`, `y` and, optionally, `censored`) that has any."""
    found = {}
    for name, history in histories.items():
        if CENSORED in history and (marked := history[CENSORED].eq(True)).any():
            found[name] = pd.DatetimeIndex(history.loc[marked, TIME].astype(TIME_DTYPE))
    return found


def told(filled_in: int, known: int) -> str:
    """What a forecast's reason says of days that were filled in; nothing where none was."""
    return f'; {filled_in} of {known} known days only "at least", filled in' if filled_in else ""


def filled(
    recorded: Floats, at_least: Bools, days: pd.DatetimeIndex, openings: Sequence[Openings], country: str
) -> Floats:
    """Demand (series, days) to learn from: bounds replaced by values spread as demand is, all else as it was.

    recorded: units, NaN = unknown; at_least: where demand is known to be at least that. One of `openings` a
    series. Effects of holidays, breaks and month ends are estimated along with level and weekday.
    """
    rows = [row for row, marked in enumerate(at_least) if marked.any()]
    if not rows:
        return recorded
    opened: Bools = np.stack([openings[row].open_days(days, country) for row in rows])
    calendar = regressors(days, country)
    calendar = calendar.loc[:, ~calendar.columns.str.startswith(WEEKDAY_PREFIX)]  # it has weekdays of its own
    bounded: Bools = at_least[rows] & opened
    made = unconstrain(
        np.where(opened, recorded[rows], np.nan), bounded, features=calendar.to_numpy(dtype=np.float64)
    )
    learned = recorded.copy()
    learned[rows] = np.where(bounded, made.y_hat, recorded[rows])
    return learned


def filled_series(y: pd.Series, at_least: pd.DatetimeIndex | None, country: str) -> pd.Series:
    """One regular daily series (NaN = unknown) with the days `at_least` filled in."""
    days = pd.DatetimeIndex(y.index)
    if at_least is None or not (marked := days.isin(at_least) & y.notna().to_numpy()).any():
        return y
    values = y.to_numpy(dtype=np.float64)
    return pd.Series(filled(values[None], marked[None], days, [Openings.of(y, country)], country)[0], y.index)
