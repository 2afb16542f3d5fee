"""What the waitlist brings, on a real database: offers in order and metered, taken, passed on, left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.service import changes, waitlist
from booking_core.service.bookings import Refusal, Taken
from booking_core.service.commands import Command
from booking_core.service.core import Core
from booking_core.service.housekeeping import sweep
from booking_core.service.offers import promote
from booking_core.service.quotas import put_quota
from booking_core.store import waitlist as store
from metrics.contract import Reason
from tests.support.bank import Bank
from tests.support.counts import drift, rows
from tests.support.desk import insert_booking
from tests.support.queueing import entries, entry_ref, events, full_bank, join, raise_to
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
def test_freed_units_go_to_the_queue_before_newcomers(bank: Bank, core: Core) -> None:
    """A unit that is given back is refused to a newcomer, naming the waitlist, and offered to the first."""
    slot, (held,) = full_bank(bank, core)
    first, _ = (entry_ref(join(core, bank, loan)) for loan in ("L1", "L2"))
    changes.cancel(core, asking(), held)
    refused = book(core, "L3", slot)
    assert isinstance(refused, Refusal)
    assert [v.quota_id for v in refused.refused.violations] == ["waitlist:b1"]
    assert promote(core) == 1
    assert entries(bank) == {"L1": "offered", "L2": "waiting"}
    assert events(bank, first) == [("joined", None), ("offered", None)]
    assert reason(book(core, "L3", slot)) is Reason.SLOT_FULL
    assert drift(bank.engine) == []


@BOTH
def test_a_raised_limit_is_handed_out_a_few_at_a_time(bank: Bank, core: Core) -> None:
    """Thirty wait, the day's limit rises by thirty: two offers a sweep, never more than five at once."""
    bank.set("offers_at_once", 2)
    bank.set("offers_outstanding", 5)
    bank.add_slot(capacity=100)
    bank.add_quota("branch", "b1", "day", 0)
    for n in range(30):
        join(core, bank, bank.add_loan(f"W{n}"), latest_day=bank.today + timedelta(days=2))
    raise_to(bank, 30)
    assert [promote(core) for _ in range(4)] == [2, 2, 1, 0]
    offered = {loan for loan, status in entries(bank).items() if status == "offered"}
    assert offered == {f"W{n}" for n in range(5)}


@BOTH
def test_an_offer_that_runs_out_goes_to_the_next_in_line(bank: Bank, core: Core, wall: Wall) -> None:
    """The first entry is expired with its reason, the second is offered the same slot; units stay counted."""
    slot, (held,) = full_bank(bank, core)
    first, second = (entry_ref(join(core, bank, loan)) for loan in ("L1", "L2"))
    changes.cancel(core, asking(), held)
    promote(core)
    wall.move(seconds=1801)
    assert sweep(core) == 1
    assert entries(bank) == {"L1": "expired", "L2": "offered"}
    assert events(bank, first)[-1] == ("expired", "hold_expired")
    told = waitlist.find(core, asking(), second)
    assert isinstance(told, Taken)
    assert told.body["offer"]["slot"] == slot
    assert reason(waitlist.accept(core, asking(), first)) is Reason.HOLD_EXPIRED
    assert drift(bank.engine) == []


def test_cancelling_what_the_waitlist_brought_never_brings_the_entry_back(bank: Bank, core: Core) -> None:
    """Offered, accepted, cancelled: the entry stays booked, the unit goes to the next."""
    _, (held,) = full_bank(bank, core)
    first, _ = (entry_ref(join(core, bank, loan)) for loan in ("L1", "L2"))
    changes.cancel(core, asking(), held)
    promote(core)
    accepted = waitlist.accept(core, asking(), first)
    changes.cancel(core, asking(), ref(accepted))
    assert promote(core) == 1
    assert entries(bank) == {"L1": "booked", "L2": "offered"}
    assert promote(core) == 0


def test_cancelling_an_offer_by_its_booking_leaves_the_waitlist(bank: Bank, core: Core) -> None:
    """DELETE of the booking is as good as leaving: the next in line is served."""
    _, (held,) = full_bank(bank, core)
    first, _ = (entry_ref(join(core, bank, loan)) for loan in ("L1", "L2"))
    changes.cancel(core, asking(), held)
    promote(core)
    offer = waitlist.find(core, asking(), first)
    assert isinstance(offer, Taken)
    changes.cancel(core, asking(), offer.body["offer"]["ref"])
    promote(core)
    assert entries(bank) == {"L1": "left", "L2": "offered"}


def test_who_books_by_themselves_waits_no_more(bank: Bank, core: Core) -> None:
    """A booking elsewhere ends the wait in the same transaction, and the entry names it."""
    full_bank(bank, core)
    joined = entry_ref(join(core, bank, "L1"))
    bank.add_branch("b2")
    own = ref(book(core, "L1", bank.add_slot("b2")))
    told = waitlist.find(core, asking(), joined)
    assert isinstance(told, Taken)
    assert (told.body["entry"]["status"], told.body["entry"]["booking"]) == ("booked", own)
    assert events(bank, joined)[-1] == ("booked", None)


