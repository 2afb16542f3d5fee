"""What a refused customer is told to do: in order, executable as it stands, by the same decision."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from booking_core.domain import Refused, Wish
from booking_core.remedies import Situation, advise, advise_async
from booking_core.service.availability import CROWD_ASKS, Availability
from booking_core.service.bookings import Refusal, dry_run
from booking_core.service.core import Core, moment
from booking_core.store import slots
from metrics.contract import Channel, Shown
from tests.support.api import api_on
from tests.support.bank import Bank
from tests.support.counts import rows
from tests.support.wishes import asking, book, core_on, wish


@pytest.fixture
def bank(sqlite_bank: Bank) -> Bank:
    """A bank with a second branch."""
    sqlite_bank.add_branch("b2")
    return sqlite_bank


@pytest.fixture
def core(bank: Bank) -> Core:
    """Its core."""
    return core_on(bank.engine)


@pytest.fixture
def available(bank: Bank, core: Core) -> Iterator[Availability]:
    """What one process knows of the bank, on a clock that stands."""
    found = Availability(bank.engine, core.instruments, clock=lambda: 50.0, rng=Random(1))
    yield found
    found.close()


def refused(core: Core, wished: Wish) -> tuple[Refused, Situation]:
    """Why the wish is refused, and what it is judged against."""
    outcome = dry_run(core, asking(), wished)
    assert isinstance(outcome, Refusal), outcome
    with core.engine.connect() as connection:
        now = moment(core, connection)
        seen = Situation(
            slots.read_slot(connection, wished.slot_id),
            slots.read_loan(connection, wished.loan_ref),
            now.rules,
            now.business,
        )
    return outcome.refused, seen


def remedies(core: Core, available: Availability, wished: Wish, **seen: Any) -> list[dict[str, Any]]:
    """What the refused customer is told."""
    why, situation = refused(core, wished)
    return list(advise(available, why, wished, replace(situation, **seen))[1])


def told(some: list[dict[str, Any]]) -> list[str]:
    """The actions in short: the slot of those that name one."""
    return [remedy.get("slot") or remedy["action"] for remedy in some]


def take(core: Core, remedy: dict[str, Any]) -> object:
    """What comes of sending the remedy's body."""
    body = dict(remedy["body"])
    loan, slot = body.pop("loan"), body.pop("slot")
    channel, amount = Channel(body.pop("channel")), body.pop("amount", None)
    return book(core, loan, slot, channel=channel, amount_cny=amount, **body)


def test_nearer_things_come_first(bank: Bank, core: Core, available: Availability) -> None:
    """Same day, other days, other branches, the waitlist; two of each, the nearest first."""
    day = bank.today + timedelta(days=9)
    full = bank.add_slot(day=day, at="12:00", capacity=0)
    same = [bank.add_slot(day=day, at=at) for at in ("11:30", "13:00", "16:00")]
    days = [bank.add_slot(day=day + timedelta(days=n), at="12:00") for n in (1, -1, 2)]
    other = bank.add_slot("b2", day)
    expected = [*same[:2], *days[:2], other, "join_waitlist"]
    assert told(remedies(core, available, wish("L1", full))) == expected


def test_days_that_the_refusal_rules_out_are_not_searched(
    bank: Bank, core: Core, available: Availability
) -> None:
    """With the branch's month full, other branches and the next month are offered."""
    bank.add_quota("branch", "b1", "month", 0)
    day = bank.today + timedelta(days=2)
    full = bank.add_slot(day=day, capacity=0)
    bank.add_slot(day=day, at="15:00")
    other = bank.add_slot("b2", day)
    assert told(remedies(core, available, wish("L1", full))) == [other, "join_waitlist"]


def test_branches_of_other_regions_come_where_the_region_has_nothing(
    bank: Bank, core: Core, available: Availability
) -> None:
    """They are offered at last, and not to a caller who may not see them."""
    bank.add_region("south")
    bank.add_branch("s1", "south")
    full, far = bank.add_slot(capacity=0), bank.add_slot("s1", region_id="south")
    assert told(remedies(core, available, wish("L1", full))) == [far, "join_waitlist"]
    assert told(remedies(core, available, wish("L1", full), region_claim="north")) == ["join_waitlist"]


def test_another_channel_is_offered_where_only_the_channels_quota_binds(
    bank: Bank, core: Core, available: Availability
) -> None:
    """The same slot by the first other channel that the caller may use and that has room; it books."""
    bank.add_quota("branch", "b1", "day", 0, "app")
    bank.add_quota("branch", "b1", "day", 0, "web")
    slot = bank.add_slot()
    [remedy, waitlist] = remedies(core, available, wish("L1", slot))
    assert (remedy["action"], remedy["channel"], remedy["slot"]) == ("other_channel", "mini_program", slot)
    assert waitlist["action"] == "join_waitlist"
    assert not isinstance(take(core, remedy), Refusal)
    staff = frozenset({Channel.PHONE, Channel.COUNTER})
    [remedy, _] = remedies(core, available, wish("L2", slot), channels=staff)
    assert remedy["channel"] == "phone"


