"""The race for the last units, with the locks and without: `python -m tests.support.race_demo`.

Several processes with several threads each book different loans into different slots of one branch
whose day quota is small, on a real PostgreSQL. The locks are removed only here, by replacing
`booking_core.store.locking.lock_clause` in the processes of the race.
"""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy import func, select

from booking_core import tables as t
from booking_core.database import make_engine
from booking_core.store import locking
from booking_core.store.quotas import COUNTED_STATUSES
from tests.support.bank import make_bank
from tests.support.counts import attempts_by_outcome, drift
from tests.support.postgres import PostgresCluster
from tests.support.wishes import Wall, book, core_on, reason

PROCESSES, THREADS = 3, 6


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

    @property
    def oversold(self) -> int:
        """Units sold that were not there."""
        return max(0, self.accepted - self.units)


def race(url: str, *, locks: bool, units: int = 20, wishes: int = 120, slots: int = 4) -> Race:
    """What came of the wishes racing for the units, at a fresh database."""
    bank = make_bank(url)
    slot_ids = [bank.add_slot(at=f"{hour:02}:00", capacity=wishes) for hour in range(9, 9 + slots)]
    for kind in ("day", "week", "month"):
        bank.add_quota("branch", "b1", kind, units)
    loans = [bank.add_loan(f"R{n}") for n in range(wishes)]
    asked = [(loan, slot_ids[n % slots]) for n, loan in enumerate(loans)]
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES)
    runners = [
        context.Process(target=_run, args=(url, asked[n::PROCESSES], locks, start)) for n in range(PROCESSES)
    ]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    b = t.bookings.c
    with bank.engine.connect() as connection:
        accepted = connection.scalar(select(func.count()).where(b.status.in_(COUNTED_STATUSES)))
    recorded = sum(attempts_by_outcome(bank.engine).values())
    result = Race(locks, units, wishes, accepted or 0, recorded, drift(bank.engine))
    bank.engine.dispose()
    return result


def _run(url: str, asked: list[tuple[str, str]], locks: bool, start: object) -> None:
    if not locks:
        locking.lock_clause = lambda statement: statement
    engine = make_engine(url, pool_size=THREADS + 1)
    core = core_on(engine, Wall())
    start.wait()  # type: ignore[attr-defined]
    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = pool.map(lambda pair: reason(book(core, *pair)), asked)
        refused = [outcome for outcome in outcomes if outcome is not None]
    engine.dispose()
    unexpected = {r.value for r in refused} - {"quota_day_full", "quota_week_full", "quota_month_full"}
    if unexpected:
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
