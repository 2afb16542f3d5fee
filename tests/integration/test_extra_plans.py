"""Extra plans: limits raised on top of what stands until the day is over, approved where they must be."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Connection, select
from sqlalchemy.exc import OperationalError

from booking_core import tables as t
from booking_core.service.commands import CommandRefused
from booking_core.service.housekeeping import sweep
from booking_core.service.plans import StoredPlan, rollback_plan
from booking_core.store import temporaries
from metrics.contract import PlanRefusal
from tests.support.bank import Bank
from tests.support.desk import MONDAY, NOW, Desk, command, draft, item
from tests.support.wishes import Wall, core_on

TUESDAY = MONDAY + timedelta(days=1)


@pytest.fixture
def desk(bank: Bank) -> Desk:
    """A desk of a bank whose branch b1 has five units a day."""
    bank.add_quota("branch", "b1", "day", 5)
    return Desk(bank)


def raises(desk: Desk, plan_id: str, to: int, **other: Any) -> Any:
    """The answer to applying an extra plan that raises b1's Monday to so many units."""
    made = desk("create", draft(plan_id, item(to, old_limit=5), kind="extra", **other))
    assert isinstance(made, StoredPlan), made
    return desk("apply", plan_id)


def extra(desk: Desk, start: date = MONDAY) -> int:
    """The temporary units in force on the day at b1."""
    c = t.quota_periods.c
    with desk.bank.engine.connect() as connection:
        found = connection.scalar(select(c.extra_units).where(c.scope_id == "b1", c.period_start == start))
    return found or 0


def test_the_limit_is_raised_to_the_items_and_by_two_plans_once(desk: Desk) -> None:
    """Two plans that ask for eight add up to eight, one that asks for less changes nothing."""
    first = raises(desk, "x1", 8)
    assert (first.row.status, first.items[0].applied_limit, extra(desk)) == ("applied", 8, 3)
    assert desk("apply", "x1").row.status == "applied"
    raises(desk, "x2", 8)
    raises(desk, "x3", 6)
    assert extra(desk) == 3
    raises(desk, "x4", 9)
    assert extra(desk) == 4
    assert {desk.status(f"x{n}") for n in (1, 2, 3, 4)} == {"applied"}


def test_an_extra_plan_supersedes_no_quota_plan_and_is_no_newer(desk: Desk) -> None:
    """The day's override stands beneath, a later quota plan moves it, and the extra stays on top."""
    desk.make("q1", item(7), period="2026-03-02")
    raises(desk, "x1", 10, period="2026-03-01")
    assert desk.status("q1") == "applied"
    assert desk.counter() == (0, 7, "q1")
    desk.make("q2", item(6), period="2026-03-03")
    assert (desk.counter(), extra(desk), desk.status("x1")) == ((0, 6, "q2"), 3, "applied")


def test_a_plan_applied_again_over_extra_units_raises_nothing(desk: Desk) -> None:
    """What uses the extra units needs no room in the limit beneath; what exceeds both does."""
    for n in range(7):
        desk.book(f"X{n}")
    raises(desk, "x1", 8)
    desk.make("q1", item(5), period="2026-03-02")
    assert (desk.counter(), extra(desk)) == ((7, 5, "q1"), 3)
    desk.make("q2", item(2), period="2026-03-03")
    assert (desk.counter(), extra(desk)) == ((7, 4, "q2"), 3)


def test_taking_it_back_ends_its_units_only(desk: Desk) -> None:
    """A rollback ends what the plan added, never what another did."""
    raises(desk, "x1", 8)
    raises(desk, "x2", 9)
    assert desk("rollback", "x1").row.status == "rolled_back"
    assert extra(desk) == 1
    assert desk("rollback", "x1").row.status == "rolled_back"
    assert extra(desk) == 1


def test_it_ends_with_the_day_and_is_refused_after(desk: Desk) -> None:
    """The units expire at the end of the bank's day; a plan whose days are over is not applied."""
    raises(desk, "x1", 8)
    with desk.bank.engine.connect() as connection:
        expires = connection.scalar(select(t.quota_temporaries.c.expires_utc))
    assert expires.isoformat() == "2026-03-09T16:00:00+00:00"  # midnight in Shanghai
    sweep(core_on(desk.bank.engine, Wall(expires - timedelta(seconds=1))))
    assert extra(desk) == 3
    sweep(core_on(desk.bank.engine, Wall(expires)))
    assert extra(desk) == 0
    old = NOW.date() - timedelta(days=1)
    desk("create", draft("late", item(9, start=old), kind="extra"))
    refused = desk("apply", "late")
    assert isinstance(refused, CommandRefused)
    assert refused.reason is PlanRefusal.PLAN_OVER


