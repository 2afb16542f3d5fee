"""Quota proposals and plans: quantiles of sums, what is kept, and the guard band in a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from forecasting.decisions.guardrails import Veto
from forecasting.decisions.plan import plan_of_record, quota_plan
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import (
    BranchForecast,
    DisplacedUnits,
    LimitState,
    QuotaProposal,
    RegionState,
    propose_quotas,
)
from forecasting.frames import SamplePaths

THURSDAY = date(2016, 7, 28)
FRIDAY = date(2016, 7, 29)
MONDAY = date(2016, 7, 25)


def day_limit(day: date = FRIDAY, *, branch: str = "a", limit: int = 20, used: int = 0) -> LimitState:
    return LimitState("branch", branch, "day", day, limit, used)


def forecast(values: np.ndarray | Sequence[Sequence[float]], model: str = "prophet") -> BranchForecast:
    return BranchForecast(model, SamplePaths(FRIDAY, np.asarray(values, dtype=float)))


def noisy(seed: int, days: int = 40, mean: float = 20.0) -> BranchForecast:
    return forecast(np.random.default_rng(seed).poisson(mean, (200, days)))


def state(
    limits: Sequence[LimitState], forecasts: dict[str, BranchForecast], **changes: object
) -> RegionState:
    values: dict[str, object] = {
        "period": THURSDAY,
        "branches": ("a", "b"),
        "limits": limits,
        "forecasts": forecasts,
        "used": {},
        "staff_caps": {"a": None, "b": None},
    }
    return RegionState(**(values | changes))  # type: ignore[arg-type]


def critical(units: np.ndarray, level: float) -> float:
    """The fewest units that so large a share of the paths stays within."""
    return float(np.sort(units)[math.ceil(level * len(units) - 1e-9) - 1])


def only(proposals: list[QuotaProposal]) -> QuotaProposal:
    assert len(proposals) == 1
    return proposals[0]


def test_a_day_quota_is_the_service_level_quantile() -> None:
    """The proposal for a day is the policy's quantile of that day's sample paths."""
    made = noisy(1)
    proposal = only(propose_quotas(state([day_limit()], {"a": made}), Policy(service_level=0.8)))
    assert proposal.proposed == pytest.approx(critical(made.paths.values[:, 0], 0.8))
    assert (proposal.quantile, proposal.model) == (0.8, "prophet")


def test_a_week_is_used_units_plus_the_quantile_of_summed_paths() -> None:
    """Days up to the period count as used, the others by their summed paths, not summed quantiles."""
    made = noisy(2)
    week = LimitState("branch", "a", "week", MONDAY, 100, 60)
    used = {("a", MONDAY): 11, ("a", THURSDAY): 7, ("b", MONDAY): 99}
    proposal = only(propose_quotas(state([week], {"a": made}, used=used), Policy()))
    assert proposal.proposed == pytest.approx(18 + critical(made.paths.values[:, :3].sum(axis=1), 0.9))
    summed_quantiles = np.quantile(made.paths.values[:, :3], 0.9, axis=0).sum()
    assert proposal.proposed < 18 + summed_quantiles


def moved(day: date, wished_branch: str, wished_day: date, units: int) -> DisplacedUnits:
    return DisplacedUnits(day, wished_branch, wished_day, units)


SATURDAY, SUNDAY = FRIDAY + timedelta(days=1), FRIDAY + timedelta(days=2)


def test_who_was_displaced_into_a_day_is_planned_beside_its_own_customers() -> None:
    """A day's proposal is the units held by wishes from elsewhere plus the quantile of its own demand."""
    made = noisy(9)
    displaced = {"a": [moved(FRIDAY, "a", THURSDAY, 12), moved(FRIDAY, "b", FRIDAY, 3)]}
    own = critical(made.paths.values[:, 0], 0.9)
    proposal = only(propose_quotas(state([day_limit()], {"a": made}, displaced=displaced), Policy()))
    assert proposal.proposed == pytest.approx(15 + own)
    assert proposal.inputs["displaced_units"] == 15
    alone = only(propose_quotas(state([day_limit()], {"a": made}), Policy()))
    assert (alone.proposed, alone.inputs["displaced_units"]) == (pytest.approx(own), 0)