@BOTH
def test_who_cannot_take_what_is_free_is_skipped_once_and_holds_nobody_back(bank: Bank, core: Core) -> None:
    """A payoff above the day's funds: skipped with one line of history in all sweeps; newcomers book."""
    slot = bank.add_slot(capacity=1)
    bank.add_quota("branch", "b1", "funds_day", 300_000)
    bank.add_loan("rich", payoff="900000")
    rich = entry_ref(join(core, bank, "rich", latest_day=bank.today + timedelta(days=2)))
    assert reason(book(core, "L1", slot)) is Reason.SLOT_FULL
    for _ in range(3):
        promote(core)
    assert events(bank, rich) == [("joined", None), ("skipped", "funds_cap_reached")]
    assert reason(book(core, "L1", slot)) is None
    with write_transaction(bank.engine) as connection:
        put_quota(connection, "branch:b1:*:funds_day", 2_000_000, Command(asking().caller, datetime.now(UTC)))
    bank.add_slot(at="11:00", capacity=1)
    assert promote(core) == 1
    assert entries(bank) == {"rich": "offered"}
    assert drift(bank.engine) == []


@BOTH
def test_who_was_skipped_is_in_turn_again_when_the_next_place_is_freed(bank: Bank, core: Core) -> None:
    """Passed over for a day's funds, then all is taken: what is freed on another day is theirs."""
    short, ample = (bank.add_slot(day=bank.today + timedelta(days=n), capacity=1) for n in (2, 3))
    held = ref(book(core, "L2", ample))
    bank.add_quota("branch", "b1", "funds_day", 300_000)
    bank.add_loan("rich", payoff="290000")
    with write_transaction(bank.engine) as connection:
        command = Command(asking().caller, datetime.now(UTC))
        put_quota(connection, "branch:b1:*:funds_day", 280_000, command)
    rich = entry_ref(join(core, bank, "rich"))
    promote(core)
    taken = book(core, "L1", short)
    assert reason(taken) is None
    with write_transaction(bank.engine) as connection:
        put_quota(connection, "branch:b1:*:funds_day", 300_000, command)
    promote(core)
    changes.cancel(core, asking(), held)
    assert reason(book(core, "L3", ample)) is Reason.SLOT_FULL
    promote(core)
    assert entries(bank) == {"rich": "offered"}
    assert [kind for kind, _ in events(bank, rich)] == ["joined", "skipped", "offered"]


def test_ample_room_keeps_no_newcomer_out(bank: Bank, core: Core) -> None:
    """Two wait and three units are freed: one newcomer may book, the next would take what they wait for."""
    slot, held = full_bank(bank, core, capacity=3)
    for loan in ("L1", "L2"):
        join(core, bank, loan)
    for booking in held:
        changes.cancel(core, asking(), booking)
    assert reason(book(core, "L3", slot)) is None
    assert reason(book(core, "L4", slot)) is Reason.SLOT_FULL
    assert promote(core) == 2


def test_many_who_cannot_be_served_keep_nobody_behind_them_from_being_seen(bank: Bank, core: Core) -> None:
    """Sixty rich entries ahead of one that fits: by the second sweep it has its offer."""
    bank.add_slot(capacity=5)
    bank.add_quota("branch", "b1", "funds_day", 300_000)
    day = bank.today + timedelta(days=2)
    for n in range(60):
        join(core, bank, bank.add_loan(f"R{n}", payoff="900000"), latest_day=day)
    join(core, bank, "L1", latest_day=day)
    promote(core)
    promote(core)
    assert entries(bank)["L1"] == "offered"


def test_entries_that_can_never_be_booked_are_closed_with_the_reason(bank: Bank, core: Core) -> None:
    """A loan that was closed meanwhile: the next place that is free closes the entry and goes to the next."""
    full_bank(bank, core)
    closed = entry_ref(join(core, bank, "L1"))
    join(core, bank, "L2")
    with write_transaction(bank.engine) as connection:
        connection.execute(update(t.loans).where(t.loans.c.loan_ref == "L1").values(status="closed"))
    bank.add_slot(at="11:00", capacity=1)
    promote(core)
    assert entries(bank) == {"L1": "expired", "L2": "offered"}
    assert events(bank, closed)[-1] == ("expired", "loan_not_eligible")


def test_a_booking_made_at_the_same_moment_as_the_entry_ends_the_wait(bank: Bank, core: Core) -> None:
    """Whatever let both come to be, the next place that is free closes the entry and goes to the next."""
    full_bank(bank, core)
    twice = entry_ref(join(core, bank, "L1"))
    join(core, bank, "L2")
    other = bank.add_slot(at="12:00", day=bank.today + timedelta(days=40))
    with write_transaction(bank.engine) as connection:
        insert_booking(connection, "L1", other, bank.today + timedelta(days=40))
        connection.execute(update(t.slots).where(t.slots.c.slot_id == other).values(used_units=1))
    bank.add_slot(at="11:00", capacity=1)
    promote(core)
    assert entries(bank) == {"L1": "booked", "L2": "offered"}
    assert events(bank, twice)[-1] == ("booked", "duplicate_booking")
    assert drift(bank.engine) == []


