"""The decision: one reason at a time in a stated order, and every limit that binds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from booking_core.decide import Rules, decide, decide_slot
from booking_core.domain import (
    Accepted,
    LoanState,
    QuotaKey,
    QuotaState,
    Refused,
    SlotState,
    Wish,
    next_period_start,
    period_start,
)
from metrics.contract import UNIT_PERIODS, Channel, PeriodKind, Reason, ScopeKind

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)  # Monday 09:00 in Shanghai
RULES = Rules(ZoneInfo("Asia/Shanghai"), min_notice_minutes=60, booking_window_days=62, hold_seconds=600)
WISH = Wish("L1", "s1", Channel.APP)


def slot(
    *,
    start: datetime = NOW + timedelta(days=1),
    capacity: int = 2,
    used: int = 0,
    offered: int = 0,
    closed: bool = False,
) -> SlotState:
    """A slot, tomorrow unless told otherwise."""
    day = start.astimezone(RULES.zone).date()
    return SlotState(
        "s1", "b1", "north", day, start, start + timedelta(minutes=30), capacity, used, offered, closed
    )


def loan(**changes: Any) -> LoanState:
    """An active loan of customer c1."""
    plain: dict[str, Any] = {
        "loan_ref": "L1",
        "holder": "c1",
        "branch_id": "b1",
        "status": "active",
        "payoff_cny": Decimal(5000),
        "min_prepayment_cny": Decimal(1000),
        "eligible_from": None,
    }
    return LoanState(**{**plain, **changes})


def quota(scope: ScopeKind, kind: PeriodKind, limit: int, used: int, channel: str = "*") -> QuotaState:
    """A quota in the period of tomorrow."""
    scope_id = {"branch": "b1", "region": "north", "bank": "bank"}[scope]
    return QuotaState(
        QuotaKey(scope, scope_id, kind, channel), period_start(kind, date(2026, 3, 3)), limit, used
    )


def judge(wish: Wish = WISH, **facts: Any) -> Accepted | Refused:
    """The decision on an open slot and an active loan, unless facts say otherwise."""
    plain: dict[str, Any] = {
        "slot": slot(),
        "loan": loan(),
        "quotas": (),
        "rules": RULES,
        "business_now": NOW,
    }
    return decide(wish, **{**plain, **facts})


def reason(verdict: Accepted | Refused) -> Reason | None:
    """Why it was refused, None if accepted."""
    return verdict.reason if isinstance(verdict, Refused) else None


def test_a_wish_that_fits_is_accepted_with_what_to_take() -> None:
    """Acceptance names the slot, the quotas and whether it confirms at once."""
    day = quota(ScopeKind.BRANCH, PeriodKind.DAY, 1, 0)
    assert judge(quotas=[day]) == Accepted("s1", 1, 5000, confirm_at_once=False)
    settled = judge(Wish("L1", "s1", Channel.APP, amount_cny=Decimal(5000), option="full"))
    assert isinstance(settled, Accepted)
    assert settled.confirm_at_once


def test_reasons_come_in_the_stated_order() -> None:
    """Of several things wrong the earliest in the order is told: loan, time, duplicate, amount, capacity."""
    wrong: list[tuple[Reason, dict[str, Any]]] = [
        (Reason.LOAN_NOT_FOUND, {"holder": "someone else"}),
        (Reason.LOAN_NOT_ELIGIBLE, {"loan": {"status": "blocked"}}),
        (Reason.SLOT_CLOSED, {"slot": {"closed": True}}),
        (Reason.NOTICE_TOO_SHORT, {"slot": {"start": NOW + timedelta(minutes=30)}}),
        (Reason.DUPLICATE_BOOKING, {"loan": {"live_booking_ref": "B1"}}),
        (Reason.AMOUNT_OUT_OF_RANGE, {"wish": Wish("L1", "s1", Channel.APP, amount_cny=Decimal(1))}),
        (Reason.SLOT_FULL, {"slot": {"capacity": 0}}),
    ]
    for first in range(len(wrong)):
        facts: dict[str, Any] = {"slot": {}, "loan": {}}
        for _, change in wrong[first:]:
            for name, value in change.items():
                facts[name] = {**facts[name], **value} if isinstance(value, dict) else value
        verdict = judge(**{**facts, "slot": slot(**facts["slot"]), "loan": loan(**facts["loan"])})
        assert reason(verdict) == wrong[first][0]


def test_an_unknown_slot_is_a_field_that_does_not_fit() -> None:
    """The slot is judged first, by pointer."""
    verdict = judge(slot=None, loan=None)
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.errors[0].pointer) == (Reason.INVALID_FIELD, "/slot")


def test_a_loan_is_eligible_from_its_day_on() -> None:
    """The service day decides, not the day of booking."""
    tomorrow = date(2026, 3, 3)
    assert reason(judge(loan=loan(eligible_from=tomorrow))) is None
    assert reason(judge(loan=loan(eligible_from=tomorrow + timedelta(days=1)))) is Reason.LOAN_NOT_ELIGIBLE


def test_the_edges_of_time_are_in() -> None:
    """Exactly the notice ahead and the last day of the window can be booked; now and a day later cannot."""
    cases = {
        NOW: Reason.OUTSIDE_BOOKING_WINDOW,
        NOW + timedelta(minutes=59): Reason.NOTICE_TOO_SHORT,
        NOW + timedelta(minutes=60): None,
        NOW + timedelta(days=62): None,
        NOW + timedelta(days=63): Reason.OUTSIDE_BOOKING_WINDOW,
    }
    assert {start: reason(judge(slot=slot(start=start))) for start in cases} == cases


def test_the_window_counts_the_banks_days() -> None:
    """Late in the evening UTC it is the next day in Shanghai, which moves the window's end."""
    late = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)
    start = datetime(2026, 5, 3, 17, 0, tzinfo=UTC)  # 4 May in Shanghai, 62 days after 3 March
    assert reason(judge(slot=slot(start=start), business_now=late)) is None
    assert reason(judge(slot=slot(start=start), business_now=NOW)) is Reason.OUTSIDE_BOOKING_WINDOW


