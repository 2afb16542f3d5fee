"""Builders of plans and of the rows behind them, and a desk that gives the plan service its commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.service import plans as service
from booking_core.service.commands import Command
from booking_core.service.core import Caller
from booking_core.service.plan_drafts import PlanDraft
from booking_core.service.plans import StoredPlan
from metrics.contract import TokenScope
from tests.support.bank import Bank

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
MONDAY = date(2026, 3, 9)


def command(region: str | None = None, minutes: int = 0) -> Command:
    """A planner's command."""
    caller = Caller("t1", "nightly", frozenset({TokenScope.PLANNER}), region)
    return Command(caller, NOW + timedelta(minutes=minutes), "trace")


def item(
    new_limit: int | None = 5,
    *,
    scope: str = "branch:b1",
    kind: str = "day",
    start: date = MONDAY,
    **other: Any,
) -> dict[str, Any]:
    """A quota item."""
    scope_kind, scope_id = scope.split(":")
    return {
        "scope_kind": scope_kind,
        "scope_id": scope_id,
        "period_kind": kind,
        "period_start": start.isoformat(),
        "new_limit": new_limit,
        **other,
    }


def draft(plan_id: str = "p1", *items: dict[str, Any], **other: Any) -> PlanDraft:
    """A quota plan of region north that is inside the guard band."""
    body = {
        "plan_id": plan_id,
        "kind": "quota",
        "region": "north",
        "period": "2026-03-02",
        "in_band": True,
        "model": "champion",
        "policy": {},
        "inputs": {},
        "items": list(items or (item(),)),
        **other,
    }
    return PlanDraft.model_validate(body)


def server_draft(plan_id: str, quarter: str, *workers: int) -> PlanDraft:
    """A server plan whose items start at the quarter."""
    first = datetime.fromisoformat(quarter)
    items = [
        {
            "scope_kind": "bank",
            "scope_id": "bank",
            "period_kind": "quarter_hour",
            "new_limit": n,
            "starts": (first + timedelta(minutes=15 * i)).isoformat(),
        }
        for i, n in enumerate(workers)
    ]
    return draft(plan_id, *items, kind="server", region="bank", period=quarter)


@dataclass
class Desk:
    """Gives commands to one bank, each in a transaction of its own."""

    bank: Bank
    tick: int = field(default=0)

    def __call__(self, name: str, what: Any, *, region: str | None = None) -> Any:
        """The answer of the command `name` of the plan service, given one minute after the last one."""
        self.tick += 1
        with write_transaction(self.bank.engine) as connection:
            return getattr(service, f"{name}_plan")(connection, what, command(region, self.tick))

    def make(self, plan_id: str, *items: dict[str, Any], **other: Any) -> StoredPlan:
        """A plan, created and applied."""
        created = self("create", draft(plan_id, *items, **other))
        assert isinstance(created, StoredPlan), created
        applied = self("apply", plan_id)
        assert isinstance(applied, StoredPlan), applied
        return applied

    def counter(self, scope: str = "branch:b1", kind: str = "day", start: date = MONDAY) -> tuple | None:
        """(used, override, plan) of the concrete period."""
        c = t.quota_periods.c
        scope_kind, scope_id = scope.split(":")
        with self.bank.engine.connect() as connection:
            row = connection.execute(
                select(c.used_units, c.limit_units, c.plan_id).where(
                    c.scope_kind == scope_kind,
                    c.scope_id == scope_id,
                    c.period_kind == kind,
                    c.period_start == start,
                )
            ).one_or_none()
        return None if row is None else tuple(row)

    def status(self, plan_id: str) -> str:
        """The plan's status."""
        with self.bank.engine.connect() as connection:
            return connection.scalar(select(t.plans.c.status).where(t.plans.c.plan_id == plan_id))

    def book(
        self,
        loan: str,
        day: date = MONDAY,
        *,
        status: str = "held",
        channel: str = "app",
        branch: str = "b1",
        region: str = "north",
    ) -> None:
        """A booking as a row, past any limit."""
        slot = f"{branch}-{day}"
        with write_transaction(self.bank.engine) as connection:
            if not connection.scalar(select(t.slots.c.slot_id).where(t.slots.c.slot_id == slot)):
                start = datetime(day.year, day.month, day.day, 2, tzinfo=UTC)
                connection.execute(
                    insert(t.slots).values(
                        slot_id=slot,
                        branch_id=branch,
                        region_id=region,
                        service_day=day,
                        start_utc=start,
                        end_utc=start + timedelta(minutes=30),
                        capacity_units=100,
                        used_units=0,
                        offered_units=0,
                        closed=False,
                    )
                )
            if not connection.scalar(select(t.loans.c.loan_ref).where(t.loans.c.loan_ref == loan)):
                connection.execute(
                    insert(t.loans).values(
                        loan_ref=loan,
                        holder=loan,
                        branch_id=branch,
                        status="active",
                        payoff_cny=1000,
                        min_prepayment_cny=1,
                    )
                )
            insert_booking(connection, loan, slot, day, status=status, channel=channel, branch=branch)


def insert_booking(
    connection: Any,
    loan: str,
    slot: str,
    day: date,
    *,
    status: str = "held",
    channel: str = "app",
    branch: str = "b1",
) -> None:
    """The booking's own row."""
    connection.execute(
        insert(t.bookings).values(
            booking_ref=f"B-{loan}",
            loan_ref=loan,
            slot_id=slot,
            branch_id=branch,
            region_id="north",
            service_day=day,
            channel=channel,
            status=status,
            units=1,
            created_utc=NOW,
        )
    )
