"""Days known only as "at least" are filled in before models learn, and no forecast is judged by them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecasting.decisions.policy import Policy
from forecasting.frames import CENSORED, TIME, VALUE, Floats
from forecasting.models.bounds import at_least_days, filled, filled_series
from forecasting.models.calendar import Bools, day_types
from forecasting.models.censoring import unconstrain
from forecasting.models.evaluate import evaluate_panel
from forecasting.models.openings import Openings
from forecasting.models.panel import panel_of
from forecasting.models.train import train_panel
from forecasting.training import train_branches

DAYS = pd.date_range("2025-01-06", periods=420, freq="D", unit="us")
WEEKDAYS = np.array([1.5, 1.1, 1.0, 1.0, 1.2, 0.6, 0.4])


def demand_of(seed: int, level: float = 100.0) -> Floats:
    """A branch's demand on DAYS, with errors of 25 %."""
    noise = np.exp(0.25 * np.random.default_rng(seed).standard_normal(len(DAYS)))
    return level * WEEKDAYS[np.arange(len(DAYS)) % 7] * noise


def sold_out(y: Floats) -> tuple[Floats, Bools]:
    """What is seen where each weekday's quota holds four days of five and nobody records the refused."""
    quota = np.array([np.quantile(y[day::7], 0.8) for day in range(7)])[np.arange(len(y)) % 7]
    return np.minimum(y, quota), y > quota


def history(y: Floats, censored: Bools | None = None) -> pd.DataFrame:
    table = pd.DataFrame({TIME: DAYS[: len(y)], VALUE: y})
    return table if censored is None else table.assign(**{CENSORED: censored})


def test_a_censored_fifth_no_longer_drags_the_forecast_down() -> None:
    """Mean and 90 % quantile are nearly those of the full truth; with the marks ignored both fall short."""
    truth = {f"b{n}": demand_of(10 + n) for n in range(4)}
    seen = {name: sold_out(y) for name, y in truth.items()}
    ways = {
        "full": {name: history(y) for name, y in truth.items()},
        "marked": {name: history(*each) for name, each in seen.items()},
        "ignored": {name: history(each[0]) for name, each in seen.items()},
    }
    made = {
        way: train_panel(known, 14, country="none", seed=1, paths=20, explain=way == "marked")
        for way, known in ways.items()
    }
    units = {
        way: sum(each.quantiles[["mean", "q0.9"]].sum() for each in found.values())
        for way, found in made.items()
    }
    marked, ignored = units["marked"] / units["full"], units["ignored"] / units["full"]
    assert marked["mean"] == pytest.approx(1.0, abs=0.025)
    assert marked["q0.9"] == pytest.approx(1.0, abs=0.05)
    assert ignored["mean"] < 0.975
    assert ignored["q0.9"] < 0.92

    one = made["marked"]["b0"]
    assert one.why.endswith('; 84 of 420 known days only "at least", filled in')
    told = one.parameters["filled_in"]
    assert told["days"] == 84
    assert told["recorded_units"] == pytest.approx(seen["b0"][0][seen["b0"][1]].sum(), abs=0.01)
    assert told["units"] == pytest.approx(truth["b0"][seen["b0"][1]].sum(), rel=0.05)
    plain = made["ignored"]["b0"]
    assert "at least" not in plain.why
    assert plain.parameters["filled_in"] == {"days": 0, "recorded_units": 0.0, "units": 0.0}


def test_what_is_filled_in_before_an_origin_knows_nothing_of_later_days() -> None:
    """A backtest's training days are those of a panel that ended there."""
    y, censored = sold_out(demand_of(1))
    series = {"b": pd.Series(y, DAYS)}
    marked = {"b": DAYS[censored]}
    whole = panel_of(series, "none", marked)
    then = panel_of({"b": series["b"].iloc[:300]}, "none", marked)
    np.testing.assert_array_equal(whole.until(300).values, then.values)
    np.testing.assert_array_equal(whole.recorded[0], y)
    np.testing.assert_array_equal(np.isnan(whole.exact[0]), censored)
    assert (whole.values[0] >= y).all()
    assert (whole.values[0, :300] != then.values[0]).any()  # so that the first claim means something


def test_a_backtest_judges_nobody_by_a_bound() -> None:
    """Each model is scored on the exact days of the horizon; without marks on all of them."""
    y, censored = sold_out(demand_of(2))
    censored[-14:] = np.arange(14) % 3 == 0
    for marks, steps in ((censored, 9), (None, 14)):
        scores = evaluate_panel({"b": history(y, marks)}, 14, freq="D", country="none", seed=1, folds=1)
        assert {score.steps for _, score in scores} == {steps}
        assert len(scores) >= 4


def test_month_ends_that_sell_out_are_filled_in_as_month_ends_are() -> None:
    """Half of them are known exactly: the others come out near the truth, without the calendar far below."""
    ends = day_types(DAYS, "none")["month_end"].to_numpy() == 1
    truth = demand_of(4) * np.where(ends, 1.8, 1.0)
    marked = ends & (np.cumsum(ends) % 2 == 0)
    seen = np.where(marked, 0.6 * truth, truth)
    made = filled(seen[None], marked[None], DAYS, [Openings()], "none")[0]
    assert made[marked].sum() == pytest.approx(truth[marked].sum(), rel=0.2)
    assert unconstrain(seen, marked).y_hat[marked].sum() < 0.8 * truth[marked].sum()


def test_closed_days_stay_closed_and_unmarked_series_as_they_are() -> None:
    """Sundays of 0 are no demand to fill in from; a series without marks is handed back itself."""
    y, censored = sold_out(demand_of(5))
    sunday = np.arange(len(y)) % 7 == 6
    y[sunday] = 0.0
    made = panel_of({"b": pd.Series(y, DAYS)}, "none", {"b": DAYS[censored | sunday]})
    assert (made.values[0, sunday] == 0).all()
    assert (made.values[0, censored & ~sunday] > y[censored & ~sunday]).mean() > 0.9
    plain = pd.Series(y, DAYS)
    assert filled_series(plain, None, "none") is plain
    assert panel_of({"b": plain}, "none").bounds is None
    assert at_least_days({"b": history(y), "c": history(y, np.zeros(len(y), dtype=bool))}) == {}


def test_whole_counts_stay_whole() -> None:
    """Filling in makes fractions, the forecast of a few customers a day none."""
    y, censored = sold_out(np.random.default_rng(6).poisson(3.0, len(DAYS)).astype(np.float64))
    y = np.floor(y)
    made = train_panel({"b": history(y, censored)}, 7, country="none", seed=1, paths=20)["b"]
    assert (made.levels == np.rint(made.levels)).all()


def test_weeks8_in_a_champions_place_learns_from_filled_in_days_too() -> None:
    """Where the champion is vetoed weeks8 stands in: with the marks its 90 % is higher than without."""
    y, censored = sold_out(demand_of(7)[:100])
    policy = Policy(min_observations=200)
    period, until = DAYS[99].date(), DAYS[120].date()
    found = [
        train_branches(
            {"b": table}, period=period, until=until, country="none", seed=1, paths=100, policy=policy
        )["b"]
        for table in (history(y, censored), history(y))
    ]
    assert [trained.choice["champion"] for trained in found] == ["weeks8", "weeks8"]
    marked, ignored = (trained.quantiles["q0.9"].sum() for trained in found if trained.quantiles is not None)
    assert marked > 1.05 * ignored
    assert found[0].choice["why"].endswith(f'; {censored.sum()} of 100 known days only "at least", filled in')
