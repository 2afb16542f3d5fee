"""The schema's history ends at the schema that the code declares, on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from booking_core import tables, tables_forecast
from booking_core.database import make_engine
from booking_core.migrating import config, pending, stamp, upgrade
from booking_core.store.rows import put_rows
from metrics.contract import ScopeKind
from tests.support.postgres import PostgresCluster


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return make_engine(f"sqlite:///{tmp_path}/empty.db")
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    return make_engine(cluster.fresh_database())


FIRST_SCHEMA_ROWS = """
INSERT INTO regions VALUES ('north', 'North', 'north', true);
INSERT INTO branches VALUES ('b1', 'north', 'B1', 'b1', NULL, true);
INSERT INTO loans VALUES ('L1', 'c1', 'b1', 'active', 100, 10, NULL);
INSERT INTO loans VALUES ('L2', 'c2', 'b1', 'active', 100, 10, NULL);
INSERT INTO slots VALUES
    ('s1', 'b1', 'north', '2026-11-30', '2026-11-30 02:00:00', '2026-11-30 02:30:00', 3, 1, 0, false);
INSERT INTO bookings
    (booking_ref, loan_ref, slot_id, branch_id, region_id, service_day, channel, status, units,
    created_utc, version) VALUES
    ('B1', 'L1', 's1', 'b1', 'north', '2026-11-30', 'app', 'held', 1, '2026-11-01 02:00:00', 1);
INSERT INTO quotas VALUES
    ('bank:bank:*:month', 'bank', 'bank', '*', 'month', 50, '2026-11-01 02:00:00');
INSERT INTO quota_periods VALUES ('branch', 'b1', '*', 'day', '2026-11-30', 3, 8, NULL);
INSERT INTO waitlist
    (entry_ref, loan_ref, branch_id, wished_day, channel, priority, status, joined_utc) VALUES
    ('W1', 'L1', 'b1', '2026-11-30', 'app', 0, 'waiting', '2026-11-03 02:00:00'),
    ('W2', 'L1', 'b1', '2026-11-30', 'app', 0, 'offered', '2026-11-02 02:00:00'),
    ('W3', 'L2', 'b1', '2026-11-30', 'app', 0, 'booked', '2026-11-01 02:00:00')
"""
"""A bank as the first schema kept it; two entries of one loan wait."""

PROMISES = (
    """'{"by": "2026-12-04", "chance": 0.9}'""",
    """'{"by": null, "chance": 0}'""",
    "'null'",
    "NULL",
)
"""Promises as the eighth schema kept them."""

SECOND_SCHEMA_ROWS = """
INSERT INTO forecast_runs (run_id, kind, period, status, trained_utc, parameters) VALUES
    ('r1', 'demand', '2026-11-30', 'ready', '2026-11-30 02:00:00', '{}');
INSERT INTO forecast_series (run_id, branch_id, champion, why, observations) VALUES
    ('r1', 'b1', 'prophet', 'lower loss', 100)
"""
"""A forecast as the second schema kept it."""


def difference(engine: Engine) -> list[object]:
    """What Alembic would still change."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, tables.metadata))


def test_an_upgraded_database_is_what_the_code_declares(empty: Engine) -> None:
    """After `migrate` nothing differs from tables.metadata; a second run changes nothing."""
    upgrade(empty)
    upgrade(empty)
    assert difference(empty) == []
    with empty.connect() as connection:
        assert pending(connection) is None
    names = set(inspect(empty).get_table_names()) - {"alembic_version"}
    assert names == set(tables.metadata.tables)


def test_a_bank_of_the_first_schema_keeps_what_it_has(empty: Engine) -> None:
    """Counters get their id, waiting entries their new columns, and one live entry a loan is left."""
    with empty.begin() as connection:
        command.upgrade(config(connection), "0001")
    with empty.begin() as connection:
        for statement in FIRST_SCHEMA_ROWS.split(";"):
            connection.exec_driver_sql(statement)
    upgrade(empty)
    with empty.connect() as connection:
        counter = connection.execute(select(tables.quota_periods)).one()
        assert (counter.period_id, counter.period_start) == ("branch:b1:*:day:2026-11-30", date(2026, 11, 30))
        assert (counter.used_units, counter.limit_units, counter.extra_units) == (3, 8, 0)
        entries = connection.execute(select(tables.waitlist).order_by(tables.waitlist.c.entry_ref)).all()
        told = [(e.status, e.region_id, e.latest_day, e.closed_reason) for e in entries]
        assert told == [
            ("left", "north", date(2026, 11, 30), "migration"),
            ("waiting", "north", date(2026, 11, 30), None),
            ("booked", "north", date(2026, 11, 30), None),
        ]
        assert connection.scalar(select(tables.bookings.c.reserved_cny)) is None
        limit = connection.execute(select(tables.quotas)).one()
        assert (limit.quota_id, limit.limit_units) == ("bank:bank:*:month", 50)
        region = connection.execute(select(tables.regions)).one()
        granted = (region.automatic_application, region.automatic_fixed, region.automatic_since_utc)
        assert granted == (True, True, None), "what a person had granted stays a person's word"


def test_a_forecast_of_the_second_schema_has_no_details(empty: Engine) -> None:
    """It is kept as it was; what became of it may be judged, and events announced, from then on."""
    with empty.begin() as connection:
        command.upgrade(config(connection), "0002")
    with empty.begin() as connection:
        for statement in SECOND_SCHEMA_ROWS.split(";"):
            connection.exec_driver_sql(statement)
    upgrade(empty)
    with empty.begin() as connection:
        series = connection.execute(select(tables_forecast.forecast_series)).one()
        assert (series.why, series.details) == ("lower loss", None)
        connection.execute(
            insert(tables_forecast.forecast_drift).values(
                run_id="r1", day=date(2026, 12, 1), scope="bank", days=1, coverage80=0.8
            )
        )


