"""SQL of plans and their items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, insert, select, text, tuple_, update

from booking_core.tables import plan_items, plans, regions
from metrics.contract import BANK_SCOPE_ID


def lock_plans(connection: Connection) -> None:
    """Let one plan command run at a time until the transaction ends; readers go on. SQLite has one writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE plans IN SHARE ROW EXCLUSIVE MODE"))


def insert_plan(connection: Connection, plan: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> None:
    """Write a new plan with its items, numbered in their order."""
    connection.execute(insert(plans).values(**plan))
    if items:
        numbered = [{"plan_id": plan["plan_id"], "seq": seq, **item} for seq, item in enumerate(items)]
        connection.execute(insert(plan_items), numbered)


def plan_row(connection: Connection, plan_id: str) -> Row[Any] | None:
    """The plan, None where there is none."""
    return connection.execute(select(plans).where(plans.c.plan_id == plan_id)).one_or_none()


def item_rows(connection: Connection, plan_id: str) -> list[Row[Any]]:
    """The items of the plan in their order."""
    statement = select(plan_items).where(plan_items.c.plan_id == plan_id).order_by(plan_items.c.seq)
    return list(connection.execute(statement))


def plan_page(
    connection: Connection,
    filters: Mapping[str, str | None],
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row[Any]]:
    """At most `limit` plans whose columns equal the filters, newest first, after the (created, id) given."""
    table = plans.c
    conditions: list[Any] = [table[name] == value for name, value in filters.items() if value is not None]
    if after is not None:
        created = bindparam(None, after[0], table.created_utc.type)
        conditions.append(tuple_(table.created_utc, table.plan_id) < tuple_(created, after[1]))
    statement = select(plans).where(*conditions).order_by(table.created_utc.desc(), table.plan_id.desc())
    return list(connection.execute(statement.limit(limit)))


def latest_plan(connection: Connection, kind: str, region_id: str, status: str) -> Row[Any] | None:
    """The plan of this kind, region and status that was applied last, None where there is none."""
    table = plans.c
    statement = (
        select(plans)
        .where(table.kind == kind, table.region_id == region_id, table.status == status)
        .order_by(table.applied_utc.desc())
        .limit(1)
    )
    return connection.execute(statement).one_or_none()


def set_status(connection: Connection, plan_id: str, status: str, **values: Any) -> None:
    """Move the plan to the status; values: further columns to set."""
    connection.execute(update(plans).where(plans.c.plan_id == plan_id).values(status=status, **values))


def set_applied_limits(
    connection: Connection, plan_id: str, applied: Mapping[int, tuple[int, int | None]]
) -> None:
    """Note on each item (by seq) the limit really set and the override it replaced."""
    table = plan_items.c
    statement = (
        update(plan_items)
        .where(table.plan_id == plan_id, table.seq == bindparam("_seq"))
        .values(applied_limit=bindparam("_applied"), before_override=bindparam("_before"))
    )
    rows = [{"_seq": seq, "_applied": new, "_before": old} for seq, (new, old) in applied.items()]
    if rows:
        connection.execute(statement, rows)


def override_setters(connection: Connection, region_id: str, first: date) -> list[Row[Any]]:
    """The items that once set an override and still may stand behind it, oldest application first."""
    table = plan_items.c
    statement = (
        select(plan_items)
        .join(plans, plans.c.plan_id == table.plan_id)
        .where(
            plans.c.kind == "quota",
            plans.c.region_id == region_id,
            plans.c.status.in_(("applied", "superseded")),
            table.applied_limit.is_not(None),
            table.period_start >= first,
        )
        .order_by(plans.c.applied_utc)
    )
    return list(connection.execute(statement))


def any_overdue(connection: Connection, now: datetime) -> bool:
    """Whether a plan still waits for approval after its deadline (wall time)."""
    return connection.execute(_overdue(now).limit(1)).first() is not None


def overdue_plans(connection: Connection, now: datetime) -> list[Row[Any]]:
    """The plans that wait for approval after their deadline, the oldest first."""
    return list(connection.execute(_overdue(now).order_by(plans.c.decide_by_utc)))


def _overdue(now: datetime) -> Select[Any]:
    return select(plans).where(plans.c.status == "pending", plans.c.decide_by_utc <= now)


def applies_automatically(connection: Connection, region_id: str) -> bool | None:
    """Whether plans may be applied in the region (false = shadow mode), None for an unknown region.

    In the whole bank ("bank") where they may in every region.
    """
    automatic = regions.c.automatic_application
    if region_id == BANK_SCOPE_ID:
        return connection.execute(select(regions.c.region_id).where(~automatic).limit(1)).first() is None
    return connection.scalar(select(automatic).where(regions.c.region_id == region_id))
