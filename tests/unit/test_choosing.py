"""The chances of a slot: recommendations count, processes keep to their shares, looks are not all."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from math import exp
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from booking_core.choosing import CROWD, FIRST_FOLLOWED_SECONDS, Level, Place, Tally, poisson_at_most
from booking_core.domain import QuotaKey, QuotaState, SlotState
from metrics.contract import PeriodKind, ScopeKind
from tests.support.storm import NOW, TODAY

DAY = TODAY + timedelta(days=1)


def slot(n: int, capacity: int = 2, used: int = 0) -> SlotState:
    """The nth half hour of the day at b1."""
    start = NOW + timedelta(days=1, minutes=30 * n)
    return SlotState(
        f"s{n}", "b1", "north", DAY, start, start + timedelta(minutes=30), capacity, used, 0, closed=False
    )


def place(
    *slots: SlotState,
    free: int = 100,
    waiting: int = 0,
    kind: PeriodKind = PeriodKind.DAY,
    seen_at: float = 100.0,
) -> Place:
    """A branch's day with a quota that has so much free."""
    quota = QuotaState(QuotaKey(ScopeKind.BRANCH, "b1", kind), DAY, free, 0)
    return Place("b1", "north", DAY, slots or [slot(n) for n in range(8)], [quota], waiting, seen_at)


class Now:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def crowd(tally: Tally) -> Tally:
    """The tally of a process that many ask."""
    for _ in range(CROWD):
        tally.note_refusal()
    return tally


def chosen(tally: Tally, where: Place, **told: object) -> list[str]:
    """The slots to recommend, best first."""
    near = told.pop("near", NOW)
    return [s.slot_id for s in tally.odds().slots(where, Random(1), near=near, **told)]  # type: ignore[arg-type]


def test_without_a_crowd_the_nearest_in_time_comes_first() -> None:
    """One who asks alone is told the slots nearest to the wished one."""
    near = NOW + timedelta(days=1, minutes=30 * 4 + 1)
    assert chosen(Tally(Now()), place(), near=near)[:3] == ["s4", "s5", "s3"]


def test_a_slot_recommended_as_often_as_it_has_units_is_left_out() -> None:
    """A unit that was just recommended counts as taken."""
    tally = Tally(Now())
    two = place(slot(0), slot(1, capacity=1))
    tally.add("s0", 1)
    assert chosen(tally, two) == ["s0", "s1"]
    tally.add("s0", 1)
    assert chosen(tally, two) == ["s1"]


def test_a_recommendation_counts_until_a_look_could_show_that_it_was_followed() -> None:
    """Until then it is held against the slot, however many looks were begun; a later look tells itself."""
    clock = Now()
    tally = Tally(clock)
    tally.add("s0", 2)
    clock.at += 10
    assert chosen(tally, place(slot(0), seen_at=100 + FIRST_FOLLOWED_SECONDS)) == []
    assert chosen(tally, place(slot(0), seen_at=100.2 + FIRST_FOLLOWED_SECONDS)) == ["s0"]


def test_slow_customers_are_waited_for_longer() -> None:
    """The time that customers take to follow is learnt, within bounds."""
    clock = Now()
    tally = Tally(clock)
    tally.add("s0", 2)
    for _ in range(50):
        tally.note_followed(1.0)
    assert chosen(tally, place(slot(0), seen_at=101.5)) == []
    for _ in range(50):
        tally.note_followed(60.0)
    assert chosen(tally, place(slot(0), seen_at=102.5)) == []
    assert chosen(tally, place(slot(0), seen_at=103.5)) == ["s0"]


def test_in_a_crowd_processes_send_customers_to_different_slots() -> None:
    """The shares of all processes are disjoint and cover the day; within a share the order is random."""
    full = place(*[slot(n) for n in range(60)])
    firsts = []
    for number in range(4):
        tally = crowd(Tally(Now(), lambda number=number: (number, 4)))
        tally.add(full.whole.level_id, 29)  # four times as much would fill the day: only the share is left
        firsts.append(chosen(tally, full))
    together = Counter(slot_id for some in firsts for slot_id in some)
    assert set(together.values()) == {1}
    assert len(together) == 60
    assert all(some != sorted(some, key=lambda s: int(s[1:])) for some in firsts)


