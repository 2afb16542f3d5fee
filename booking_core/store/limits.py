"""SQL of quota limits: the standing ones, the scopes they limit, and the counted periods.

What others share: `COUNTED_STATUSES`, and a `Period`, one concrete period of a quota.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, insert, select, update

from booking_core.domain import QuotaKey
from booking_core.tables import branches, quota_periods, quotas, regions
from metrics.contract import BANK_SCOPE_ID, PeriodKind, ScopeKind

COUNTED_STATUSES: Final = ("held", "confirmed", "checked_in", "completed", "no_show")
"""Bookings that use units of their quotas."""

Period = tuple[QuotaKey, date]
"""One concrete period of a quota: the quota and the first day."""


def quota_key(scope_kind: str, scope_id: str, channel: str, period_kind: str) -> QuotaKey:
    """The quota key of column values."""
    return QuotaKey(ScopeKind(scope_kind), scope_id, PeriodKind(period_kind), channel)


def standing_limit(connection: Connection, quota_id: str) -> int | None:
    """The standing limit, None where there is none."""
    return connection.scalar(select(quotas.c.limit_units).where(quotas.c.quota_id == quota_id))


def put_standing(connection: Connection, key: QuotaKey, limit: int, now: datetime) -> None:
    """Set the standing limit, new or there already."""
    values = {"limit_units": limit, "updated_utc": now}
    changed = connection.execute(update(quotas).where(quotas.c.quota_id == key.quota_id).values(values))
    if not changed.rowcount:
        connection.execute(
            insert(quotas).values(
                quota_id=key.quota_id,
                scope_kind=key.scope_kind,
                scope_id=key.scope_id,
                channel=key.channel,
                period_kind=key.period_kind,
                **values,
            )
        )


def scope_regions(connection: Connection) -> dict[tuple[str, str], str]:
    """The region of every scope there is: (scope_kind, scope_id) -> region id, or "bank" for the bank."""
    found: dict[tuple[str, str], str] = {(ScopeKind.BANK, BANK_SCOPE_ID): BANK_SCOPE_ID}
    for (region_id,) in connection.execute(select(regions.c.region_id)):
        found[ScopeKind.REGION, region_id] = region_id
    for branch_id, region_id in connection.execute(select(branches.c.branch_id, branches.c.region_id)):
        found[ScopeKind.BRANCH, branch_id] = region_id
    return found


def standing_rows(connection: Connection, filters: Mapping[str, str]) -> list[Row[Any]]:
    """The standing limits whose columns equal the filters, in the order of their ids."""
    conditions = [quotas.c[name] == value for name, value in filters.items()]
    return list(connection.execute(select(quotas).where(*conditions).order_by(quotas.c.quota_id)))


def counted_rows(
    connection: Connection, filters: Mapping[str, str], first: date | None, last: date | None
) -> list[Row[Any]]:
    """The counted periods that start within first..last; in_force = override, else standing limit."""
    p, q = quota_periods, quotas.c
    same = and_(*(p.c[n] == q[n] for n in ("scope_kind", "scope_id", "channel", "period_kind")))
    conditions = [p.c[name] == value for name, value in filters.items()]
    conditions += [p.c.period_start >= first] if first else []
    conditions += [p.c.period_start <= last] if last else []
    return list(
        connection.execute(
            select(p, func.coalesce(p.c.limit_units, q.limit_units).label("in_force"))
            .select_from(p.outerjoin(quotas, same))
            .where(*conditions)
            .order_by(p.c.scope_kind, p.c.scope_id, p.c.channel, p.c.period_kind, p.c.period_start)
        )
    )
