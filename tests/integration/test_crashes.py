"""What the served core keeps when workers are killed or its database crashes under load; and its checker."""

from __future__ import annotations

import sqlite3

import pytest

from metrics.contract import Reason
from tests.support.bank import Bank, make_bank
from tests.support.crashes import killed_workers, restarted_database
from tests.support.ledger import faults
from tests.support.postgres import PostgresCluster
from tests.support.wishes import book, core_on, ref


def test_killed_workers_lose_and_halve_nothing(bank: Bank) -> None:
    """Workers killed amid their batches: all that was acknowledged stands, whole, once, within the limits."""
    storm = killed_workers(bank, seconds=4)
    assert storm.kills >= 3
    assert storm.broken
    assert len(storm.acknowledged) > 50
    assert storm.out_of_form == []
    assert storm.unsettled == set()
    assert faults(bank.engine, storm.acknowledged) == []


def test_a_crashed_database_is_told_and_comes_back() -> None:
    """While the database is away customers are told so, soon, and when to ask again; then they can book."""
    # a cluster of its own: recovery syncs every file of every database, and the suite's has hundreds
    with PostgresCluster.start() as cluster:
        bank = make_bank(cluster.fresh_database())
        storm = restarted_database(cluster, bank, restarts=1, away_seconds=1)
        assert (storm.out_of_form, storm.broken) == ([], 0)
        assert Reason.DEPENDENCY_DOWN in storm.reasons
        assert storm.slowest_seconds < 10
        assert max(storm.back_seconds) < 10
        assert storm.unsettled == set()
        assert faults(bank.engine, storm.acknowledged) == []
        bank.engine.dispose()


@pytest.mark.parametrize(
    ("told", "doctored"),
    [
        ("was acknowledged and is not there", "DELETE FROM bookings WHERE loan_ref = 'L1'"),
        ("was acknowledged to L1 and is of L5", "UPDATE bookings SET loan_ref = 'L5' WHERE loan_ref = 'L1'"),
        (
            "L1 was booked 2 times under one key",
            "UPDATE bookings SET loan_ref = 'L1', status = 'cancelled' WHERE loan_ref = 'L2'",
        ),
        ("unknown booking", "DELETE FROM bookings WHERE loan_ref = 'L1'"),
        ("has 0 of event", "DELETE FROM booking_events WHERE event_id = 1"),
        ("has 2 of event", "UPDATE booking_events SET booking_ref = (SELECT max(booking_ref) FROM bookings)"),
        ("has 0 of key", "DELETE FROM idempotency_keys WHERE key = 'k-L1'"),
        ("has 0 of attempt", "DELETE FROM attempts WHERE attempt_id = 1"),
        ("has 0 of episode", "DELETE FROM wish_episodes WHERE loan_ref = 'L1'"),
        ("used 3, its bookings say 2", "UPDATE slots SET used_units = 3"),
        ("period branch:b1:*:day", "UPDATE quota_periods SET used_units = 1"),
        ("oversold: 2 of 1", "UPDATE quotas SET limit_units = 1"),
    ],
)
def test_whoever_checks_notices(sqlite_bank: Bank, told: str, doctored: str) -> None:
    """Nothing is wrong with two bookings until their database is doctored; then it is told what is."""
    slot = sqlite_bank.add_slot()
    sqlite_bank.add_quota("branch", "b1", "day", 5)
    core = core_on(sqlite_bank.engine)
    acknowledged = {loan: ref(book(core, loan, slot, key=f"k-{loan}")) for loan in ("L1", "L2")}
    assert faults(sqlite_bank.engine, acknowledged) == []
    with sqlite3.connect(str(sqlite_bank.engine.url.database)) as connection:
        connection.execute(doctored)
    assert any(told in line for line in faults(sqlite_bank.engine, acknowledged))
