"""Prophet as it is used here: learns what the calendar holds, gives up in time, leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting.models import prophet_model
from forecasting.models.calendar import day_types
from forecasting.models.openings import Openings, without_outages
from forecasting.models.prophet_model import CannotFitError, fit_prophet, prophet_course
from forecasting.models.train import regular_series, train_series


def days(first: str, periods: int) -> pd.DatetimeIndex:
    return pd.date_range(first, periods=periods, freq="D", unit="us")


def counter(
    first: str = "2014-01-01",
    periods: int = 900,
    *,
    country: str = "US",
    month_end: float = 1.0,
    closed_weekends: bool = False,
    closed_holidays: bool = False,
) -> pd.DataFrame:
    """Customers of a branch: a weekday level, Poisson noise, and what the arguments add."""
    index = days(first, periods)
    types = day_types(index, country)
    level = np.where(types["kind"] == "weekend", 20.0, 60.0)
    level = np.where(types["month_end"] == 1, level * month_end, level)
    if closed_weekends:
        level = np.where(types["kind"] == "weekend", 0.0, level)
    if closed_holidays:
        level = np.where(types["kind"] == "holiday", 0.0, level)
    return pd.DataFrame({"ds": index, "y": np.random.default_rng(7).poisson(level).astype(float)})


def test_the_month_end_in_workdays_is_learned_and_the_month_is_not_a_number_of_days() -> None:
    """A surge on last workdays is forecast for the next ones, wherever they fall, and only there."""
    forecast = train_series(counter(month_end=2.0), 62, country="US", seed=1)
    table = forecast.quantiles.set_index("ds")
    ends = day_types(pd.DatetimeIndex(table.index), "US")["month_end"] == 1
    workdays = day_types(pd.DatetimeIndex(table.index), "US")["works"] & ~ends
    assert forecast.champion in {"combination", "daytype", "prophet"}
    assert table.loc[ends, "q0.5"].min() > 100
    assert table.loc[workdays, "q0.5"].max() < 80


def test_closed_days_are_exactly_zero_and_others_are_not() -> None:
    """A branch that never opens on weekends and holidays is forecast 0 there, in every quantile and path."""
    history = counter(closed_weekends=True, closed_holidays=True)
    forecast = train_series(history, 40, country="US", seed=1)  # 2016-06-19 on, over Independence Day
    table = forecast.quantiles.set_index("ds")
    kind = day_types(pd.DatetimeIndex(table.index), "US")["kind"]
    closed = kind.isin(["weekend", "holiday"]).to_numpy()
    assert kind.loc["2016-07-04"] == "holiday"
    assert (table[closed].to_numpy() == 0).all()
    assert (forecast.paths.values[:, closed] == 0).all()
    assert (table.loc[~closed, "q0.1"] > 20).all()


def test_a_make_up_sunday_is_open_where_sundays_are_not() -> None:
    """A Chinese counter closed on weekends is forecast to serve on a Sunday that is worked."""
    history = counter("2021-10-01", 850, country="CN", closed_weekends=True, closed_holidays=True)
    assert history["ds"].max() == pd.Timestamp("2024-01-28")
    table = train_series(history, 30, country="CN", seed=1).quantiles.set_index("ds")
    assert table.loc["2024-02-04", "q0.5"] > 20  # a Sunday, worked
    assert table.loc["2024-02-11", "q0.9"] == 0  # a Sunday of Spring Festival
    assert table.loc["2024-02-12", "q0.9"] == 0  # its Monday


def test_a_trend_that_broke_off_is_followed_and_the_scores_are_told() -> None:
    """The level moves on when a trend ends; the sentence names the choice, the folds and every score."""
    steady, index = 8 * 7, days("2022-01-01", 400)
    level = np.concatenate([np.linspace(20, 400, 400 - steady - 90), np.full(steady + 90, 60.0)])
    y = np.random.default_rng(3).poisson(level).astype(float)
    forecast = train_series(pd.DataFrame({"ds": index, "y": y}), 28, country="none", seed=1)
    table = forecast.quantiles
    assert table["q0.5"].between(50, 70).all()
    scores = forecast.parameters["wql"]
    assert set(scores) == {"combination", "daytype", "prophet", "weeks8"}
    assert forecast.why.startswith(f"{forecast.champion}: ")
    assert " in 3 folds of 28 days (" in forecast.why
    assert all(f"{name} {score:.3f}"[:-1] in forecast.why for name, score in scores.items())


def test_the_sum_of_a_month_comes_from_paths() -> None:
    """Four weeks' 0.9 quantile is below the sum of the days' quantiles, above the sum of medians."""
    forecast = train_series(counter(), 28, country="US", seed=1)
    first, last = forecast.paths.first_day, forecast.paths.last_day
    month = forecast.paths.quantile_of_sum(0.9, first, last)
    assert forecast.quantiles["q0.5"].sum() < month < forecast.quantiles["q0.9"].sum()
    with pytest.raises(ValueError, match="paths cover"):
        forecast.paths.sums(first, pd.Timestamp("2030-01-01").date())


def test_an_optimiser_out_of_time_leaves_the_forecast_to_the_others_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fit that exceeds its limit costs Prophet's place, not the forecast."""
    monkeypatch.setattr(prophet_model, "SECONDS_LIMIT", 0.001)
    forecast = train_series(counter(periods=300), 14, country="US", seed=1)
    assert forecast.champion == "combination"
    assert "the optimiser took more than 0.001 s" in forecast.why
    assert np.isfinite(forecast.levels).all()


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (np.full(200, 7.0), "constant"),
        (np.ones(30), "open days are known"),
        (np.zeros(200), "open days are known"),
    ],
)
def test_a_series_without_anything_to_learn_is_refused_at_once(y: np.ndarray, told: str) -> None:
    """Constant, short and empty series never reach the optimiser."""
    series = regular_series(pd.DataFrame({"ds": days("2020-01-01", len(y)), "y": y}), "D")
    opened = Openings.of(series, "none").open_days(pd.DatetimeIndex(series.index), "none")
    with pytest.raises(CannotFitError, match=told):
        fit_prophet(series, opened, country="none")


