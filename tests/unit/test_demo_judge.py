"""Recorded wishes judged again: limits of every level bind, in order, and more quota never serves fewer."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from booking_core.decide import Rules
from booking_core.domain import QuotaKey, SlotState
from demo.judge import Limits, judge, served_share
from metrics.contract import PeriodKind, Reason, ScopeKind

DAY = date(2016, 7, 29)
ASKED = pd.Timestamp("2016-07-28T15:00:00Z")
RULES = Rules(ZoneInfo("America/Chicago"), min_notice_minutes=60, booking_window_days=62, hold_seconds=600)


def wishes(*branches: str) -> pd.DataFrame:
    """Wishes for the day, one a branch named, all of region north."""
    return pd.DataFrame(
        {
            "branch_id": list(branches),
            "region_id": "north",
            "channel": "app",
            "wished_day": pd.Timestamp(DAY),
            "opened_business_utc": ASKED,
        }
    )


def slot(branch: str, at: int = 15, capacity: int = 100) -> SlotState:
    """A slot of the branch that begins at the UTC hour."""
    return SlotState(
        slot_id=f"{branch}-{at}", branch_id=branch, region_id="north", service_day=DAY,
        start_utc=datetime(2016, 7, 29, at, tzinfo=UTC), end_utc=datetime(2016, 7, 29, at, 30, tzinfo=UTC),
        capacity_units=capacity, used_units=0, offered_units=0, closed=False,
    )  # fmt: skip


def limit(scope: ScopeKind, scope_id: str, units: int, kind: PeriodKind = PeriodKind.DAY) -> Limits:
    """One limit on the period that contains the day."""
    start = {PeriodKind.DAY: DAY, PeriodKind.WEEK: date(2016, 7, 25), PeriodKind.MONTH: date(2016, 7, 1)}[
        kind
    ]
    return {(QuotaKey(scope, scope_id, kind), start): units}


def reasons(frame: pd.DataFrame, slots: list[SlotState], limits: Limits) -> list[Reason | None]:
    """What became of each wish."""
    return [one.reason for one in judge(frame, slots, limits, RULES)]


def test_without_limits_everyone_is_served() -> None:
    """No limit, room in the slot: all are served."""
    assert reasons(wishes("a", "a", "b"), [slot("a"), slot("b")], {}) == [None, None, None]


def test_day_quota_serves_the_first() -> None:
    """The first come are served, the others refused for the day's quota."""
    limits = limit(ScopeKind.BRANCH, "a", 1)
    assert reasons(wishes("a", "a", "b"), [slot("a"), slot("b")], limits) == [
        None,
        Reason.QUOTA_DAY_FULL,
        None,
    ]


def test_region_and_month_bind_across_branches() -> None:
    """A region's month counts the bookings of all its branches."""
    limits = limit(ScopeKind.REGION, "north", 2, PeriodKind.MONTH)
    told = reasons(wishes("a", "b", "a"), [slot("a"), slot("b")], limits)
    assert told == [None, None, Reason.QUOTA_MONTH_FULL]


def test_full_slots_send_customers_to_other_slots_of_the_day() -> None:
    """A full slot matters only once every slot of the day is full."""
    told = reasons(wishes("a", "a", "a"), [slot("a", 15, 1), slot("a", 16, 1)], {})
    assert told == [None, None, Reason.SLOT_FULL]


@given(
    st.lists(st.sampled_from("ab"), max_size=30), st.integers(0, 20), st.integers(0, 20), st.integers(0, 30)
)
def test_more_quota_never_serves_fewer(order: list[str], low: int, more: int, region: int) -> None:
    """Raising one limit serves at least as many, and never more than any limit allows."""
    frame, slots = wishes(*order), [slot("a"), slot("b")]
    shared = limit(ScopeKind.REGION, "north", region)
    before = judge(frame, slots, shared | limit(ScopeKind.BRANCH, "a", low), RULES)
    after = judge(frame, slots, shared | limit(ScopeKind.BRANCH, "a", low + more), RULES)
    served = sum(one.reason is None for one in after)
    assert sum(one.reason is None for one in before) <= served <= region
    assert sum(one.reason is None and one.branch_id == "a" for one in before) <= low


def test_share_of_nothing_is_none() -> None:
    """No wish, no share."""
    assert served_share([]) == 0
