"""Replayed quotas: the same total for all, the past alone, a waitlist that adds up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.frames import Floats
from forecasting.models.components import MODEL_LEVELS
from forecasting.replay.faults import FAULTS
from forecasting.replay.policies import (
    in_proportion,
    policies_at_level,
    policies_with_total,
    weekly_totals,
)
from forecasting.replay.quotas import (
    FORESIGHT,
    SAME_TOTAL,
    SLOTCAST,
    STATIC,
    Window,
    gap_closed,
    judged,
    window_of,
)
from forecasting.replay.report import as_json, merged
from forecasting.replay.rolling import STEPS, Rolling
from forecasting.replay.waiting import waiting, with_backlog

FIRST = 364
MONDAY = pd.Timestamp("2024-01-01")
Z = np.array([-2.33, -1.96, -1.64, -1.28, -0.84, -0.52, -0.25, 0, 0.25, 0.52, 0.84, 1.28, 1.64, 1.96, 2.33])


def demand(series: int = 3, weeks: int = 6, *, seed: int = 1) -> Floats:
    """Demand with a weekday profile, 52 weeks before the replay and `weeks` in it."""
    rng = np.random.default_rng(seed)
    profile = np.tile([1.6, 1.2, 1.0, 0.9, 1.3, 0.6, 0.4], 52 + weeks)
    return rng.poisson(40 * profile, size=(series, len(profile))).astype(float)


def levels_of(values: Floats, weeks: int) -> Floats:
    """A sound forecast: the weekday's mean over the year before, spread like counts."""
    days, series = weeks * 7, len(values)
    levels = np.empty((days, series, len(MODEL_LEVELS), STEPS))
    for day in range(days):
        for step in range(STEPS):
            place = FIRST + day + step
            mean = values[:, place % 7 : FIRST : 7].mean(axis=1)
            levels[day, :, :, step] = np.maximum(mean[:, None] + np.sqrt(mean)[:, None] * Z, 0)
    return levels


def window(values: Floats) -> Window:
    """The window that the values belong to."""
    days = pd.date_range(MONDAY - pd.Timedelta(days=FIRST), periods=values.shape[1], freq="D")
    series = {f"s{n}": pd.Series(row, index=days) for n, row in enumerate(values)}
    return Window(series, MONDAY, (values.shape[1] - FIRST) // 7, ())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([None, *FAULTS]))
def test_every_policy_has_the_same_units_a_week(seed: int, fault: str | None) -> None:
    """With a total nobody sets a unit more or less in any week, however broken the forecast is."""
    values = demand(weeks=3, seed=seed)
    levels = levels_of(values, 3)
    if fault:
        levels = FAULTS[fault](levels, 7)
    totals = weekly_totals(values, FIRST)
    for policy, quotas in policies_with_total(values, FIRST, {"forecast": levels}).items():
        weekly = quotas.reshape(len(values), 3, 7).sum(axis=2)
        assert np.allclose(weekly, totals[:, None]), policy
        assert (quotas >= 0).all(), policy


def test_no_policy_but_foresight_knows_the_day_it_plans() -> None:
    """Changing a day's demand, and all later ones, changes no quota up to that day."""
    values = demand()
    levels = levels_of(values, 6)
    day = 17
    changed = values.copy()
    changed[:, FIRST + day :] *= 3
    before = policies_with_total(values, FIRST, {"forecast": levels})
    after = policies_with_total(changed, FIRST, {"forecast": levels})
    for policy in set(before) - {FORESIGHT}:
        assert np.allclose(before[policy][:, : day + 1], after[policy][:, : day + 1]), policy
    assert not np.allclose(before[FORESIGHT][:, :day], after[FORESIGHT][:, :day])  # the control
    before = policies_at_level(values, FIRST, levels, 0.9)
    after = policies_at_level(changed, FIRST, levels, 0.9)
    for policy in before:
        assert np.allclose(before[policy][:, : day + 1], after[policy][:, : day + 1]), policy


def test_a_sound_forecast_closes_most_of_the_gap_and_a_broken_one_harms_little() -> None:
    """On a plain weekly profile Slotcast closes over half; with spikes it stays near last week's demand."""
    values = demand(weeks=10)
    levels = levels_of(values, 10)
    sound = judged(window(values), Rolling(MONDAY, levels, {}, ()), service_level=0.9)
    assert gap_closed(sound.results, SLOTCAST) > 0.5
    assert gap_closed(sound.results, STATIC) == 0
    assert gap_closed(sound.results, FORESIGHT) == 1
    broken = judged(window(values), Rolling(MONDAY, FAULTS["spikes"](levels, 0), {}, ()), service_level=0.9)
    unmet = {r.policy: r.unmet for r in broken.results if r.setting == SAME_TOTAL}
    assert unmet[SLOTCAST] < 1.1 * unmet["last_week"]
    spiked = FAULTS["spikes"](levels, 0)[:, :, MODEL_LEVELS.index(0.5), 0].T
    alone = in_proportion(spiked, weekly_totals(values, FIRST))
    assert np.maximum(values[:, FIRST:] - alone, 0).sum() > 1.5 * unmet["last_week"]  # the control


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=40).flatmap(
        lambda d: st.tuples(st.just(d), st.lists(st.integers(0, 20), min_size=len(d), max_size=len(d)))
    )
)
def test_the_waitlist_adds_up(case: tuple[list[int], list[int]]) -> None:
    """Nobody is waitlisted who was served on the day, nobody waits longer than their patience."""
    wished, quotas = (np.array(row, dtype=float) for row in case)
    found = waiting(wished, quotas)
    assert 0 <= found.gave_up <= found.waitlisted <= wished.sum()
    assert found.waitlisted >= np.maximum(wished - quotas, 0).max()
    assert found.average_days <= 14


