"""Corrections within the day: what is released, what needs a person, what channels hand on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.decisions.intraday import (
    Above,
    ChannelState,
    DayState,
    Why,
    channel_need,
    correction_plan,
    correction_record,
    corrections,
    foreseen,
    least_step,
    quarter_key_of,
)
from forecasting.decisions.policy import Policy

TODAY = date(2026, 3, 9)
QUARTER = datetime(2026, 3, 9, 2, 15, tzinfo=UTC)
USUAL = np.random.default_rng(1).poisson(40, 400).astype(float)
POLICY = Policy()


def state(limit: int = 48, *, times: float = 1.0, **changes: Any) -> DayState:
    """A branch's day of usually 40 units (48 at 90 %), whose arrivals say so many times that.

    updated: the paths that they lead to, where it is not a multiple.
    """
    seen = foreseen(USUAL, changes.pop("updated", USUAL * times), POLICY)
    values: dict[str, Any] = {
        "scope_kind": "branch",
        "scope_id": "b1",
        "day": TODAY,
        "limit_units": limit,
        "extra_units": 0,
        "used_units": 20,
        **seen._asdict(),
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


def test_funds_cap_a_correction_and_the_item_says_which_cap_it_was() -> None:
    """Units that the day's funds cannot pay out are neither raised nor asked for."""
    made = corrections(state(times=1.5, funds_cap_units=60, staff_cap_units=65), POLICY)
    assert [(r.new_units, r.asks, r.guardrail) for r in made] == [(55, False, None), (60, True, "funds_cap")]
    assert raised(state(times=1.5, funds_cap_units=48)) == []
    [item] = (correction_plan("north", kept(state(times=1.5, funds_cap_units=51)), asks=False) or {})["items"]
    assert (item["new_limit"], item["guardrail"]) == (51, "funds_cap")
    assert item["inputs"]["funds_cap_units"] == 51


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
    assert raised(state(times=1.54, done_units=55, asked_units=71)) == []
    assert raised(state(times=1.7, done_units=55, asked_units=71)) == [(80, Why.EMERGENCY, True)]


def channel(
    limit: int, used: int, *, arrived: int = 0, share: float = 0.5, of_all: int = 0, times: float = 1.0
) -> ChannelState:
    """A channel with that share of what still comes of the usual day after `of_all` arrivals of all."""
    coming = np.maximum(USUAL * times - of_all, 0.0)
    return ChannelState(limit, used, channel_need(coming, coming * share, used, arrived, POLICY))


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
        "app": channel(24, 24, arrived=30, share=0.8, of_all=31),
        "phone": channel(24, 1, arrived=1, share=0.2, of_all=31),
    }
    made = state(hours_before=30.0, channels=channels, used_units=25)
    [handed] = corrections(made, POLICY)
    assert (handed.channel, handed.why, handed.asks) == ("app", Why.HANDED_ON, False)
    assert 24 < handed.new_units <= 48
    busy = {
        "app": channel(24, 24, arrived=30, share=0.8, of_all=54, times=2.0),
        "phone": channel(24, 24, arrived=24, share=0.2, of_all=54, times=2.0),
    }
    found = corrections(state(hours_before=30.0, channels=busy, used_units=48, times=2.0), POLICY)
    assert {made.channel for made in found} == {"*"}


@given(
    limit=st.integers(0, 80),
    used=st.integers(0, 90),
    extra=st.integers(0, 20),
    held=st.integers(0, 20),
    times=st.floats(0, 3),
    before=st.floats(-20, 60),
    staff=st.none() | st.integers(0, 100),
    funds=st.none() | st.integers(0, 100),
    app=st.integers(0, 80),
    phone=st.integers(0, 80),
)
def test_nothing_is_lowered_nor_above_the_whole(
    limit: int, used: int, extra: int, held: int, times: float, before: float, staff: int | None,
    funds: int | None, app: int, phone: int,
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
        funds_cap_units=funds,
        channels=channels,
    )
    found = corrections(made, POLICY)
    own = [r.new_units for r in found if r.channel == "*" and not r.asks]
    whole = max([limit, *own])
    assert all(r.new_units > r.old_units for r in found)
    assert all(r.new_units >= r.used_units for r in found if r.channel == "*")
    assert all(r.new_units <= whole and not r.asks for r in found if r.channel != "*")
    for cap in (staff, funds):
        assert all(cap is None or r.new_units <= cap for r in found if r.channel == "*")
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


def kept(*states: DayState, policy: Policy = POLICY) -> dict[str, Any]:
    """What is kept of the corrections of the states, as a database gives it back."""
    record = correction_record(states, quarter=QUARTER, today=TODAY, run_id="r1", policy=policy)
    told: dict[str, Any] = json.loads(json.dumps(record))
    return told


