"""Looks at what is free: fresh while few ask, shared for a second in a crowd, one query however many ask."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import Connection, update

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.domain import Refused
from booking_core.service import availability as service
from booking_core.service.availability import CROWD_ASKS, Availability, availability_of
from booking_core.store.availability import BranchDays, Roomiest, View
from metrics.contract import Reason, Shown
from metrics.instruments import Instruments
from tests.support.bank import Bank
from tests.support.wishes import core_on


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A question that counts how often it is read, and is answered when it is allowed."""

    def __init__(self) -> None:
        self.reads = 0
        self.go = threading.Event()
        self.fault: Exception | None = None

    def read(self, connection: Connection) -> int:
        """How many times it has been read."""
        self.reads += 1
        self.go.wait(10)
        if self.fault:
            raise self.fault
        return self.reads


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def available(sqlite_bank: Bank, clock: Clock) -> Iterator[Availability]:
    """What one process knows of a small bank."""
    found = Availability(sqlite_bank.engine, Instruments(), clock=clock)
    yield found
    found.close()


def crowd(available: Availability) -> None:
    """Ask so often that looks are shared from here on."""
    for _ in range(CROWD_ASKS):
        available.look(Instant())


@dataclass(frozen=True)
class Instant:
    """A question of no interest, the same whoever asks."""

    def read(self, connection: Connection) -> None:
        """Nothing."""


def days(bank: Bank) -> BranchDays:
    """Branch b1's next week."""
    return BranchDays("b1", bank.today, bank.today + timedelta(days=7), "app")


def fill(bank: Bank, slot: str) -> None:
    """Someone takes all units of the slot."""
    with write_transaction(bank.engine) as connection:
        full = update(t.slots).where(t.slots.c.slot_id == slot)
        connection.execute(full.values(used_units=t.slots.c.capacity_units))


def free(view: View) -> int:
    """Free units of all slots."""
    return sum(slot.free_units for slot in view.slots)


def test_while_few_ask_every_look_is_fresh(sqlite_bank: Bank, available: Availability) -> None:
    """What was committed a moment ago is seen, though the clock stands still."""
    slot = sqlite_bank.add_slot(capacity=3)
    assert free(available.look(days(sqlite_bank))) == 3
    fill(sqlite_bank, slot)
    assert free(available.look(days(sqlite_bank))) == 0


def test_in_a_crowd_a_look_is_shared_for_a_second(
    sqlite_bank: Bank, available: Availability, clock: Clock
) -> None:
    """It is at most a second old, and another question has an answer of its own."""
    slot = sqlite_bank.add_slot(capacity=3)
    available._spent = 60.0  # all the time goes into looking
    crowd(available)
    assert free(available.look(days(sqlite_bank))) == 3
    fill(sqlite_bank, slot)
    clock.now += 0.9
    crowd(available)
    assert free(available.look(days(sqlite_bank))) == 3
    assert free(available.look(Roomiest(None, sqlite_bank.today + timedelta(days=2), "app"))) == 0
    clock.now += 0.1
    crowd(available)
    assert free(available.look(days(sqlite_bank))) == 0


def test_a_look_that_costs_little_is_shared_for_less(
    sqlite_bank: Bank, available: Availability, clock: Clock
) -> None:
    """While looking takes hardly any time, what is shared is a tenth of a second old at most."""
    slot = sqlite_bank.add_slot(capacity=3)
    crowd(available)
    assert free(available.look(days(sqlite_bank))) == 3
    fill(sqlite_bank, slot)
    clock.now += 0.09
    crowd(available)
    assert free(available.look(days(sqlite_bank))) == 3
    clock.now += 0.02
    crowd(available)
    assert free(available.look(days(sqlite_bank))) == 0


def test_when_the_crowd_has_gone_looks_are_fresh_again(
    sqlite_bank: Bank, available: Availability, clock: Clock
) -> None:
    """A lone asker after a crowd does not get the crowd's answer."""
    slot = sqlite_bank.add_slot(capacity=3)
    crowd(available)
    clock.now += 0.5
    available.look(days(sqlite_bank))
    fill(sqlite_bank, slot)
    clock.now += 0.6
    assert free(available.look(days(sqlite_bank))) == 0


def test_threads_that_ask_the_same_at_once_make_one_query(available: Availability) -> None:
    """Thirty threads wait for one look and are given the same answer."""
    crowd(available)
    question = Slow()
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(available.look, question) for _ in range(30)]
        question.go.set()
        assert {answer.result(10) for answer in asked} == {1}


