"""Channels' quotas: measured shares, exact quantiles of thinned counts, never more than the whole."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.decisions.backlog import Backlog, backlog_days
from forecasting.decisions.channels import channel_shares, thinned_units, within_whole
from forecasting.decisions.plan import quota_plan
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import (
    BranchForecast,
    DisplacedUnits,
    LimitState,
    RegionState,
    propose_quotas,
)
from forecasting.frames import SamplePaths

THURSDAY, FRIDAY, SATURDAY = date(2016, 7, 28), date(2016, 7, 29), date(2016, 7, 30)


def state(limits: list[LimitState], **changes: Any) -> RegionState:
    """Two branches at 20 units a day, two fifths of it by phone."""
    paths = np.random.default_rng(3).poisson(20.0, (300, 40)).astype(float)
    made = {b: BranchForecast("combination", SamplePaths(FRIDAY, paths)) for b in ("a", "b")}
    values: dict[str, Any] = {
        "period": THURSDAY,
        "branches": ("a", "b"),
        "limits": limits,
        "forecasts": made,
        "used": {},
        "staff_caps": {"a": None, "b": None},
        "shares": {"a": {"app": 0.6, "phone": 0.4}, "b": {"app": 0.6, "phone": 0.4}},
    }
    return RegionState(**(values | changes))


def limit(channel: str, units: int = 20, **changes: Any) -> LimitState:
    """A day's limit of branch a."""
    values: dict[str, Any] = {
        "scope_kind": "branch",
        "scope_id": "a",
        "period_kind": "day",
        "period_start": FRIDAY,
        "limit_units": units,
        "used_units": 0,
        "channel": channel,
    }
    return LimitState(**(values | changes))


def test_a_branch_of_few_wishes_has_its_regions_shares() -> None:
    """Shares are drawn to the region's, and so the less the more wishes the branch has."""
    regions = {"a": "north", "b": "north", "new": "north", "s": "south"}
    wishes = {("a", "app"): 900, ("a", "phone"): 100, ("b", "app"): 1, ("b", "phone"): 1, ("s", "phone"): 500}
    shares = channel_shares(wishes, regions, prior_units=50.0)
    assert shares["a"]["app"] == pytest.approx(0.9, abs=0.01)
    assert shares["new"]["app"] == pytest.approx(shares["b"]["app"], abs=0.02)
    assert shares["s"]["phone"] > 0.9
    assert all(sum(found.values()) == pytest.approx(1.0) for found in shares.values())
    assert channel_shares({}, regions, 50.0) == {}


def test_a_channels_quantile_is_that_of_drawn_channels() -> None:
    """What a million draws from the paths stay within at 90 % is what is planned, without drawing."""
    rng = np.random.default_rng(1)
    totals = rng.poisson(30.0, 200).astype(float)
    drawn = rng.binomial(np.tile(totals.astype(int), 5_000), 0.3)
    assert thinned_units(totals, totals * 0.3, 0.9) == np.quantile(drawn, 0.9, method="inverted_cdf")


@given(
    totals=st.lists(st.integers(0, 400), min_size=1, max_size=40),
    share=st.floats(0, 1),
    level=st.floats(0.01, 0.99),
)
def test_a_part_never_needs_more_than_the_whole(totals: list[int], share: float, level: float) -> None:
    """The part's quantile lies within 0 and the whole's at the same level, and is the whole's at share 1."""
    units = np.array(totals, dtype=float)
    whole = np.quantile(units, level, method="inverted_cdf")
    assert 0 <= thinned_units(units, units * share, level) <= whole
    assert thinned_units(units, units, level) == whole


def test_few_units_are_counted_whole() -> None:
    """One customer in three days needs one unit at 90 %, none at 60 %: no fraction is rounded up."""
    totals = np.array([0.0, 0.0, 1.0])
    assert thinned_units(totals, totals, 0.9) == 1
    assert thinned_units(totals, totals, 0.6) == 0


def test_a_channels_limit_counts_its_own_units_only() -> None:
    """Displaced units, backlog and use of another channel leave a channel's proposal as it is."""
    mine = {
        "displaced": {"a": [DisplacedUnits(FRIDAY, "b", FRIDAY, 3, "phone")]},
        "backlog": {("a", FRIDAY, "phone"): 2},
    }
    others = {
        "displaced": {"a": [DisplacedUnits(FRIDAY, "b", FRIDAY, 3, "app")]},
        "backlog": {("a", FRIDAY, "app"): 2},
    }
    bare, same, more = (
        propose_quotas(state([limit("phone")], **changes), Policy())[0] for changes in ({}, others, mine)
    )
    assert bare.proposed is not None
    assert same.proposed == bare.proposed
    assert more.proposed == bare.proposed + 5
    assert bare.channel == "phone"


def test_a_channel_of_unknown_share_keeps_its_limit() -> None:
    """Without wishes nothing shows what comes through the channel."""
    proposal = propose_quotas(state([limit("phone")], shares={}), Policy())[0]
    assert (proposal.proposed, proposal.keep_reason) == (None, "short")


