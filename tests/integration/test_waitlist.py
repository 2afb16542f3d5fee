"""Joining the waitlist on a real database: place, priority, the wish it belongs to, the promise."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.queueing import position
from booking_core.service import changes, waitlist
from booking_core.service.bookings import Refusal, Taken
from booking_core.service.core import Core
from booking_core.service.housekeeping import sweep
from booking_core.service.offers import promote
from booking_core.store import waitlist as store
from metrics.contract import Channel, Reason, TokenScope
from tests.support.bank import Bank
from tests.support.counts import drift, rows
from tests.support.queueing import entry_ref, events, full_bank, join
from tests.support.wishes import Wall, asking, book, core_on, reason, ref

BOTH = pytest.mark.parametrize("bank", ["sqlite", "postgres"], indirect=True)
"""For what lies in the SQL; the rest of the claims is the same code on either database."""


@pytest.fixture
def bank(request: pytest.FixtureRequest) -> Bank:
    """A small bank, on SQLite unless a test says otherwise."""
    return request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_bank")  # type: ignore[no-any-return]


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def core(bank: Bank, wall: Wall) -> Core:
    return core_on(bank.engine, wall)


@BOTH
def test_joining_twice_for_what_the_entry_covers_is_one_entry(bank: Bank, core: Core) -> None:
    """The same wish, another of its days, another channel: answered with the same entry and position."""
    full_bank(bank, core)
    assert entry_ref(join(core, bank, "L1")) != entry_ref(join(core, bank, "L2"))
    first, again, within = (join(core, bank, "L2", days=days) for days in (2, 2, 9))
    by_phone = join(core, bank, "L2", channel=Channel.PHONE)
    assert {entry_ref(told) for told in (again, within, by_phone)} == {entry_ref(first)}
    assert first.body["position"] == again.body["position"] == 2
    assert len(rows(bank.engine, "waitlist")) == 2


@BOTH
def test_a_wish_that_the_entry_does_not_cover_takes_its_place_at_the_end(bank: Bank, core: Core) -> None:
    """Another branch: the old entry is left, the new one waits there."""
    bank.add_branch("b2")
    old = entry_ref(join(core, bank, "L1"))
    new = join(core, bank, "L1", branch="b2")
    assert new.body["entry"]["branch"] == "b2"
    assert entry_ref(new) != old
    assert {r["entry_ref"]: r["status"] for r in rows(bank.engine, "waitlist")} == {
        old: "left",
        entry_ref(new): "waiting",
    }


def test_nobody_waits_behind_an_own_entry_that_is_replaced(bank: Bank, core: Core) -> None:
    """Who comes back for an earlier day is first in line still, and offered what is free on it at once."""
    bank.add_slot(day=bank.today + timedelta(days=5), closed=True)
    join(core, bank, "L1", days=5)
    slot = bank.add_slot(day=bank.today + timedelta(days=4))
    again = join(core, bank, "L1", days=4)
    assert again.body["offer"]["slot"] == slot


def test_a_place_that_is_free_with_nobody_ahead_is_offered_at_once(bank: Bank, core: Core) -> None:
    """The answer tells the offer with its slot and its end; it is a live booking, accepted like any offer."""
    slot = bank.add_slot(capacity=1)
    joined = join(core, bank, "L1")
    assert joined.body["entry"]["status"] == "offered"
    assert joined.body["offer"]["slot"] == slot
    assert joined.body["offer"]["expires_at"]
    assert reason(book(core, "L2", slot)) is Reason.SLOT_FULL
    assert reason(book(core, "L1", slot)) is Reason.DUPLICATE_BOOKING
    assert drift(bank.engine) == []


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"loan": "nobody"}, Reason.LOAN_NOT_FOUND),
        ({"loan": "L1", "holder": "someone"}, Reason.LOAN_NOT_FOUND),
        ({"loan": "closed"}, Reason.LOAN_NOT_ELIGIBLE),
        ({"loan": "L1", "days": 70}, Reason.OUTSIDE_BOOKING_WINDOW),
        ({"loan": "L1", "days": -40}, Reason.OUTSIDE_BOOKING_WINDOW),
        ({"loan": "L1", "branch": "nowhere"}, Reason.INVALID_FIELD),
        ({"loan": "L1", "region": "south"}, Reason.FORBIDDEN),
        ({"loan": "L1", "channel": Channel.COUNTER}, Reason.FORBIDDEN),
        ({"loan": "L1", "priority": 1, "priority_reason": "hardship"}, Reason.FORBIDDEN),
        ({"loan": "L1", "priority": 1}, Reason.INVALID_FIELD),
    ],
)
def test_a_join_is_refused_by_the_same_rules_as_a_booking(
    bank: Bank, core: Core, wanted: dict[str, Any], why: Reason
) -> None:
    """The reason is told, recorded as an attempt where it is one of the database, and no entry is made."""
    bank.add_loan("closed", status="closed")
    wanted = dict(wanted)
    assert reason(join(core, bank, wanted.pop("loan"), **wanted)) is why
    assert rows(bank.engine, "waitlist") == []
    recorded = [] if why is Reason.FORBIDDEN else [why.value]
    assert [a["reason"] for a in rows(bank.engine, "attempts")] == recorded


def test_a_loan_with_a_live_booking_cannot_join(bank: Bank, core: Core) -> None:
    """It is refused duplicate_booking, with the booking."""
    book(core, "L1", bank.add_slot())
    outcome = join(core, bank, "L1")
    assert isinstance(outcome, Refusal)
    assert outcome.refused.reason is Reason.DUPLICATE_BOOKING


def test_an_entry_begins_when_its_loan_becomes_eligible(bank: Bank, core: Core) -> None:
    """Days on which the loan could not be prepaid are not waited for."""
    bank.add_loan("later", eligible_from=bank.today + timedelta(days=7))
    told = join(core, bank, "later").body["entry"]
    assert told["wished_day"] == str(bank.today + timedelta(days=7))


def test_staff_give_priority_with_a_reason_also_to_who_waits_already(bank: Bank, core: Core) -> None:
    """The entry moves ahead, and its history tells why and by whom."""
    full_bank(bank, core)
    join(core, bank, "L1")
    late = join(core, bank, "L2")
    assert late.body["position"] == 2
    staff = asking()
    caller = staff.caller.__class__("t2", "desk", frozenset({TokenScope.OPERATOR, TokenScope.CHANNEL}))
    wanted = waitlist.Joining(
        "L2", "b1", bank.today + timedelta(days=2), Channel.APP, priority=1, priority_reason="hardship"
    )
    moved = waitlist.join(core, staff.__class__(caller, staff.trace_id, staff.started), wanted)
    assert isinstance(moved, Taken)
    assert (entry_ref(moved), moved.body["position"]) == (entry_ref(late), 1)
    assert events(bank, entry_ref(late)) == [("joined", None), ("joined", "hardship")]


@BOTH
def test_the_position_by_sql_is_the_position_by_the_rule(bank: Bank, core: Core) -> None:
    """Both count the same entries ahead, whatever their days, priorities and branches."""
    bank.add_branch("b2")
    for n in range(12):
        branch = "b2" if n % 5 == 0 else "b1"
        join(core, bank, bank.add_loan(f"W{n}"), days=2 + n % 4, branch=branch, latest_day=None)
    with bank.engine.connect() as connection:
        queue = [store.read_entry(connection, str(r["entry_ref"])) for r in rows(bank.engine, "waitlist")]
        known = [e for e in queue if e]
        assert [store.position(connection, e) for e in known] == [position(e, known) for e in known]


def test_joining_belongs_to_the_wish_that_was_refused(bank: Bank, core: Core) -> None:
    """Refused, joined, offered, accepted: one episode, two tries and the booking, closed as booked."""
    slot, (held,) = full_bank(bank, core)
    book(core, "L1", slot)
    joined = entry_ref(join(core, bank, "L1"))
    changes.cancel(core, asking(), held)
    promote(core)
    assert isinstance(waitlist.accept(core, asking(), joined), Taken)
    (episode,) = [e for e in rows(bank.engine, "wish_episodes") if e["loan_ref"] == "L1"]
    assert (episode["outcome"], episode["first_reason"], episode["tries"]) == ("booked", "slot_full", 3)


def test_joining_at_once_opens_a_wish_of_its_own(bank: Bank, core: Core) -> None:
    """Who joins without having tried has wished too: for the first of the entry's days."""
    full_bank(bank, core)
    join(core, bank, "L1")
    (episode,) = [e for e in rows(bank.engine, "wish_episodes") if e["loan_ref"] == "L1"]
    wished = bank.today + timedelta(days=2)
    assert (episode["outcome"], episode["first_reason"], episode["wished_day"]) == (
        "open",
        "slot_full",
        wished,
    )


