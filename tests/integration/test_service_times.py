"""Handling times and no-shows, measured from bookings that were led to their end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from booking_core import tables as t
from booking_core.read.service_times import service_times
from booking_core.service import changes
from booking_core.service.bookings import Taken
from tests.support.bank import Bank
from tests.support.wishes import Wall, asking, book, core_on, ref

COLUMNS = {
    "branch_id": "str",
    "region_id": "str",
    "weekday": "int64",
    "hour": "int64",
    "completed": "int64",
    "no_shows": "int64",
    "mean_seconds": "float64",
    "q0.5_seconds": "float64",
    "q0.9_seconds": "float64",
    "no_show_ratio": "float64",
}


def serve(bank: Bank, slot: str, minutes: dict[str, int | None]) -> None:
    """Book the slot for each loan; each customer is served for so many minutes, or (None) does not come."""
    core = core_on(bank.engine, wall := Wall())
    payoff = changes.Settlement(amount_cny=2000, option="full")  # type: ignore[arg-type]
    refs = {loan: ref(book(core, loan, slot)) for loan in minutes}
    with bank.engine.connect() as connection:
        start = connection.scalar(select(t.slots.c.start_utc).where(t.slots.c.slot_id == slot))
    outcomes = [changes.confirm(core, asking(), booking, payoff) for booking in refs.values()]
    wall.now = start
    for loan, length in minutes.items():
        if length is None:
            outcomes.append(changes.no_show(core, asking(), refs[loan]))
            continue
        outcomes.append(changes.check_in(core, asking(), refs[loan]))
        ended = wall.now + timedelta(minutes=length)
        wall.move(minutes=length)
        outcomes.append(changes.complete(core, asking(), refs[loan], ended=ended))
        wall.now = start
    assert all(isinstance(outcome, Taken) for outcome in outcomes), outcomes


def test_service_times_are_measured_by_branch_weekday_and_hour(bank: Bank) -> None:
    """Each cell counts its finished bookings and tells mean, median, 0.9-quantile and the no-show share."""
    day = bank.today + timedelta(days=2)
    bank.add_branch("b2")
    serve(bank, bank.add_slot(day=day, at="10:00"), {"L1": 10, "L2": 20, "L3": 60, "L4": None})
    serve(bank, bank.add_slot("b2", day, "15:30"), {"L5": None})
    found = service_times(bank.engine, since=day, until=day)
    assert found.dtypes.astype(str).to_dict() == COLUMNS
    first, second = found.to_dict("records")
    assert first == {
        "branch_id": "b1",
        "region_id": "north",
        "weekday": day.weekday(),
        "hour": 10,
        "completed": 3,
        "no_shows": 1,
        "mean_seconds": 1800.0,
        "q0.5_seconds": 1200.0,
        "q0.9_seconds": pytest.approx(3120.0),
        "no_show_ratio": 0.25,
    }
    assert (second["branch_id"], second["hour"], second["no_show_ratio"]) == ("b2", 15, 1.0)
    assert second["mean_seconds"] != second["mean_seconds"], "nobody was served: unknown, not 0"
    assert service_times(bank.engine, since=day, until=day, region="south").empty
    assert service_times(bank.engine, since=day + timedelta(days=1), until=day + timedelta(days=9)).empty


def test_a_bank_that_has_served_nobody_has_an_empty_typed_frame(bank: Bank) -> None:
    """Without finished bookings the frame has its columns and no rows."""
    today = datetime.now(UTC).date()
    found = service_times(bank.engine, since=today, until=today)
    assert (found.dtypes.astype(str).to_dict(), len(found)) == (COLUMNS, 0)
