"""The audit of the races has teeth: each kind of lie, put into a database by hand, is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from benchmarks.support.audit import Audit, audit
from benchmarks.support.banks import Shape, make_bank
from tests.support.postgres import PostgresCluster

BANK = Shape(slots_each_day=2, capacity=3, loans=20, limits={("branch", "day"): 4})


class Books:
    """A bank whose rows are written by hand, as a core would (or as a wrong one would)."""

    def __init__(self, connection: psycopg.Connection[Any], url: str) -> None:
        self._connection, self._url = connection, url
        self.slots = BANK.slot_ids(0)
        self._loans = iter(range(20))
        row = connection.execute("SELECT branch_id, region_id, service_day FROM slots LIMIT 1").fetchone()
        assert row
        self._place = row

    def hold(self, slot: str) -> None:
        """A booking of the slot with its attempt; no counter is moved."""
        n = next(self._loans)
        place = (slot, *self._place)
        self._connection.execute(
            "INSERT INTO bookings (booking_ref, loan_ref, slot_id, branch_id, region_id, service_day, "
            "channel, status, units, created_utc, version) "
            "VALUES (%s, %s, %s, %s, %s, %s, 'app', 'held', 1, now(), 1)",
            (f"B{n}", f"L{n:08}", *place),
        )
        self._attempt(slot, "held", None, None)

    def refuse(self, slot: str, *named: tuple[str, int, int]) -> None:
        """A refusal that names these limits: quota, limit, used."""
        day = self._place[2].isoformat()
        violations = [{"quota": q, "limit": limit, "used": u, "period_start": day} for q, limit, u in named]
        self._attempt(slot, "refused", "capacity", json.dumps(violations))

    def _attempt(self, slot: str, outcome: str, cause: str | None, violations: str | None) -> None:
        self._connection.execute(
            "INSERT INTO attempts (at_utc, business_utc, trace_id, slot_id, channel, outcome, cause, "
            "violations) VALUES (now(), now(), 't', %s, 'app', %s, %s, %s)",
            (slot, outcome, cause, violations),
        )
        self._connection.commit()

    def audit(self, *, gone_for_good: bool = True) -> Audit:
        """What the audit finds."""
        return audit(self._url, gone_for_good=gone_for_good)


@pytest.fixture
def books(postgres: PostgresCluster) -> Iterator[Books]:
    """Two slots of three units each, four units a day at their branch."""
    url = postgres.fresh_database()
    make_bank(url, BANK)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        yield Books(connection, url)


def test_true_refusals_and_what_is_still_free(books: Books) -> None:
    """Full is full: nothing is found, and nothing is free once the branch's day is sold."""
    first, second = books.slots
    for _ in range(3):
        books.hold(first)
    books.refuse(first, (f"slot:{first}", 3, 3))
    assert list(books.audit().free_slots()) == [second]
    books.hold(second)
    books.refuse(second, ("branch:b000:*:day", 4, 4))
    found = books.audit()
    assert (found.attempts, found.false_refusals, found.oversold) == (6, 0, 0)
    assert list(found.free_slots()) == []


def test_a_refusal_while_units_were_free_is_false(books: Books) -> None:
    """Whatever it claims: our own count says that three of four were taken."""
    first, _ = books.slots
    for _ in range(3):
        books.hold(first)
    books.refuse(first, ("branch:b000:*:day", 4, 4))
    assert books.audit().false_refusals == 1


def test_a_refusal_must_name_limits_as_they_are_with_no_room(books: Books) -> None:
    """None named, room in what is named, a limit that stands nowhere: false, with cancelling too."""
    first, _ = books.slots
    books.refuse(first)
    books.refuse(first, ("branch:b000:*:day", 4, 3))
    books.refuse(first, ("branch:b000:*:day", 1, 1))
    assert books.audit(gone_for_good=False).false_refusals == 3


def test_units_beyond_a_limit_are_oversold_at_every_level(books: Books) -> None:
    """Five in a slot of three on a day of four: two and one. No counter was moved: they are off, too."""
    first, _ = books.slots
    for _ in range(5):
        books.hold(first)
    found = books.audit()
    assert found.oversold == 3
    assert found.drift == 1
