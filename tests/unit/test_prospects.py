"""What promises are reckoned from is read once for a time, by one thread, and kept where that fails."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from booking_core.service.prospects import Refreshed

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


class Source:
    """What is read: it counts, waits until it may answer, and fails when told to."""

    def __init__(self) -> None:
        self.reads = 0
        self.open = threading.Event()
        self.open.set()
        self.broken = False
        self.fault: Exception = OperationalError("SELECT", None, Exception("no answer"))

    def read(self) -> int:
        """How often it was read by now."""
        self.reads += 1
        assert self.open.wait(10)
        if self.broken:
            raise self.fault
        return self.reads


def test_a_crowd_reads_once_and_all_get_what_was_read() -> None:
    """Sixteen threads at the first moment wait for one reading."""
    kept, source = Refreshed[int]("x"), Source()
    source.open.clear()
    with ThreadPoolExecutor(16) as pool:
        told = [pool.submit(kept.get, "b1", NOW, source.read) for _ in range(16)]
        source.open.set()
        assert [one.result(10) for one in told] == [1] * 16
    assert source.reads == 1


def test_while_one_reads_anew_nobody_waits() -> None:
    """The last value is told meanwhile, and for a time that is over too; another name has its own."""
    kept, source = Refreshed[int]("x"), Source()
    assert kept.get("b1", NOW, source.read) == 1
    source.open.clear()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(kept.get, "b1", LATER, source.read)
        while source.reads < 2:
            pass
        assert kept.get("b1", LATER, source.read) == 1
        source.open.set()
        assert reading.result(10) == 2
    assert kept.get("b1", LATER, source.read) == kept.get("b1", NOW, source.read) == 2
    assert kept.get("b2", LATER, source.read) == 3


def test_a_reading_that_fails_leaves_the_last_value_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is tried again with the next time, not by everyone; what could never be read is None."""
    kept, source = Refreshed[int]("x"), Source()
    assert kept.get("b1", NOW, source.read) == 1
    source.broken = True
    with caplog.at_level(logging.WARNING):
        for later in (LATER, LATER, LATER + timedelta(minutes=5)):
            assert kept.get("b1", later, source.read) == 1
    assert source.reads == 3
    assert len(caplog.records) == 1
    source.fault = KeyError("what stands there is not what was expected")
    assert kept.get("b2", NOW, source.read) is None


def test_only_so_many_names_are_kept() -> None:
    """The one that nobody asked for longest goes."""
    kept, source = Refreshed[int]("x", most=2), Source()
    for name in ("b1", "b2", "b1", "b3"):
        kept.get(name, NOW, source.read)
    assert kept.get("b1", NOW, source.read) == 1
    assert kept.get("b2", NOW, source.read) == 4