def test_outside_its_band_it_waits_and_in_shadow_it_never_applies(desk: Desk) -> None:
    """Pending until approved; a region in shadow, and the bank while any region is, records it only."""
    refused = raises(desk, "x1", 30, in_band=False)
    assert refused.reason is PlanRefusal.PLAN_NEEDS_APPROVAL
    desk("approve", "x1")
    assert desk("apply", "x1").row.status == "applied"
    desk.bank.add_region("south", automatic_application=False)
    desk.bank.add_branch("b9", "south")
    desk("create", draft("x2", item(9, scope="branch:b9"), kind="extra", region="south"))
    assert desk("apply", "x2").reason is PlanRefusal.REGION_IN_SHADOW
    desk("create", draft("bank", item(9, scope="bank:bank"), region="bank"))
    assert desk.status("bank") == "shadow"


def test_a_level_without_a_limit_is_not_given_one(desk: Desk) -> None:
    """There is nothing to raise where nothing limits, no counter either: told by name where that is all."""
    month, over = MONDAY.replace(day=1), NOW.date() - timedelta(days=1)
    desk("create", draft("x1", item(9, kind="month", start=month), item(9, start=over), kind="extra"))
    refused = desk("apply", "x1")
    assert refused.reason is PlanRefusal.NOTHING_TO_RAISE
    assert refused.context == {"plan_id": "x1", "levels": "branch:b1:*:month"}
    assert desk.counter(kind="month", start=month) is None
    desk("create", draft("x2", item(9, kind="month", start=month), item(9), kind="extra"))
    assert [i.applied_limit for i in desk("apply", "x2").items] == [None, 9]
    assert desk.counter(kind="month", start=month) is None


def test_a_rollback_that_meets_an_expiry_takes_each_unit_back_once(
    postgres_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lock by ids, then counters: neither is ended as a deadlock, and nothing is taken twice."""
    desk, faults = rollback_meets_expiry(postgres_bank, monkeypatch)
    assert faults == []
    assert [extra(desk, day) for day in (MONDAY, TUESDAY)] == [0, 0]
    assert desk.status("x1") == "rolled_back"


def test_units_ended_one_by_one_would_deadlock_with_an_expiry(
    postgres_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: a rollback then holds what the sweep waits for, and waits for what that holds."""
    together = temporaries.end_temporaries

    def one_by_one(connection: Connection, ids: Collection[str], now: datetime) -> int:
        return sum(together(connection, [one], now) for one in sorted(ids, reverse=True))

    monkeypatch.setattr(temporaries, "end_temporaries", one_by_one)
    _, faults = rollback_meets_expiry(postgres_bank, monkeypatch)
    assert [getattr(fault.orig, "sqlstate", None) for fault in faults] == ["40P01"]


def rollback_meets_expiry(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> tuple[Desk, list[OperationalError]]:
    """The desk, and what ended a rollback or the end of its units, where one begins within the other."""
    bank.add_quota("branch", "b1", "day", 5)
    desk = Desk(bank)
    desk.make("x1", item(8, start=TUESDAY), item(8), kind="extra")  # in the order of ids Tuesday is first
    faults: list[OperationalError] = []
    halfway = threading.Event()
    change = temporaries._add_extra

    def slowly(*arguments: Any) -> None:
        change(*arguments)
        halfway.set()
        time.sleep(0.3)

    def guarded(work: Callable[[Connection], object]) -> None:
        try:
            with bank.engine.begin() as connection:
                connection.exec_driver_sql("SET LOCAL deadlock_timeout = '100ms'")
                work(connection)
        except OperationalError as fault:
            faults.append(fault)

    monkeypatch.setattr(temporaries, "_add_extra", slowly)
    rollback = threading.Thread(target=guarded, args=(lambda c: rollback_plan(c, "x1", command()),))
    rollback.start()
    assert halfway.wait(10)
    guarded(lambda c: temporaries.end_due(c, NOW + timedelta(days=30)))
    rollback.join()
    return desk, faults


@pytest.mark.parametrize(
    "bad",
    [{"plan_id": "x" * 59}, {"items": [item(None)]}, {"items": [item(3), item(4)]}],
)
def test_a_bad_extra_plan_is_told_what_is_wrong(bad: dict[str, Any]) -> None:
    """An id too long to name its units after, an item without a limit, or twice the same one."""
    body = {"plan_id": "x", "items": [item(5)], "kind": "extra"} | bad
    items = body.pop("items")
    with pytest.raises(ValidationError, match=r"at most 58|needs the limit|a second time") as fault:
        draft(body.pop("plan_id"), *items, **body)
    assert re.search("最多 58|须有要提高到的限额|重复限定 branch:b1:", fault.value.errors()[0]["ctx"]["zh"])
