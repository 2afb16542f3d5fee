"""The request model: shape, level and surge are told apart, outages are skipped, nothing looks ahead."""

from __future__ import annotations

import copy
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from forecasting.models import requests
from forecasting.models.requests import RequestState, begin, factors, fit, predict, update
from forecasting.models.steps import step_grid
from tests.support.request_series import grid_of, weekly

LEVELS = (0.1, 0.5, 0.9)
QUARTER = 15


def median(state: RequestState, lead: int) -> float:
    """The median forecast in requests a step."""
    return float(predict(state, [lead], [0.5])[0, 0]) * 60 * state.grid.minutes


def test_a_flat_series_is_forecast_flat() -> None:
    """Constant requests for three days: every quantile is that constant, two days ahead within a quarter."""
    state = fit(grid_of(3, 5), np.full(3 * 288, 50.0))
    told = predict(state, [1, 12, 144, 576], LEVELS) * 300.0
    assert told[:, :3] == pytest.approx(np.full((3, 3), 50.0), rel=0.12)
    assert told[:, 3] == pytest.approx(np.full(3, 50.0), rel=0.25)


def test_the_weekly_shape_is_learned_in_two_weeks() -> None:
    """After fifteen days a Tuesday noon is foreseen at midnight, and a Saturday's is half as high."""
    days = 15
    state = fit(grid_of(days, QUARTER), weekly(days, QUARTER))
    expected = weekly(days + 3, QUARTER, seed=None)[days * 96 :]
    assert median(state, 52) == pytest.approx(expected[51], rel=0.12)
    friday = fit(grid_of(19, QUARTER), weekly(19, QUARTER))
    assert median(friday, 52) == pytest.approx(200.0, rel=0.2)


def test_from_no_history_the_recent_level_is_followed() -> None:
    """Before anything is known the answer is small but sound; after an hour it is the last hour's level."""
    state = begin(grid_of(1, 5))
    assert np.isfinite(predict(state, [1, 12], LEVELS)).all()
    for _ in range(12):
        update(state, 120.0)
    assert median(state, 1) == pytest.approx(120.0, rel=0.1)
    assert median(state, 12) == pytest.approx(120.0, rel=0.15)


def test_a_growing_surge_is_followed_within_half_an_hour() -> None:
    """Requests grow by half every five minutes: from the sixth step on 0.9 reaches most of the next one."""
    days = 8
    state = fit(grid_of(days, 5), weekly(days, 5))
    low, high = [], []
    value = float(weekly(days, 5)[-12 * 12])
    for _ in range(12):
        value *= 1.5
        update(state, value)
        told = predict(state, [1], [0.5, 0.9])[:, 0] * 300.0
        low.append(told[0] / (1.5 * value))
        high.append(told[1] / (1.5 * value))
    assert min(low[5:]) > 0.5
    assert min(high[5:]) > 0.9
    assert factors(state, 1).surge > 2.0


def test_a_steep_rise_is_not_drawn_on_for_two_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten days that each double: the noon two days ahead is hardly more than two doublings above today's.

    Control: without the damping it is ten times as much.
    """
    days = 10
    growth = np.repeat(2.0 ** np.arange(days), 96)
    y = np.round(weekly(days, QUARTER, peak=50.0, seed=None) * growth)
    noon_today, ahead = 50.0 * growth[-1], 96 + 52
    assert noon_today < median(fit(grid_of(days, QUARTER), y), ahead) < 6.0 * noon_today
    monkeypatch.setattr(requests, "_damped", lambda _state, _leads, deviation: deviation)
    assert median(fit(grid_of(days, QUARTER), y), ahead) > 10.0 * noon_today


def dead(days: int, minutes: int, hours: float, *, at_day: int, at_hour: float = 12.0) -> np.ndarray:
    """The weekly series with some hours of nothing."""
    y = weekly(days, minutes)
    start = at_day * 1440 // minutes + round(at_hour * 60 / minutes)
    y[start : start + round(hours * 60 / minutes)] = 0.0
    return y


def test_a_dead_hour_is_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing comes the expectation stands, and a week later noon is forecast as if nothing had been.

    Control: without the rule the forecast falls with the outage.
    """
    days, noon = 16, 8 * 288 + 144
    whole = fit(grid_of(days, 5), weekly(days, 5)[: noon + 12])
    out = fit(grid_of(days, 5), dead(days, 5, 1, at_day=8)[: noon + 12])
    assert out.outages == list(range(noon, noon + 12))
    assert median(out, 2) == pytest.approx(median(whole, 2), rel=0.2)
    later = 15 * 288 + 100
    whole = fit(grid_of(days, 5), weekly(days, 5)[:later])
    out = fit(grid_of(days, 5), dead(days, 5, 1, at_day=8)[:later])
    assert median(out, 50) == pytest.approx(median(whole, 50), rel=0.03)

    monkeypatch.setattr(requests, "OUTAGE_RATIO", -1.0)
    believed = fit(grid_of(days, 5), dead(days, 5, 1, at_day=8)[: noon + 12])
    assert median(believed, 2) < 0.3 * median(whole, 50)


