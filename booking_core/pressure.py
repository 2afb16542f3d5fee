"""Pressure counted where it arises: requests per wall minute and business quarter-hour, kept in the database.

One `PressureCounter` lives in each worker process. Counting is an addition under a lock in memory; a thread
adds the sums to pressure_minutes about once a second, so the actuator needs no Prometheus to see load.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from booking_core.database import write_transaction
from booking_core.settings import load_settings
from booking_core.tables_forecast import pressure_minutes

log = logging.getLogger(__name__)

UNCOUNTED_PATHS: Final = frozenset({"/metrics", "/healthz", "/readyz"})
"""Asked by machines at a fixed rate: no pressure of customers."""

FLUSH_SECONDS: Final = 1.0
MINUTE: Final = timedelta(minutes=1)

Bucket = tuple[datetime, datetime]
"""Wall minute and business quarter-hour."""


@dataclass(slots=True)
class Sums:
    """What was counted in one bucket."""

    requests: int = 0
    refused: int = 0
    failed: int = 0
    busy_seconds: float = 0.0

    def add(self, other: Sums) -> None:
        """Add the other's counts to these."""
        self.requests += other.requests
        self.refused += other.refused
        self.failed += other.failed
        self.busy_seconds += other.busy_seconds


def wall_minute(moment: datetime) -> datetime:
    """The start of the minute that contains the moment, aware UTC."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def quarter_hour(moment: datetime) -> datetime:
    """The start of the quarter-hour that contains the moment, aware UTC."""
    start = wall_minute(moment)
    return start - timedelta(minutes=start.minute % 15)


class PressureCounter:
    """Counts the requests of one worker process and writes them down about once a second.

    `begin()` when a request arrives, `end(status)` when it was answered; both cost an addition. Busy seconds
    are the wall time during which at least one request was in flight: at most 1 a second for one worker, so
    waiting together (for a commit, say) does not look like needing more workers.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        source: str | None = None,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._engine = engine
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._source = source or f"{socket.gethostname()[:48]}:{os.getpid()}"
        self._flush_seconds = flush_seconds
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._sums: defaultdict[Bucket, Sums] = defaultdict(Sums)
        self._in_flight = 0
        self._busy_since = 0.0
        self._offset = timedelta()
        self._minute = datetime.min.replace(tzinfo=UTC)
        self._bucket = (self._minute, self._minute)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the flushing thread; call it in the worker process, after the fork."""
        self.flush()  # reads the business offset; tolerates a database that is not there yet
        self._thread = threading.Thread(target=self._run, name="pressure", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and write what is left; call it when the last request was answered."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def begin(self) -> None:
        """Note that a request arrived."""
        with self._lock:
            if self._in_flight == 0:
                self._busy_since = self._monotonic()
            self._in_flight += 1

    def end(self, status: int) -> None:
        """Count a request that was answered with the HTTP status (500 where the answer was lost)."""
        with self._lock:
            sums = self._account_busy()
            self._in_flight -= 1
            sums.requests += 1
            sums.refused += status >= 400  # noqa: PLR2004 - the HTTP classes
            sums.failed += status >= 500  # noqa: PLR2004

    def flush(self) -> bool:
        """Add the counts to the database; False (counts kept for the next flush) when it is unreachable."""
        with self._flushing:
            with self._lock:
                if self._in_flight:
                    self._account_busy()
                taken, self._sums = self._sums, defaultdict(Sums)
            try:
                if taken:
                    with write_transaction(self._engine) as connection:
                        add_pressure(connection, self._source, taken.items())
                        offset = _offset(connection)
                else:
                    with self._engine.connect() as connection:
                        offset = _offset(connection)
            except (SQLAlchemyError, OSError) as error:
                with self._lock:
                    for bucket, sums in taken.items():
                        self._sums[bucket].add(sums)
                log.warning("pressure kept in memory, the database is unreachable: %s", error)
                return False
            with self._lock:
                if offset != self._offset:
                    self._offset, self._minute = offset, datetime.min.replace(tzinfo=UTC)
            return True

    def _account_busy(self) -> Sums:
        """The current bucket's sums with the busy time up to now added; call it under the lock."""
        now = self._wall_clock()
        if (
            not self._minute <= now < self._minute + MINUTE
        ):  # found once a minute: it costs more than to count
            self._minute = wall_minute(now)
            self._bucket = (self._minute, quarter_hour(now + self._offset))
        sums = self._sums[self._bucket]
        instant = self._monotonic()
        sums.busy_seconds += instant - self._busy_since
        self._busy_since = instant
        return sums

    def _run(self) -> None:
        while not self._stop.wait(self._flush_seconds):
            self.flush()


def add_pressure(connection: Connection, source: str, counted: Iterable[tuple[Bucket, Sums]]) -> None:
    """Add the counts to the rows of pressure_minutes, new or there already."""
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    for (minute, quarter), sums in counted:
        statement = dialect.insert(pressure_minutes).values(
            minute_utc=minute,
            business_utc=quarter,
            source=source,
            requests=sums.requests,
            refused=sums.refused,
            failed=sums.failed,
            busy_seconds=sums.busy_seconds,
            synthetic=False,
        )
        columns = ("requests", "refused", "failed", "busy_seconds")
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["minute_utc", "business_utc", "source"],
                set_={name: pressure_minutes.c[name] + statement.excluded[name] for name in columns},
            )
        )


def minute_totals(connection: Connection, since: datetime) -> dict[datetime, Sums]:
    """The counts of all workers by wall minute, from the minute that contains `since` on; no imports."""
    table = pressure_minutes.c
    rows = connection.execute(
        select(
            table.minute_utc,
            func.sum(table.requests).label("requests"),
            func.sum(table.refused).label("refused"),
            func.sum(table.failed).label("failed"),
            func.sum(table.busy_seconds).label("busy_seconds"),
        )
        .where(table.minute_utc >= wall_minute(since), ~table.source.startswith("import:"))
        .group_by(table.minute_utc)
    )
    return {row.minute_utc: Sums(row.requests, row.refused, row.failed, row.busy_seconds) for row in rows}


def _offset(connection: Connection) -> timedelta:
    return timedelta(seconds=load_settings(connection).business_offset_seconds)
