"""The recount names every row that breaks an invariant, and nothing in a healthy bank."""

from __future__ import annotations

import logging
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import insert, text, update

from booking_core import tables as t
from booking_core.collector import DatabaseCollector
from booking_core.database import write_transaction
from booking_core.invariants import alone, broken_rows, main
from metrics import contract
from metrics.logs import hashed
from tests.support.bank import Bank
from tests.support.counts import drift

NOW = datetime(2026, 3, 4, 2, tzinfo=UTC)
TODAY = NOW.date()
MONTH = TODAY.replace(day=1)


def booked(bank: Bank, ref: str, loan: str, slot: str, **columns: Any) -> str:
    """A booking of today at b1 through the app, put straight into its table; its reference."""
    row = {
        "booking_ref": ref,
        "loan_ref": loan,
        "slot_id": slot,
        "branch_id": "b1",
        "region_id": "north",
        "service_day": TODAY,
        "channel": "app",
        "status": "confirmed",
        "units": 1,
        "reserved_cny": 250_000,
        "created_utc": NOW - timedelta(hours=1),
    }
    put(bank, t.bookings, **row | columns)
    return ref


def put(bank: Bank, table: Any, **values: Any) -> None:
    """A row."""
    with write_transaction(bank.engine) as connection:
        connection.execute(insert(table).values(**values))


def counter(bank: Bank, scope: str, used: int, kind: str = "day", *, channel: str = "*") -> None:
    """The counter of the period that today lies in."""
    scope_kind, scope_id = scope.split(":")
    start = {"week": TODAY - timedelta(days=TODAY.weekday()), "month": MONTH}.get(kind, TODAY)
    put(
        bank,
        t.quota_periods,
        scope_kind=scope_kind,
        scope_id=scope_id,
        channel=channel,
        period_kind=kind,
        period_start=start,
        used_units=used,
    )


def moved(bank: Bank, slot: str, **columns: int) -> None:
    """The slot's counters as given."""
    with write_transaction(bank.engine) as connection:
        connection.execute(update(t.slots).where(t.slots.c.slot_id == slot).values(**columns))


def broken(bank: Bank, since: date = MONTH) -> dict[str, list[str]]:
    """The invariants that are broken, with their rows."""
    with bank.engine.connect() as connection:
        found = broken_rows(connection, since, NOW)
    return {name: rows for name, rows in found.items() if rows}


def test_a_bank_whose_counters_tell_the_truth_is_healthy(bank: Bank) -> None:
    """Units, offers and funds add up at every level, narrowed to a channel or not."""
    slot = bank.add_slot(day=TODAY, capacity=5)
    booked(bank, "B1", "L1", slot)
    booked(bank, "B2", "L2", slot, channel="phone", status="held", held_until_utc=NOW)
    booked(bank, "B3", "L3", slot, status="offered", held_until_utc=NOW, reserved_cny=50)
    booked(bank, "B4", "L4", slot, status="cancelled")
    put_entry(bank, "W1", "L3", "B3")
    moved(bank, slot, used_units=2, offered_units=1)
    for scope in ("branch:b1", "region:north", "bank:bank"):
        counter(bank, scope, 3)
        counter(bank, scope, 1, "week", channel="phone")
        counter(bank, scope, 2, "month", channel="app")
        counter(bank, scope, 500_050, "funds_day")
    assert broken(bank) == {}
    assert drift(bank.engine) == []


def put_entry(bank: Bank, ref: str, loan: str, booking: str | None, status: str = "offered") -> None:
    """A waitlist entry of the loan."""
    put(
        bank,
        t.waitlist,
        entry_ref=ref,
        loan_ref=loan,
        branch_id="b1",
        region_id="north",
        wished_day=TODAY,
        latest_day=TODAY,
        channel="app",
        status=status,
        joined_utc=NOW,
        booking_ref=booking,
        actor="test",
    )