def test_a_wish_that_moved_within_a_period_is_counted_once() -> None:
    """A week or region holds only wishes from outside it apart: the others are in its own demand."""
    made = {"a": noisy(10), "b": noisy(11)}
    displaced = {
        "a": [
            moved(SATURDAY, "a", FRIDAY, 4),  # within the week that remains
            moved(SATURDAY, "a", THURSDAY, 5),  # its day lies before the planned ones
            moved(SATURDAY, "b", SATURDAY, 6),  # another branch, the same region
            moved(MONDAY + timedelta(days=7), "a", THURSDAY, 7),  # another week
        ]
    }
    limits = [
        day_limit(SATURDAY),
        LimitState("branch", "a", "week", MONDAY, 100, 0),
        LimitState("region", "north", "day", SATURDAY, 100, 0),
        LimitState("region", "north", "week", MONDAY, 100, 0),
    ]
    proposals = propose_quotas(state(limits, made, displaced=displaced), Policy())
    assert [p.inputs["displaced_units"] for p in proposals] == [15, 11, 9, 5]


def test_the_last_days_of_a_month_are_never_short_of_the_months_limit() -> None:
    """A month's limit may fall before its end, not below use and the quantile of what is still to come."""
    made = noisy(12)
    used = {("a", date(2016, 7, 5)): 31, ("a", THURSDAY): 17}
    limits = [LimitState("branch", "a", "month", date(2016, 7, 1), 8374, 60)]
    found = state(limits, {"a": made}, used=used, displaced={"a": [moved(SUNDAY, "b", FRIDAY, 9)]})
    item = plan(propose_quotas(found, Policy()))["items"][0]
    still_to_come = critical(made.paths.values[:, :3].sum(axis=1), 0.9)
    assert item["new_limit"] == 4187  # as far down as one step may go
    wide = Policy(max_step_down_ratio=0.001)
    steep = plan(propose_quotas(found, wide), policy=wide)["items"][0]
    assert steep["new_limit"] == math.ceil(31 + 17 + 9 + still_to_come)
    assert steep["guardrail"] is None


def test_opposite_branches_need_less_together_than_apart() -> None:
    """A region limit comes from paths summed over its branches, so what moves between them adds nothing."""
    ups = np.tile(np.array([[10.0], [30.0]]), (50, 5))
    region = LimitState("region", "north", "day", FRIDAY, 30, 0)
    proposal = only(propose_quotas(state([region], {"a": forecast(ups), "b": forecast(40 - ups)}), Policy()))
    assert proposal.proposed == pytest.approx(40.0)


def test_a_month_ends_where_the_calendar_says() -> None:
    """A month's limit counts every day that remains of it, December's too."""
    month = LimitState("branch", "a", "month", date(2016, 12, 1), 100, 0)
    ones = BranchForecast("weeks8", SamplePaths(date(2016, 12, 16), np.ones((10, 60))))
    proposal = only(propose_quotas(state([month], {"a": ones}, period=date(2016, 12, 15)), Policy()))
    assert proposal.proposed == pytest.approx(16.0)


def test_a_limit_without_a_forecast_is_kept() -> None:
    """A branch without forecast keeps its quotas, and so does its region: half a sum is no sum."""
    region = LimitState("region", "north", "day", FRIDAY, 30, 0)
    proposals = propose_quotas(state([day_limit(branch="b"), region], {"a": noisy(3)}), Policy())
    assert [(p.proposed, p.keep_reason) for p in proposals] == [(None, "short"), (None, "short")]


def test_a_week_that_ends_beyond_the_forecast_is_kept() -> None:
    """A limit whose days are not all forecast is left alone."""
    week = LimitState("branch", "a", "week", MONDAY + timedelta(days=7), 100, 0)
    assert only(propose_quotas(state([week], {"a": noisy(4, days=5)}), Policy())).proposed is None


