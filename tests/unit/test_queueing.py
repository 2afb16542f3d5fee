"""The waitlist's rules: the order, the promise, who is offered what, and how an entry follows its loan."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_core.decide import Rules
from booking_core.domain import LoanState, QuotaKey, QuotaState, SlotState, period_start
from booking_core.queueing import (
    Choice,
    Entry,
    Promise,
    choices,
    followed,
    judge_join,
    position,
    promise,
)
from metrics.contract import PeriodKind, Reason, ScopeKind
from tests.support.queueing import NOW, TODAY, entry

RULES = Rules(ZoneInfo("Asia/Shanghai"), min_notice_minutes=60, booking_window_days=62, hold_seconds=600)
HISTORIES = st.lists(st.integers(0, 5), min_size=28, max_size=56)


def loan(of: Entry, **other: Any) -> LoanState:
    told: dict[str, Any] = {"status": "active", "payoff_cny": Decimal(1000), "eligible_from": None}
    told |= other
    return LoanState(of.loan_ref, "holder", "b1", min_prepayment_cny=Decimal(1), **told)


def slot(days: int = 1, *, capacity: int = 1, hour: int = 0) -> SlotState:
    """A slot so many days ahead."""
    start = NOW + timedelta(days=days, hours=hour)
    day = TODAY + timedelta(days=days)
    return SlotState(
        f"s{days}-{hour}", "b1", "north", day, start, start + timedelta(minutes=30), capacity, 0, 0, False
    )


def quota(kind: PeriodKind, limit: int, days: int = 1, used: int = 0) -> QuotaState:
    key = QuotaKey(ScopeKind.BRANCH, "b1", kind)
    return QuotaState(key, period_start(kind, TODAY + timedelta(days=days)), limit, used)


def chosen(
    queue: list[Entry],
    free: list[SlotState],
    *quotas: QuotaState,
    loans: dict[str, LoanState] | None = None,
    at_most: int = 20,
) -> list[Choice]:
    """What is chosen where the quotas stand on every day and channel."""
    loans = {e.loan_ref: loan(e) for e in queue} | (loans or {})
    limits = {(s.service_day, e.channel): quotas for s in free for e in queue}
    return list(choices(queue, free, loans, limits, RULES, NOW, at_most))


# --- the order --------------------------------------------------------------------------------


def test_priority_goes_first_then_who_joined_first() -> None:
    """Staff's priority 1 precedes everyone's 0; within a priority the earlier join does."""
    late, early, hard = entry("late", after=9), entry("early", after=1), entry("hard", after=20, priority=1)
    assert sorted([late, early, hard], key=lambda e: e.turn) == [hard, early, late]


def test_the_position_counts_who_waits_ahead_for_days_that_one_could_take_too() -> None:
    """Other branches, other days, later joins and those who wait no more are not ahead."""
    queue = [
        entry("a", after=1),
        entry("b", after=2, wished=11, latest=12),
        entry("c", after=3, status="offered"),
        entry("d", after=4, branch_id="b2"),
        entry("e", after=5, channel="phone"),
        entry("f", after=7),
    ]
    assert position(entry("me", after=6), queue) == 3


# --- the promise ------------------------------------------------------------------------------


def test_a_steady_branch_promises_the_day_its_releases_reach_the_position() -> None:
    """With two units freed every day the fifth in line is promised the third day."""
    assert promise([2] * 28, 5, TODAY, TODAY + timedelta(days=20)) == Promise(
        TODAY + timedelta(days=3), 1.0, 1.0
    )


def test_without_a_safe_date_the_chance_by_the_latest_day_is_told() -> None:
    """One unit a week, looked at for two days ahead: the share of two-day windows that hold one."""
    told = promise([0, 0, 0, 0, 0, 0, 1] * 8, 1, TODAY, TODAY + timedelta(days=2))
    assert told == Promise(None, 16 / 56, 16 / 56)


def test_nothing_is_promised_from_too_short_a_history() -> None:
    """27 days are too few; and a wait that ends today has no chance that could be told."""
    assert promise([9] * 27, 1, TODAY, TODAY + timedelta(days=9)) is None
    assert promise([9] * 28, 1, TODAY, TODAY) == Promise(None, 0.0, 0.0)


@given(HISTORIES, st.integers(1, 40), st.integers(0, 70))
def test_a_later_position_is_never_promised_earlier(freed: list[int], place: int, days: int) -> None:
    """One more ahead: no earlier date, and without one no better chance."""
    first, second = (promise(freed, p, TODAY, TODAY + timedelta(days=days)) for p in (place, place + 1))
    assert first is not None
    assert second is not None
    assert _by(first) <= _by(second)
    if first.by is None:
        assert first.chance >= second.chance


@given(HISTORIES, st.data(), st.integers(1, 40), st.integers(0, 70))
def test_more_releases_never_promise_later(
    freed: list[int], data: st.DataObject, place: int, days: int
) -> None:
    """A unit more on any day: no later date, and without one no worse chance."""
    more = list(freed)
    more[data.draw(st.integers(0, len(freed) - 1))] += 1
    before, after = (promise(h, place, TODAY, TODAY + timedelta(days=days)) for h in (freed, more))
    assert before is not None
    assert after is not None
    assert _by(after) <= _by(before)
    if after.by is None:
        assert after.chance >= before.chance


@given(HISTORIES, st.integers(1, 40), st.integers(0, 70))
def test_a_longer_wait_never_looks_worse(freed: list[int], place: int, days: int) -> None:
    """One more day that suits: no date is lost and no chance is smaller."""
    short, long = (promise(freed, place, TODAY, TODAY + timedelta(days=d)) for d in (days, days + 1))
    assert short is not None
    assert long is not None
    assert short == long if short.by else long.chance >= short.chance


def test_promises_are_kept_nine_times_in_ten_where_the_future_is_like_the_past() -> None:
    """Over 400 made-up branches with releases by chance, at least 87 % of the dates promised hold."""
    dice = random.Random(3)
    kept = promised = 0
    for _ in range(400):
        days = [sum(dice.random() < 0.15 for _ in range(10)) for _ in range(86)]
        place = dice.randint(3, 20)
        told = promise(days[:56], place, TODAY, TODAY + timedelta(days=28))
        if told and told.by:
            promised += 1
            kept += sum(days[56 : 56 + (told.by - TODAY).days]) >= place
    assert promised > 300
    assert kept / promised >= 0.87


def _by(told: Promise) -> date:
    return told.by or date.max


# --- who may join -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "loan_is", "reason"),
    [
        (entry(), {}, None),
        (entry(), {"status": "closed"}, Reason.LOAN_NOT_ELIGIBLE),
        (entry(), {"eligible_from": TODAY + timedelta(days=10)}, None),
        (entry(), {"eligible_from": TODAY + timedelta(days=11)}, Reason.LOAN_NOT_ELIGIBLE),
        (entry(wished=-3, latest=-1), {}, Reason.OUTSIDE_BOOKING_WINDOW),
        (entry(wished=62, latest=62), {}, None),
        (entry(wished=63, latest=63), {}, Reason.OUTSIDE_BOOKING_WINDOW),
        (entry(), {"live_booking_ref": "B1"}, Reason.DUPLICATE_BOOKING),
    ],
)
def test_only_a_wish_that_can_be_booked_some_day_may_join(
    of: Entry, loan_is: dict[str, Any], reason: Reason | None
) -> None:
    """The loan is active and eligible on one of the days, these lie in the window, and no booking is live."""
    refused = judge_join(of, loan(of, **loan_is), RULES, NOW)
    assert (refused and refused.reason) == reason


# --- promotion --------------------------------------------------------------------------------


def test_free_places_go_to_the_queue_in_its_order_each_nearest_to_its_wished_day() -> None:
    """Two places on two days, three who wait: the first two get one each, the third gets none."""
    queue = [entry("a"), entry("b", after=1, wished=2), entry("c", after=2)]
    assert [(c.entry.entry_ref, c.slot_id) for c in chosen(queue, [slot(1), slot(2)])] == [
        ("a", "s1-0"),
        ("b", "s2-0"),
    ]


def test_no_more_are_offered_than_allowed_at_once() -> None:
    """Ten free places, three offers at once: three are offered."""
    queue = [entry(f"{n}", after=n) for n in range(10)]
    assert len(chosen(queue, [slot(capacity=10)], at_most=3)) == 3


def test_limits_bind_the_queue_as_they_bind_everyone() -> None:
    """A day quota of two lets two in, and that is no reason to skip anyone."""
    queue = [entry(f"{n}", after=n, latest=1) for n in range(4)]
    found = chosen(queue, [slot(capacity=4)], quota(PeriodKind.DAY, 2))
    assert [bool(c.slot_id) for c in found] == [True, True]


def test_who_cannot_take_what_is_free_is_skipped_with_the_reason_and_the_next_is_served() -> None:
    """A payoff above the day's funds, a loan that is eligible later: skipped; the next gets the place."""
    rich, later, last = entry("rich"), entry("later", after=1), entry("last", after=2)
    loans = {
        rich.loan_ref: loan(rich, payoff_cny=Decimal(9000)),
        later.loan_ref: loan(later, eligible_from=TODAY + timedelta(days=5)),
    }
    funds = quota(PeriodKind.FUNDS_DAY, 5000)
    found = chosen([rich, later, last], [slot()], funds, loans=loans)
    assert found == [
        Choice(rich, skipped=Reason.FUNDS_CAP_REACHED),
        Choice(later, skipped=Reason.LOAN_NOT_ELIGIBLE),
        Choice(last, slot_id="s1-0"),
    ]


