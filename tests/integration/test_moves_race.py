"""Bookings moved and cancelled through several batchers at once: nothing is lost or taken twice."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from booking_core.service import changes
from booking_core.service.batching import Batcher
from booking_core.service.bookings import Refusal, Taken
from metrics.contract import Cause, Channel
from tests.support.bank import Bank
from tests.support.counts import drift, rows
from tests.support.wishes import asking, book, core_on, ref

MOVES = 120


def test_moves_in_every_direction_at_once_leave_true_counters(bank: Bank) -> None:
    """The same bookings moved across slots, days and channels at once: no fault, and nothing oversold."""
    day = bank.today + timedelta(days=2)
    for scope in ("branch", "bank"):
        bank.add_quota(scope, "b1", "day", 5)
        bank.add_quota(scope, "b1", "funds_day", 900_000)
    bank.add_quota("branch", "b1", "week", 9, channel="web")
    slots = [bank.add_slot(day=day + timedelta(days=n % 2), at=f"1{n}:00", capacity=2) for n in range(6)]
    cores = [core_on(bank.engine) for _ in range(3)]
    cores = [replace(core, batcher=Batcher(core)) for core in cores]
    for core in cores:
        core.batcher.start()  # type: ignore[union-attr]
    refs = [ref(book(cores[0], f"L{n}", slots[n])) for n in range(1, 6)]

    def move(seed: int) -> Taken | Refusal | None:
        rng = random.Random(seed)
        core, booking = rng.choice(cores), rng.choice(refs)
        if seed % 20 == 0:
            return changes.cancel(core, asking(), booking)
        channel = rng.choice([None, Channel.WEB, Channel.APP])
        return changes.reschedule(core, asking(), booking, rng.choice(slots), channel)

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(move, range(1, MOVES)))
    for core in cores:
        core.batcher.stop()  # type: ignore[union-attr]
    moved = [o for o in outcomes if isinstance(o, Taken)]
    refused = [o for o in outcomes if isinstance(o, Refusal)]
    assert len(moved) + len(refused) == MOVES - 1
    assert {o.refused.reason.cause for o in refused} <= {Cause.CAPACITY, Cause.RULE}
    assert len(moved) > MOVES / 4, "most of this test is about moves that succeed"
    assert drift(bank.engine) == []
    for counter in rows(bank.engine, "quota_periods"):
        limit = {"day": 5, "week": 9, "funds_day": 900_000}[str(counter["period_kind"])]
        assert int(str(counter["used_units"])) <= limit
    lines = Counter(event["booking_ref"] for event in rows(bank.engine, "booking_events"))
    assert lines == {b["booking_ref"]: b["version"] for b in rows(bank.engine, "bookings")}