def test_a_frozen_day_is_kept_by_name() -> None:
    """A day that policy freezes is not planned, whatever its forecast."""
    proposal = only(
        propose_quotas(state([day_limit()], {"a": noisy(5)}), Policy(frozen_days=("2016-07-29",)))
    )
    assert (proposal.proposed, proposal.keep_reason) == (None, "frozen")


def test_days_outside_the_plan_are_not_proposed() -> None:
    """The plan begins on the day after the period and ends with plan_days."""
    limits = [day_limit(THURSDAY), day_limit(FRIDAY), day_limit(FRIDAY + timedelta(days=1))]
    proposals = propose_quotas(state(limits, {"a": noisy(6)}), Policy(plan_days=1))
    assert [p.period_start for p in proposals] == ["2016-07-29"]


def test_staff_caps_grow_with_the_days() -> None:
    """A week's staff cap is what was used plus what the staff can serve on the days that remain."""
    week = LimitState("branch", "a", "week", MONDAY, 100, 0)
    found = state([week], {"a": noisy(7)}, used={("a", MONDAY): 4}, staff_caps={"a": 25, "b": None})
    assert only(propose_quotas(found, Policy())).staff_cap_units == 4 + 3 * 25


def plan(
    proposals: Sequence[QuotaProposal],
    *,
    veto: str | None = None,
    policy: Policy | None = None,
    region: str = "north",
) -> dict:
    return quota_plan(
        period="2016-07-28",
        region=region,
        run_id="demand-2016-07-28",
        proposals=proposals,
        veto=veto,
        condition="why" if veto else "",
        policy=policy or Policy(),
    )


def days_of(
    paths: np.ndarray, *, limit: int = 20, days: int = 28, unplanned: int | None = None
) -> list[QuotaProposal]:
    limits = [
        replace(day_limit(FRIDAY + timedelta(days=n), limit=limit), unplanned_units=unplanned)
        for n in range(days)
    ]
    return propose_quotas(state(limits, {"a": forecast(paths)}), Policy())


def record_of(proposals: Sequence[QuotaProposal], *later: str) -> dict[str, Any]:
    """The proposals as they are kept, by a policy that did not know the `later` fields yet."""
    known = {name: value for name, value in Policy().as_record().items() if name not in later}
    items = [p.as_record() for p in proposals]
    return {"run_id": "demand-2016-07-28", "items": items, "veto": None, "condition": "", "policy": known}


EARLIER = ("auto_band_clipped_down_ratio", "auto_band_least_ratio")


def month_of_demand(factor: float = 1.0) -> np.ndarray:
    """Four weeks of a branch whose mean day is about 20, with a month-end surge of twice a workday."""
    week = np.array([50.0, 10, 6, 22, 23, 23, 24])  # Friday 29 July is the last workday of the month
    days = np.concatenate([week, np.tile([25.0, 10, 6, 22, 23, 23, 24], 3)])
    return np.random.default_rng(8).poisson(days * factor, (200, 28))


def test_quotas_guessed_at_the_mean_day_are_corrected_at_once() -> None:
    """A first retune from static mean-day quotas to a month with a twofold surge lies inside the band."""
    made = plan(days_of(month_of_demand()))
    assert (made["in_band"], made["verdict"], made["model"]) == (True, None, "champion")
    surge = made["items"][0]
    assert surge["old_limit"] == 20
    assert surge["new_limit"] == critical(month_of_demand()[:, 0], 0.9)


def test_a_fivefold_forecast_waits_for_a_person() -> None:
    """A forecast five times too high is clipped by the step limit and left outside the band."""
    made = plan(days_of(month_of_demand(5.0)))
    assert made["in_band"] is False
    assert made["verdict"] == "mostly_clipped"
    assert all(item["new_limit"] <= 60 for item in made["items"])
    assert "step limit" in made["inputs"]["condition"]


