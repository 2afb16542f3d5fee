"""Holds and offers of a second that run out, sweeps and promotions, all racing with bookings."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

from sqlalchemy.exc import DBAPIError

from booking_core.clock import utc_now
from booking_core.database import make_engine
from booking_core.service import changes, waitlist
from booking_core.service.batching import Batcher
from booking_core.service.bookings import Taken
from booking_core.service.core import Core
from booking_core.service.housekeeping import sweep
from booking_core.service.waitlist import Joining
from metrics.contract import Channel
from tests.support.bank import Bank
from tests.support.counts import drift
from tests.support.fairness import Queue
from tests.support.levels import levels
from tests.support.wishes import asking, book, core_on, ref

CUSTOMERS, SWEEPERS, LOANS_EACH = 6, 2, 4


@dataclass
class Race:
    """What was seen during the race and after it."""

    oversold: list[str] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    idle: str = ""
    """Who waits at the end for what is free."""
    left: int = 0
    """Units that are used or offered when everyone has left."""


def expiry_race(bank: Bank, seconds: float) -> Race:
    """What came of customers who book, move, confirm, wait or walk away while two processes sweep."""
    bank.set("hold_seconds", 1)
    bank.set("offer_seconds", 1)
    days = [bank.today + timedelta(days=n) for n in (2, 3)]
    slots = [bank.add_slot(day=day, at=at, capacity=2) for day in days for at in ("10:00", "11:00", "12:00")]
    bank.add_quota("branch", "b1", "day", 5)
    bank.add_quota("region", "north", "month", 9)
    bank.add_quota("bank", "bank", "funds_day", 1_200_000)
    loans = [bank.add_loan(f"R{n}") for n in range(CUSTOMERS * LOANS_EACH)]
    race, stop = Race(), threading.Event()

    def until_stopped(work: Callable[[], None]) -> None:
        while not stop.is_set() and not race.faults:
            try:
                work()
            except BaseException as fault:  # noqa: BLE001 – told to the test
                race.faults.append(fault)

    def watch() -> None:
        race.oversold += levels(bank.engine).over().values()
        time.sleep(0.02)

    with _running(bank, 2) as cores:
        customers = [
            _Customer(cores[n % 2], bank, loans[n::CUSTOMERS], slots, random.Random(n))
            for n in range(CUSTOMERS)
        ]
        sweepers = [lambda core=core: sweep(core) and None for core in cores[:SWEEPERS]]
        threads = [
            threading.Thread(target=until_stopped, args=[work]) for work in [*customers, *sweepers, watch]
        ]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join(30)
        try:
            _settle(cores[0], bank, race)
        except DBAPIError as fault:
            race.faults.append(fault)
    return race


def _settle(core: Core, bank: Bank, race: Race) -> None:
    """Wait for what runs out, look whether anyone waits for what is free, and let everyone leave."""
    time.sleep(1.1)
    for _ in range(4):
        sweep(core)
    now = levels(bank.engine)
    race.drift = drift(bank.engine)
    race.oversold += now.over().values()
    try:
        Queue(now, utc_now()).assert_nobody_waits_for_what_is_free()
    except AssertionError as told:
        race.idle = str(told)
    for entry in now.rows["waitlist"]:
        waitlist.leave(core, asking(), entry["entry_ref"])
    for booking in now.rows["bookings"]:
        changes.cancel(core, asking(), booking["booking_ref"])
    after = levels(bank.engine)
    race.drift += drift(bank.engine)
    race.left = sum(slot["used_units"] + slot["offered_units"] for slot in after.slots.values())
    race.left += sum(period["used_units"] for period in after.rows["quota_periods"])


@dataclass
class _Customer:
    """Someone with a few loans, who does one thing after the other."""

    core: Core
    bank: Bank
    loans: list[str]
    slots: list[str]
    dice: random.Random
    booked: dict[str, str] = field(default_factory=dict)
    entries: dict[str, str] = field(default_factory=dict)

    def __call__(self) -> None:
        """Do something with one of the loans."""
        things = [self._book, self._book, self._join, self._accept, self._confirm, self._cancel, self._move]
        self.dice.choice(things)(self.dice.choice(self.loans))
        time.sleep(self.dice.uniform(0, 0.02))

    def _book(self, loan: str) -> None:
        outcome = book(self.core, loan, self.dice.choice(self.slots))
        if isinstance(outcome, Taken):
            self.booked[loan] = ref(outcome)

    def _confirm(self, loan: str) -> None:
        settlement = changes.Settlement(Decimal(250_000), "full")
        changes.confirm(self.core, asking(), self.booked.get(loan, ""), settlement)

    def _cancel(self, loan: str) -> None:
        changes.cancel(self.core, asking(), self.booked.get(loan, ""))

    def _move(self, loan: str) -> None:
        changes.reschedule(self.core, asking(), self.booked.get(loan, ""), self.dice.choice(self.slots))

    def _join(self, loan: str) -> None:
        wanted = Joining(loan, "b1", self.bank.today + timedelta(days=2), Channel.APP)
        joined = waitlist.join(self.core, asking(), wanted)
        if isinstance(joined, Taken):
            self.entries[loan] = joined.body["entry"]["ref"]

    def _accept(self, loan: str) -> None:
        taken = waitlist.accept(self.core, asking(), self.entries.get(loan, ""))
        if isinstance(taken, Taken):
            self.booked[loan] = ref(taken)


@contextlib.contextmanager
def _running(bank: Bank, processes: int) -> Iterator[list[Core]]:
    """Cores as of several processes, each with its batcher."""
    plain = [core_on(make_engine(bank.url), utc_now) for _ in range(processes)]  # type: ignore[arg-type]
    cores = [replace(core, batcher=Batcher(core)) for core in plain]
    for core in cores:
        assert core.batcher
        core.batcher.start()
    yield cores
    for core in cores:
        assert core.batcher
        core.batcher.stop()
        core.engine.dispose()
