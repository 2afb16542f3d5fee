"""Fixtures shared by all tests: a fresh bank on SQLite, one on PostgreSQL, and a wall clock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.bank import Bank, make_bank
from tests.support.postgres import PostgresCluster

os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A PostgreSQL cluster of this test run's own, started once, stopped at the end."""
    with PostgresCluster.start() as cluster:
        yield cluster


@pytest.fixture
def sqlite_bank(tmp_path: Path) -> Iterator[Bank]:
    """A small bank on a fresh SQLite file."""
    bank = make_bank(f"sqlite:///{tmp_path}/slotcast.db")
    yield bank
    bank.engine.dispose()


@pytest.fixture
def postgres_bank(postgres: PostgresCluster) -> Iterator[Bank]:
    """A small bank in a fresh PostgreSQL database."""
    bank = make_bank(postgres.fresh_database())
    yield bank
    bank.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def bank(request: pytest.FixtureRequest) -> Bank:
    """The same small bank on each database in turn."""
    name = "sqlite_bank" if request.param == "sqlite" else "postgres_bank"
    return request.getfixturevalue(name)  # type: ignore[no-any-return]


@pytest.fixture
def engine(sqlite_bank: Bank) -> Engine:
    """The engine of a small SQLite bank."""
    return sqlite_bank.engine
