"""The long proofs of what a storm and its crashes leave behind, run by `make proof`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from metrics.contract import Reason
from tests.property.test_no_oversell import QUICK
from tests.support.bank import Bank
from tests.support.crashes import killed_workers, restarted_database
from tests.support.every_operation import EveryOperation
from tests.support.expiry_race import expiry_race
from tests.support.ledger import faults
from tests.support.postgres import PostgresCluster
from tests.support.race_demo import nested_race, race

pytestmark = pytest.mark.proof


@pytest.mark.timeout(600)
def test_a_minute_of_kills_loses_and_halves_nothing(bank: Bank) -> None:
    """Three workers killed again and again for a minute: all acknowledged stands, whole, once, in limits."""
    storm = killed_workers(bank, seconds=60, workers=3, every_seconds=1)
    assert storm.kills >= 30
    assert storm.broken
    assert len(storm.acknowledged) > 200
    assert (storm.out_of_form, storm.unsettled) == ([], set())
    assert faults(bank.engine, storm.acknowledged) == []


@pytest.mark.timeout(600)
def test_kills_catch_a_core_that_answers_before_it_commits(sqlite_bank: Bank) -> None:
    """The same kills lose acknowledged bookings of a core that breaks its word: the proof can fail."""
    storm = killed_workers(sqlite_bank, seconds=15, module="tests.support.hasty")
    told = faults(sqlite_bank.engine, storm.acknowledged)
    assert any("was acknowledged and is not there" in line for line in told)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("away_seconds", [0, 8])
def test_a_database_that_crashes_again_and_again(
    postgres: PostgresCluster, postgres_bank: Bank, away_seconds: float
) -> None:
    """Six crashes, short or long: named problems only, soon; service is back by itself, nothing is lost."""
    storm = restarted_database(postgres, postgres_bank, restarts=6, away_seconds=away_seconds, workers=3)
    assert (storm.out_of_form, storm.broken) == ([], 0)
    assert Reason.DEPENDENCY_DOWN in storm.reasons
    assert storm.slowest_seconds < 10
    assert max(storm.back_seconds) < 10
    assert storm.unsettled == set()
    assert faults(postgres_bank.engine, storm.acknowledged) == []


@pytest.mark.timeout(900)
def test_larger_races_sell_exactly_the_units(postgres: PostgresCluster) -> None:
    """Thousands of wishes where all levels are limited, or limits lie within limits: none over, none left."""
    storm = race(postgres.fresh_database(), locks=True, units=300, wishes=2_000, slots=9)
    assert (storm.accepted, storm.recorded, storm.drift, storm.unfair) == (300, 2_000, [], [])
    nested = nested_race(postgres.fresh_database(), wishes=2_000)
    assert (nested.accepted, nested.recorded, nested.drift, nested.unfair) == (24, 2_000, [], [])


@pytest.mark.timeout(600)
def test_a_minute_of_expiries_loses_no_unit(bank: Bank) -> None:
    """A minute of holds and offers that run out amid bookings, sweeps and promotions: every unit is told."""
    ran = expiry_race(bank, seconds=60)
    assert (ran.faults, ran.oversold, ran.drift, ran.idle, ran.left) == ([], [], [], "", 0)


@pytest.mark.timeout(3_600)
def test_long_sequences_of_every_operation_oversell_nothing() -> None:
    """Hundreds of examples twice as long as in the quick suite."""
    run_state_machine_as_test(
        EveryOperation, settings=settings(QUICK, max_examples=400, stateful_step_count=50)
    )


@pytest.mark.timeout(3_600)
def test_every_operation_on_postgresql(postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same machine finds nothing on the served database either."""

    def fresh(_: Path) -> str:
        return postgres.fresh_database()

    monkeypatch.setattr(EveryOperation, "url", staticmethod(fresh))
    long: Any = settings(QUICK, max_examples=40, stateful_step_count=30)
    run_state_machine_as_test(EveryOperation, settings=long)