def test_a_slot_that_says_something_else_is_named(bank: Bank) -> None:
    """Too full, or its counters are not what its bookings add up to: the line tells both figures."""
    full = bank.add_slot(day=TODAY, capacity=1)
    wrong = bank.add_slot(day=TODAY, at="11:00")
    booked(bank, "B1", "L1", full)
    booked(bank, "B2", "L2", full, status="offered")
    moved(bank, full, used_units=1, offered_units=1)
    moved(bank, wrong, used_units=3, offered_units=2)
    assert broken(bank) == {
        "slot_within_capacity": [f"slot {full}: capacity 1, used 1 and offered 1"],
        "slot_used_is_recount": [f"slot {wrong}: used 3, its bookings say 0"],
        "slot_offered_is_recount": [f"slot {wrong}: offered 2, its bookings say 0"],
    }


def test_a_counter_that_says_something_else_is_named(bank: Bank) -> None:
    """Only the wrong periods are told, a day's funds in yuan."""
    slot = bank.add_slot(day=TODAY)
    booked(bank, "B1", "L1", slot)
    moved(bank, slot, used_units=1)
    counter(bank, "branch:b1", 1)
    counter(bank, "branch:b1", 1, channel="phone")
    counter(bank, "region:north", 4, "month")
    counter(bank, "bank:bank", 249_999, "funds_day")
    assert broken(bank) == {
        "quota_used_is_recount": [
            f"period bank:bank:*:funds_day:{TODAY}: used 249999, its bookings say 250000",
            f"period branch:b1:phone:day:{TODAY}: used 1, its bookings say 0",
            f"period region:north:*:month:{MONTH}: used 4, its bookings say 1",
        ]
    }


def test_what_lies_before_the_first_day_is_not_recounted(bank: Bank) -> None:
    """The recount stays cheap however long the bank's history is."""
    slot = bank.add_slot(day=TODAY)
    moved(bank, slot, used_units=3)
    counter(bank, "branch:b1", 7)
    assert broken(bank, since=TODAY + timedelta(days=1)) == {}


def test_a_hold_that_the_sweep_forgot_is_named(bank: Bank) -> None:
    """A minute after its end a hold or an offer must be gone."""
    slot = bank.add_slot(day=TODAY)
    for n, (status, seconds) in enumerate([("held", 59), ("held", 61), ("offered", 61)], start=1):
        booked(bank, f"B{n}", f"L{n}", slot, status=status, held_until_utc=NOW - timedelta(seconds=seconds))
    moved(bank, slot, used_units=2, offered_units=1)
    assert broken(bank) == {
        "hold_ends_in_time": [
            f"booking B{n}: {status} until 2026-03-04T01:58:59Z, which is over"
            for n, status in ((2, "held"), (3, "offered"))
        ]
    }


def test_a_loan_with_two_live_bookings_is_named_by_its_hash(bank: Bank) -> None:
    """Should the index of live loans ever be missing, the recount still tells; loan numbers stay unlogged."""
    slot = bank.add_slot(day=TODAY)
    with bank.engine.begin() as connection:
        connection.execute(text("DROP INDEX uq_bookings_live_loan"))
    booked(bank, "B1", "L1", slot)
    booked(bank, "B2", "L1", slot)
    moved(bank, slot, used_units=2)
    assert broken(bank) == {"loan_has_one_live_booking": [f"loan {hashed('L1')}: 2 live bookings"]}


def test_an_offered_entry_without_its_offer_is_named(bank: Bank) -> None:
    """What the waitlist promised must be there to accept."""
    slot = bank.add_slot(day=TODAY)
    booked(bank, "B1", "L1", slot, status="expired")
    put_entry(bank, "W1", "L1", "B1")
    put_entry(bank, "W2", "L2", None)
    put_entry(bank, "W3", "L3", None, "waiting")
    assert broken(bank) == {
        "offered_entry_has_its_offer": [
            "waitlist entry W1: offered, but booking B1 is no offer",
            "waitlist entry W2: offered, but booking None is no offer",
        ]
    }