def test_a_region_and_the_bank_are_planned_by_summed_paths() -> None:
    """A bank-wide limit is the quantile of all branches together, a channel's of its part of them."""
    found = state([
        limit("*", 50, scope_kind="bank", scope_id="bank"),
        limit("phone", 50, scope_kind="bank", scope_id="bank"),
    ])  # fmt: skip
    whole, phone = propose_quotas(found, Policy())
    total = 2 * found.forecasts["a"].paths.values[:, 0]
    assert whole.proposed == np.quantile(total, 0.9, method="inverted_cdf")
    assert phone.proposed == thinned_units(total, total * 0.4, 0.9)


@given(staff=st.integers(1, 40), phone=st.integers(0, 60), app=st.integers(0, 60), used=st.integers(0, 30))
def test_no_channels_limit_lies_above_the_branchs(staff: int, phone: int, app: int, used: int) -> None:
    """Whatever guardrails do to the whole, each new channel limit is at most it, never below its use."""
    limits = [
        limit("*", used_units=used),
        limit("phone", phone, used_units=used // 2),
        limit("app", app, used_units=used - used // 2),
    ]
    found = state(limits, staff_caps={"a": staff, "b": None})
    made = quota_plan(
        period=str(THURSDAY),
        region="north",
        run_id="r",
        proposals=propose_quotas(found, Policy()),
        veto=None,
        condition="",
        policy=Policy(),
    )
    whole, *channels = made["items"]
    assert all(item["new_limit"] <= whole["new_limit"] for item in channels)
    assert all(item["new_limit"] >= item["inputs"]["used_units"] for item in channels)


def test_without_the_cap_a_channels_limit_would_lie_above() -> None:
    """Negative control: the steps alone let a channel's limit stay above what the staff can serve."""
    item = {
        "scope_kind": "branch", "scope_id": "a", "period_kind": "day", "period_start": str(FRIDAY),
        "condition": None, "guardrail": None, "inputs": {"used_units": 0, "bound": []},
    }  # fmt: skip
    whole = item | {"channel": "*", "old_limit": 20, "new_limit": 9}
    phone = item | {"channel": "phone", "old_limit": 30, "new_limit": 15}
    kept = whole | {"new_limit": None}
    assert [i["new_limit"] for i in within_whole([whole, phone])] == [9, 9]
    assert within_whole([whole, phone])[1]["guardrail"] == "channel_share"
    assert [i["new_limit"] for i in within_whole([kept, phone])] == [None, 15]
    assert within_whole([phone]) == [phone]


def test_backlog_goes_to_the_first_open_days() -> None:
    """Each entry is planned once: on the first open day with room, else the last; closed days never."""
    usual = {("a", FRIDAY): 4.0, ("a", SATURDAY): 0.0, ("a", date(2016, 7, 31)): 4.0}
    row = Backlog("a", "app", FRIDAY, date(2016, 8, 20), 7)
    assert backlog_days([row], usual, 0.5) == {("a", FRIDAY, "app"): 2, ("a", date(2016, 7, 31), "app"): 5}
    soon = Backlog("a", "phone", FRIDAY, FRIDAY, 2)
    assert backlog_days([row, soon], usual, 0.5) == {
        ("a", FRIDAY, "phone"): 2,
        ("a", date(2016, 7, 31), "app"): 7,
    }
    assert backlog_days([Backlog("b", "app", FRIDAY, FRIDAY, 3)], usual, 0.5) == {}


@given(entries=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 30)), max_size=8))
def test_no_entry_of_the_backlog_is_planned_twice_or_lost(entries: list[tuple[int, int, int]]) -> None:
    """The units planned are the entries that have an open day, and lie within the days of some entry."""
    days = [date(2016, 7, 1 + n) for n in range(20)]
    usual = {("a", day): 3.0 for day in days if day.weekday() < 5}
    rows = [Backlog("a", "app", days[first], days[first + more], units) for first, more, units in entries]
    planned = backlog_days(rows, usual, 0.5)
    able = [r for r in rows if any(r.first_day <= day <= r.latest_day for _, day in usual)]
    assert sum(planned.values()) == sum(row.entries for row in able)
    assert all(any(r.first_day <= day <= r.latest_day for r in able) for _, day, _ in planned)


def test_what_is_held_back_is_named_in_the_item() -> None:
    """A tenth of the day's own demand stays back of the whole's limit only, and the item says how much."""
    limits = [limit("*"), limit("phone"), limit("*", period_kind="week", period_start=date(2016, 7, 25))]
    plain, held = (propose_quotas(state(limits), Policy(hold_back_ratio=ratio)) for ratio in (0.0, 0.1))
    assert plain[0].proposed is not None
    kept_back = int(plain[0].proposed * 0.1)
    assert held[0].proposed == plain[0].proposed - kept_back
    assert held[0].inputs["held_back_units"] == kept_back > 0
    assert [p.proposed for p in held[1:]] == [p.proposed for p in plain[1:]]
