"""The banks that benchmarks book at: made by the real migrations, filled by SQL, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
from sqlalchemy import Connection, Engine, insert, text

from booking_core import migrating
from booking_core import tables as t
from booking_core.database import make_engine, write_transaction
from booking_core.settings import BankSettings, save_settings
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID
from tests.support.postgres import PostgresCluster

NO_LIMIT: Final = 1_000_000_000
"""A limit that no benchmark reaches: counted and locked like any other."""
HOLD_SECONDS: Final = 86_400
"""Holds outlive the benchmark: expiry is not what is measured."""
FIRST_DAY: Final = 3
"""Days from today to the first bookable one."""
LOANS: Final = text(
    """
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :loans)
    INSERT INTO loans (loan_ref, holder, branch_id, status, payoff_cny, min_prepayment_cny)
    SELECT 'L' || substr(CAST(100000000 + i AS VARCHAR(9)), 2), 'c' || CAST(i AS VARCHAR(9)),
           'b' || substr(CAST(1000 + i % :branches AS VARCHAR(4)), 2), 'active', 250000, 1000
    FROM n"""
)
"""Recursive rather than generate_series: SQLite knows it too."""


@dataclass(frozen=True)
class Shape:
    """How large a bank is, and what limits it."""

    regions: int = 1
    branches_each: int = 1
    days: int = 1
    past_days: int = 0
    slots_each_day: int = 1
    capacity: int = NO_LIMIT
    loans: int = 100_000
    limits: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(scope_kind, period_kind) -> standing limit of every such scope."""

    @property
    def branches(self) -> list[tuple[str, str]]:
        """(branch, region) of each branch."""
        each = self.branches_each
        return [(f"b{n:03}", f"r{n // each:02}") for n in range(self.regions * each)]

    def slot_ids(self, day: int, branches: range | None = None) -> list[str]:
        """The slots of the n-th bookable day, of all branches or of those with these numbers."""
        when = first_day() + timedelta(days=day)
        chosen = [self.branches[n] for n in branches or range(len(self.branches))]
        return [f"{branch}-{when:%m%d}-{n:03}" for branch, _ in chosen for n in range(self.slots_each_day)]


HOT: Final = Shape(
    capacity=NO_LIMIT, limits={("branch", kind): NO_LIMIT for kind in ("day", "week", "month")}
)
"""One slot; the day, the week and the month of its branch are limited."""
SPREAD: Final = Shape(
    regions=20,
    branches_each=10,
    slots_each_day=5,
    limits={(scope, kind): NO_LIMIT for scope in ("branch", "region") for kind in ("day", "week", "month")},
)
"""1,000 slots of 200 branches, limits for each branch and region, none for the bank."""


def first_day() -> date:
    """The first bookable day."""
    return datetime.now(BankSettings().tzinfo()).date() + timedelta(days=FIRST_DAY)


def make_bank(url: str, shape: Shape) -> None:
    """Make the bank on the empty database at the URL."""
    engine = make_engine(url)
    migrating.upgrade(engine)
    with write_transaction(engine) as connection:
        save_settings(connection, {"hold_seconds": HOLD_SECONDS}, datetime.now(UTC))
        _fill(connection, shape)
    _settle(engine)
    engine.dispose()


def _fill(connection: Connection, shape: Shape) -> None:
    now, regions = datetime.now(UTC), sorted({region for _, region in shape.branches})
    connection.execute(
        insert(t.regions),
        [{"region_id": r, "name_en": r, "name_zh": r, "automatic_application": False} for r in regions],
    )
    connection.execute(
        insert(t.branches),
        [
            {"branch_id": b, "region_id": r, "name_en": b, "name_zh": b, "active": True}
            for b, r in shape.branches
        ],
    )
    connection.execute(LOANS, {"loans": shape.loans, "branches": len(shape.branches)})
    connection.execute(insert(t.slots), list(_slots(shape)))
    ids = {"branch": [b for b, _ in shape.branches], "region": regions, "bank": [BANK_SCOPE_ID]}
    limits = [
        {
            "quota_id": f"{scope}:{scope_id}:{ALL_CHANNELS}:{kind}",
            "scope_kind": scope,
            "scope_id": scope_id,
            "channel": ALL_CHANNELS,
            "period_kind": kind,
            "limit_units": limit,
            "updated_utc": now,
        }
        for (scope, kind), limit in shape.limits.items()
        for scope_id in ids[scope]
    ]
    if limits:
        connection.execute(insert(t.quotas), limits)


def _slots(shape: Shape) -> Iterator[dict[str, Any]]:
    zone = ZoneInfo(BankSettings().zone)
    for offset in range(-shape.past_days, shape.days):
        # past days end today: none of them can be booked, and no day is both
        day = first_day() + timedelta(days=offset if offset >= 0 else offset - FIRST_DAY)
        opening = datetime.combine(day, time(9), zone).astimezone(UTC)
        for branch, region in shape.branches:
            for n in range(shape.slots_each_day):
                start = opening + timedelta(minutes=5 * n)
                yield {
                    "slot_id": f"{branch}-{day:%m%d}-{n:03}",
                    "branch_id": branch,
                    "region_id": region,
                    "service_day": day,
                    "start_utc": start,
                    "end_utc": start + timedelta(minutes=5),
                    "capacity_units": shape.capacity,
                }


def _settle(engine: Engine) -> None:
    """Give the planner its statistics, and the disk what is due to it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")


@dataclass
class Databases:
    """Banks on one PostgreSQL cluster: each shape is filled once, then copied."""

    cluster: PostgresCluster
    _templates: dict[str, str] = field(default_factory=dict)
    _names: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, name: str) -> str:
        """The SQLAlchemy URL of the database."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.cluster.port}/{name}"

    def copy(self, shape: Shape) -> str:
        """The URL of a fresh copy of the bank of this shape."""
        known = repr(shape)
        if known not in self._templates:
            name = f"template_{next(self._names)}"
            self.command(f"CREATE DATABASE {name}")
            make_bank(self.url(name), shape)
            self._templates[known] = name
        name = f"bank_{next(self._names)}"
        self.command(f"CREATE DATABASE {name} TEMPLATE {self._templates[known]} STRATEGY FILE_COPY")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database that nobody uses any more."""
        self.command(f"DROP DATABASE {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def command(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What the statement answers, outside any transaction."""
        told = f"host=127.0.0.1 port={self.cluster.port} user=postgres dbname={database}"
        with psycopg.connect(told, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []
