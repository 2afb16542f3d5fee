"""Corrections within the day: what is released, what needs a person, what channels hand on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.decisions.intraday import (
    ChannelState,
    DayState,
    Why,
    correction_plan,
    corrections,
    least_step,
)
from forecasting.decisions.policy import Policy

TODAY = date(2026, 3, 9)
QUARTER = datetime(2026, 3, 9, 2, 15, tzinfo=UTC)
USUAL = np.random.default_rng(1).poisson(40, 400).astype(float)
POLICY = Policy()


def state(limit: int = 48, *, times: float = 1.0, **changes: Any) -> DayState:
    """A branch's day of usually 40 units (48 at 90 %), whose arrivals say so many times that."""
    values: dict[str, Any] = {
        "branch_id": "b1",
        "day": TODAY,
        "limit_units": limit,
        "extra_units": 0,
        "used_units": 20,
        "stored": USUAL,
        "updated": USUAL * times,
        "hours_before": -10.0,
    }
    return DayState(**(values | changes))


def raised(made: DayState, policy: Policy = POLICY) -> list[tuple[int, Why, bool]]:
    """(new limit, why, whether a person is asked) of what is raised."""
    return [(r.new_units, r.why, r.asks) for r in corrections(made, policy)]


def test_a_day_as_forecast_is_left_alone() -> None:
    """Arrivals as forecast, or fewer, move nothing, though the limit lies a little below the quantile."""
    assert raised(state()) == raised(state(times=0.5)) == raised(state(45)) == []


def test_what_was_held_back_is_released_first() -> None:
    """A likely refusal opens what the plan kept back, without a person and not more than that."""
    made = state(38, held_back_units=10, updated=USUAL + 1)
    assert raised(made) == [(48, Why.HELD_BACK, False)]


def test_an_emergency_is_small_by_itself_and_large_by_a_person() -> None:
    """Arrivals 1.5 times the forecast: 15 % of the limit at once, all that is needed when approved."""
    assert raised(state(times=1.5)) == [(55, Why.EMERGENCY, False), (71, Why.EMERGENCY, True)]


def test_the_band_counts_what_was_given_before() -> None:
    """After 7 emergency units the next run gives none by itself: the band is the day's."""
    later = state(55, times=1.6, extra_units=7, asked_units=71)
    assert raised(later) == [(76, Why.EMERGENCY, True)]
    assert raised(replace(later, asked_units=76)) == []


def test_without_the_count_the_band_would_grow_with_every_run() -> None:
    """Negative control: forgotten extra units would open another 15 % each quarter-hour."""
    later = state(55, times=1.6, asked_units=99)
    assert raised(later) == [(63, Why.EMERGENCY, False)]


def test_a_limit_below_the_forecast_is_no_emergency() -> None:
    """Where guardrails hold the limit down and arrivals are as forecast, the plan's decision stands."""
    assert raised(state(20)) == []


def test_staff_that_cannot_be_had_caps_a_correction() -> None:
    """No correction raises above what the staff can serve."""
    assert raised(state(times=1.5, staff_cap_units=50)) == []
    assert raised(state(times=1.5, staff_cap_units=60)) == [
        (55, Why.EMERGENCY, False),
        (60, Why.EMERGENCY, True),
    ]


def test_nothing_is_raised_by_itself_on_a_frozen_day_or_above_the_ceiling() -> None:
    """A frozen day asks a person, whatever channels leave; what needs nobody ends at the ceiling."""
    frozen = Policy(frozen_days=(TODAY.isoformat(),), ceiling_day_units=50)
    channels = {"app": channel(30, 30), "phone": channel(18, 2)}
    made = state(50, times=2.0, held_back_units=10, channels=channels)
    assert raised(made, frozen) == [(94, Why.EMERGENCY, True)]
    assert any(not asks for *_, asks in raised(made))
    assert raised(state(46, times=1.5), Policy(ceiling_day_units=50)) == [
        (50, Why.EMERGENCY, False),
        (71, Why.EMERGENCY, True),
    ]
    assert raised(state(50, times=1.5), Policy(ceiling_day_units=50)) == [(71, Why.EMERGENCY, True)]
    assert raised(state(46, times=1.5, unplanned_units=5), POLICY) == [
        (50, Why.EMERGENCY, False),
        (71, Why.EMERGENCY, True),
    ]
    released = state(45, held_back_units=10, updated=USUAL + 8)
    assert raised(released, Policy(ceiling_day_units=48))[0] == (48, Why.HELD_BACK, False)


def test_wavering_forecasts_move_nothing_twice() -> None:
    """What was asked for is not asked again until clearly more is needed: no flapping."""
    first = state(times=1.5)
    done = replace(first, done_units=55, asked_units=71)
    assert raised(done) == []
    assert raised(replace(done, updated=USUAL * 1.54)) == []
    assert raised(replace(done, updated=USUAL * 1.7)) == [(80, Why.EMERGENCY, True)]


def channel(limit: int, used: int, *, arrived: int = 0, share: float = 0.5, done: int = 0) -> ChannelState:
    return ChannelState(limit, used, arrived, share, done)


