"""The waitlist on a real database: joining, promotion in order and metered, expiry to the next, ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, update

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.queueing import position
from booking_core.service import changes, waitlist
from booking_core.service.bookings import Refusal, Taken
from booking_core.service.commands import Command
from booking_core.service.core import Core
from booking_core.service.housekeeping import sweep
from booking_core.service.offers import promote
from booking_core.service.quotas import put_quota
from booking_core.store import waitlist as store
from metrics.contract import Channel, Reason, TokenScope
from tests.support.bank import Bank
from tests.support.counts import drift, rows
from tests.support.desk import insert_booking
from tests.support.queueing import entry_ref, join
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


def entries(bank: Bank) -> dict[str, str]:
    """Loan -> status of its newest entry."""
    found = sorted(rows(bank.engine, "waitlist"), key=lambda r: r["joined_utc"])  # type: ignore[arg-type, return-value]
    return {str(r["loan_ref"]): str(r["status"]) for r in found}


def events(bank: Bank, ref: str) -> list[tuple[Any, Any]]:
    """(kind, reason) of each line of the entry's history."""
    return [(e["kind"], e["reason"]) for e in rows(bank.engine, "waitlist_events") if e["entry_ref"] == ref]


def raise_to(bank: Bank, limit: int) -> None:
    """The branch's day limit, set anew."""
    with write_transaction(bank.engine) as connection:
        put_quota(connection, "branch:b1:*:day", limit, Command(asking().caller, datetime.now(UTC)))


def full_bank(bank: Bank, core: Core, capacity: int = 1) -> tuple[str, list[str]]:
    """A slot whose units are all held: the slot, and the bookings."""
    slot = bank.add_slot(capacity=capacity)
    loans = [bank.add_loan(f"F{n}") for n in range(capacity)]
    return slot, [ref(book(core, loan, slot)) for loan in loans]


# --- joining ----------------------------------------------------------------------------------


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


# --- promotion --------------------------------------------------------------------------------


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


# --- accepting and leaving --------------------------------------------------------------------


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


# --- the promise ------------------------------------------------------------------------------


@BOTH
def test_the_promise_comes_from_what_the_branch_freed_before(bank: Bank, core: Core, wall: Wall) -> None:
    """One cancellation a day for forty days: the second in line is promised the day after tomorrow."""
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
    bank.add_quota("branch", "b1", "day", 0)
    join(core, bank, "L1")
    promised = join(core, bank, "L2").body["promise"]
    assert promised == {"by": str(bank.today + timedelta(days=2)), "chance": 1.0}


def test_a_new_bank_promises_nothing(bank: Bank, core: Core) -> None:
    """Without four weeks of history no date is made up."""
    full_bank(bank, core)
    assert join(core, bank, "L1").body["promise"] is None
