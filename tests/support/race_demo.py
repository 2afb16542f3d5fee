"""The race for the last units, with the locks and without: `python -m tests.support.race_demo`.

Several processes, each with its batcher, book different loans into different slots on a real PostgreSQL,
where every level is limited. The locks are removed only here, by replacing
`booking_core.store.locking.lock_clause` in the processes of the race.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import func, select

from booking_core import tables as t
from booking_core.database import make_engine
from booking_core.service.batching import Batcher
from booking_core.store import locking
from booking_core.store.quotas import COUNTED_STATUSES
from metrics.contract import Cause
from tests.support.bank import Bank, make_bank
from tests.support.counts import attempts_by_outcome, drift
from tests.support.levels import levels, unfair
from tests.support.postgres import PostgresCluster
from tests.support.wishes import Wall, book, core_on, reason

PROCESSES, THREADS = 3, 24
PAYOFF_CNY = 250_000
"""What a loan of the race reserves of the day's funds."""

Wishes = Sequence[tuple[str, str]]
"""(loan, slot) of each wish."""


@dataclass(frozen=True)
class Race:
    """What came of a race."""

    locks: bool
    units: int
    wishes: int
    accepted: int
    recorded: int
    """Attempts on record, accepted and refused."""
    drift: list[str]
    unfair: list[str]
    """Levels that are oversold, and refused wishes that would fit now though nothing was given back."""

    @property
    def oversold(self) -> int:
        """Units sold that were not there."""
        return max(0, self.accepted - self.units)


def race(url: str, *, locks: bool, units: int = 20, wishes: int = 120, slots: int = 4) -> Race:
    """What came of the wishes racing for the units of one branch, at a fresh database.

    The slots, the branch's day, week and month, its region's week and the bank's funds of the day all hold
    exactly the units.
    """
    bank = make_bank(url)
    slot_ids = [
        bank.add_slot(at=f"{9 + n:02}:00", capacity=units // slots + (n < units % slots))
        for n in range(slots)
    ]
    for kind in ("day", "week", "month"):
        bank.add_quota("branch", "b1", kind, units)
    bank.add_quota("region", "north", "week", units)
    bank.add_quota("bank", "bank", "funds_day", units * PAYOFF_CNY)
    return _raced(bank, [slot_ids[n % slots] for n in range(wishes)], units, locks=locks)


def nested_race(url: str, *, wishes: int = 180) -> Race:
    """What came of wishes racing at two branches on two days, where different limits bind different ones.

    Of 40 units on offer 24 are sold: the region's month allows no more. At the first branch no more than 5 a
    day and 9 in all, on the first day no more than the bank's funds are enough for, which is 12.
    """
    bank = make_bank(url)
    bank.add_branch("b2")
    next_month = (bank.today.replace(day=1) + timedelta(days=32)).replace(day=1)
    days = (next_month + timedelta(days=9), next_month + timedelta(days=10))
    places = [("b1", 10), ("b1", 11), ("b2", 10), ("b2", 11), ("b2", 12)]
    slot_ids = [bank.add_slot(b, d, f"{h}:00", capacity=4) for d in days for b, h in places]
    bank.add_quota("branch", "b1", "day", 5)
    bank.add_quota("branch", "b1", "month", 9)
    bank.add_quota("bank", "bank", "funds_day", 12 * PAYOFF_CNY)
    bank.add_quota("region", "north", "month", 24, channel="app")
    return _raced(bank, [slot_ids[n % len(slot_ids)] for n in range(wishes)], 24, locks=True)


def _raced(bank: Bank, wished: Sequence[str], units: int, *, locks: bool) -> Race:
    bank.set("booking_window_days", 100)
    asked = [(bank.add_loan(f"R{n}", payoff=f"{PAYOFF_CNY}"), slot) for n, slot in enumerate(wished)]
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES)
    runners = [
        context.Process(target=_run, args=(bank.url, asked[n::PROCESSES], locks, start))
        for n in range(PROCESSES)
    ]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    b = t.bookings.c
    with bank.engine.connect() as connection:
        accepted = connection.scalar(select(func.count()).where(b.status.in_(COUNTED_STATUSES)))
        held = set(connection.scalars(select(b.loan_ref)))
    recorded = sum(attempts_by_outcome(bank.engine).values())
    refused = [(slot, "app", PAYOFF_CNY) for loan, slot in asked if loan not in held]
    told = unfair(levels(bank.engine), refused)
    result = Race(locks, units, len(asked), accepted or 0, recorded, drift(bank.engine), told)
    bank.engine.dispose()
    return result


def _run(url: str, asked: Wishes, locks: bool, start: object) -> None:
    if not locks:
        locking.lock_clause = lambda statement: statement
    engine = make_engine(url)
    plain = core_on(engine, Wall())
    batcher = Batcher(plain)
    core = replace(plain, batcher=batcher)
    batcher.start()
    start.wait()  # type: ignore[attr-defined]
    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = pool.map(lambda pair: reason(book(core, *pair)), asked)
        refused = [outcome for outcome in outcomes if outcome is not None]
    batcher.stop()
    engine.dispose()
    if unexpected := {r.value for r in refused if r.cause is not Cause.CAPACITY}:
        sys.exit(f"unexpected refusals: {unexpected}")


def main() -> None:
    """Print one row with the locks and one without."""
    with PostgresCluster.start() as cluster:
        print(f"{'locks':<8} {'units':>5} {'wishes':>6} {'accepted':>8} {'oversold':>8}")
        for locks in (True, False):
            result = race(cluster.fresh_database(), locks=locks)
            name = "on" if locks else "removed"
            print(f"{name:<8} {result.units:>5} {result.wishes:>6} {result.accepted:>8} {result.oversold:>8}")


if __name__ == "__main__":
    main()
