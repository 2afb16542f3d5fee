"""Panels judged, calibrated and forecast together: groups, cold starts, refreshes, explanations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecasting.frames import TIME, VALUE
from forecasting.models.panel import alike_groups, group_index, panel_of
from forecasting.models.selection import forecast_panel, select
from forecasting.models.train import train_panel

FIRST = pd.Timestamp("2023-01-02")


def branch(level: float, *, days: int = 500, seed: int = 0, weekend: float = 0.3) -> pd.Series:
    """Poisson customers, fewer at weekends."""
    index = pd.date_range(FIRST, periods=500, freq="D", unit="us")[-days:]
    mean = level * np.where(pd.DatetimeIndex(index).weekday >= 5, weekend, 1.0)
    return pd.Series(np.random.default_rng(seed).poisson(mean).astype(float), index=index)


def histories(series: dict[str, pd.Series]) -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame({TIME: y.index, VALUE: y.to_numpy()}) for name, y in series.items()}


def test_a_new_branch_borrows_the_others_week_at_its_own_level() -> None:
    """Nine days, four old branches: the forecast has their weekend and its own size, and says so."""
    series = {f"old{n}": branch(60 + 10 * n, seed=n) for n in range(4)} | {"new": branch(200, days=9, seed=9)}
    made = train_panel(histories(series), 14, country="none", seed=1)["new"]
    assert made.champion == "borrowed"
    assert "9 known days" in made.why
    middle = made.quantiles.set_index("ds")["q0.5"]
    weekend = pd.DatetimeIndex(middle.index).weekday >= 5
    assert middle[~weekend].between(140, 230).all()
    assert middle[weekend].max() < 0.5 * middle[~weekend].min()


def test_a_new_branch_alone_has_its_last_week_again() -> None:
    """With nobody to borrow from it is seasonal naive."""
    made = train_panel(histories({"new": branch(50, days=9)}), 7, country="none", seed=1)["new"]
    assert made.champion == "seasonal_naive"
    assert np.isfinite(made.levels).all()


def test_a_refresh_with_chosen_rates_is_near_the_forecast_it_was_chosen_with() -> None:
    """The daily part alone gives the same champion's forecast without judging anew."""
    series = {f"b{n}": branch(40 + 5 * n, seed=n) for n in range(3)}
    panel = panel_of(series, "none")
    chosen = select(panel, 14)
    full = forecast_panel(panel, 14, chosen)
    refreshed = forecast_panel(panel, 14, chosen, chosen_rates=True)
    assert np.allclose(full.quantiles, refreshed.quantiles, rtol=0.15, atol=2.0)


def test_the_band_covers_what_it_says_on_days_to_come() -> None:
    """Of Poisson days forecast, about 80 % lie in the 80 % band; a band of half the width would not."""
    inside = []
    for seed in range(3):
        series = {f"b{n}": branch(80, seed=10 * seed + n) for n in range(6)}
        past = {name: y.iloc[:-28] for name, y in series.items()}
        made = train_panel(histories(past), 28, country="none", seed=1)
        for name, forecast in made.items():
            table = forecast.quantiles
            came = series[name].iloc[-28:].to_numpy()
            inside.append(((came >= table["q0.1"]) & (came <= table["q0.9"])).mean())
            narrow = table["q0.5"] + 0.5 * (table["q0.9"] - table["q0.5"])
            assert (came > narrow).mean() > 0.1  # the control: half a band is left by many
    assert np.mean(inside) == pytest.approx(0.8, abs=0.06)


def test_paths_of_branches_that_move_together_add_up_to_a_wide_total() -> None:
    """Shared ups and downs stay shared in the paths: the total is wider than of independent branches."""
    rng = np.random.default_rng(5)
    common = rng.normal(1.0, 0.2, 500).clip(0.3)
    index = pd.date_range(FIRST, periods=500, freq="D", unit="us")
    together = {f"b{n}": pd.Series(rng.poisson(100 * common).astype(float), index=index) for n in range(5)}
    apart = {
        f"b{n}": pd.Series(rng.poisson(100 * rng.normal(1.0, 0.2, 500).clip(0.3)).astype(float), index=index)
        for n in range(5)
    }
    spreads = []
    for series in (together, apart):
        made = train_panel(histories(series), 7, country="none", seed=1)
        total = sum(forecast.paths.values for forecast in made.values())
        spreads.append(float(np.std(total, axis=0).mean()))  # type: ignore[arg-type]
    assert spreads[0] > 1.6 * spreads[1]


def test_few_series_stand_alone_and_many_are_grouped_by_likeness() -> None:
    """Up to eight series have a fit each; twenty are parted into shops and offices."""
    days = np.arange(364)
    office = [100.0 * np.where(days % 7 >= 5, 0.1, 1.0) + n for n in range(10)]
    shops = [100.0 * np.where(days % 7 >= 5, 2.0, 1.0) + n for n in range(10)]
    assert alike_groups(np.array(office[:8])) == [[n] for n in range(8)]
    groups = alike_groups(np.array(office + shops))
    assert sorted(place for group in groups for place in group) == list(range(20))
    assert [{place < 10 for place in group} for group in groups] in ([{True}, {False}], [{False}, {True}])
    assert np.nanmean(group_index(np.array(office))) == pytest.approx(100.0, rel=0.01)


def test_small_whole_counts_are_forecast_in_whole_units() -> None:
    """A branch of two customers a day is not forecast 1.7."""
    made = train_panel(histories({"b": branch(2.0, weekend=1.0)}), 14, country="none", seed=1)["b"]
    assert (made.levels == np.rint(made.levels)).all()