def test_a_waitlist_is_served_before_the_day() -> None:
    """Five refused on the first day go first on the second; who is refused then waits on."""
    found = waiting(np.array([10.0, 5.0, 0.0]), np.array([5.0, 5.0, 5.0]))
    assert (found.waitlisted, found.waited_days, found.gave_up) == (10.0, 10.0, 0.0)


def test_a_plan_that_sees_its_waitlist_serves_it_the_next_day() -> None:
    """With the backlog in the quota nobody waits two days."""
    wished, quotas = np.array([20.0, 5.0, 5.0, 5.0]), np.full(4, 5.0)
    assert waiting(wished, quotas).average_days > 1
    assert waiting(wished, with_backlog(wished, quotas)).average_days == pytest.approx(1.0)


def test_every_policy_at_its_own_quantile_serves_who_waits_alike_and_pays_for_it() -> None:
    """All raise their quotas by who waits, so that nobody waits two days; each raised unit costs an idle one.

    The control: at the same total no unit is raised, whoever shares it out, and people wait longer.
    """
    values = demand(weeks=4)
    values[:, FIRST:] *= 1.4
    made = judged(window(values), Rolling(MONDAY, levels_of(values, 4), {}, ()), service_level=0.9)
    for r in made.results:
        if r.setting == SAME_TOTAL:
            assert (r.raised, r.raised_cost) == (0.0, r.cost), r.policy
            assert r.waiting.average_days > 2, r.policy
        else:
            assert r.waiting.average_days == pytest.approx(1.0), r.policy
            assert r.waiting.waitlisted == pytest.approx(r.unmet), r.policy
            late = np.maximum(values[:, -1] - made.quotas[r.setting][r.policy][:, -1], 0.0).sum()
            assert r.raised == pytest.approx(r.unmet - late), r.policy
            assert r.raised_cost == pytest.approx(r.cost + 0.1 * r.raised), r.policy
    together = merged([made, made])
    assert [each.raised for each in together] == [2 * r.raised for r in made.results]
    waited = as_json(together, {})["figures"]
    assert waited["raised_own_quantile_static"] > 0 == waited["raised_same_total_static"]


def test_the_window_is_whole_weeks_after_a_year() -> None:
    """It ends on a Sunday, and leaves out who began too late."""
    days = pd.date_range("2023-01-04", "2024-06-19", freq="D")
    long = pd.Series(1.0, index=days)
    late = pd.Series(1.0, index=days[200:])
    found = window_of({"long": long, "also": long, "late": late}, 26)
    assert found is not None
    assert found.first.weekday() == 0
    assert found.first + pd.Timedelta(days=found.days - 1) == pd.Timestamp("2024-06-16")
    assert list(found.series) == ["long", "also"]
    assert found.left_out == ("late",)


@pytest.mark.parametrize("days", [0, 30, 380])
def test_too_little_history_has_no_window(days: int) -> None:
    """Without 56 weeks there is nothing to replay, and no error either."""
    y = pd.Series(1.0, index=pd.date_range("2024-01-01", periods=days, freq="D"), dtype=float)
    assert window_of({"a": y}, 26) is None
