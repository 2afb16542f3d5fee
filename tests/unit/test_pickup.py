"""What is learned from past booking curves, and what a day's paths make of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecasting.frames import Floats
from forecasting.models.pickup import (
    BookingTable,
    day_table,
    effective_weekdays,
    reforecast_within_day,
    update_paths,
)
from forecasting.models.pickup_learning import learn_pickup

CURVE = np.array([0.3, 0.3, 0.2, 0.1, 0.1])
DAYS, AHEAD = 200, 10
RNG = np.random.default_rng(4)


def table(units: Floats, *, now: int = DAYS, mean: Floats | None = None) -> BookingTable:
    """A booking table as seen when day `now` began; mean: the days' forecasts, the same at all leads."""
    days = np.arange(len(units))
    hidden = days[:, None] - np.arange(units.shape[1]) >= now
    kept = None if mean is None else np.where(hidden, np.nan, mean[:, None])
    deviation = None if kept is None else 0.2 * kept + 2.0
    return BookingTable(np.where(hidden, np.nan, units), days % 7, now, kept, deviation)


def world(*, together: bool, level: float = 60.0, seed: int = 0) -> tuple[Floats, Floats]:
    """Units by day and lead, and forecasts: days surge as a whole (together), or each lead by itself."""
    rng = np.random.default_rng(seed)
    forecast = level * rng.choice([0.7, 1.0, 1.6], DAYS + AHEAD)
    surge = rng.gamma(12, 1 / 12, (DAYS + AHEAD, 1 if together else len(CURVE)))
    return rng.poisson(forecast[:, None] * surge * CURVE).astype(float), forecast


def updated(past: BookingTable, paths: Floats, on_hand: float, lead: int) -> Floats:
    """The paths of one day `lead` days ahead."""
    pickup = learn_pickup({"": past})[""]
    kind = past.kinds[[past.now + lead]]
    return update_paths(paths[:, None], np.array([on_hand]), np.array([lead]), kind, pickup)[:, 0]


def prior(mean: float = 60.0) -> Floats:
    """A forecast's paths of one day."""
    return np.random.default_rng(1).gamma(12, mean / 12, 200)


def test_the_share_on_hand_is_the_curve_s() -> None:
    """Of a day's demand 70 % is known when it begins, 10 % three days before, nothing earlier."""
    units, _ = world(together=True)
    learned = learn_pickup({"": table(units)})[""]
    assert learned.share.mean(axis=1) == pytest.approx([0.7, 0.4, 0.2, 0.1, 0.0], abs=0.03)


def test_a_day_that_outruns_its_curve_is_raised_and_one_that_falls_short_lowered() -> None:
    """Where days surge as a whole, half as many again on hand means about half as many in the end."""
    units, forecast = world(together=True)
    past = table(units, mean=forecast)
    usual, ahead, short = (np.median(updated(past, prior(), 0.4 * 60 * n, 1)) for n in (1.0, 1.5, 0.5))
    assert usual == pytest.approx(60, rel=0.1)
    assert 70 < ahead < 95
    assert 25 < short < 50


def test_where_leads_surge_each_by_itself_what_is_to_come_stays_as_it_was() -> None:
    """The control: with additive pick-up an early surge adds itself and little more."""
    units, forecast = world(together=False)
    past = table(units, mean=forecast)
    usual, ahead = (np.median(updated(past, prior(), n, 1)) for n in (24.0, 36.0))
    assert ahead - usual == pytest.approx(12.0, abs=7.0)
    units, forecast = world(together=True)
    past = table(units, mean=forecast)
    whole = np.median(updated(past, prior(), 36.0, 1)) - np.median(updated(past, prior(), 24.0, 1))
    assert whole > ahead - usual


def test_the_nearer_the_day_the_narrower() -> None:
    """With the usual on hand the 80 % band shrinks from lead to lead, and far out it is the forecast's."""
    units, forecast = world(together=True)
    past = table(units, mean=forecast)
    widths = []
    for lead, share in enumerate((0.7, 0.4, 0.2, 0.1)):
        low, high = np.quantile(updated(past, prior(), 60 * share, lead), (0.1, 0.9))
        widths.append(high - low)
    assert widths == sorted(widths)
    far = updated(past, prior(), 0.0, 5)
    assert np.array_equal(far, prior())


def test_a_day_forecast_larger_has_more_to_come() -> None:
    """A month end forecast at twice the usual keeps its promise when its early half is in."""
    units, forecast = world(together=True)
    past = table(units, mean=forecast)
    median = np.median(updated(past, prior(120.0), 48.0, 1))
    assert median == pytest.approx(120, rel=0.15)


def test_two_weeks_are_the_least_to_learn_from() -> None:
    """Ten days of records teach nothing; forty do."""
    units, _ = world(together=True)
    short = learn_pickup({"": table(units[:20], now=10)})[""]
    assert (short.share == 0).all()
    assert (learn_pickup({"": table(units[:50], now=40)})[""].share[0] > 0.5).all()


def test_a_branch_with_little_of_its_own_takes_the_group_s_curve() -> None:
    """Of a branch with few wishes a day the share is nearer to the group's than its own records say."""
    units, _ = world(together=True)
    odd = np.zeros_like(units)
    odd[:, 0] = np.random.default_rng(3).poisson(2.0, len(units))  # all on the day itself
    begun = DAYS - 20
    rows = table(odd)
    newcomer = replace(rows, units=np.where(np.arange(len(odd))[:, None] < begun, np.nan, rows.units))
    alone = learn_pickup({"new": newcomer})["new"].share[0].mean()
    among = (
        learn_pickup({"new": newcomer} | {f"old{n}": table(units) for n in range(3)})["new"].share[0].mean()
    )
    assert alone == 0.0
    assert 0.01 < among < 0.5


def test_tables_of_one_group_have_the_same_leads() -> None:
    """Others are refused by name of what is wrong; no table at all is an empty answer."""
    units, _ = world(together=True)
    with pytest.raises(ValueError, match=r"\[4, 5\] leads"):
        learn_pickup({"a": table(units), "b": table(units[:, :4])})
    assert learn_pickup({}) == {}


def test_within_the_day_both_directions() -> None:
    """At noon a day ahead of its curve is raised, one behind it lowered, and the rest is never negative."""
    rng = np.random.default_rng(2)
    totals = rng.poisson(100 * rng.gamma(12, 1 / 12, 120)).astype(float)
    so_far = rng.binomial(totals.astype(int), 0.4).astype(float)
    kinds = np.arange(121) % 7
    pickup = learn_pickup({"": day_table(so_far, totals, kinds)})[""]
    usual, ahead, behind = (
        reforecast_within_day(prior(100), n, int(kinds[-1]), pickup) for n in (40, 60, 20)
    )
    assert np.median(ahead) > np.median(usual) + 20 > np.median(behind) + 40
    assert (reforecast_within_day(prior(100), 400.0, int(kinds[-1]), pickup) >= 400.0).all()


def test_holidays_are_like_the_end_of_the_country_s_weekend() -> None:
    """China's National Day is a Sunday, its make-up Sunday a Monday; Israel's weekend ends on Saturday."""
    days = pd.DatetimeIndex(["2024-09-29", "2024-10-01", "2024-10-08"])
    assert effective_weekdays(days, "CN").tolist() == [0, 6, 1]
    passover = pd.DatetimeIndex(["2024-04-23", "2024-04-30"])
    assert effective_weekdays(passover, "IL").tolist()[0] == 5