@BOTH
def test_a_wish_that_waits_is_not_idle(bank: Bank, core: Core, wall: Wall) -> None:
    """Twenty days on the list: the wish is open still, and the booking that comes of it closes it."""
    day = bank.today + timedelta(days=30)
    slot = bank.add_slot(day=day, capacity=1)
    held = ref(book(core, "L5", slot, amount_cny=Decimal(5000), option="full"))
    joined = entry_ref(join(core, bank, "L1", days=30))
    wall.move(days=20)
    sweep(core)
    changes.cancel(core, asking(), held)
    promote(core)
    assert isinstance(waitlist.accept(core, asking(), joined), Taken)
    episodes = [e for e in rows(bank.engine, "wish_episodes") if e["loan_ref"] == "L1"]
    assert [e["outcome"] for e in episodes] == ["booked"]


def test_a_wish_that_waits_no_more_is_idle_again(bank: Bank, core: Core, wall: Wall) -> None:
    """Left, and fourteen days without a try: closed as unmet."""
    full_bank(bank, core)
    waitlist.leave(core, asking(), entry_ref(join(core, bank, "L1")))
    wall.move(days=15)
    sweep(core)
    (episode,) = [e for e in rows(bank.engine, "wish_episodes") if e["loan_ref"] == "L1"]
    assert episode["outcome"] == "unmet"