def test_askers_on_the_event_loop_share_it_with_threads(available: Availability) -> None:
    """Coroutines and threads wait for the same look, and one that is cancelled takes it from nobody."""
    crowd(available)
    question = Slow()

    async def ask() -> set[int]:
        first = asyncio.create_task(available.look_async(question))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(available.look_async(question)) for _ in range(20)]
        threads = [asyncio.create_task(asyncio.to_thread(available.look, question)) for _ in range(5)]
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.sleep(0.01)
        question.go.set()
        return set(await asyncio.gather(*others, *threads))

    assert asyncio.run(ask()) == {1}


def test_a_look_that_fails_fails_for_all_who_wait_and_is_not_kept(available: Availability) -> None:
    """The next one looks anew."""
    crowd(available)
    question = Slow()
    question.fault = OSError("away")
    question.go.set()
    with pytest.raises(OSError, match="away"):
        available.look(question)
    question.fault = None
    assert available.look(question) == 2


def test_what_is_kept_is_bounded(
    sqlite_bank: Bank, available: Availability, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks beyond the bound, and all that are older than a second, are let go."""
    monkeypatch.setattr(service, "KEPT_SLOTS", 30)
    for hour in range(8, 17):
        sqlite_bank.add_slot(at=f"{hour:02}:00")
    crowd(available)
    for n in range(10):
        first = sqlite_bank.today - timedelta(days=n)
        available.look(BranchDays("b1", first, sqlite_bank.today + timedelta(days=7), "app"))
    assert available._kept_slots <= 30
    assert 1 <= len(available._looks) <= 3
    clock.now += 2
    crowd(available)
    available.look(Instant())
    assert len(available._looks) <= 2


def test_a_look_at_a_region_brings_the_roomiest_slots_of_each_branch(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed, full and far ones are left out, and no branch crowds out the others."""
    monkeypatch.setattr("booking_core.store.availability.roomiest_slots.__defaults__", (3,))
    day = bank.today + timedelta(days=2)
    bank.add_region("south")
    bank.add_branch("b2")
    bank.add_branch("b3", "south")
    wanted = {
        bank.add_slot(at="09:00", capacity=9),
        bank.add_slot(at="10:00", capacity=8),
        bank.add_slot("b2", at="09:00", capacity=1),
    }
    bank.add_slot(at="11:00", capacity=7)
    bank.add_slot(at="12:00", capacity=0)
    bank.add_slot("b2", at="12:00", closed=True)
    bank.add_slot("b2", day + timedelta(days=1))
    bank.add_slot("b3", region_id="south")
    bank.add_quota("region", "north", "day", 5)
    with bank.engine.connect() as connection:
        view = Roomiest("north", day, "app").read(connection)
        anywhere = Roomiest(None, day, "app").read(connection)
    assert {slot.slot_id for slot in view.slots} == wanted
    assert {place.room for place in view.places.values()} == {5, 1}
    assert "b3" in {slot.branch_id for slot in anywhere.slots}


def test_what_became_of_slots_shown_as_free_is_counted(available: Availability, clock: Clock) -> None:
    """Held, taken or changed, for a minute; what was not shown, and rules of the loan, count nothing."""
    available.note_shown(["s"], "app")
    tries = {
        Shown.HELD: None,
        Shown.TAKEN: Refused(Reason.QUOTA_DAY_FULL),
        Shown.CHANGED: Refused(Reason.SLOT_CLOSED),
        None: Refused(Reason.DUPLICATE_BOOKING),
    }
    assert [available.judge_shown("s", "app", refused) for refused in tries.values()] == list(tries)
    assert available.judge_shown("s", "web", None) is None
    assert available.judge_shown("other", "app", None) is None
    clock.now += 61
    assert available.judge_shown("s", "app", None) is None
    counted = available._instruments.shown_free
    assert [counted.labels(outcome.value)._value.get() for outcome in Shown] == [1, 1, 1]


def test_slots_shown_are_remembered_within_bounds(
    available: Availability, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of too many the ones shown last are kept."""
    monkeypatch.setattr(service, "KEPT_SHOWN", 10)
    available.note_shown([f"s{n}" for n in range(15)], "app")
    assert available.judge_shown("s4", "app", None) is None
    assert available.judge_shown("s5", "app", None) is Shown.HELD


def test_a_core_has_one(sqlite_bank: Bank) -> None:
    """All who work on one core's database in a process share looks and tally."""
    core = core_on(sqlite_bank.engine)
    assert availability_of(core) is availability_of(core)