def test_a_collapsed_forecast_waits_for_a_person() -> None:
    """A forecast of nothing is stopped by the step limit downward and, where that is wide, by the band."""
    made = plan(
        days_of(np.zeros((10, 28))), policy=Policy(max_step_down_ratio=0.1, auto_band_clipped_down_ratio=1.0)
    )
    assert (made["in_band"], made["verdict"]) == (False, "total_down")
    made = plan(days_of(np.zeros((10, 28)), limit=100))
    assert (made["in_band"], made["verdict"]) == (False, "mostly_clipped")
    assert made["inputs"]["condition"] == "28 of 28 day quotas ran into the step limit downward"
    assert {item["new_limit"] for item in made["items"]} == {50}


def test_falls_from_night_to_night_do_not_pile_up() -> None:
    """Forecasts that fade by two fifths a night, inside every step, wait below a quarter of what stood."""
    limit, applied = 100, [100]
    while applied[-1] * 0.6 > 5:
        limit = round(limit * 0.6)
        made = plan(days_of(np.full((10, 28), float(limit)), limit=applied[-1], unplanned=100))
        if not made["in_band"]:
            break
        applied.append(limit)
    assert (applied, made["verdict"]) == ([100, 60, 36], "total_down")
    assert "that stand without any plan" in made["inputs"]["condition"]
    again = plan(days_of(np.full((10, 28), 22.0), limit=22, unplanned=100))  # once a person has allowed it
    assert again["in_band"]


def test_a_season_that_ends_and_closed_weekends_apply_by_themselves() -> None:
    """A third less demand than the quotas in force, and two closed days a week, need no person."""
    week = np.array([14.0, 0, 0, 14, 14, 14, 14])
    made = plan(
        days_of(np.random.default_rng(8).poisson(np.tile(week, 4), (200, 28)), limit=30, unplanned=30)
    )
    assert (made["in_band"], made["verdict"]) == (True, None)
    assert sum(item["guardrail"] == "max_step_down" for item in made["items"]) == 8


def test_a_vetoed_forecast_plans_nothing_but_is_seen() -> None:
    """A veto makes a plan of model keep, without items, with the veto as its verdict."""
    made = plan(days_of(month_of_demand()), veto=Veto.STALE)
    assert (made["model"], made["items"], made["verdict"]) == ("keep", [], "stale")
    assert made["inputs"] == {"condition": "why"}


def test_every_item_says_what_it_rests_on() -> None:
    """An item names old and new limit, quantile, model, mean, what is used, and each guardrail that bound."""
    made = plan(days_of(month_of_demand(5.0)))
    item = made["items"][0]
    assert (item["guardrail"], item["quantile"]) == ("max_step_up", 0.9)
    assert item["condition"].startswith("2")
    assert item["inputs"]["bound"] == ["max_step_up"]
    assert item["inputs"]["model"] == "prophet"
    assert item["inputs"]["mean_units"] == pytest.approx(250, abs=5)


def test_the_same_proposals_make_the_same_plan() -> None:
    """A plan is a pure function of its proposals, also after their record was read back."""
    proposals = days_of(month_of_demand())
    again = [QuotaProposal.from_record(p.as_record()) for p in proposals]
    assert plan(proposals) == plan(again)


def test_a_plan_from_weeks8_alone_says_so() -> None:
    """When every branch fell back, the plan's model is weeks8."""
    weeks8 = {"a": forecast(month_of_demand(), "weeks8")}
    proposals = propose_quotas(state([day_limit()], weeks8), Policy())
    assert plan(proposals)["model"] == "weeks8"
    bank = LimitState("bank", "bank", "day", FRIDAY, 30, 0)
    alone = propose_quotas(state([bank], weeks8, branches=("a",)), Policy())
    made = plan(alone, region="bank")
    assert (made["model"], made["inputs"]["models"]) == ("weeks8", {"weeks8": 1})
    mixed = propose_quotas(state([bank], weeks8 | {"b": noisy(3)}), Policy())
    assert plan(mixed, region="bank")["model"] == "champion"


