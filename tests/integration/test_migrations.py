"""The schema's history ends at the schema that the code declares, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from booking_core import tables, tables_forecast  # noqa: F401 – its tables are on the same metadata
from booking_core.database import make_engine
from booking_core.migrating import pending, stamp, upgrade
from tests.support.postgres import PostgresCluster


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return make_engine(f"sqlite:///{tmp_path}/empty.db")
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    return make_engine(cluster.fresh_database())


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
