"""The long proofs of what a storm and its crashes leave behind, run by `make proof`."""

from __future__ import annotations

import pytest

from metrics.contract import Reason
from tests.support.bank import Bank
from tests.support.crashes import killed_workers, restarted_database
from tests.support.ledger import faults
from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.proof


@pytest.mark.timeout(600)
def test_a_minute_of_kills_loses_and_halves_nothing(bank: Bank) -> None:
    """Three workers killed again and again for a minute: all acknowledged stands, whole, once, in limits."""
    storm = killed_workers(bank, seconds=60, workers=3, every_seconds=0.6)
    assert storm.kills >= 60
    assert storm.broken
    assert len(storm.acknowledged) > 1_000
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