def test_who_was_refused_one_day_for_their_own_reasons_may_take_another() -> None:
    """Not eligible on the first free day, yet on the second: that one is offered."""
    later = entry("later")
    loans = {later.loan_ref: loan(later, eligible_from=TODAY + timedelta(days=2))}
    assert chosen([later], [slot(1), slot(1, hour=1), slot(2)], loans=loans) == [
        Choice(later, slot_id="s2-0")
    ]


def test_who_is_skipped_is_in_turn_again_once_nothing_is_free_that_they_cannot_take() -> None:
    """Told once while the reason stays, taken back when the place is gone, told anew when it changes."""
    day = quota(PeriodKind.DAY, 0)
    rich = entry("rich", skipped_reason=Reason.FUNDS_CAP_REACHED.value)
    loans = {rich.loan_ref: loan(rich, payoff_cny=Decimal(9000))}
    funds = quota(PeriodKind.FUNDS_DAY, 5000)
    assert chosen([rich], [slot()], funds, loans=loans) == []
    assert chosen([rich], [slot()], funds, day, loans=loans) == [Choice(rich)]
    later = {rich.loan_ref: loan(rich, eligible_from=TODAY + timedelta(days=5))}
    assert chosen([rich], [slot()], loans=later) == [Choice(rich, skipped=Reason.LOAN_NOT_ELIGIBLE)]