def test_before_the_day_unused_shares_open_to_all() -> None:
    """From the release hour on each channel may use what is free of the whole, and that is said once."""
    channels = {"app": channel(30, 30), "phone": channel(18, 2)}
    early = state(hours_before=20.0, channels=channels, used_units=32)
    assert [r for r in corrections(early, POLICY) if r.why is Why.RELEASED] == []
    late = corrections(replace(early, hours_before=12.0), POLICY)
    assert [(r.channel, r.old_units, r.new_units) for r in late] == [("app", 30, 48), ("phone", 18, 48)]
    after = {name: replace(found, limit_units=48) for name, found in channels.items()}
    assert corrections(replace(early, hours_before=11.75, channels=after), POLICY) == []


def test_a_channel_that_falls_short_hands_on_to_one_that_runs_out() -> None:
    """Ahead of the release, what the phone is not expected to need goes to the app, and not more."""
    channels = {
        "app": channel(24, 24, arrived=30, share=0.8),
        "phone": channel(24, 1, arrived=1, share=0.2),
    }
    made = state(hours_before=30.0, channels=channels, used_units=25, arrived_units=31)
    [handed] = corrections(made, POLICY)
    assert (handed.channel, handed.why, handed.asks) == ("app", Why.HANDED_ON, False)
    assert 24 < handed.new_units <= 48
    busy = {**channels, "phone": channel(24, 24, arrived=24, share=0.2)}
    assert corrections(replace(made, channels=busy, arrived_units=54, updated=USUAL * 2), Policy()) == [
        r for r in corrections(replace(made, channels=busy, arrived_units=54, updated=USUAL * 2), Policy())
        if r.channel == "*"
    ]  # fmt: skip


@given(
    limit=st.integers(0, 80),
    used=st.integers(0, 90),
    extra=st.integers(0, 20),
    held=st.integers(0, 20),
    times=st.floats(0, 3),
    before=st.floats(-20, 60),
    staff=st.none() | st.integers(0, 100),
    app=st.integers(0, 80),
    phone=st.integers(0, 80),
)
def test_nothing_is_lowered_nor_above_the_whole(
    limit: int, used: int, extra: int, held: int, times: float, before: float, staff: int | None,
    app: int, phone: int,
) -> None:  # fmt: skip
    """Each correction raises, never ends below what is used; a channel never lies above all channels."""
    extra = min(extra, limit)
    channels = {
        "app": channel(min(app, limit), min(used, app), share=0.6),
        "phone": channel(min(phone, limit), 0, share=0.4),
    }
    made = state(
        limit,
        times=times,
        used_units=used,
        extra_units=extra,
        held_back_units=held,
        hours_before=before,
        staff_cap_units=staff,
        channels=channels,
    )
    found = corrections(made, POLICY)
    own = [r.new_units for r in found if r.channel == "*" and not r.asks]
    whole = max([limit, *own])
    assert all(r.new_units > r.old_units for r in found)
    assert all(r.new_units >= r.used_units for r in found if r.channel == "*")
    assert all(r.new_units <= whole and not r.asks for r in found if r.channel != "*")
    assert all(staff is None or r.new_units <= staff for r in found if r.channel == "*")
    room = held + int((limit - extra) * POLICY.correction_auto_ratio)
    assert all(r.new_units - max(limit, used) <= room for r in found if r.channel == "*" and not r.asks)


@given(times=st.floats(0.5, 3), limit=st.integers(5, 80))
def test_applied_and_asked_again_nothing_more_is_done(times: float, limit: int) -> None:
    """With what was raised in force and asked for, the same arrivals correct nothing: idempotent."""
    made = state(limit, times=times)
    found = corrections(made, POLICY)
    own = max([limit, *(r.new_units for r in found if not r.asks)])
    asked = max([0, *(r.new_units for r in found if r.asks)])
    again = replace(made, limit_units=own, extra_units=own - limit, done_units=own, asked_units=asked)
    assert corrections(again, POLICY) == []


def test_plans_tell_what_and_why() -> None:
    """What needs nobody and what a person decides are two plans, named after quarter-hour and region."""
    found = corrections(state(times=1.5), POLICY)
    given_values: dict[str, Any] = {
        "quarter": QUARTER, "today": TODAY, "region": "north", "run_id": "r1", "policy": POLICY,
    }  # fmt: skip
    own = correction_plan(found, asks=False, **given_values)
    asks = correction_plan(found, asks=True, **given_values)
    assert own is not None
    assert asks is not None
    assert (own["plan_id"], own["in_band"]) == ("extra-20260309T0215Z-north", True)
    assert (asks["plan_id"], asks["in_band"], asks["verdict"]) == (
        "extra-20260309T0215Z-north+ask",
        False,
        "emergency",
    )
    assert own["inputs"]["units"] == {"emergency": 7}
    assert (own["items"][0]["old_limit"], own["items"][0]["new_limit"]) == (48, 55)
    assert correction_plan([], asks=False, **given_values) is None


@pytest.mark.parametrize(("limit", "step"), [(0, 2), (20, 2), (100, 5), (101, 6)])
def test_the_least_step_grows_with_the_limit(limit: int, step: int) -> None:
    """Two units, or 5 % of the limit."""
    assert least_step(limit, POLICY) == step