def test_a_fit_leaves_no_file_and_the_global_generator_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The optimiser's folder is gone, and numpy's global state is untouched."""
    # a folder of its own: other workers fit, too
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    series = regular_series(counter(periods=200), "D")
    state = np.random.get_state()[1].tolist()  # noqa: NPY002  # type: ignore[union-attr]
    fit = fit_prophet(series, np.ones(len(series), dtype=bool), country="US")
    prophet_course(fit, days("2014-07-20", 10))
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002  # type: ignore[union-attr]
    assert not [entry for entry in tmp_path.glob("slotcast-fit-*") if any(entry.iterdir())]


def test_an_outage_is_unknown_and_a_closure_is_not() -> None:
    """Five days of zeros in a busy series are dropped; two are a storm, six weeks are a closure."""
    series = regular_series(counter(periods=400), "D")
    outage, storm, closure = series.copy(), series.copy(), series.copy()
    outage.iloc[100:105], storm.iloc[100:102], closure.iloc[300:342] = 0.0, 0.0, 0.0
    assert without_outages(series, "US")[1] == 0
    cleaned, dropped = without_outages(outage, "US")
    assert dropped == 5
    assert cleaned.iloc[100:105].isna().all()
    assert without_outages(storm, "US")[1] == 0
    assert without_outages(closure, "US")[1] == 0


def test_bad_histories_are_refused() -> None:
    """Two rows of a day, a negative count, no row and no horizon are errors that say so."""
    good = counter(periods=60)
    for history, horizon, told in (
        (pd.concat([good, good.tail(1)]), 5, "two rows for"),
        (good.assign(y=-1.0), 5, "negative"),
        (good.head(0), 5, "empty"),
        (good, 0, "at least 1"),
    ):
        with pytest.raises(ValueError, match=told):
            train_series(history, horizon, country="none", seed=1)
