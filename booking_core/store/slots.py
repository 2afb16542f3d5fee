"""Slots and loans as domain values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, select

from booking_core import tables as t
from booking_core.domain import LoanState, SlotState
from booking_core.store.rows import Among, by_keys, change_rows, one_of

LIVE = ("offered", "held", "confirmed", "checked_in")
"""A booking in one of these keeps its loan from another."""
SEEN: Final = 20_000
"""Slots whose place is remembered."""

_seen: Final[dict[str, SlotState]] = {}


@by_keys
def _slots(among: Among) -> Select[Any]:
    return select(t.slots).where(among(t.slots.c.slot_id, "ids")).order_by(t.slots.c.slot_id)


@by_keys
def _loans(among: Among) -> Select[Any]:
    return select(t.loans).where(among(t.loans.c.loan_ref, "refs"))


@by_keys
def _live_bookings(among: Among) -> Select[Any]:
    b = t.bookings.c
    return select(b.loan_ref, b.booking_ref).where(among(b.loan_ref, "loans"), one_of(b.status, LIVE))


def read_slot(connection: Connection, slot_id: str) -> SlotState | None:
    """The slot as committed, None for an unknown one."""
    row = connection.execute(select(t.slots).where(t.slots.c.slot_id == slot_id)).first()
    return _slot(row) if row else None


def lock_slots(connection: Connection, slot_ids: Collection[str]) -> Callable[[], dict[str, SlotState]]:
    """Asks for the slots, locked in the order of their ids: the first locks of all that moves units."""
    rows = _slots(connection, lock=True, ids=slot_ids)
    return lambda: {row["slot_id"]: SlotState(**row) for row in rows()}


def seen_slots(connection: Connection, slot_ids: Collection[str]) -> dict[str, SlotState]:
    """The slots as this process saw them first: branch and day are still right, unless `moved` says else."""
    if len(_seen) > SEEN:
        _seen.clear()
    unknown = [slot_id for slot_id in slot_ids if slot_id not in _seen]
    _seen.update({row["slot_id"]: SlotState(**row) for row in _slots(connection, ids=unknown)()})
    return {slot_id: _seen[slot_id] for slot_id in slot_ids if slot_id in _seen}


def moved(seen: dict[str, SlotState], locked: dict[str, SlotState]) -> list[str]:
    """The slots that are not where they were seen, or were not seen at all; they are forgotten."""
    elsewhere = [ref for ref, slot in locked.items() if ref not in seen or seen[ref].place != slot.place]
    for slot_id in elsewhere:
        _seen.pop(slot_id, None)
    return elsewhere


def branch_slots(connection: Connection, branch_id: str, first: date, last: date) -> list[SlotState]:
    """The branch's slots on the days from first to last, in order of time."""
    day = t.slots.c.service_day
    statement = select(t.slots).where(t.slots.c.branch_id == branch_id, day.between(first, last))
    return [_slot(row) for row in connection.execute(statement.order_by(t.slots.c.start_utc))]


def set_slot_units(connection: Connection, changed: Collection[SlotState]) -> None:
    """Write what is used and offered of the locked slots."""
    names = ("slot_id", "used_units", "offered_units")
    change_rows(connection, t.slots, "slot_id", [{name: getattr(s, name) for name in names} for s in changed])


def read_loan(connection: Connection, loan_ref: str) -> LoanState | None:
    """The loan with its live booking, if it has one."""
    return read_loans(connection, [loan_ref])().get(loan_ref)


def read_loans(connection: Connection, loan_refs: Collection[str]) -> Callable[[], dict[str, LoanState]]:
    """Asks for the loans by reference, each with its live booking, if it has one."""
    bookings, loans = _live_bookings(connection, loans=loan_refs), _loans(connection, refs=loan_refs)

    def answer() -> dict[str, LoanState]:
        live = {row["loan_ref"]: row["booking_ref"] for row in bookings()}
        return {r["loan_ref"]: LoanState(**r, live_booking_ref=live.get(r["loan_ref"])) for r in loans()}

    return answer


def region_of(connection: Connection, branch_id: str) -> str | None:
    """The region of the branch, None for an unknown branch."""
    statement = select(t.branches.c.region_id).where(t.branches.c.branch_id == branch_id)
    return connection.scalar(statement)


def branches(
    connection: Connection, *, region_id: str | None, after: str, limit: int
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Active branches by id after the cursor."""
    b = t.branches.c
    statement = select(b.branch_id, b.region_id, b.name_en, b.name_zh).where(b.active, b.branch_id > after)
    if region_id is not None:
        statement = statement.where(b.region_id == region_id)
    return connection.execute(statement.order_by(b.branch_id).limit(limit)).all()


def _slot(row: Row[Any]) -> SlotState:
    return SlotState(**row._mapping)  # noqa: SLF001 – _mapping is SQLAlchemy's public name for it
