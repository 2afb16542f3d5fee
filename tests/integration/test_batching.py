"""Group commit: together where they wait together, alone where one is poisoned, told after the commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from booking_core.database import make_engine
from booking_core.domain import Booking
from booking_core.service.batch import Batch, Job, Needs
from booking_core.service.batching import Batcher, run
from booking_core.service.bookings import Judgement, Taken, taking
from booking_core.service.core import Core
from booking_core.store.rows import add_rows
from booking_core.tables import waitlist_events
from metrics.contract import Reason
from tests.support.bank import Bank
from tests.support.counts import attempts_by_outcome, drift, rows
from tests.support.wishes import asking, core_on, wish


def taking_for(loan: str, slot: str, key: str | None = None) -> Job[Any]:
    """A job that wishes the slot for the loan."""
    return taking(asking(), wish(loan, slot), key or f"key-{loan}")


def reasons(answers: list[Any]) -> list[Reason | None]:
    """Why each was refused, None for what was granted."""
    return [answer.refused.reason if isinstance(answer, Judgement) else None for answer in answers]


def batch_sizes(core: Core) -> tuple[float, float]:
    """(number of batches, jobs in them)."""
    registry = core.instruments.registry
    count, total = (registry.get_sample_value(f"booking_batch_size_{name}") for name in ("count", "sum"))
    return count or 0, total or 0


def poison(_: Batch) -> None:
    """A judgement that breaks."""
    raise ZeroDivisionError


def too_long(slot: str) -> Callable[[Batch], str]:
    """A judgement whose booking the database will not take: its channel is longer than the column."""

    def work(batch: Batch) -> str:
        state, loan = batch.slots[slot], batch.loans["L3"]
        row = Booking(
            booking_ref="B" * 200,
            loan_ref=loan.loan_ref,
            slot_id=slot,
            branch_id=state.branch_id,
            region_id=state.region_id,
            service_day=state.service_day,
            channel="app",
            status="held",
            units=1,
            amount_cny=None,
            option=None,
            contact=None,
            created_utc=batch.now.wall,
            held_until_utc=batch.now.wall,
        )
        return batch.put(None, row, "test").booking_ref

    return work


def test_the_last_unit_goes_to_the_first_who_came(bank: Bank) -> None:
    """Of a batch that wants more than there is those who came first hold; all of it is one commit."""
    slot = bank.add_slot(capacity=2)
    core = core_on(bank.engine)
    answers = run(core, [taking_for(f"L{n}", slot) for n in (3, 1, 5, 2)])
    assert reasons(answers) == [None, None, Reason.SLOT_FULL, Reason.SLOT_FULL]
    assert {r["loan_ref"] for r in rows(bank.engine, "bookings")} == {"L3", "L1"}
    assert attempts_by_outcome(bank.engine) == {"held": 2, "refused": 2}
    assert batch_sizes(core) == (1, 4)
    assert drift(bank.engine) == []


def test_a_loan_or_a_key_twice_in_one_batch_is_seen(bank: Bank) -> None:
    """A second wish of the same loan is a duplicate; a copy of a request gets the first one's answer."""
    slot, other = bank.add_slot(), bank.add_slot(at="11:00")
    core = core_on(bank.engine)
    first, copy, second, clash = run(
        core,
        [
            taking_for("L1", slot, "k1"),
            taking_for("L1", slot, "k1"),
            taking_for("L1", other, "k2"),
            taking_for("L2", slot, "k1"),
        ],
    )
    assert isinstance(copy, Taken)
    assert copy.replayed
    assert copy.body == first.body
    assert reasons([second, clash]) == [Reason.DUPLICATE_BOOKING, Reason.IDEMPOTENCY_CONFLICT]


def test_a_poisoned_job_fails_alone(bank: Bank) -> None:
    """One judgement that breaks leaves the other jobs of its batch granted."""
    slot = bank.add_slot()
    jobs = [taking_for(f"L{n}", slot) for n in (1, 2, 3, 4)]
    answers = run(core_on(bank.engine), [*jobs[:3], Job(Needs(), poison), *jobs[3:]])
    assert isinstance(answers.pop(3), ZeroDivisionError)
    assert reasons(answers) == [None] * 4
    assert drift(bank.engine) == []


def test_what_the_database_refuses_fails_alone(postgres_bank: Bank) -> None:
    """A row that does not fit its column undoes nobody else's booking."""
    slot = postgres_bank.add_slot()
    bad = Job(Needs(slots=((slot, "app"),), loans=("L3",)), too_long(slot))
    answers = run(core_on(postgres_bank.engine), [taking_for("L1", slot), bad, taking_for("L2", slot)])
    assert isinstance(answers.pop(1), Exception)
    assert reasons(answers) == [None, None]
    assert drift(postgres_bank.engine) == []


def test_a_database_that_is_away_fails_all_at_once(tmp_path: Any) -> None:
    """Jobs are not tried one by one against a database that does not answer."""
    engine = make_engine("postgresql://postgres@127.0.0.1:1/none", statement_seconds=1)
    answers = run(core_on(engine), [Job(Needs(), lambda _: None)] * 8)
    assert {type(answer) for answer in answers} == {OperationalError}
    assert len({id(answer) for answer in answers}) == 1


