"""No oversell under contention, on a real PostgreSQL with several processes; and proof that locks do it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from booking_core.service import changes
from metrics.contract import Reason
from tests.support.bank import Bank
from tests.support.counts import attempts_by_outcome, drift, rows
from tests.support.postgres import PostgresCluster
from tests.support.race_demo import nested_race, race
from tests.support.wishes import asking, book, core_on, reason, ref


def test_the_race_sells_exactly_the_units_with_locks_and_more_without(postgres: PostgresCluster) -> None:
    """With the locks 20 units are sold of 20; the same race with the locks removed oversells."""
    held = race(postgres.fresh_database(), locks=True)
    assert (held.accepted, held.oversold, held.recorded) == (20, 0, 120)
    assert (held.drift, held.unfair) == ([], [])

    races = (race(postgres.fresh_database(), locks=False) for _ in range(3))
    removed = next((race for race in races if race.oversold), None)
    assert removed
    assert removed.drift
    assert removed.unfair


def test_limits_within_limits_sell_all_that_each_allows(postgres: PostgresCluster) -> None:
    """Where other limits bind other wishes no level is oversold, and no wish refused that would fit."""
    nested = nested_race(postgres.fresh_database())
    assert (nested.accepted, nested.oversold, nested.recorded) == (24, 0, 180)
    assert (nested.drift, nested.unfair) == ([], [])


def test_one_loan_racing_for_many_slots_gets_one_booking(postgres_bank: Bank) -> None:
    """A loan that asks for six slots at once holds one; the other tries are duplicates, on record."""
    slots = [postgres_bank.add_slot(at=f"{hour:02}:00") for hour in range(9, 15)]
    core = core_on(postgres_bank.engine)
    start = threading.Barrier(len(slots))

    def ask(slot: str) -> Reason | None:
        start.wait()
        return reason(book(core, "L1", slot))

    with ThreadPoolExecutor(len(slots)) as pool:
        outcomes = list(pool.map(ask, slots))
    assert sorted(map(str, outcomes)) == ["None"] + ["duplicate_booking"] * 5
    assert attempts_by_outcome(postgres_bank.engine) == {"held": 1, "refused": 5}
    assert [e["outcome"] for e in rows(postgres_bank.engine, "wish_episodes")] == ["booked"]


def test_one_key_sent_many_times_at_once_books_once(postgres_bank: Bank) -> None:
    """Six copies of one request in flight are one booking, told six times."""
    slot = postgres_bank.add_slot()
    core = core_on(postgres_bank.engine)
    start = threading.Barrier(6)

    def ask(_: int) -> str:
        start.wait()
        return ref(book(core, "L1", slot, key="same"))

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(ask, range(6)))) == 1
    assert attempts_by_outcome(postgres_bank.engine) == {"held": 1}


def test_first_bookings_cancels_and_a_new_limit_at_once_leave_true_counters(postgres_bank: Bank) -> None:
    """Counters that are made while others book and cancel still equal a recount."""
    slots = [postgres_bank.add_slot(at=f"{hour:02}:00") for hour in range(9, 13)]
    loans = [postgres_bank.add_loan(f"R{n}") for n in range(24)]
    core = core_on(postgres_bank.engine)
    before = [ref(book(core, loan, slots[0])) for loan in loans[:8]]
    for scope, scope_id in (("branch", "b1"), ("region", "north"), ("bank", "bank")):
        postgres_bank.add_quota(scope, scope_id, "day", 100)
        postgres_bank.add_quota(scope, scope_id, "week", 100, channel="app")
    start = threading.Barrier(8)

    def cancel_and_book(n: int) -> None:
        start.wait()
        changes.cancel(core, asking(), before[n])
        for loan in loans[8 + n * 2 : 10 + n * 2]:
            assert reason(book(core, loan, slots[n % 4])) is None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cancel_and_book, range(8)))
    assert drift(postgres_bank.engine) == []
    assert {r["used_units"] for r in rows(postgres_bank.engine, "quota_periods")} == {16}