@BOTH
def test_a_branch_whose_limits_shut_every_day_is_not_looked_at(bank: Bank, core: Core) -> None:
    """A month that is used up: nobody is examined; raised, the next sweep offers."""
    bank.add_slot(capacity=9)
    bank.add_quota("region", "north", "month", 1)
    slot = bank.add_slot(at="11:00", capacity=9)
    book(core, "L5", slot)
    entry_ref(join(core, bank, "L1", latest_day=bank.today + timedelta(days=2)))
    with bank.engine.connect() as connection:
        full = store.full_days(connection, ["north"], bank.today.replace(day=1) - timedelta(days=31))
    assert bank.today + timedelta(days=2) in full["north"]
    assert promote(core) == 0
    with write_transaction(bank.engine) as connection:
        put_quota(connection, "region:north:*:month", 2, Command(asking().caller, datetime.now(UTC)))
    assert promote(core) == 1


@BOTH
def test_a_last_day_that_has_gone_by_ends_the_wait(bank: Bank, core: Core, wall: Wall) -> None:
    """The entry is expired with outside_booking_window; nobody had to look at the branch for that."""
    full_bank(bank, core)
    over = entry_ref(join(core, bank, "L1", latest_day=bank.today + timedelta(days=2)))
    wall.move(days=4)
    promote(core)
    assert events(bank, over)[-1] == ("expired", "outside_booking_window")


def test_an_offer_never_outlives_the_start_of_its_slot(bank: Bank, core: Core) -> None:
    """With offers of a week a slot in two days is offered until it starts."""
    bank.set("offer_seconds", 7 * 86_400)
    bank.add_slot()
    offer = join(core, bank, "L1").body["offer"]
    assert datetime.fromisoformat(offer["expires_at"]) <= datetime.fromisoformat(offer["start"])


def test_an_offer_ends_with_the_start_of_its_slot_where_days_pass_faster(
    bank: Bank, core: Core, wall: Wall
) -> None:
    """In the demo a slot in two days starts within the hour: offers of a day end by then."""
    bank.set("offer_seconds", 86_400)
    bank.set("quarter_seconds", 10.0)
    bank.add_slot()
    ends = datetime.fromisoformat(join(core, bank, "L1").body["offer"]["expires_at"])
    assert ends <= wall() + timedelta(seconds=3 * 96 * 10)


def test_accepting_is_an_attempt_that_holds_and_repeats_to_the_same_answer(
    bank: Bank, core: Core, wall: Wall
) -> None:
    """The hold is fresh, counted once, and the same booking is told again."""
    bank.add_slot()
    joined = entry_ref(join(core, bank, "L1"))
    wall.move(seconds=1000)
    first, again = (waitlist.accept(core, asking(), joined) for _ in range(2))
    assert isinstance(first, Taken)
    assert isinstance(again, Taken)
    assert first.body["booking"] == again.body["booking"]
    assert first.body["booking"]["status"] == "held"
    ends = datetime.fromisoformat(first.body["booking"]["expires_at"])
    assert ends == (wall() + timedelta(seconds=600)).replace(microsecond=0)
    assert [a["outcome"] for a in rows(bank.engine, "attempts")] == ["held"]
    assert drift(bank.engine) == []


def test_accepting_too_late_is_hold_expired_though_no_sweep_has_come_by(
    bank: Bank, core: Core, wall: Wall
) -> None:
    """The offer is given back by the try itself, and the entry is expired."""
    bank.add_slot()
    joined = entry_ref(join(core, bank, "L1"))
    wall.move(seconds=1801)
    assert reason(waitlist.accept(core, asking(), joined)) is Reason.HOLD_EXPIRED
    assert entries(bank) == {"L1": "expired"}
    assert drift(bank.engine) == []


@BOTH
def test_leaving_gives_the_offer_back_and_repeats_to_the_same_answer(bank: Bank, core: Core) -> None:
    """Offered: the booking is cancelled, the entry left; accepting it then is hold_expired."""
    slot = bank.add_slot(capacity=1)
    joined = entry_ref(join(core, bank, "L1"))
    first, again = (waitlist.leave(core, asking(), joined) for _ in range(2))
    assert isinstance(first, Taken)
    assert isinstance(again, Taken)
    assert first.body == again.body
    assert first.body["entry"]["status"] == "left"
    assert reason(waitlist.accept(core, asking(), joined)) is Reason.HOLD_EXPIRED
    assert reason(book(core, "L2", slot)) is None
    assert drift(bank.engine) == []


def test_who_leaves_before_an_offer_is_out_of_the_queue(bank: Bank, core: Core) -> None:
    """The position of those behind moves up, and accepting is hold_expired."""
    full_bank(bank, core)
    first, second = (entry_ref(join(core, bank, loan)) for loan in ("L1", "L2"))
    waitlist.leave(core, asking(), first)
    told = waitlist.find(core, asking(), second)
    assert isinstance(told, Taken)
    assert told.body["position"] == 1
    assert reason(waitlist.accept(core, asking(), first)) is Reason.HOLD_EXPIRED