def test_who_can_never_be_booked_any_more_is_closed_with_the_reason() -> None:
    """A loan that was closed, is eligible too late or is booked already, a last day that is over."""
    gone, late, over = entry("gone"), entry("late"), entry("over", wished=-3, latest=-1)
    twice = entry("twice")
    loans = {
        twice.loan_ref: loan(twice, live_booking_ref="B1"),
        gone.loan_ref: loan(gone, status="closed"),
        late.loan_ref: loan(late, eligible_from=TODAY + timedelta(days=11)),
    }
    assert [c.closed for c in chosen([gone, late, twice, over], [], loans=loans)] == [
        Reason.LOAN_NOT_ELIGIBLE,
        Reason.LOAN_NOT_ELIGIBLE,
        Reason.DUPLICATE_BOOKING,
        Reason.OUTSIDE_BOOKING_WINDOW,
    ]


# --- following the loan's booking -------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "was", "becomes", "follows"),
    [
        ("waiting", None, "offered", ("offered", "offered")),
        ("waiting", None, "held", ("booked", "booked")),
        ("waiting", None, "confirmed", ("booked", "booked")),
        ("offered", "offered", "held", ("booked", "accepted")),
        ("offered", "offered", "cancelled", ("left", "left")),
        ("offered", "offered", "expired", ("expired", "expired")),
        ("booked", "held", "cancelled", None),
        ("booked", "held", "expired", None),
        ("waiting", "held", "cancelled", None),
    ],
)
def test_an_entry_follows_its_loans_booking_and_is_never_brought_back(
    status: str, was: str | None, becomes: str, follows: tuple[str, str] | None
) -> None:
    """An offer taken, run out or cancelled, a booking of one's own; nothing makes an entry wait again."""
    assert followed(entry(status=status), was, becomes) == follows