def test_a_limit_that_all_processes_share_counts_once_for_each() -> None:
    """With four workers, eight told here stand for thirty-two told by all."""
    tally = Tally(Now(), lambda: (0, 4))
    roomy, narrow = place(free=60), place(free=36)
    for where in (roomy, narrow):
        assert chosen(tally, where)
    tally.add(f"branch:b1:*:day:{DAY}", 8)
    assert chosen(tally, roomy)
    assert not chosen(tally, narrow)


def test_the_days_funds_are_judged_in_yuan() -> None:
    """A level of the day's funds must have what this loan takes, and is tallied in yuan."""
    tally = Tally(Now())
    funds = place(free=100_000, kind=PeriodKind.FUNDS_DAY)
    assert chosen(tally, funds, cny=60_000)
    tally.add(f"branch:b1:*:funds_day:{DAY}", 60_000)
    assert not chosen(tally, funds, cny=60_000)
    assert chosen(tally, funds, cny=40_000)


def test_units_promised_to_the_waitlist_are_not_recommended() -> None:
    """Where others wait, newcomers are sent elsewhere."""
    assert not chosen(Tally(Now()), place(waiting=1))


def test_what_a_batch_told_since_outdoes_an_older_look() -> None:
    """A look from before does not bring back what has been learnt to be full, a newer one does."""
    clock = Now()
    tally, old = Tally(clock), place(seen_at=99.0)
    tally.learn(f"branch:b1:*:day:{DAY}", 0)
    assert not chosen(tally, old)
    assert chosen(tally, place(seen_at=101.0))


def test_a_slot_that_a_batch_filled_since_is_left_out() -> None:
    """The others of the same old look are still recommended."""
    clock = Now()
    tally, old = Tally(clock), place(seen_at=99.0)
    tally.learn("s3", 0)
    assert set(chosen(tally, old)) == {f"s{n}" for n in range(8)} - {"s3"}


def test_a_level_that_fills_fast_is_left_early() -> None:
    """Units that go at a pace of forty a second are gone before the customer comes."""
    clock = Now()
    tally = Tally(clock)
    level = Level("region:north:*:day:2026-03-03", 30)
    assert tally.odds().chance(level, clock.at) == 1
    tally.learn(level.level_id, 70, clock.at - 1)
    tally.learn(level.level_id, 30, clock.at)
    assert tally.odds().chance(level, clock.at) < 0.1


def test_a_tally_stays_small() -> None:
    """Old levels are forgotten before it grows beyond its bound."""
    clock = Now()
    tally = Tally(clock)
    for n in range(120_000):
        tally.add(f"s{n}", 1)
        clock.at += 1e-4
    assert len(tally._known) <= 50_000
    assert tally.told("s119999", clock.at) == 1


@given(st.floats(0, 200), st.integers(-3, 300))
def test_the_poisson_tail_is_a_probability_that_grows_with_the_room(mean: float, count: int) -> None:
    """More room never lowers the chance, more customers never raise it."""
    chance = poisson_at_most(count, mean)
    assert 0 <= chance <= 1 + 1e-9
    assert poisson_at_most(count + 1, mean) >= chance - 0.02
    assert poisson_at_most(count, mean + 1) <= chance + 0.02


def test_the_poisson_tail_is_exact_where_room_is_small() -> None:
    """P(none) = e^-m, P(at most one) = e^-m (1 + m)."""
    assert poisson_at_most(0, 0.5) == exp(-0.5)
    assert abs(poisson_at_most(1, 0.5) - exp(-0.5) * 1.5) < 1e-12
    assert poisson_at_most(-1, 0.0) == 0