def test_history_of_the_sixth_schema_is_known_exactly(empty: Engine) -> None:
    """Imported days stay what they were: none is "at least" until a file says so."""
    with empty.begin() as connection:
        command.upgrade(config(connection), "0006")
    with empty.begin() as connection:
        connection.exec_driver_sql("INSERT INTO demand_history VALUES ('b1', '2026-11-30', 'app', 8, false)")
    upgrade(empty)
    row = {"branch_id": "b1", "day": date(2026, 12, 1), "source": "app", "units": 9.0, "censored": True}
    with empty.begin() as connection:
        connection.execute(insert(tables.demand_history).values(**row))
        found = connection.execute(select(tables.demand_history).order_by("day")).all()
    assert [(r.units, r.synthetic, r.censored) for r in found] == [(8.0, False, False), (9.0, False, True)]


def test_promises_of_the_eighth_schema_get_the_day_they_fall_due(empty: Engine) -> None:
    """The day promised, else the last one that suits; none where nothing was promised."""
    with empty.begin() as connection:
        command.upgrade(config(connection), "0002")
        for statement in FIRST_SCHEMA_ROWS.split(";")[:3]:
            connection.exec_driver_sql(statement)
        for n, told in enumerate(PROMISES):
            connection.exec_driver_sql(
                "INSERT INTO waitlist (entry_ref, loan_ref, branch_id, region_id, wished_day, latest_day,"
                f" channel, priority, status, joined_utc, actor, promise) VALUES ('W{n}', 'L1', 'b1', 'n',"
                f" '2026-11-30', '2026-12-28', 'app', 0, 'left', '2026-11-03 02:00:00', 'test', {told})"
            )
    upgrade(empty)
    with empty.connect() as connection:
        due = connection.scalars(
            select(tables.waitlist.c.due_day).order_by(tables.waitlist.c.entry_ref)
        ).all()
    assert due == [date(2026, 12, 4), date(2026, 12, 28), None, None]


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"last_day": date(2026, 11, 29)}, False),
        ({"expected_effect_ratio": 0.0}, False),
        ({"expected_effect_ratio": None}, True),
    ],
)
def test_the_schema_refuses_events_that_cannot_be(
    empty: Engine, change: dict[str, object], fits: bool
) -> None:
    """An event ends no earlier than it begins, and no effect is zero, whoever writes the row."""
    upgrade(empty)
    row = {
        "event_id": "e1",
        "kind": "campaign",
        "name": "Campaign",
        "first_day": date(2026, 11, 30),
        "last_day": date(2026, 11, 30),
        "scope": "branch:" + "b" * 64,
        "confirmed": True,
        "expected_effect_ratio": 1.5,
        "created_by": "test",
        "created_utc": datetime.now(UTC),
        **change,
    }
    with empty.begin() as connection:
        if fits:
            connection.execute(insert(tables_forecast.events).values(**row))
        else:
            with pytest.raises(IntegrityError):
                connection.execute(insert(tables_forecast.events).values(**row))


def test_a_funds_cap_fits_its_columns(empty: Engine) -> None:
    """More than an INTEGER's yuan, under the longest name of a period."""
    upgrade(empty)
    key = {"scope_kind": "bank", "scope_id": "bank", "channel": "*", "period_kind": "funds_day"}
    with empty.begin() as connection:
        connection.execute(
            insert(tables.quota_periods).values(
                **key, period_start=date(2026, 11, 30), used_units=10**13, limit_units=10**13
            )
        )
        connection.execute(
            insert(tables.quotas).values(
                **key, quota_id="bank:bank:*:funds_day", limit_units=10**13, updated_utc=datetime.now(UTC)
            )
        )
        assert connection.scalar(select(tables.quota_periods.c.limit_units)) == 10**13


@pytest.mark.parametrize("how", ["one row", "many sets of values", "many rows at once", "put_rows"])
def test_every_insert_of_a_counter_gets_its_id(empty: Engine, how: str) -> None:
    """Whoever names the key columns need not name the id, however the rows are written."""
    upgrade(empty)
    rows = [
        {"scope_kind": ScopeKind.BRANCH, "scope_id": branch, "period_kind": "day", "period_start": day}
        for branch, day in (("b1", date(2026, 11, 30)), ("b2", date(2026, 12, 1)))
    ]
    with empty.begin() as connection:
        match how:
            case "one row":
                for row in rows:
                    connection.execute(insert(tables.quota_periods).values(row))
            case "many sets of values":
                connection.execute(insert(tables.quota_periods).values(rows))
            case "many rows at once":
                connection.execute(insert(tables.quota_periods), rows)
            case "put_rows":
                put_rows(connection, tables.quota_periods, [row | {"channel": "app"} for row in rows])
        ids = connection.scalars(select(tables.quota_periods.c.period_id).order_by("period_id")).all()
    channel = "app" if how == "put_rows" else "*"
    assert ids == [f"branch:b1:{channel}:day:2026-11-30", f"branch:b2:{channel}:day:2026-12-01"]


def test_the_comparison_sees_a_difference(empty: Engine) -> None:
    """A column too many is found, so an empty difference means something."""
    upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("ALTER TABLE branches ADD COLUMN surplus INTEGER"))
    assert difference(empty) != []


def test_a_database_without_history_is_pending_until_stamped(empty: Engine) -> None:
    """Tables made by create_all count as migrated only after a stamp."""
    tables.metadata.create_all(empty)
    with empty.connect() as connection:
        assert pending(connection) is not None
    stamp(empty)
    with empty.connect() as connection:
        assert pending(connection) is None
