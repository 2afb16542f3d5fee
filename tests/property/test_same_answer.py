"""Looking and taking are one decision: the calendar, the dry run and the booking agree."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from booking_core import tables as t
from booking_core.domain import Accepted
from booking_core.service import calendar
from booking_core.service.bookings import Refusal, dry_run
from booking_core.service.core import Core
from metrics.contract import Channel, Reason
from tests.support.bank import Bank, make_bank
from tests.support.wishes import Wall, asking, book, core_on, reason, wish

CHANNELS = st.sampled_from([Channel.APP, Channel.PHONE])
SCOPES = st.sampled_from([("branch", "b1"), ("branch", "b2"), ("region", "north"), ("bank", "bank")])


@dataclass(frozen=True)
class Quota:
    """A standing limit of a small bank."""

    scope: tuple[str, str]
    kind: str
    limit: int
    channel: str


@dataclass(frozen=True)
class Slot:
    """A slot of a small bank: some hours or days from now."""

    branch: str
    hours: int
    capacity: int
    closed: bool


@dataclass(frozen=True)
class Loan:
    """A loan of a small bank."""

    payoff: int
    status: str
    eligible_in_days: int | None


SLOT = st.builds(
    Slot,
    st.sampled_from(["b1", "b2"]),
    st.sampled_from([0, 1, 26, 27, 50, 24 * 70]),
    st.integers(0, 3),
    st.booleans(),
)
UNITS = st.builds(
    Quota,
    SCOPES,
    st.sampled_from(["day", "week", "month"]),
    st.integers(0, 4),
    st.sampled_from(["*", "app", "phone"]),
)
FUNDS = st.builds(Quota, SCOPES, st.just("funds_day"), st.sampled_from([0, 900, 5000, 9000]), st.just("*"))
LOAN = st.builds(
    Loan,
    st.sampled_from([1000, 4500]),
    st.sampled_from(["active", "active", "active", "closed"]),
    st.sampled_from([None, None, 2]),
)


@contextmanager
def small_bank(
    slots: list[Slot], limits: list[Quota], loans: list[Loan]
) -> Iterator[tuple[Bank, Core, list[str]]]:
    """The bank with its slots' ids."""
    with tempfile.TemporaryDirectory(prefix="slotcast-property-") as folder:
        bank = make_bank(f"sqlite:///{Path(folder)}/slotcast.db", furnished=False)
        bank.add_region()
        for branch in ("b1", "b2"):
            bank.add_branch(branch)
        wall, ids = Wall(), []
        for n, slot in enumerate(slots):
            local = (wall.now + timedelta(hours=8 + slot.hours, minutes=n)).replace(second=0)
            at = f"{local:%H:%M}"
            ids.append(
                bank.add_slot(slot.branch, local.date(), at, capacity=slot.capacity, closed=slot.closed)
            )
        for quota in dict.fromkeys((q.scope, q.kind, q.channel) for q in limits):
            limit = next(q.limit for q in limits if (q.scope, q.kind, q.channel) == quota)
            bank.add_quota(*quota[0], quota[1], limit, quota[2])
        for n, loan in enumerate(loans):
            days = loan.eligible_in_days
            eligible = None if days is None else bank.today + timedelta(days=days)
            bank.add_loan(f"P{n}", payoff=f"{loan.payoff}.00", status=loan.status, eligible_from=eligible)
        try:
            yield bank, core_on(bank.engine, wall), ids
        finally:
            bank.engine.dispose()


def wait(bank: Bank, branch: str, channel: Channel) -> None:
    """Someone waits for any slot of the branch in the channel."""
    loan = bank.add_loan("waiting", branch_id=branch)
    bank._insert(
        t.waitlist,
        entry_ref="W1",
        loan_ref=loan,
        branch_id=branch,
        region_id="north",
        wished_day=bank.today,
        latest_day=bank.today + timedelta(days=62),
        channel=channel.value,
        priority=0,
        status="waiting",
        joined_utc=datetime.now(UTC),
        actor="test",
    )


def shown(core: Core, loan: str, slot: str, channel: Channel) -> Reason | None:
    """What the calendar says of the slot: None = bookable."""
    branch, day = slot[:2], date.fromisoformat(slot[3:13])
    page = calendar.calendar(core, asking(), calendar.Asked(branch, day, day, loan, channel))
    assert isinstance(page, dict), page
    [entry] = [entry for entry in page["slots"] if entry["slot"] == slot]
    assert entry["bookable"] == (entry["reason"] is None)
    return entry["reason"]  # type: ignore[no-any-return]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    slots=st.lists(SLOT, min_size=1, max_size=5),
    limits=st.lists(st.one_of(UNITS, FUNDS), max_size=5),
    loans=st.lists(LOAN, min_size=1, max_size=6),
    waiting=st.lists(st.tuples(st.sampled_from(["b1", "b2"]), CHANNELS), max_size=1),
    tries=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), CHANNELS), min_size=1, max_size=8),
)
@example(
    slots=[Slot("b1", 26, 3, closed=False)],
    limits=[Quota(("branch", "b1"), "day", 1, "app"), Quota(("bank", "bank"), "funds_day", 9000, "*")],
    loans=[Loan(4500, "active", None)] * 4,
    waiting=[("b1", Channel.PHONE)],
    tries=[(0, 0, Channel.APP), (1, 0, Channel.APP), (1, 0, Channel.PHONE), (2, 0, Channel.PHONE)],
)
def test_calendar_dry_run_and_booking_agree(
    slots: list[Slot],
    limits: list[Quota],
    loans: list[Loan],
    waiting: list[tuple[str, Channel]],
    tries: list[tuple[int, int, Channel]],
) -> None:
    """While nothing happens in between, what is shown, what is foretold and what is done are the same."""
    with small_bank(slots, limits, loans) as (bank, core, ids):
        for branch, channel in waiting:
            wait(bank, branch, channel)
        for loan, slot, channel in tries:
            wished = wish(f"P{loan % len(loans)}", ids[slot % len(ids)], channel)
            seen = shown(core, wished.loan_ref, wished.slot_id, channel)
            foretold = dry_run(core, asking(), wished)
            done = reason(book(core, wished.loan_ref, wished.slot_id, channel=channel))
            assert (foretold.refused.reason if isinstance(foretold, Refusal) else None) == done == seen
            assert isinstance(foretold, Accepted) == (done is None)
