"""Standing quotas: read with their counters, and set by an operator."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row

from booking_core.domain import QuotaKey
from booking_core.service.commands import Command, CommandRefused, OutsideClaim, record_audit
from booking_core.service.core import Caller
from booking_core.settings import load_settings
from booking_core.store import quotas
from metrics.contract import PlanRefusal


def list_quotas(
    connection: Connection,
    filters: Mapping[str, str | None],
    span: tuple[date | None, date | None],
    caller: Caller,
) -> tuple[list[Row[Any]], list[Row[Any]]]:
    """The standing limits, and the counted periods with the limit in force.

    Those that filters (scope_kind, scope_id), span of period starts and region claim let through.
    """
    regions = quotas.scope_regions(connection)

    def seen(row: Row[Any]) -> bool:
        return caller.may_see(regions.get((row.scope_kind, row.scope_id), ""))

    standing = [row for row in quotas.standing_rows(connection, filters) if seen(row)]
    return standing, [row for row in quotas.counted_rows(connection, filters, *span) if seen(row)]


def put_quota(
    connection: Connection, quota_id: str, limit_units: int, command: Command
) -> QuotaKey | CommandRefused | OutsideClaim:
    """The quota whose standing limit was set. No booking is cancelled, however low the limit.

    A level that had no limit so far starts counting: the periods booked already get their counters here.
    """
    quotas.lock_slots(connection)
    regions = quotas.scope_regions(connection)
    key = quotas.key_of(quota_id)
    if key is None or (key.scope_kind, key.scope_id) not in regions:
        return CommandRefused(PlanRefusal.QUOTA_NOT_FOUND, {"quota_id": quota_id})
    region = regions[key.scope_kind, key.scope_id]
    if not command.caller.may_see(region):
        return OutsideClaim(region)
    bank = load_settings(connection)
    today = bank.local_day(bank.business_now(command.now))
    quotas.make_counters(connection, quotas.booked_periods(connection, key, today))
    before = quotas.put_standing(connection, key, limit_units, command.now)
    record_audit(
        connection, command, "quota.put", quota_id, {"limit_units": before}, {"limit_units": limit_units}
    )
    return key