def test_a_collapse_that_lasts_is_believed() -> None:
    """After three hours of nothing the forecast comes down."""
    days, noon = 9, 8 * 288 + 120
    state = fit(grid_of(days, 5), dead(days, 5, 6, at_day=8, at_hour=10.0)[: noon + 60])
    assert len(state.outages) == 36
    assert median(state, 1) < 100


def test_the_end_of_a_burst_is_no_outage() -> None:
    """A burst of thirty times the usual that ends at once leaves no step marked."""
    days = 8
    y = np.concatenate([np.full(days * 288, 60.0), np.full(6, 1800.0), np.full(6, 60.0)])
    state = fit(grid_of(days + 1, 5), np.random.default_rng(3).poisson(y).astype(float))
    assert state.outages == []


def test_unknown_steps_change_no_expectation() -> None:
    """Two hours without a record: the forecast is that of before, nothing is marked as an outage."""
    days = 10
    y = weekly(days, QUARTER)
    gap = y.copy()
    gap[-8:] = np.nan
    whole, holed = fit(grid_of(days, QUARTER), y), fit(grid_of(days, QUARTER), gap)
    assert holed.outages == []
    assert median(holed, 52) == pytest.approx(median(whole, 52), rel=0.05)


def test_nights_without_a_record_make_nothing_out_of_nothing() -> None:
    """Closed hours of which nothing is expected and nothing known leave the mornings as if 0 had been known.

    Each such night once multiplied the deviation, until a morning was foreseen at a hundred times its load.
    """
    days, slot = 6, np.arange(96)
    day = np.where((slot >= 32) & (slot < 80), 900.0 * np.exp(-(((slot / 4.0 - 13.0) / 4.0) ** 2)), 0.0)
    expected = np.tile(day, days + 3)
    rng = np.random.default_rng(5)
    came = rng.poisson(np.concatenate([day * np.exp(rng.normal(0.0, 0.2)) for _ in range(days)])).astype(
        float
    )
    unknown = np.where(expected[: days * 96] > 0, came, np.nan)
    for until in range(2 * 96 + 32, days * 96, 96):
        grid = grid_of(days, QUARTER)
        known, holed = (fit(grid, y[:until], expected) for y in (came, unknown))
        assert median(holed, 1) == pytest.approx(median(known, 1), rel=0.5)
        assert median(holed, 8) == pytest.approx(median(known, 8), rel=0.5)


def test_the_future_changes_nothing() -> None:
    """Two series that part at noon are forecast alike until noon."""
    days, cut = 4, 3 * 288 + 144
    y = weekly(days, 5)
    other = y.copy()
    other[cut:] *= 9.0
    one, two = begin(grid_of(days, 5)), begin(grid_of(days, 5))
    for step in range(cut + 3):
        update(one, y[step])
        update(two, other[step])
        same = np.array_equal(predict(one, [1, 12], LEVELS), predict(two, [1, 12], LEVELS))
        assert same == (step < cut), step


def test_quantiles_cover_what_they_say_on_bursts() -> None:
    """On a series of random bursts 0.9 holds nine of ten steps at five and at thirty minutes."""
    rng = np.random.default_rng(5)
    days = 12
    burst = np.zeros(days * 288)
    for start in rng.integers(0, len(burst), 60):
        length = min(40, len(burst) - start)
        burst[start : start + length] += rng.uniform(0.5, 2.0) * np.exp(-np.arange(length) / 10.0)
    y = rng.poisson(weekly(days, 5, seed=None) * np.exp(burst)).astype(float)
    state = begin(grid_of(days, 5))
    told = np.full((2, len(y) + 6), np.nan)
    for step, value in enumerate(y):
        update(state, value)
        found = predict(state, [1, 6], [0.9])[0] * 300.0
        told[0, step + 1], told[1, step + 6] = found
    for row in told:
        held = (y <= row[: len(y)])[3 * 288 :].mean()
        assert 0.87 <= held <= 0.93


def test_a_given_expectation_replaces_the_shape() -> None:
    """Told to expect double, the forecast doubles at once; where nothing is told the shape stands."""
    days = 10
    y, grid = weekly(days, QUARTER), grid_of(days, QUARTER)
    told = np.concatenate([weekly(days, QUARTER, seed=None), 2.0 * weekly(2, QUARTER, seed=None)])
    expected = np.concatenate([told, np.full(len(grid) - len(told), np.nan)])
    state = fit(grid, y, expected)
    assert median(state, 52) == pytest.approx(2.0 * median(fit(grid, y), 52), rel=0.25)


