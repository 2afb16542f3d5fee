"""Years of bookings put into a bank by SQL: bookings with their events, attempts, episodes and keys.

One booking in five is confirmed for a day to come, the others are completed. Counters of slots are set;
those of quota periods are made, and counted, by the core when it first needs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from benchmarks.support.banks import FIRST_DAY, Databases, first_day

LIVE_SHARE: Final = 5
"""One in so many is still to come."""
TABLES: Final = ("bookings", "booking_events", "attempts", "wish_episodes", "idempotency_keys")
FILLING: Final = {
    "fsync": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "'16GB'",
    "shared_buffers": "'1GB'",
    "maintenance_work_mem": "'512MB'",
    "work_mem": "'256MB'",
    "autovacuum": "off",
    "session_replication_role": "replica",  # foreign keys hold by construction
}
"""Settings while rows are put in; everything is measured after a restart with PostgreSQL's defaults."""
NUMBERED: Final = """
    CREATE UNLOGGED TABLE numbered AS
    SELECT slot_id, branch_id, region_id, service_day, service_day >= '{today}' AS ahead,
           row_number() OVER (PARTITION BY service_day >= '{today}' ORDER BY slot_id) - 1 AS place
    FROM slots"""
"""Slots of the past and those ahead, each numbered. Today is the bank's, not the database's."""
ROWS: Final = """
    SELECT i, 'B' || substr(md5(i::text), 1, 16) AS ref, i % {live} = 0 AS live,
           'L' || lpad((CASE WHEN i % {live} = 0 THEN i / {live} ELSE i % {loans} END)::text, 8, '0') AS loan,
           md5('t' || i) AS digest, now() - interval '144 hours' * ((i + 1)::float / {rows}) AS at, s.*
    FROM generate_series(0, {rows} - 1) i
    JOIN numbered s ON s.ahead = (i % {live} = 0)
        AND s.place = (i / {live}) % CASE WHEN i % {live} = 0 THEN {ahead} ELSE {past} END"""
"""What every table's rows are made of; the last six days, since older keys would be forgotten at once."""
INSERTS: Final = {
    "bookings": """
        INSERT INTO bookings (booking_ref, loan_ref, slot_id, branch_id, region_id, service_day, channel,
            status, units, amount_cny, option, created_utc, version)
        SELECT ref, loan, slot_id, branch_id, region_id, service_day, 'app',
            CASE WHEN live THEN 'confirmed' ELSE 'completed' END, 1, 50000, 'full', at, 2
        FROM ({rows}) r""",
    "booking_events": """
        INSERT INTO booking_events (booking_ref, at_utc, from_status, to_status, actor)
        SELECT ref, at, before, after, 'benchmark'
        FROM ({rows}) r, (VALUES (NULL, 'held'), ('held', 'confirmed')) e(before, after)""",
    "attempts": """
        INSERT INTO attempts (at_utc, business_utc, trace_id, loan_hash, branch_id, region_id, slot_id,
            service_day, channel, outcome, reason, cause, booking_ref, duration_seconds)
        SELECT at, at, digest, substr(md5(loan), 1, 16), branch_id, region_id, slot_id, service_day, 'app',
            outcome, reason, cause, CASE WHEN outcome = 'held' THEN ref END, 0.01
        FROM ({rows}) r JOIN (VALUES ('held', NULL, NULL), ('refused', 'slot_full', 'capacity'))
            o(outcome, reason, cause) ON outcome = 'held' OR i % 5 = 1""",
    "wish_episodes": """
        INSERT INTO wish_episodes (loan_ref, branch_id, region_id, wished_day, channel, tries,
            opened_business_utc, last_try_business_utc, closed_business_utc, outcome, booking_ref)
        SELECT loan, branch_id, region_id, service_day, 'app', 1, at, at, at, 'booked', ref
        FROM ({rows}) r""",
    "idempotency_keys": """
        INSERT INTO idempotency_keys (token_id, key, fingerprint, status_code, body, created_utc)
        SELECT 'benchmark', digest, digest || digest, 201,
            ('{{"booking": {{"ref": "' || ref || '", "status": "held", "loan": "' || loan || '", "slot": "'
             || slot_id || '"}}, "trace_id": "' || digest || '"}}')::json, at
        FROM ({rows}) r""",
}
USED: Final = """
    UPDATE slots SET used_units = b.units
    FROM (SELECT slot_id, sum(units) AS units FROM bookings GROUP BY slot_id) b
    WHERE b.slot_id = slots.slot_id"""