def scraped(collector: DatabaseCollector) -> dict[str, float]:
    """The violations that a scrape tells, by invariant."""
    registry = CollectorRegistry()
    registry.register(collector)
    return {
        sample.labels["invariant"]: sample.value
        for family in registry.collect()
        if family.name == contract.INVARIANT_VIOLATIONS
        for sample in family.samples
    }


def test_broken_rows_are_logged_once_and_again_when_they_change(
    bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    """An error line names at most twenty rows; a second recount of the same says nothing new."""
    slots = [bank.add_slot(day=TODAY, at=f"{9 + n // 2:02}:{n % 2 * 3}0") for n in range(25)]
    for slot in slots:
        moved(bank, slot, used_units=1)
    collector = DatabaseCollector(bank.engine, wall=lambda: NOW, cache_seconds=0.0)

    def logged() -> list[str]:
        caplog.clear()
        collector._broken_good_until = 0.0
        assert scraped(collector)["slot_used_is_recount"] == 25
        return [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]

    [line] = logged()
    assert "slot_used_is_recount broken by 25 rows" in line
    assert sum(slot in line for slot in slots) == 20
    assert logged() == []
    moved(bank, slots[0], used_units=2)
    assert "used 2, its bookings say 0" in logged()[0]


def test_one_process_at_a_time_recounts(bank: Bank) -> None:
    """While another recounts, a scrape tells what it knew before, and nothing where it knew nothing."""
    slot = bank.add_slot(day=TODAY)
    fresh = DatabaseCollector(bank.engine, wall=lambda: NOW, cache_seconds=0.0)
    known = DatabaseCollector(bank.engine, wall=lambda: NOW, cache_seconds=0.0)
    assert scraped(known)["slot_used_is_recount"] == 0
    moved(bank, slot, used_units=1)
    known._broken_good_until = 0.0
    with bank.engine.connect() as connection, alone(connection) as ours:
        assert ours
        assert scraped(fresh) == {}
        assert scraped(known)["slot_used_is_recount"] == 0
    assert scraped(fresh)["slot_used_is_recount"] == 1
    assert scraped(known)["slot_used_is_recount"] == 1


def test_a_recount_of_a_hundred_thousand_bookings_takes_a_second_or_two(sqlite_bank: Bank) -> None:
    """The recount adds up in SQL: it is no burden on the worker that is scraped."""
    branches = [sqlite_bank.add_branch(f"n{n}") for n in range(50)]
    slots = [sqlite_bank.add_slot(b, TODAY + timedelta(days=d)) for b in branches for d in range(20)]
    with write_transaction(sqlite_bank.engine) as connection:
        for part in range(100):
            connection.execute(
                insert(t.bookings),
                [
                    {
                        "booking_ref": f"B{part}-{n}",
                        "loan_ref": "L1",
                        "slot_id": slots[n],
                        "branch_id": slots[n].split("-")[0],
                        "region_id": "north",
                        "service_day": TODAY + timedelta(days=n % 20),
                        "channel": ("app", "web", "phone")[part % 3],
                        "status": "completed",
                        "units": 1,
                        "reserved_cny": 1000,
                        "created_utc": NOW,
                    }
                    for n in range(1000)
                ],
            )
        connection.execute(update(t.slots).values(used_units=100))
    for scope in (*(f"branch:{b}" for b in branches), "region:north", "bank:bank"):
        counter(sqlite_bank, scope, 100 if scope.startswith("branch") else 5000)
        counter(sqlite_bank, scope, 100_000 if scope.startswith("branch") else 5_000_000, "funds_day")
    started = time.perf_counter()
    assert broken(sqlite_bank) == {}
    assert time.perf_counter() - started < 5, "measured: 0.6 s"


def test_the_command_prints_every_broken_row(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m booking_core.invariants` ends with 1 and the rows, or with 0 and says that all is well."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", bank.url)
    slot = bank.add_slot()
    for used, code, says in (
        (0, 0, "every invariant holds\n"),
        (1, 1, f"slot_used_is_recount: slot {slot}: used 1, its bookings say 0\n"),
    ):
        moved(bank, slot, used_units=used)
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code, capsys.readouterr().out) == (code, says)
