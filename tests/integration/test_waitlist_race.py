"""Promotion and expiry racing bookings, joins and cancellations on a real PostgreSQL."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, Event

import pytest

from booking_core.clock import utc_now
from booking_core.service import changes, waitlist
from booking_core.service.batching import Batcher
from booking_core.service.bookings import Taken
from booking_core.service.core import Core
from booking_core.service.housekeeping import sweep
from booking_core.service.offers import promote
from tests.support.bank import Bank
from tests.support.counts import drift, rows
from tests.support.queueing import entry_ref, join
from tests.support.wishes import asking, book, core_on, ref

LIMIT, LOANS = 12, 90
SEEN = {"offered": 20, "accepted": 3, "expired": 3, "left": 3}
"""The race goes on until each of these has happened so often, however slow the machine."""
AT_MOST_SECONDS = 60


def busy_branch(bank: Bank) -> tuple[list[str], list[str]]:
    """Four slots with more units than the day's limit lets out, and loans that want them."""
    for name, value in (("hold_seconds", 1), ("offer_seconds", 1), ("offers_at_once", 4)):
        bank.set(name, value)
    bank.add_quota("branch", "b1", "day", LIMIT)
    bank.add_quota("region", "north", "week", LIMIT)
    slots = [bank.add_slot(at=f"{hour:02}:00", capacity=LIMIT // 2) for hour in range(9, 13)]
    return slots, [bank.add_loan(f"R{n}") for n in range(LOANS)]


def seen_enough(bank: Bank) -> bool:
    """Whether the race has shown what it is about."""
    kinds = Counter(str(e["kind"]) for e in rows(bank.engine, "waitlist_events"))
    return all(kinds[kind] >= least for kind, least in SEEN.items())


def customer(core: Core, bank: Bank, slots: list[str], loans: list[str], over: Event, seed: int) -> None:
    """Books, joins, accepts, leaves and cancels as chance has it."""
    dice = random.Random(seed)
    while not over.is_set():
        loan = dice.choice(loans)
        outcome = book(core, loan, dice.choice(slots))
        if isinstance(outcome, Taken):
            if dice.random() < 0.6:
                changes.cancel(core, asking(), ref(outcome))
            continue
        joined = join(core, bank, loan)
        if not isinstance(joined, Taken):
            continue
        for _ in range(3):
            time.sleep(0.02)
            done = dice.choice((waitlist.accept, waitlist.accept, waitlist.leave))
            outcome = done(core, asking(), entry_ref(joined))
            if isinstance(outcome, Taken) and "booking" in outcome.body and dice.random() < 0.7:
                changes.cancel(core, asking(), outcome.body["booking"]["ref"])


@pytest.mark.parametrize("batched", [False, True], ids=["alone", "in batches"])
def test_promotion_and_expiry_racing_bookings_lose_no_unit(postgres_bank: Bank, batched: bool) -> None:
    """Six customers, two sweeps and two promoters at once: nothing is oversold, counters are a recount."""
    slots, loans = busy_branch(postgres_bank)
    core = replace(core_on(postgres_bank.engine), wall=utc_now)
    if batched:
        core = replace(core, batcher=Batcher(core))
        assert core.batcher
        core.batcher.start()
    over = Event()

    def repeat(work: object) -> None:
        while not over.is_set():
            work(core)  # type: ignore[operator]

    with ThreadPoolExecutor(10) as pool:
        share = len(loans) // 6
        tasks = [
            pool.submit(customer, core, postgres_bank, slots, loans[n * share :][:share], over, n)
            for n in range(6)
        ]
        tasks += [pool.submit(repeat, work) for work in (sweep, sweep, promote, promote)]
        give_up = time.monotonic() + AT_MOST_SECONDS
        while not seen_enough(postgres_bank) and time.monotonic() < give_up:
            time.sleep(0.5)
        over.set()
        for task in tasks:
            task.result()
    if core.batcher:
        core.batcher.stop()

    assert drift(postgres_bank.engine) == []
    assert all(r["used_units"] <= LIMIT for r in rows(postgres_bank.engine, "quota_periods"))
    assert seen_enough(postgres_bank)
    live = [r["loan_ref"] for r in rows(postgres_bank.engine, "waitlist") if r["status"] == "waiting"]
    assert len(live) == len(set(live))


def test_accepting_and_expiring_at_the_same_moment_is_one_or_the_other(postgres_bank: Bank) -> None:
    """Ten offers just past their time, accepted and swept at once: each entry ends as what its booking is."""
    _, loans = busy_branch(postgres_bank)
    core = replace(core_on(postgres_bank.engine), wall=utc_now)
    joined = [entry_ref(join(core, postgres_bank, loan)) for loan in loans[:10]]
    time.sleep(0.9)
    start = Barrier(11)

    def accept(ref: str) -> None:
        start.wait()
        waitlist.accept(core, asking(), ref)

    def clean() -> None:
        start.wait()
        for _ in range(5):
            sweep(core)

    with ThreadPoolExecutor(11) as pool:
        tasks = [pool.submit(accept, ref) for ref in joined] + [pool.submit(clean)]
        for task in tasks:
            task.result()
    booking = {b["booking_ref"]: b["status"] for b in rows(postgres_bank.engine, "bookings")}
    ends = {"booked": {"held", "expired"}, "expired": {"expired"}, "offered": {"offered"}}
    for entry in rows(postgres_bank.engine, "waitlist"):
        assert booking[entry["booking_ref"]] in ends[str(entry["status"])]
    assert drift(postgres_bank.engine) == []
