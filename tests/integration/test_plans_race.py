"""Plans applied and taken back while customers book and cancel: every counter stays the true one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import count
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from booking_core.clock import utc_now
from booking_core.domain import Wish
from booking_core.invariants import broken_rows, snapshot
from booking_core.service import bookings, changes, plans
from booking_core.service.bookings import Taken
from booking_core.service.commands import Command
from booking_core.service.core import Asking, Caller, Core
from booking_core.service.plan_drafts import PlanDraft
from booking_core.service.quotas import put_quota
from booking_core.store import quotas
from metrics.contract import Channel, TokenScope
from metrics.instruments import Instruments
from tests.support.bank import Bank

CALLER = Caller("t1", "tester", frozenset(TokenScope))
LOANS = 60
SECONDS = 4.0


def draft(n: int, day: date, limit: int) -> PlanDraft:
    """A plan for the day, its week and its month."""
    starts = {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}
    items = [
        {
            "scope_kind": scope,
            "scope_id": scope_id,
            "period_kind": kind,
            "period_start": start.isoformat(),
            "new_limit": limit * weight,
        }
        for kind, start in starts.items()
        for scope, scope_id, weight in (("branch", "b1", 1), ("region", "north", 2))
    ]
    return PlanDraft.model_validate(
        {
            "plan_id": f"p{n}",
            "kind": "quota",
            "region": "north",
            "period": day.isoformat(),
            "in_band": True,
            "model": "champion",
            "policy": {},
            "inputs": {},
            "items": items,
        }
    )


@dataclass
class Storm:
    """Four customers and a planner at once, for some seconds."""

    bank: Bank
    made: int = 0
    applied: int = 0
    faults: list[Exception] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Slots and loans to book."""
        self.core = Core(self.bank.engine, Instruments(CollectorRegistry()), utc_now)
        self.days = [self.bank.today + timedelta(days=n) for n in range(2, 12)]
        self.slots = [self.bank.add_slot(day=day, at=at) for day in self.days for at in ("10:00", "11:00")]
        for n in range(LOANS):
            self.bank.add_loan(f"R{n}")

    def violations(self) -> dict[str, int]:
        """Rows that break an invariant, by invariant, after the storm."""
        work = [lambda seed=seed: self.customer(seed) for seed in range(4)] + [self.planner]
        threads = [threading.Thread(target=self.guarded, args=(one,)) for one in work]
        for thread in threads:
            thread.start()
        self.stop.wait(SECONDS)
        self.stop.set()
        for thread in threads:
            thread.join()
        with snapshot(self.bank.engine) as connection:
            broken = broken_rows(connection, self.bank.today, utc_now())
        return {invariant: len(rows) for invariant, rows in broken.items()}

    def guarded(self, work: Callable[[], None]) -> None:
        """Keep the fault that ends a thread."""
        try:
            work()
        except Exception as fault:  # noqa: BLE001 - told by the test
            self.faults.append(fault)

    def customer(self, seed: int) -> None:
        """Book what is not booked, cancel what is."""
        chance, own = random.Random(seed), {}
        asking = Asking(CALLER, "0" * 32, time.perf_counter())
        for n in count():
            if self.stop.is_set():
                return
            loan = f"R{chance.randrange(seed, LOANS, 4)}"
            if loan in own:
                changes.cancel(self.core, asking, own.pop(loan))
                continue
            wish = Wish(loan, chance.choice(self.slots), chance.choice([Channel.APP, Channel.PHONE]))
            taken = bookings.book(self.core, asking, wish, f"{seed}-{n}")
            if isinstance(taken, Taken):
                own[loan] = taken.body["booking"]["ref"]
                self.made += 1

    def planner(self) -> None:
        """Plan one day after the other, take every fifth plan back, set a standing limit on the way."""
        chance = random.Random(9)
        for n in count():
            if self.stop.is_set():
                return
            day = self.days[min(n // 2, len(self.days) - 1)]
            self.carry_out(plans.create_plan, draft(n, day, chance.randint(2, 12)))
            self.carry_out(plans.apply_plan, f"p{n}")
            self.applied += 1
            if n % 5 == 4:
                self.carry_out(plans.rollback_plan, f"p{n}")
            if n == 8:
                self.carry_out(
                    lambda c, quota, command: put_quota(c, quota, 500, command), "bank:bank:phone:month"
                )

    def carry_out(self, command: Callable[..., object], what: object) -> None:
        """A command as the API gives it: one transaction, begun anew on a deadlock."""

        def once() -> None:
            with self.core.transaction() as connection:
                command(connection, what, Command(CALLER, utc_now()))

        self.core.retried(once)


def test_counters_stay_true_under_plans_and_customers(bank: Bank) -> None:
    """After bookings, cancellations, plans, rollbacks and a new standing limit at once all counts agree."""
    storm = Storm(bank)
    violations = storm.violations()
    assert storm.faults == []
    assert storm.made > 20
    assert storm.applied > 5
    assert set(violations.values()) == {0}, violations


def test_without_the_slots_lock_the_storm_breaks_counters(
    postgres_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: with the lock taken away some counter ends up wrong."""
    true = quotas.count_units

    def slowly(*arguments: Any) -> Any:
        counted = true(*arguments)
        time.sleep(0.02)  # the lock guards the time from the count to the commit
        return counted

    monkeypatch.setattr(quotas, "lock_slots", lambda _: None)
    monkeypatch.setattr(quotas, "count_units", slowly)
    assert Storm(postgres_bank).violations()["quota_used_is_recount"] > 0