def test_a_fault_of_a_write_is_told_like_any_of_the_database(bank: Bank) -> None:
    """Also of a write that is sent alone: what is tried again, and what is told, goes by its kind."""
    event = {"entry_ref": "none", "at_utc": datetime.now(UTC), "kind": "joined", "actor": "test"}
    with bank.engine.begin() as connection, pytest.raises(IntegrityError):
        add_rows(connection, waitlist_events, [event])


def test_who_asked_from_a_loop_that_ended_leaves_the_others_their_answers(sqlite_bank: Bank) -> None:
    """The batcher outlives an event loop: who asks afterwards is answered."""
    core = core_on(sqlite_bank.engine)
    batcher = Batcher(core)
    judged = threading.Event()
    batcher.start()

    async def leave() -> None:
        asked = asyncio.ensure_future(batcher.do_async(Job(Needs(), lambda _: judged.wait(5))))
        await asyncio.sleep(0.05)
        asked.cancel()

    asyncio.run(leave())
    judged.set()
    answer = asyncio.wait_for(batcher.do_async(Job(Needs(), lambda _: "answered")), 5)
    assert asyncio.run(answer) == "answered"
    batcher.stop()


def test_jobs_that_wait_together_share_a_commit(bank: Bank) -> None:
    """While one batch is under way the others gather; the queue is emptied in larger batches."""
    slot = bank.add_slot()
    loans = [bank.add_loan(f"R{n}") for n in range(20)]
    plain = core_on(bank.engine)
    gate = threading.Event()
    batcher = Batcher(plain, limit=64)
    batcher.start()

    async def storm() -> list[Any]:
        first = asyncio.ensure_future(batcher.do_async(Job(Needs(), lambda _: gate.wait(5))))
        await asyncio.sleep(0.05)
        rest = [asyncio.ensure_future(batcher.do_async(taking_for(loan, slot))) for loan in loans]
        await asyncio.sleep(0.05)
        gate.set()
        await first
        return await asyncio.gather(*rest)

    answers = asyncio.run(storm())
    batcher.stop()
    assert reasons(answers) == [None] * 20
    assert batch_sizes(plain) == (2, 21)


def test_a_lone_job_does_not_wait_for_company(bank: Bank) -> None:
    """Requests one after the other are batches of one."""
    slot = bank.add_slot()
    plain = core_on(bank.engine)
    batcher = Batcher(plain)
    core = replace(plain, batcher=batcher)
    batcher.start()
    assert core.batcher is batcher
    for n in (1, 2, 3):
        assert isinstance(batcher.do(taking_for(f"L{n}", slot)), Taken)
    batcher.stop()
    assert batch_sizes(plain) == (3, 3)


def test_stopping_judges_what_still_waits(bank: Bank) -> None:
    """A process that ends answers the jobs it has taken in."""
    slot = bank.add_slot()
    batcher = Batcher(core_on(bank.engine))
    answers: list[Any] = []
    callers = [
        threading.Thread(target=lambda n=n: answers.append(batcher.do(taking_for(f"L{n}", slot))))
        for n in (1, 2, 3)
    ]
    for caller in callers:
        caller.start()
    while batcher.queued < len(callers):
        pass
    batcher.start()
    batcher.stop()
    for caller in callers:
        caller.join()
    assert reasons(answers) == [None] * 3


@pytest.mark.parametrize("slots", [2, 12])
def test_several_processes_worth_of_batchers_never_oversell(postgres_bank: Bank, slots: int) -> None:
    """Three batchers at once on one database sell exactly the units of the day, on one slot or many."""
    ids = [postgres_bank.add_slot(at=f"{9 + n // 2:02}:{30 * (n % 2):02}") for n in range(slots)]
    postgres_bank.add_quota("branch", "b1", "day", 25)
    postgres_bank.add_quota("region", "north", "week", 30)
    loans = [postgres_bank.add_loan(f"R{n}") for n in range(90)]
    batchers = [Batcher(core_on(make_engine(postgres_bank.url)), limit=16) for _ in range(3)]

    async def ask(batcher: Batcher, mine: list[str]) -> list[Any]:
        jobs = [taking_for(loan, ids[n % slots]) for n, loan in enumerate(mine)]
        return await asyncio.gather(*(batcher.do_async(job) for job in jobs))

    told: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n, b=b: told.extend(asyncio.run(ask(b, loans[n::3]))))
        for n, b in enumerate(batchers)
    ]
    for batcher, thread in zip(batchers, threads, strict=True):
        batcher.start()
        thread.start()
    for thread in threads:
        thread.join()
    for batcher in batchers:
        batcher.stop()
    assert reasons(told).count(None) == 25
    assert set(reasons(told)) == {None, Reason.QUOTA_DAY_FULL}
    assert attempts_by_outcome(postgres_bank.engine) == {"held": 25, "refused": 65}
    assert drift(postgres_bank.engine) == []
