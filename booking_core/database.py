"""Engines and transactions on SQLite (embedded) and PostgreSQL (served).

SQLite: WAL, synchronous=FULL (acknowledged means committed), and every write transaction runs
under one file lock: `BEGIN IMMEDIATE` alone starves some writers (14,498 commits against 116 in a
trial), the lock is fair at 14 % less throughput. Reads never take it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

DEFAULT_URL: Final = "sqlite:///var/slotcast.db"

IDLE_SECONDS: Final = 1.0
"""After so long unused a connection is looked at before it is used again."""

BY_KEY: Final = "-c enable_seqscan=off -c jit=off"
"""Every statement of a booking goes by an index. Prepared while a table was small, a plan that reads it whole
would stay for good: 16 ms instead of 0.1 ms for the loans of a batch, seen with 10,000 bookings. Where only
a whole table will do its cost looks forbidding, which must not start the compiler (8 ms a batch)."""


def database_url() -> str:
    """The configured database URL (environment SLOTCAST_DATABASE_URL, default a file in var/)."""
    return os.environ.get("SLOTCAST_DATABASE_URL", DEFAULT_URL)


def make_engine(
    url: str | None = None,
    *,
    pool_size: int = 10,
    read_only: bool = False,
    statement_seconds: float | None = None,
) -> Engine:
    """An engine for the URL, with this project's rules on it.

    `statement_seconds` bounds each statement, its wait for locks included (PostgreSQL), for serving: such
    an engine also plans by keys.
    `postgresql://` is read as `postgresql+psycopg://`. Raises ValueError for other databases.
    """
    parsed = make_url(url or database_url())
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "postgresql":
        limit = f"-c statement_timeout={statement_seconds * 1000:.0f}" if statement_seconds else ""
        options = f"{limit} {BY_KEY}" if limit else ""
        bound = {"options": options} if options and "options" not in parsed.query else {}
        engine = create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=0,
            pool_use_lifo=True,
            pool_timeout=5,
            connect_args={"connect_timeout": 5, **bound},
        )
        _ping_the_idle(engine)
        return engine
    if parsed.get_backend_name() != "sqlite":
        raise ValueError(
            f"SLOTCAST_DATABASE_URL names {parsed.get_backend_name()!r}; "
            "expected sqlite:///FILE or postgresql://USER@HOST/NAME"
        )
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # SQLAlchemy's begin event below says BEGIN itself
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("slotcast_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _ping_the_idle(engine: Engine) -> None:
    """Look whether a connection still stands before it is used, unless it was used just now.

    A ping takes as long as a statement; a batch has few of them.
    """

    def used(_dbapi_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["used"] = time.monotonic()

    event.listen(engine, "connect", used)
    event.listen(engine, "checkin", used)

    @event.listens_for(engine, "checkout")
    def _ping(dbapi_connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        idle = time.monotonic() - record.info["used"]
        if idle > IDLE_SECONDS and not engine.dialect._do_ping_w_event(dbapi_connection):  # noqa: SLF001
            raise InvalidatePoolError  # which opens another


@contextmanager
def write_transaction(engine: Engine) -> Iterator[Connection]:
    """One write transaction: committed on a clean exit, rolled back on an exception."""
    if engine.dialect.name != "sqlite":
        with engine.begin() as connection:
            yield connection
        return
    with _sqlite_writer_lock(engine), engine.connect() as raw:
        connection = raw.execution_options(slotcast_write=True)
        with connection.begin():
            yield connection


@contextmanager
def _sqlite_writer_lock(engine: Engine) -> Iterator[None]:
    """The fair lock that SQLite's writers queue on, across threads and processes."""
    path = f"{engine.url.database}.writer"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
