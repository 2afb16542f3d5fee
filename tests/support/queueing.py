"""Builders of the waitlist: entries as values, joining without HTTP, what stands in the database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from booking_core.database import write_transaction
from booking_core.queueing import Entry
from booking_core.service import waitlist
from booking_core.service.bookings import Refusal, Taken
from booking_core.service.commands import Command
from booking_core.service.core import Core
from booking_core.service.quotas import put_quota
from booking_core.service.waitlist import Joining
from metrics.contract import Channel
from tests.support.bank import Bank
from tests.support.counts import rows
from tests.support.wishes import Wall, asking, book, ref

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
"""Monday 09:00 in Shanghai."""
TODAY = date(2026, 3, 2)


def entry(ref: str = "W1", *, after: int = 0, wished: int = 1, latest: int = 10, **other: Any) -> Entry:
    """An entry that joined so many seconds after NOW, for the days that lie so far ahead."""
    told: dict[str, Any] = {
        "loan_ref": f"L-{ref}",
        "branch_id": "b1",
        "region_id": "north",
        "wished_day": TODAY + timedelta(days=wished),
        "latest_day": TODAY + timedelta(days=latest),
        "channel": "app",
        "priority": 0,
        "status": "waiting",
        "joined_utc": NOW + timedelta(seconds=after),
        "actor": "test",
    }
    return Entry(entry_ref=ref, **(told | other))


def join(core: Core, bank: Bank, loan: str, *, days: int = 2, branch: str = "b1", **other: Any) -> Any:
    """The outcome of joining for the day so far ahead, a moment after whatever was before."""
    if isinstance(core.wall, Wall):
        core.wall.move(milliseconds=1)
    who = {name: other.pop(name) for name in ("region", "holder") if name in other}
    channel = other.pop("channel", Channel.APP)
    wanted = Joining(loan, branch, bank.today + timedelta(days=days), channel, **other)
    return waitlist.join(core, asking(**who), wanted)


def entry_ref(outcome: Taken | Refusal | None) -> str:
    """The reference of the entry that was told."""
    assert isinstance(outcome, Taken), outcome
    return str(outcome.body["entry"]["ref"])


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