def test_the_day_level_moves_with_the_day_so_far() -> None:
    """A day that runs a third above its forecast until noon is expected above it in the afternoon, too."""
    days, noon = 21, 48
    levels = np.exp(np.random.default_rng(2).normal(0.0, 0.25, days))
    expected = weekly(days + 3, QUARTER, seed=None)
    y = weekly(days, QUARTER, seed=None) * np.repeat(levels, 96)
    state = fit(grid_of(days, QUARTER), y, expected)
    for step in range(days * 96, days * 96 + noon):
        update(state, 1.33 * expected[step])
    afternoon = median(state, 16) / expected[days * 96 + noon + 15]
    assert 1.15 < afternoon < 1.45
    parts = factors(state, 16)
    assert parts.shape_rps * 900 == pytest.approx(expected[days * 96 + noon + 15])
    assert parts.day_level * parts.surge == pytest.approx(afternoon, rel=0.1)


def test_a_day_off_on_a_weekday_borrows_from_days_off() -> None:
    """A Tuesday off is expected like a weekend day, not like the Tuesdays before."""
    days = 22  # the last known day is a Monday
    local = pd.date_range("2026-03-02", periods=(days + 3) * 96, freq="15min").to_numpy()
    first = date(2026, 3, 2)
    works = {first + timedelta(days=n): n % 7 < 5 and n != days for n in range(days + 3)}
    plain = fit(grid_of(days, QUARTER), weekly(days, QUARTER))
    off = fit(step_grid(local, QUARTER, works), weekly(days, QUARTER))
    assert median(off, 52) < 0.75 * median(plain, 52)


def test_days_of_clock_change_have_92_and_100_quarter_hours() -> None:
    """Slots follow the local clock: the forecast of noon stands at noon on the days of clock change too."""
    zone = "Europe/Berlin"
    for first, change, quarters in (("2026-03-02", "2026-03-29", 92), ("2026-10-05", "2026-10-25", 100)):
        begins = pd.Timestamp(first, tz=zone)
        ends = pd.Timestamp(change, tz=zone) + pd.Timedelta(days=3)
        local = pd.date_range(begins, ends, freq="15min", inclusive="left").tz_localize(None).to_numpy()
        grid = step_grid(local, QUARTER)
        day = (np.datetime64(change) - np.datetime64("1970-01-01")).astype(int)
        assert (grid.day == day).sum() == quarters
        noon = int(np.flatnonzero((grid.day == day) & (grid.slot == 48))[0])
        shape = weekly(1, QUARTER, seed=None)
        state = fit(grid, shape[grid.slot[: grid.first_step(day)]])
        ahead = noon - state.seen + 1
        assert ahead == (45 if quarters == 92 else 53)
        assert median(state, ahead) == pytest.approx(shape[48], rel=0.1)
        for step in range(state.seen, grid.first_step(day + 1)):
            update(state, shape[grid.slot[step]])
        assert median(state, 49) == pytest.approx(shape[48], rel=0.1)


def test_a_kept_copy_goes_its_own_way() -> None:
    """A deep copy keeps a state as it was."""
    state = fit(grid_of(2, QUARTER), weekly(2, QUARTER))
    kept = copy.deepcopy(state)
    before = predict(kept, [4], LEVELS)
    update(state, 999.0)
    assert np.array_equal(predict(kept, [4], LEVELS), before)


def test_bad_input_is_named() -> None:
    """What is wrong, where, and what was expected."""
    grid = grid_of(1, QUARTER)
    state = begin(grid)
    with pytest.raises(ValueError, match="expected 0 or more"):
        update(state, -1.0)
    with pytest.raises(ValueError, match="expected 1 to 192 steps"):
        predict(state, [193], [0.5])
    with pytest.raises(ValueError, match="between 0 and 1"):
        predict(state, [1], [1.0])
    with pytest.raises(ValueError, match="for a grid of 384"):
        begin(grid, np.zeros(3))
    with pytest.raises(ValueError, match="make it longer"):
        fit(grid, np.zeros(385))
    local = pd.date_range("2026-03-02", periods=3, freq="7min").to_numpy()
    with pytest.raises(ValueError, match="a divisor of 1440"):
        step_grid(local, 7)
    with pytest.raises(ValueError, match=r"starts at 2026-03-02T00:07"):
        step_grid(local, 15)
    with pytest.raises(ValueError, match="no entry for 2026-03-02"):
        step_grid(local[:1], 15, {})
