"""Extra plans: limits raised until their period ends, as temporary quotas on top of the plan in force.

A limit is raised *to* the item's and never by it, so that two plans which ask for the same add up to it once,
and nothing is ever lowered. Every temporary quota is named after its plan and item.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from sqlalchemy import Connection, Row

from booking_core.domain import next_period_start
from booking_core.service.commands import Command
from booking_core.settings import load_settings
from booking_core.store import quotas, temporaries
from booking_core.store.quotas import Period


def raise_limits(
    connection: Connection, plan_id: str, items: Sequence[Row[Any]], command: Command
) -> dict[int, tuple[int, int | None]]:
    """The limit that stands after it, with None, by item seq, of the items whose period is not over.

    A level without a limit is left out, since nothing is to be raised there.
    """
    bank = load_settings(connection)
    today = bank.local_day(bank.business_now(command.now))
    quotas.lock_slots(connection)
    periods = {quotas.period_of(item): item for item in items}
    wanted = {period: item for period, item in periods.items() if _end(period) > today}
    quotas.make_counters(connection, wanted)
    counters = quotas.read_counters(connection, wanted, lock=True)
    standing = quotas.standing_limits(connection, wanted)
    raised: dict[int, tuple[int, int | None]] = {}
    for period, item in wanted.items():
        limit = counters[period].limit_units(standing.get(period[0]))
        if limit is None:
            continue
        raised[item.seq] = max(limit, item.new_limit), None
        if item.new_limit <= limit:
            continue
        ends = datetime.combine(_end(period), time(), bank.tzinfo()).astimezone(UTC)
        temporaries.add_temporary(
            connection,
            period,
            temporary_id=_temporary_id(plan_id, item.seq),
            extra_units=item.new_limit - limit,
            expires_utc=bank.wall_at(ends, command.now),
            created_utc=command.now,
            created_by=command.actor,
        )
    return raised


def take_back(connection: Connection, plan_id: str, items: Sequence[Row[Any]], command: Command) -> None:
    """End what the plan's items still add; no booking is cancelled."""
    ids = [_temporary_id(plan_id, item.seq) for item in items]
    temporaries.end_temporaries(connection, ids, command.now)


def _temporary_id(plan_id: str, seq: int) -> str:
    return f"{plan_id}:{seq}"


def _end(period: Period) -> date:
    """The first day after the period."""
    key, start = period
    return next_period_start(key.period_kind, start)
