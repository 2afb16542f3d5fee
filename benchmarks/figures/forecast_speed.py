"""What a daily refresh and a weekly selection cost, against plain Prophet and StatsForecast.

All on one core: our Prophet fits run beside each other where there are two, theirs could, too.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.support.anchors import prophet
from benchmarks.support.rounds import Figure, interleave, ratio
from forecasting.frames import Floats
from forecasting.models.backtest import fold_origins
from forecasting.models.panel import panel_of
from forecasting.models.selection import forecast_panel, select
from forecasting.models.statistical import STATISTICAL, statistical_quantiles

DAYS: Final = 730
STEPS: Final = 28
COUNTRY: Final = "US"
BATCH: Final = 40
"""Series that a job or a process of the command line holds at a time."""


def branches(count: int, source: dict[str, pd.Series]) -> dict[str, pd.Series]:
    """`count` daily series of two years: real ones, cut, shifted by weeks and thinned with fresh noise."""
    rng = np.random.default_rng(1)
    names = list(source)
    days = pd.date_range("2014-01-06", periods=DAYS, freq="D", unit="us")
    made: dict[str, pd.Series] = {}
    for number in range(count):
        values = source[names[number % len(names)]].dropna().to_numpy()
        start = 7 * int(rng.integers(0, max((len(values) - DAYS) // 7, 1)))
        level = float(rng.uniform(0.02, 0.5))
        made[f"b{number:05d}"] = pd.Series(
            rng.poisson(values[start : start + DAYS] * level).astype(np.float64), index=days
        )
    return made


def refresh(source: dict[str, pd.Series], *, count: int, rounds: int, notes: dict[str, Any]) -> list[Figure]:
    """A refresh with champions chosen before ÷ plain Prophet, fit and predict with samples, of the same."""
    series = branches(count, source)
    batches = _batches(series)
    selections = [select(panel_of(batch, COUNTRY), STEPS) for batch in batches]

    def ours() -> float:
        return _seconds(
            lambda: [
                forecast_panel(panel_of(batch, COUNTRY), STEPS, chosen, chosen_rates=True)
                for batch, chosen in zip(batches, selections, strict=True)
            ]
        )

    def plain() -> float:
        return _seconds(lambda: [prophet(y, STEPS, 1, COUNTRY) for y in series.values()])

    seen = interleave({"ours": ours, "plain": plain}, rounds)
    notes["refresh"] = {
        "series": count,
        "seconds_a_series": {name: round(min(times) / count, 4) for name, times in seen.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    return [ratio("refresh_over_prophet", seen["ours"], seen["plain"], at_most=0.3)]


def selection(
    source: dict[str, pd.Series], *, count: int, rounds: int, notes: dict[str, Any]
) -> list[Figure]:
    """A full selection ÷ StatsForecast's three models over the same folds, of the same series."""
    series = branches(count, source)
    folds = fold_origins(DAYS, STEPS)

    def ours() -> float:
        return _seconds(lambda: [select(panel_of(batch, COUNTRY), STEPS) for batch in _batches(series)])

    def theirs() -> float:
        def all_folds() -> list[Floats]:
            return [
                statistical_quantiles(name, y.to_numpy()[: fold.origin], fold.days, per_day=1)
                for y in series.values()
                for fold in folds
                for name in STATISTICAL
            ]

        return _seconds(all_folds)

    theirs()  # compiles
    seen = interleave({"ours": ours, "theirs": theirs}, rounds)
    notes["selection"] = {
        "series": count,
        "folds": len(folds),
        "seconds_a_series": {name: round(min(times) / count, 4) for name, times in seen.items()},
    }
    return [ratio("selection_over_statsforecast", seen["ours"], seen["theirs"], at_most=1.0)]


def growth(source: dict[str, pd.Series], *, counts: tuple[int, int], notes: dict[str, Any]) -> list[Figure]:
    """Seconds a series of a refresh with many series ÷ with few; peak memory stays that of a batch."""
    each: dict[int, float] = {}
    for count in counts:
        batches = _batches(branches(count, source))
        chosen = select(panel_of(batches[0], COUNTRY), STEPS)
        each[count] = (
            _seconds(
                lambda batches=batches, chosen=chosen: [  # type: ignore[misc]
                    forecast_panel(panel_of(batch, COUNTRY), STEPS, chosen, chosen_rates=True)
                    for batch in batches
                ]
            )
            / count
        )
    few, many = counts
    notes["growth"] = {
        "seconds_a_series": {str(count): round(seconds, 4) for count, seconds in each.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    value = each[many] / each[few]
    return [Figure("refresh_growth", value, value, value, at_most=1.1)]


def _batches(series: dict[str, pd.Series]) -> list[dict[str, pd.Series]]:
    names = list(series)
    return [{n: series[n] for n in names[start : start + BATCH]} for start in range(0, len(names), BATCH)]


def _seconds(work: Callable[[], object]) -> float:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    before = time.perf_counter()
    try:
        work()
        return time.perf_counter() - before
    finally:
        os.sched_setaffinity(0, cores)