def test_plans_tell_what_and_why() -> None:
    """What needs nobody and what a person decides are two plans, named after quarter-hour and region.

    A person is asked until the day is over, where that comes before `approval_hours`.
    """
    record = kept(state(times=1.5), state(scope_id="b2"))
    assert [told["scope_id"] for told in record["states"]] == ["b1"]
    own, asks = (correction_plan("north", record, asks=asks) for asks in (False, True))
    assert own is not None
    assert asks is not None
    assert (own["plan_id"], own["in_band"]) == ("extra-20260309T0215Z-north", True)
    assert quarter_key_of(own["plan_id"]) == quarter_key_of(asks["plan_id"]) == "20260309T0215Z"
    assert (asks["plan_id"], asks["in_band"], asks["verdict"], asks["approval_hours"]) == (
        "extra-20260309T0215Z-north+ask",
        False,
        "emergency",
        14.0,
    )
    assert own["inputs"]["units"] == {"emergency": 7}
    assert (own["items"][0]["old_limit"], own["items"][0]["new_limit"]) == (48, 55)
    tomorrow = kept(state(times=1.5, hours_before=14.0))
    assert (correction_plan("north", tomorrow, asks=True) or {})["approval_hours"] == POLICY.approval_hours
    assert correction_record([state()], quarter=QUARTER, today=TODAY, run_id="r1", policy=POLICY) is None
    assert correction_plan("north", kept(state(38, held_back_units=10, updated=USUAL + 1)), asks=True) is None


def test_a_limit_above_that_leaves_too_little_room_is_told() -> None:
    """A raise names each limit above with less room than it opens; what is raised with it counts."""
    rooms = (Above("region:north:*:day 2026-03-09", 30), Above("branch:b1:*:month 2026-03-01", 90))
    own = correction_plan("north", kept(state(times=1.5, above=rooms)), asks=False)
    assert own is not None
    [item] = own["items"]
    assert item["inputs"]["binds"] == [
        {"limit": "region:north:*:day 2026-03-09", "room_units": 30, "opened_units": 35}
    ]
    assert item["condition"].endswith("; region:north:*:day 2026-03-09 has room for 30 of 35 opened")
    region = state(times=1.5, scope_kind="region", scope_id="north")
    both = correction_plan("north", kept(state(times=1.5, above=rooms), region), asks=False)
    assert both is not None
    assert [(i["scope_kind"], i["new_limit"], "binds" in i["inputs"]) for i in both["items"]] == [
        ("branch", 55, False),
        ("region", 55, False),
    ]


def test_raises_that_only_together_exceed_what_is_above_are_told() -> None:
    """Two branches open 35 units each beneath room for 60; room for 70, or one branch alone, is enough."""
    funds = "region:north:*:funds_day 2026-03-09"

    def bound(room: int, *branches: str) -> list[Any]:
        states = [state(times=1.5, scope_id=name, above=(Above(funds, room),)) for name in branches]
        plan = correction_plan("north", kept(*states), asks=False)
        assert plan is not None
        return [item["inputs"].get("binds") for item in plan["items"]]

    assert bound(60, "b1", "b2") == [[{"limit": funds, "room_units": 60, "opened_units": 70}]] * 2
    assert bound(70, "b1", "b2") == [None, None]
    assert bound(60, "b1") == [None]


def test_a_person_is_told_what_binds_after_what_was_raised_without_one() -> None:
    """The region's 7 units of its own make the room; negative control: without them it does not suffice."""
    branch = state(times=1.5, above=(Above("region:north:*:day 2026-03-09", 46),))
    assert 46 < corrections(branch, POLICY)[-1].opens_units <= 46 + 7
    region = state(times=1.5, scope_kind="region", scope_id="north", asked_units=100)
    for states, told in (([branch, region], False), ([branch], True)):
        plan = correction_plan("north", kept(*states), asks=True)
        assert plan is not None
        assert [("binds" in item["inputs"]) for item in plan["items"]] == [told]


def test_a_total_that_a_person_fixed_is_not_raised() -> None:
    """Not even by asking; negative control: the same day of a region that is not fixed is."""
    region = state(times=1.5, scope_kind="region", scope_id="north")
    assert raised(region, Policy(fixed_totals=("region:north:day",))) == []
    assert raised(region, Policy(fixed_totals=("region:south:day", "region:north:week"))) != []


@pytest.mark.parametrize(("limit", "step"), [(0, 2), (20, 2), (100, 5), (101, 6)])
def test_the_least_step_grows_with_the_limit(limit: int, step: int) -> None:
    """Two units, or 5 % of the limit."""
    assert least_step(limit, POLICY) == step
