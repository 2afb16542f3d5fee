"""Plans outside the guard band: decided by somebody with a name in time, or rejected by default."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from booking_core import tables as t
from booking_core.api.app import create_app
from booking_core.database import write_transaction
from booking_core.service.housekeeping import sweep
from booking_core.service.plan_drafts import PlanDraft
from booking_core.service.plans import Decision, approve_plan, reject_overdue
from booking_core.service.tokens import issue_token
from metrics.contract import PlanRefusal
from tests.support.bank import Bank
from tests.support.desk import NOW, Desk, command, draft
from tests.support.wishes import Wall, core_on

HOURS = 24.0
LATE = NOW + timedelta(hours=HOURS + 1)


@pytest.fixture
def desk(bank: Bank) -> Desk:
    """A desk on each database."""
    return Desk(bank)


def audited(bank: Bank) -> list[tuple[str, str, Any]]:
    """(actor, action, after) of every audit row, in order."""
    a = t.audit.c
    with bank.engine.connect() as connection:
        return list(connection.execute(select(a.actor, a.action, a.after).order_by(a.audit_id)).tuples())


def rejected_by(bank: Bank, at: datetime) -> int:
    """How many plans the housekeeping rejects at the wall time."""
    with write_transaction(bank.engine) as connection:
        return reject_overdue(connection, at)


def test_what_nobody_decides_in_time_is_rejected_with_the_reason(desk: Desk) -> None:
    """After its deadline a pending plan is rejected by "timeout", on record; before it, it waits."""
    made = desk("create", draft("late", in_band=False, approval_hours=HOURS)).row
    desk("create", draft("patient", in_band=False))
    assert made.decide_by_utc == made.created_utc + timedelta(hours=HOURS)
    assert rejected_by(desk.bank, made.decide_by_utc - timedelta(seconds=1)) == 0
    assert rejected_by(desk.bank, LATE) == 1
    assert rejected_by(desk.bank, LATE) == 0
    row = desk("get", "late").row
    assert (row.status, row.decided_by, row.decided_utc) == ("rejected", "timeout", LATE)
    assert row.note == f"nobody decided by {made.decide_by_utc:%Y-%m-%dT%H:%M:%SZ}"
    actor, action, after = audited(desk.bank)[-1]
    assert (actor, action, after["status"], after["note"]) == ("timeout", "plan.reject", "rejected", row.note)
    assert desk("apply", "late").reason is PlanRefusal.PLAN_WRONG_STATUS
    assert desk.counter() is None
    assert desk.status("patient") == "pending", "no deadline was asked for"


def test_a_sweep_of_the_core_rejects_what_is_overdue(desk: Desk) -> None:
    """The housekeeping does it on its own, by wall time."""
    made = desk("create", draft("late", in_band=False, approval_hours=HOURS)).row
    wall = Wall(made.decide_by_utc - timedelta(minutes=1))
    core = core_on(desk.bank.engine, wall)
    sweep(core)
    assert desk.status("late") == "pending"
    wall.now = made.decide_by_utc
    sweep(core)
    assert desk.status("late") == "rejected"


def test_an_approval_after_the_deadline_comes_too_late(desk: Desk) -> None:
    """Even before a sweep has been there; a rejection is still taken."""
    desk("create", draft("late", in_band=False, approval_hours=1 / 60))
    refused = desk("approve", "late")
    assert (refused.reason, refused.context["case"]) == (PlanRefusal.PLAN_WRONG_STATUS, "overdue")
    assert desk("reject", "late").row.decided_by == "nightly"


@pytest.mark.parametrize("status", ["proposed", "approved", "shadow", "kept"])
def test_only_what_waits_can_be_overdue(desk: Desk, status: str) -> None:
    """A plan that needs nobody, or has been decided, is never rejected by the clock."""
    if status == "shadow":
        with write_transaction(desk.bank.engine) as connection:
            connection.execute(t.regions.update().values(automatic_application=False))
    other = {"model": "keep"} if status == "kept" else {"in_band": status != "approved"}
    desk("create", draft("p1", approval_hours=HOURS, **other))
    if status == "approved":
        desk("approve", "p1")
    assert rejected_by(desk.bank, LATE) == 0
    assert desk.status("p1") == status


def test_a_decision_made_elsewhere_is_recorded_with_its_maker_and_its_messenger(desk: Desk) -> None:
    """The plan names the person, the audit the token that brought it as well."""
    desk("create", draft("p1", in_band=False, approval_hours=HOURS))
    with write_transaction(desk.bank.engine) as connection:
        approve_plan(connection, "p1", command(minutes=2), Decision("li.wei", "month end is known"))
    row = desk("get", "p1").row
    assert (row.status, row.decided_by, row.note) == ("approved", "li.wei", "month end is known")
    actor, action, after = audited(desk.bank)[-1]
    assert (actor, action) == ("nightly", "plan.approve")
    assert (after["by"], after["note"]) == ("li.wei", "month end is known")


def test_a_plan_of_before_deadlines_is_still_the_same_plan() -> None:
    """A body without a deadline has the fingerprint that it had before there were any."""
    plain = draft("p1")
    assert "approval_hours" not in plain.model_dump(exclude_unset=True)
    assert plain.fingerprint() == "d94e23ee77b774bebc26788dbfb78722a60ba26ac2ccec7397f2728008812079"
    assert draft("p1", approval_hours=HOURS).fingerprint() != plain.fingerprint()


@pytest.mark.parametrize("hours", [0, -1, 24 * 367, float("nan")])
def test_a_deadline_lies_ahead_within_a_year(hours: float) -> None:
    """Nonsense is refused where the plan is handed in."""
    with pytest.raises(ValueError, match="approval_hours"):
        PlanDraft.model_validate(draft().model_dump(mode="json") | {"approval_hours": hours})


@pytest.fixture
def api(sqlite_bank: Bank) -> Iterator[TestClient]:
    """The API, asked by an operator."""
    app = create_app(sqlite_bank.engine, registry=CollectorRegistry(), housekeeping=False)
    with write_transaction(sqlite_bank.engine) as connection:
        secret = issue_token(connection, name="desk", scopes=["operator"])
    with TestClient(app, headers={"Authorization": f"Bearer {secret}"}) as client:
        yield client


def test_the_deadline_and_the_decision_are_told_over_http(api: TestClient) -> None:
    """A pending plan tells until when it waits; an approval may name who made it, and nothing else."""
    body = draft("p1", in_band=False, approval_hours=HOURS, period="2030-01-01").model_dump(mode="json")
    made = api.post("/v1/plans", json=body).json()
    waits = datetime.fromisoformat(made["decide_by"]) - datetime.fromisoformat(made["created_at"])
    assert waits == timedelta(hours=HOURS)
    for bad in ({"by": ""}, {"by": "x" * 65}, {"colour": "red"}):
        assert api.post("/v1/plans/p1/approve", json=bad).status_code == 400
    approved = api.post("/v1/plans/p1/approve", json={"by": "li.wei"}).json()
    assert (approved["status"], approved["decided_by"], approved["note"]) == ("approved", "li.wei", None)
    again = api.post("/v1/plans/p1/approve").json()
    assert again["decided_by"] == "li.wei", "approving twice changes nothing"