def test_no_other_channel_is_offered_where_all_channels_are_full(
    bank: Bank, core: Core, available: Availability
) -> None:
    """A limit on all channels makes another channel useless."""
    bank.add_quota("branch", "b1", "day", 0, "app")
    bank.add_quota("branch", "b1", "day", 0)
    assert told(remedies(core, available, wish("L1", bank.add_slot()))) == ["join_waitlist"]


def test_a_smaller_amount_is_offered_where_only_the_funds_bind(
    bank: Bank, core: Core, available: Availability
) -> None:
    """What the day's funds still have, if that is a prepayment at all; it books."""
    bank.add_quota("branch", "b1", "funds_day", 40_000)
    slot = bank.add_slot()
    first, *_ = remedies(core, available, wish("L1", slot))
    assert (first["action"], first["amount"], first["body"]["amount"]) == ("smaller_amount", "40000", "40000")


def test_no_smaller_amount_is_offered_below_the_least_prepayment(
    bank: Bank, core: Core, available: Availability
) -> None:
    """With less left in the day's funds than the loan's least prepayment, waiting is what remains."""
    bank.add_quota("branch", "b1", "funds_day", 999)
    assert told(remedies(core, available, wish("L1", bank.add_slot()))) == ["join_waitlist"]


def test_rules_that_another_slot_satisfies_offer_one_but_no_waitlist(
    bank: Bank, core: Core, available: Availability
) -> None:
    """Nobody waits for a slot that is closed."""
    shut, free = bank.add_slot(closed=True), bank.add_slot(at="15:00")
    assert told(remedies(core, available, wish("L1", shut))) == [free]


def test_nobody_is_sent_where_others_were_just_sent(bank: Bank, core: Core, available: Availability) -> None:
    """Three units are recommended to three customers; the fourth is told to wait."""
    day = bank.today + timedelta(days=2)
    full, free = bank.add_slot(day=day, capacity=0), bank.add_slot(day=day, at="15:00", capacity=3)
    firsts = [told(remedies(core, available, wish(f"L{n}", full)))[0] for n in range(1, 5)]
    assert firsts == [free] * 3 + ["join_waitlist"]


def test_slots_told_count_as_shown(bank: Bank, core: Core, available: Availability) -> None:
    """What becomes of a recommended slot is known to the process that recommended it."""
    full, free = bank.add_slot(capacity=0), bank.add_slot(at="15:00")
    why, _ = refused(core, wish("L1", full))
    remedies(core, available, wish("L1", full))
    assert available.judge_shown(free, "app", why) is Shown.TAKEN
    assert available.judge_shown(full, "app", why) is None


def test_the_event_loop_is_told_the_same(bank: Bank, core: Core, available: Availability) -> None:
    """Coroutines share looks and are told what a thread would be told, with the limits that follow."""
    bank.add_quota("branch", "b1", "day", 0)
    full = bank.add_slot()
    bank.add_slot("b2")
    wished = wish("L1", full)
    why, seen = refused(core, wished)
    for _ in range(CROWD_ASKS):
        expected = advise(available, why, wished, seen)

    async def ask() -> list[tuple[Refused, tuple[dict[str, Any], ...]]]:
        return await asyncio.gather(*(advise_async(available, why, wished, seen) for _ in range(3)))

    assert asyncio.run(ask()) == [expected] * 3
    assert expected[0].violations[0].next_limit_units == 0


@pytest.mark.parametrize("query", ["", "?dry_run=false"])
def test_a_refusal_stands_though_no_remedy_can_be_looked_up(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """What a batch committed is told, and is one attempt, though the database goes away right afterwards."""

    def gone(*_: Any) -> Any:
        raise OperationalError("a look", None, OSError("gone"))

    monkeypatch.setattr(Availability, "_ask", gone)
    full, other = bank.add_slot(capacity=0), bank.add_slot(at="15:00")
    with api_on(bank) as api:
        tried = api.book("L1", full, query=query)
        ref = api.book("L2", other).json()["booking"]["ref"]
        moved = api.client.post(f"/v1/bookings/{ref}/reschedule", json={"slot": full})
        counted = {"channel": "app", "outcome": "refused"}
        assert api.metric("booking_attempts_total", **counted, reason="slot_full") == 2
        assert api.metric("booking_attempts_total", **counted, reason="dependency_down") == 0
    assert [(told.status_code, told.json()["reason"]) for told in (tried, moved)] == [(409, "slot_full")] * 2
    assert [row["reason"] for row in rows(bank.engine, "attempts")] == ["slot_full", None, "slot_full"]