def month_limit(limit: int) -> LimitState:
    return LimitState("region", "north", "month", date(2016, 8, 1), limit, 0)


def test_a_region_without_day_limits_is_judged_by_all_it_has() -> None:
    """A month's limit alone that would rise threefold waits for a person; as forecast it applies."""
    made = {"a": noisy(1, mean=100.0)}
    wild = plan(propose_quotas(state([month_limit(100)], made, branches=("a",)), Policy()))
    assert (wild["items"][0]["new_limit"], wild["in_band"], wild["verdict"]) == (300, False, "mostly_clipped")
    assert "1 of 1 limits" in wild["inputs"]["condition"]
    assert plan(propose_quotas(state([month_limit(3000)], made, branches=("a",)), Policy()))["in_band"]
    frozen = Policy(frozen_days=("2016-07-29",))  # the one day limit is kept: it says nothing of the month
    beside = state([day_limit(), month_limit(100)], made, branches=("a",))
    assert not plan(propose_quotas(beside, frozen), policy=frozen)["in_band"]


def test_only_what_was_really_kept_back_can_be_released() -> None:
    """Where a step limit sets the quota, keeping a tenth back lowers nothing, and nothing is told."""
    policy = Policy(hold_back_ratio=0.1)
    [free, bound] = propose_quotas(
        state(
            [day_limit(limit=50), day_limit(branch="b", limit=10)],
            {"a": noisy(1, mean=60), "b": noisy(2, mean=100)},
        ),
        policy,
    )
    items = plan([free, bound], policy=policy)["items"]
    assert items[0]["inputs"]["held_back_units"] == free.inputs["held_back_units"] > 0
    assert (items[1]["new_limit"], items[1]["guardrail"]) == (30, "max_step_up")
    assert bound.inputs["held_back_units"] > 0
    assert "held_back_units" not in items[1]["inputs"]


def test_records_of_earlier_policies_lead_to_the_plans_of_their_time() -> None:
    """A plan made before steps downward were judged replays: in band, unjudged, told as asked for."""
    fallen = record_of(days_of(np.zeros((10, 28))), *EARLIER)
    assert plan_of_record("2016-07-28", "north", fallen)["in_band"]
    month = propose_quotas(state([month_limit(100)], {"a": noisy(1, mean=100.0)}, branches=("a",)), Policy())
    made = plan_of_record("2016-07-28", "north", record_of(month, *EARLIER))
    assert (made["in_band"], made["inputs"]["day_items"], made["inputs"]["models"]) == (True, 0, {})
    held = propose_quotas(
        state([day_limit(limit=10)], {"a": noisy(2, mean=100)}), Policy(hold_back_ratio=0.1)
    )
    [item] = plan_of_record("2016-07-28", "north", record_of(held, *EARLIER))["items"]
    assert item["inputs"]["held_back_units"] == held[0].inputs["held_back_units"]
    for record in (record_of(days_of(np.zeros((10, 28)))), record_of(month)):
        assert not plan_of_record("2016-07-28", "north", record)["in_band"]


def test_the_waitlists_backlog_is_found_by_its_place() -> None:
    """Each limit counts the backlog of its own branches, days and channel, and no other."""
    backlog = {
        ("a", FRIDAY, "app"): 2,
        ("a", FRIDAY, "phone"): 3,
        ("a", SATURDAY, "app"): 5,
        ("b", FRIDAY, "app"): 7,
        ("elsewhere", FRIDAY, "app"): 11,
    }
    limits = [
        day_limit(),
        replace(day_limit(), channel="app"),
        replace(day_limit(), channel="counter"),
        LimitState("region", "north", "day", FRIDAY, 30, 0),
        LimitState("branch", "a", "week", MONDAY, 100, 0),
    ]
    found = propose_quotas(state(limits, {"a": noisy(6), "b": noisy(7)}, backlog=backlog), Policy())
    assert [p.inputs["backlog_units"] for p in found] == [5, 2, 0, 12, 10]
