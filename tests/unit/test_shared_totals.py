"""Fixed totals: shared out where they bind, left alone where they do not, kept as a person set them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from forecasting.decisions.plan import plan_of_record
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import BranchForecast, QuotaProposal
from forecasting.decisions.shared import FIXED, FixedTotal, kept_fixed, share_out
from forecasting.frames import SamplePaths

FIRST = date(2026, 12, 1)
DAYS = 3


def forecast(mean: float, *, days: int = DAYS, seed: int = 1) -> BranchForecast:
    """Poisson paths of the days from FIRST on."""
    values = np.random.default_rng(seed).poisson(mean, size=(200, days)).astype(float)
    return BranchForecast("champion", SamplePaths(FIRST, values))


def asks(branch: str, day: int, units: float, **changes: object) -> QuotaProposal:
    """What a branch's day asks for."""
    made = QuotaProposal(
        scope_kind="branch",
        scope_id=branch,
        period_kind="day",
        period_start=(FIRST + timedelta(days=day)).isoformat(),
        old_units=20,
        used_units=0,
        staff_cap_units=None,
        proposed=units,
        quantile=0.9,
        model="champion",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def total(units: int, *members: str, last: int = DAYS - 1) -> FixedTotal:
    """A total over the branches and the days from FIRST on."""
    return FixedTotal("region:north:month 2026-12-01", members, FIRST, FIRST + timedelta(days=last), units)


def units_of(proposals: list[QuotaProposal]) -> list[float | None]:
    return [proposal.proposed for proposal in proposals]


FORECASTS = {"big": forecast(40), "small": forecast(10, seed=2)}
ASKED = [asks(branch, day, units) for branch, units in (("big", 48), ("small", 14)) for day in range(DAYS)]


def test_a_total_that_does_not_bind_changes_nothing() -> None:
    """Where all that is asked for fits, every day gets it, and no idle unit is handed out."""
    assert share_out(ASKED, [total(500, "big", "small")], FORECASTS, {}, Policy()) == ASKED


def test_a_total_that_binds_is_used_up_and_worth_the_same_everywhere() -> None:
    """The days take exactly the total, and one more unit has the same chance to be used in each."""
    shared = share_out(ASKED, [total(120, "big", "small")], FORECASTS, {}, Policy())
    assert sum(units or 0 for units in units_of(shared)) == 120
    chances = [
        (FORECASTS[p.scope_id].paths.values[:, place % DAYS] >= (p.proposed or 0) + 1).mean()
        for place, p in enumerate(shared)
    ]
    assert max(chances) - min(chances) < 0.15
    told = shared[0].inputs
    assert told["asked_units"] == 48
    assert told["shared_total_units"] == 120
    assert told["one_more_is_used"] == pytest.approx(max(chances), abs=0.01)


def test_no_day_falls_below_what_is_used_or_the_floor() -> None:
    """A day that is booked keeps its bookings, whatever the total leaves to others."""
    used = {("small", FIRST): 13}
    shared = share_out(ASKED, [total(40, "big", "small")], FORECASTS, used, Policy(floor_units=2))
    by_cell = {(p.scope_id, p.period_start): p.proposed for p in shared}
    assert by_cell["small", FIRST.isoformat()] == 13
    assert min(units or 0 for units in by_cell.values()) >= 2
    assert sum(units or 0 for units in by_cell.values()) == 40


def test_nothing_goes_where_a_guardrail_would_take_it_away_again() -> None:
    """What staff cannot serve, or a step limit keeps, is left to the other days; frozen ones keep theirs."""
    forecasts = {"a": forecast(20), "b": forecast(20, seed=2)}
    one_day = total(30, "a", "b", last=0)
    staffed = [asks("a", 0, 26, staff_cap_units=5), asks("b", 0, 26)]
    shared = share_out(staffed, [one_day], forecasts, {}, Policy())
    assert units_of(shared) == [26, 25]  # the guardrail makes 5 of the first
    stepped = [asks("a", 0, 26, old_units=4), asks("b", 0, 26)]
    shared = share_out(stepped, [one_day], forecasts, {}, Policy())
    assert units_of(shared) == [26, 18]  # at most 12 of the first: three times what it had
    frozen = [asks("a", 0, 26, proposed=None, old_units=5, keep_reason="frozen"), asks("b", 0, 40)]
    shared = share_out(frozen, [one_day], forecasts, {}, Policy())
    assert units_of(shared) == [None, 25]


def test_all_plans_that_share_a_total_share_it_together() -> None:
    """What one region's branch asks for beyond its own demand is known where another's share is set."""
    forecasts = {"a": forecast(40), "b": forecast(40, seed=2)}
    both = [asks("a", 0, 68, inputs={"displaced_units": 20}), asks("b", 0, 48)]
    shared = share_out(both, [total(80, "a", "b", last=0)], forecasts, {}, Policy())
    units = [units or 0 for units in units_of(shared)]
    assert sum(units) == 80
    assert units[0] - units[1] == pytest.approx(20, abs=3)


@pytest.mark.parametrize(("units", "left"), [(60, 25), (40, 5)])
def test_days_that_nobody_plans_keep_their_limits(units: int, left: int) -> None:
    """A vetoed region's limits are taken off the total as they stand, however little that leaves."""
    shared = share_out(
        [asks("b", 0, 48)],
        [total(units, "a", "b", last=0)],
        {"a": forecast(40), "b": forecast(40, seed=2)},
        {},
        Policy(),
        kept={("a", FIRST): 35},
    )
    assert units_of(shared) == [left]


def test_a_share_of_a_total_is_no_step_too_large() -> None:
    """What a total leaves is what the plan sets, also far below the limits in force; else steps bind."""
    limits = [asks(branch, day, 30, old_units=80) for branch in ("a", "b") for day in range(DAYS)]
    forecasts = {"a": forecast(26), "b": forecast(26, seed=2)}
    shared = share_out(limits, [total(60, "a", "b")], forecasts, {}, Policy())

    def planned(proposals: list[QuotaProposal]) -> list[int]:
        record = {"run_id": "r", "veto": None, "condition": "", "policy": Policy().as_record()}
        items = [proposal.as_record() for proposal in proposals]
        plan = plan_of_record("2026-11-30", "north", record | {"items": items})
        return [item["new_limit"] for item in plan["items"]]

    assert sum(planned(shared)) == 60
    assert planned(limits) == [40] * 6


def test_a_second_total_takes_but_never_gives_back() -> None:
    """A wide total leaves what a narrow one cut as it is, and cuts the others alone."""
    totals = [
        FixedTotal("region:north:week", ("big",), FIRST, FIRST + timedelta(days=DAYS - 1), 50),
        total(80, "big", "small"),
    ]
    shared = share_out([replace(p, old_units=60) for p in ASKED], totals, FORECASTS, {}, Policy())
    units = [units or 0 for units in units_of(shared)]
    assert sum(units[:DAYS]) <= 50
    assert sum(units) <= 80


def test_branches_that_other_plans_hold_take_part() -> None:
    """A bank's total leaves a region what the other region's branches do not need."""
    alone = share_out(ASKED[:DAYS], [total(120, "big")], FORECASTS, {}, Policy())
    beside = share_out(ASKED[:DAYS], [total(120, "big", "small")], FORECASTS, {}, Policy())
    assert sum(units or 0 for units in units_of(beside)) < sum(units or 0 for units in units_of(alone))


def test_a_branch_without_a_forecast_keeps_what_it_uses() -> None:
    """What it uses is taken off the total, and the others share the rest."""
    shared = share_out(ASKED[:DAYS], [total(100, "big", "new")], FORECASTS, {("new", FIRST): 10}, Policy())
    assert sum(units or 0 for units in units_of(shared)) == 90


def test_a_total_beyond_the_forecast_is_not_shared_out() -> None:
    """A month that is forecast in part only is left to its own limit."""
    assert share_out(ASKED, [total(10, "big", "small", last=DAYS)], FORECASTS, {}, Policy()) == ASKED


def test_of_two_totals_the_tighter_counts() -> None:
    """A day's funds inside a month's total cut that day once more."""
    funds = FixedTotal("funds of region:north 2026-12-01", ("big", "small"), FIRST, FIRST, 20)
    shared = share_out(ASKED, [total(120, "big", "small"), funds], FORECASTS, {}, Policy())
    assert sum(p.proposed or 0 for p in shared if p.period_start == FIRST.isoformat()) == 20
    assert sum(units or 0 for units in units_of(shared)) <= 120


def test_the_fixed_limit_itself_is_kept() -> None:
    """No plan changes a limit that the policy calls fixed; others are planned on."""
    month = asks("north", 0, 900, scope_kind="region", period_kind="month")
    week = asks("north", 0, 200, scope_kind="region", period_kind="week")
    kept = kept_fixed([month, week], Policy(fixed_totals=("region:north:month",)))
    assert (kept[0].proposed, kept[0].keep_reason) == (None, FIXED)
    assert kept[1] == week


@pytest.mark.parametrize("name", ["branch:b1:day", "region:north", "region:north:year", "bank:north:day"])
def test_a_total_that_cannot_be_is_refused(name: str) -> None:
    """The policy says what a name of a total looks like."""
    with pytest.raises(ValueError, match="expected region:ID:PERIOD or bank:bank:PERIOD"):
        Policy(fixed_totals=(name,))
