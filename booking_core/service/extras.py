"""Extra plans: limits raised until their period ends, as temporary quotas on top of the plan in force.

A limit is raised *to* the item's and never by it, so that two plans which ask for the same add up to it once,
and nothing is ever lowered. Every temporary quota is named after its plan and item.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final

from sqlalchemy import Connection, Row

from booking_core.domain import next_period_start
from booking_core.service.commands import Command, CommandRefused
from booking_core.settings import load_settings
from booking_core.store import quotas, temporaries
from booking_core.store.quotas import Period, UsedPeriod
from metrics.contract import PlanRefusal

LEVELS_TOLD: Final = 3
"""By a refusal, of those without a limit."""


def raise_limits(
    connection: Connection, plan_id: str, items: Sequence[Row[Any]], command: Command
) -> dict[int, tuple[int, int | None]] | CommandRefused:
    """The limit that stands after it, with None, by item seq, of the items whose period is not over.

    A level without a limit is left out, since nothing is to be raised there. Refused where no item is left.
    """
    bank = load_settings(connection)
    today = bank.local_day(bank.business_now(command.now))
    quotas.lock_slots(connection)
    periods = {quotas.period_of(item): item for item in items}
    wanted = {period: item for period, item in periods.items() if _end(period) > today}
    if not wanted:
        return CommandRefused(PlanRefusal.PLAN_OVER, {"plan_id": plan_id})
    counters = quotas.read_counters(connection, wanted, lock=True)
    standing = quotas.standing_limits(connection, wanted)
    limits = {
        period: limit
        for period in wanted
        if (limit := counters.get(period, UsedPeriod(0)).limit_units(standing.get(period[0]))) is not None
    }
    if not limits:
        return CommandRefused(PlanRefusal.NOTHING_TO_RAISE, _unlimited(plan_id, wanted))
    quotas.make_counters(connection, limits)
    raised: dict[int, tuple[int, int | None]] = {}
    for period, limit in limits.items():
        item = wanted[period]
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


def _unlimited(plan_id: str, periods: Iterable[Period]) -> dict[str, str]:
    """What a refusal tells of the levels without a limit: the first few by id."""
    ids = sorted({key.quota_id for key, _ in periods})
    told = ", ".join(ids[:LEVELS_TOLD]) + (", …" if len(ids) > LEVELS_TOLD else "")
    return {"plan_id": plan_id, "levels": told}


def is_of_a_plan(temporary_id: str) -> bool:
    """Whether a plan may name an item's extra units so: nobody else may, or it could not be applied."""
    return re.fullmatch(r".+:\d+", temporary_id) is not None


def _temporary_id(plan_id: str, seq: int) -> str:
    return f"{plan_id}:{seq}"


def _end(period: Period) -> date:
    """The first day after the period."""
    key, start = period
    return next_period_start(key.period_kind, start)