@contextmanager
def filling(databases: Databases) -> Iterator[None]:
    """The cluster with settings for filling; afterwards it has its defaults and everything is on the disk."""
    for name, value in FILLING.items():
        databases.command(f"ALTER SYSTEM SET {name} = {value}")
    _restart(databases)
    yield
    databases.command("ALTER SYSTEM RESET ALL")
    _restart(databases)


def add_history(databases: Databases, url: str, *, rows: int, loans: int) -> None:
    """Put so many bookings, with all that belongs to them, into the bank, whose loans are so many."""
    name = url.rsplit("/", 1)[1]
    today = first_day() - timedelta(days=FIRST_DAY)
    databases.command(NUMBERED.format(today=today), name)
    ahead, past = (
        databases.command(f"SELECT count(*) FROM numbered WHERE ahead = {which}", name)[0][0]
        for which in (True, False)
    )
    told = ROWS.format(rows=rows, loans=loans, live=LIVE_SHARE, ahead=ahead, past=past)
    databases.command("ANALYZE numbered", name)
    with _without_indexes(databases, name), ThreadPoolExecutor(2) as pool:
        # emptied in the same transaction, a table needs no write-ahead log
        _all(pool, databases, name, [f"TRUNCATE {t}; {INSERTS[t].format(rows=told)}" for t in TABLES])
    databases.command(USED, name)
    databases.command("DROP TABLE numbered", name)
    with ThreadPoolExecutor(2) as pool:
        _all(pool, databases, name, [f"VACUUM (ANALYZE) {t}" for t in (*TABLES, "slots", "loans")])
    databases.command("CHECKPOINT")


@contextmanager
def _without_indexes(databases: Databases, name: str) -> Iterator[None]:
    """The tables without keys and indexes, built afterwards: sorting beats inserting in any order."""
    tables = "', '".join(TABLES)
    constraints = databases.command(
        f"""SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
            FROM pg_constraint WHERE contype IN ('p', 'u', 'f')
            AND (conrelid::regclass::text IN ('{tables}') OR confrelid::regclass::text IN ('{tables}'))
            ORDER BY contype = 'f' DESC""",
        name,
    )
    for table, constraint, _, _ in constraints:
        databases.command(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}", name)
    indexes = databases.command(
        f"SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('{tables}')", name
    )
    for index, _ in indexes:
        databases.command(f"DROP INDEX {index}", name)
    yield
    with ThreadPoolExecutor(2) as pool:
        _all(pool, databases, name, [definition for _, definition in indexes])
        for kinds, later in (("pu", ""), ("f", " NOT VALID")):  # a foreign key needs the key it points at
            added = [
                f"ALTER TABLE {table} ADD CONSTRAINT {constraint} {definition}{later}"
                for table, constraint, kind, definition in constraints
                if kind in kinds  # new rows are checked, the old are known to fit
            ]
            _all(pool, databases, name, added)


def _all(pool: ThreadPoolExecutor, databases: Databases, name: str, statements: Sequence[str]) -> None:
    list(pool.map(lambda statement: databases.command(statement, name), statements))


def _restart(databases: Databases) -> None:
    log = str(databases.cluster.data / "log")
    databases.cluster.control("-m", "fast", "-l", log, "-t", "300", "restart")


def size_mb(databases: Databases, url: str) -> int:
    """The size of the database on the disk."""
    name = url.rsplit("/", 1)[1]
    (found,) = databases.command(f"SELECT pg_database_size('{name}') / 1048576")[0]
    return int(found)