def test_a_payoff_below_the_least_prepayment_can_be_paid() -> None:
    """A loan with less left than the least prepayment is paid off with what is left."""
    small = loan(payoff_cny=Decimal(300))
    pays = lambda amount: reason(judge(Wish("L1", "s1", Channel.APP, amount_cny=Decimal(amount)), loan=small))  # noqa: E731
    assert (pays(300), pays(299), pays(301)) == (None, *[Reason.AMOUNT_OUT_OF_RANGE] * 2)


def test_units_offered_to_the_waitlist_are_not_free() -> None:
    """A slot's offered units count as taken."""
    verdict = judge(slot=slot(capacity=2, used=1, offered=1))
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.violations[0].used_units) == (Reason.SLOT_FULL, 2)


def test_the_longest_wait_is_told_first_and_all_are_listed() -> None:
    """With every level full the month of the branch is the reason, and each level is a violation."""
    levels = [quota(s, k, 1, 1) for s, k in product(ScopeKind, UNIT_PERIODS)]
    verdict = judge(slot=slot(capacity=0), quotas=levels)
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.QUOTA_MONTH_FULL
    told = [(v.period_kind, v.scope_kind) for v in verdict.violations]
    order = [(k, s) for k in ("month", "week", "day") for s in ("branch", "region", "bank")]
    assert told == [*order, ("slot", "slot")]


@given(
    limits=st.lists(
        st.tuples(
            st.sampled_from(ScopeKind), st.sampled_from(PeriodKind), st.integers(0, 5), st.integers(0, 5)
        ),
        max_size=9,
    ),
    capacity=st.integers(0, 5),
    used=st.integers(0, 5),
    units=st.integers(1, 3),
)
def test_accepted_exactly_where_every_limit_has_room(
    limits: list[tuple[ScopeKind, PeriodKind, int, int]], capacity: int, used: int, units: int
) -> None:
    """A wish is accepted if and only if no limit breaks, and the violations are the limits that do.

    A day's funds count the payoff of 1.50 CNY as two yuan, whatever the units.
    """
    levels = [quota(*limit) for limit in limits]
    wish, small = Wish("L1", "s1", Channel.APP, units), loan(payoff_cny=Decimal("1.50"))
    verdict = judge(wish, slot=slot(capacity=capacity, used=used), loan=small, quotas=levels)
    takes = [2 if q.key.period_kind is PeriodKind.FUNDS_DAY else units for q in levels]
    broken = sum(q.used_units + more > q.limit_units for q, more in zip(levels, takes, strict=True))
    broken += max(0, capacity - used) < units
    assert len(verdict.violations if isinstance(verdict, Refused) else ()) == broken
    assert isinstance(verdict, Accepted) == (broken == 0)
    where = slot(capacity=capacity, used=used)
    same = decide_slot(wish, slot=where, quotas=levels, rules=RULES, business_now=NOW, loan=small)
    assert same == verdict


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.sampled_from(PeriodKind))
def test_periods_tile_the_calendar(day: date, kind: PeriodKind) -> None:
    """Each day lies in exactly one period of a kind, and the next one starts where it ends."""
    start = period_start(kind, day)
    end = next_period_start(kind, start)
    assert start <= day < end
    assert period_start(kind, end) == end
    assert period_start(kind, end - timedelta(days=1)) == start
