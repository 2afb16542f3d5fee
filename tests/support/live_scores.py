"""Builder of a bank whose forecasts have been live for some days: runs with a promise, and their scores."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from booking_core import tables_forecast as tf
from tests.support.bank import Bank
from tests.support.recorded import put, run_row

DEVIATION = 0.2
BAND = 1.2816
"""Deviations from the median to either end of the 80 % band."""
PROMISE = {"coverage80": 0.8, "wape": 0.16, "series": 20, "days": 84}


def add_live_scores(
    bank: Bank,
    until: date,
    *,
    days: int,
    branches: int = 20,
    told: float = 1.0,
    region: str = "north",
    seed: int = 3,
) -> None:
    """One run a day up to the day before `until`, each scored on its first day with `told` times the level.

    Of its quantiles all say the level.

    The branches (1 to `branches`, named after the region) are added to the region; every run promises PROMISE
    to the bank and to each region.
    """
    rng = np.random.default_rng(seed)
    names = [f"{region}-{number}" for number in range(branches)]
    for name in names:
        bank.add_branch(name, region)
    promise = dict.fromkeys(("bank", "group:north", "group:south"), PROMISE)
    for back in range(days):
        day = until - timedelta(days=back)
        run_id = f"demand-{day - timedelta(days=1)}"
        put(bank, tf.forecast_runs, run_row(run_id, day - timedelta(days=1), scores={"promise": promise}))
        shared = rng.standard_normal() * 0.3
        rows = []
        for name in names:
            error = shared + rng.standard_normal() * 0.95
            actual, mean = 60.0 * (1.0 + DEVIATION * error), 60.0 * told
            half = BAND * DEVIATION * mean
            rows.append(
                {
                    "run_id": run_id,
                    "branch_id": name,
                    "day": day,
                    "horizon_days": 1,
                    "actual": actual,
                    "mean": mean,
                    "inside80": abs(actual - mean) <= half,
                    "pinball": 1.0,
                }
            )
        put(bank, tf.score_forecasts, *rows)
        keys = ("run_id", "branch_id", "day", "mean")
        levels = dict.fromkeys(("q10", "q25", "q50", "q75", "q90"), 60.0 * told)
        put(
            bank,
            tf.forecast_values,
            *({key: row[key] for key in keys} | levels | {"model": "prophet"} for row in rows),
        )