def freed_daily(bank: Bank, wall: Wall) -> None:
    """One cancellation a day at b1 for forty days."""
    slot = bank.add_slot(day=bank.today + timedelta(days=1))
    with write_transaction(bank.engine) as connection:
        for ago in range(41):
            booked = {
                "booking_ref": f"B{ago}",
                "loan_ref": "L5",
                "slot_id": slot,
                "branch_id": "b1",
                "region_id": "north",
                "service_day": bank.today - timedelta(days=ago),
                "channel": "app",
                "status": "cancelled",
                "created_utc": wall(),
            }
            connection.execute(insert(t.bookings).values(**booked))
            at = wall() - timedelta(days=40 - ago, hours=1)
            event = {"booking_ref": f"B{ago}", "at_utc": at, "from_status": "held", "actor": "test"}
            connection.execute(insert(t.booking_events).values(**event, to_status="cancelled"))


@BOTH
def test_the_promise_comes_from_what_the_branch_freed_before(bank: Bank, core: Core, wall: Wall) -> None:
    """One cancellation a day for forty days: the second in line is promised the day after tomorrow."""
    freed_daily(bank, wall)
    bank.add_quota("branch", "b1", "day", 0)
    join(core, bank, "L1")
    promised = join(core, bank, "L2").body["promise"]
    assert promised == {"by": str(bank.today + timedelta(days=2)), "chance": 1.0}


def test_who_is_offered_a_place_at_once_is_promised_nothing(bank: Bank, core: Core, wall: Wall) -> None:
    """Else promises that nobody had to keep would make up for those that were broken."""
    freed_daily(bank, wall)
    told = join(core, bank, "L1", days=1).body
    assert told["offer"]
    assert told["promise"] is None
    (entry,) = rows(bank.engine, "waitlist")
    assert entry["due_day"] is None
    bank.add_quota("branch", "b1", "day", 1)  # negative control: who waits is promised a day
    assert join(core, bank, "L2", days=1).body["promise"] == {
        "by": str(bank.today + timedelta(days=1)),
        "chance": 1.0,
    }


def test_a_new_bank_promises_nothing(bank: Bank, core: Core) -> None:
    """Without four weeks of history no date is made up."""
    full_bank(bank, core)
    assert join(core, bank, "L1").body["promise"] is None
