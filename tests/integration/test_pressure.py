"""Pressure is counted in memory and written down without loss."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from booking_core import tables_forecast as tf
from booking_core.database import make_engine, write_transaction
from booking_core.pressure import PressureCounter, minute_totals
from booking_core.settings import save_settings
from tests.support.bank import Bank

NOON = datetime(2026, 3, 2, 12, 7, 30, tzinfo=UTC)


class Clock:
    """A wall clock and a stopwatch that move together, by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def wall(self) -> datetime:
        """The wall time."""
        return self.now

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return (self.now - NOON).total_seconds()

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


def counter(bank: Bank, clock: Clock, source: str = "w1") -> PressureCounter:
    """A counter on the hand-moved clock, flushed by hand."""
    return PressureCounter(bank.engine, wall_clock=clock.wall, monotonic=clock.monotonic, source=source)


def rows(bank: Bank) -> list[tuple]:
    """All rows, in order: minute, quarter, source, requests, refused, failed, busy."""
    c = tf.pressure_minutes.c
    with bank.engine.connect() as connection:
        return [
            tuple(r)
            for r in connection.execute(
                select(
                    c.minute_utc, c.business_utc, c.source, c.requests, c.refused, c.failed, c.busy_seconds
                ).order_by(c.minute_utc, c.business_utc, c.source)
            )
        ]


def test_counts_fall_into_wall_minutes_and_business_quarters(bank: Bank) -> None:
    """A request counts in the wall minute and the business quarter-hour in which it was answered."""
    clock = Clock()
    pressure = counter(bank, clock)
    for status in (201, 409, 503):
        pressure.begin()
        clock.pass_seconds(0.5)
        pressure.end(status)
    assert pressure.flush()
    with write_transaction(bank.engine) as connection:
        save_settings(connection, {"business_offset_seconds": 900}, clock.now)
    assert pressure.flush(), "reads the new offset"
    pressure.begin()
    pressure.end(200)
    assert pressure.flush()
    minute = NOON.replace(second=0)
    assert rows(bank) == [
        (minute, NOON.replace(minute=0, second=0), "w1", 3, 2, 1, 1.5),
        (minute, NOON.replace(minute=15, second=0), "w1", 1, 0, 0, 0.0),
    ]


def test_flushes_add_up_and_workers_stay_apart(bank: Bank) -> None:
    """Many flushes of one minute add up in one row a worker."""
    clock = Clock()
    for source in ("w1", "w2"):
        pressure = counter(bank, clock, source)
        for _ in range(3):
            pressure.begin()
            pressure.end(200)
            pressure.flush()
    assert [(r[2], r[3]) for r in rows(bank)] == [("w1", 3), ("w2", 3)]
    with bank.engine.connect() as connection:
        assert minute_totals(connection, NOON)[NOON.replace(second=0)].requests == 6


def test_waiting_together_is_busy_once(bank: Bank) -> None:
    """Overlapping requests cost the worker the time of their union, seen while still in flight too."""
    clock = Clock()
    pressure = counter(bank, clock)
    pressure.begin()
    clock.pass_seconds(1)
    pressure.begin()
    clock.pass_seconds(1)
    pressure.flush()
    assert rows(bank)[0][3:] == (0, 0, 0, 2.0)
    pressure.end(200)
    clock.pass_seconds(1)
    pressure.end(200)
    clock.pass_seconds(10)
    pressure.flush()
    assert rows(bank)[0][3:] == (2, 0, 0, 3.0)


def test_an_unreachable_database_loses_nothing(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts wait in memory while the database is away, and are written when it is back."""
    clock = Clock()
    pressure = counter(sqlite_bank, clock)
    pressure.begin()
    pressure.end(200)
    with monkeypatch.context() as patch:

        def away(*_: object) -> None:
            raise OperationalError("INSERT", {}, Exception("away"))

        patch.setattr("booking_core.pressure.add_pressure", away)
        assert not pressure.flush()
    assert rows(sqlite_bank) == []
    pressure.begin()
    pressure.end(200)
    assert pressure.flush()
    assert rows(sqlite_bank)[0][3] == 2


def test_a_missing_database_does_not_stop_a_worker(tmp_path: Path) -> None:
    """Starting without any table logs and counts on."""
    pressure = PressureCounter(make_engine(f"sqlite:///{tmp_path}/empty.db"))
    pressure.start()
    pressure.begin()
    pressure.end(200)
    pressure.stop()


def test_a_graceful_stop_writes_every_request(bank: Bank) -> None:
    """Threads count while the flusher runs; after stop() every request is in the database."""
    pressure = PressureCounter(bank.engine, source="w1", flush_seconds=0.01)
    pressure.start()

    def serve() -> None:
        for _ in range(500):
            pressure.begin()
            pressure.end(200)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pressure.stop()
    with bank.engine.connect() as connection:
        assert connection.scalar(select(func.sum(tf.pressure_minutes.c.requests))) == 2000
