"""The recorded wishes of a day, judged again by the core's own `decide_slot` under given limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

import pandas as pd
from sqlalchemy import Engine, select

from booking_core import tables as t
from booking_core.decide import Rules, decide_slot
from booking_core.domain import (
    Accepted,
    QuotaKey,
    QuotaState,
    Refused,
    SlotState,
    Wish,
    next_period_start,
    period_start,
)
from booking_core.read.bank import bank_settings
from booking_core.read.demand import wishes_of_day
from booking_core.read.quotas import LIVE_STATUSES, quota_periods
from metrics.contract import BANK_SCOPE_ID, UNIT_PERIODS, Channel, PeriodKind, Reason, ScopeKind

Limits = dict[tuple[QuotaKey, date], int]
"""The limit in force of each level and period."""


TAKEN: Final = ("slot_id", "branch_id", "region_id", "service_day", "units")


@dataclass(frozen=True, slots=True)
class Judged:
    """One recorded wish under the limits."""

    branch_id: str
    region_id: str
    at: datetime
    reason: Reason | None
    """None = served."""


def limits_of(engine: Engine, first: date, last: date) -> Limits:
    """Every limit in force in the periods that touch first..last (channel "*" only)."""
    limits: Limits = {}
    for scope in ScopeKind:
        for kind in UNIT_PERIODS:
            rows = quota_periods(engine, since=first, until=last, period_kind=kind, scope_kind=scope)
            for row in rows[rows["limit_units"].notna()].to_dict("records"):
                key = QuotaKey(scope, row["scope_id"], kind, row["channel"])
                limits[key, row["period_start"].date()] = int(row["limit_units"])
    return limits


def taken_by_others(engine: Engine, day: date) -> pd.DataFrame:
    """The live bookings of wishes for other days that count in a period of the day.

    [slot_id, branch_id, region_id, service_day, units]: those whom an earlier day turned away, for one.
    """
    b, e = t.bookings.c, t.wish_episodes.c
    month = period_start(PeriodKind.MONTH, day)
    statement = (
        select(b.slot_id, b.branch_id, b.region_id, b.service_day, b.units)
        .join(t.wish_episodes, e.booking_ref == b.booking_ref)
        .where(e.wished_day != day, b.status.in_(LIVE_STATUSES))
        .where(b.service_day >= min(month, period_start(PeriodKind.WEEK, day)))
        .where(b.service_day < next_period_start(PeriodKind.MONTH, month) + timedelta(days=7))
    )
    with engine.connect() as connection:
        return pd.DataFrame(connection.execute(statement).all(), columns=list(TAKEN))


def slots_of(engine: Engine, day: date) -> list[SlotState]:
    """The day's open slots, empty."""
    statement = select(t.slots).where(t.slots.c.service_day == day, t.slots.c.closed.is_(False))
    with engine.connect() as connection:
        rows = connection.execute(statement.order_by(t.slots.c.start_utc)).all()
    return [SlotState(**{**row._mapping, "used_units": 0, "offered_units": 0}) for row in rows]  # noqa: SLF001


def judge_day(engine: Engine, day: date, limits: Limits) -> list[Judged]:
    """Each wish recorded for the day, in order, as `judge` decides it under the limits."""
    settings = bank_settings(engine)
    rules = Rules(
        settings.tzinfo(), settings.min_notice_minutes, settings.booking_window_days, settings.hold_seconds
    )
    others = taken_by_others(engine, day)
    return judge(wishes_of_day(engine, day), slots_of(engine, day), limits, rules, others)


def judge(
    wishes: pd.DataFrame,
    slots: Iterable[SlotState],
    limits: Limits,
    rules: Rules,
    others: pd.DataFrame | None = None,
) -> list[Judged]:
    """Each wish served or refused with its reason, in order; only what others hold is taken before.

    A customer takes the branch's emptiest slot of the day: how wishes spread within a day is not judged.
    wishes: columns branch_id, region_id, channel, wished_day, opened_business_utc, in order. others: as
    `taken_by_others` gives them; None = nobody.
    """
    of_branch: dict[str, dict[str, SlotState]] = {}
    for slot in slots:
        of_branch.setdefault(slot.branch_id, {})[slot.slot_id] = slot
    used: Counter[tuple[QuotaKey, date]] = Counter()
    for row in [] if others is None else others.to_dict("records"):
        for key, start in counted_in(row["branch_id"], row["region_id"], row["service_day"]):
            used[key, start] += row["units"]
        own = of_branch.get(row["branch_id"], {})
        if taken := own.get(row["slot_id"]):
            own[taken.slot_id] = replace(taken, used_units=taken.used_units + row["units"])
    judged: list[Judged] = []
    for row in wishes.to_dict("records"):
        own = of_branch.get(row["branch_id"], {})
        if not own:
            continue
        day, at = row["wished_day"].date(), row["opened_business_utc"].to_pydatetime()
        slot = max(own.values(), key=lambda s: s.free_units)
        quotas = levels_of(row["branch_id"], row["region_id"], day, limits, used)
        wish = Wish(loan_ref="", slot_id=slot.slot_id, channel=Channel(row["channel"]))
        verdict = decide_slot(wish, slot=slot, quotas=quotas, rules=rules, business_now=at)
        if isinstance(verdict, Accepted):
            own[slot.slot_id] = replace(slot, used_units=slot.used_units + 1)
            used.update((quota.key, quota.start) for quota in quotas)
        reason = verdict.reason if isinstance(verdict, Refused) else None
        judged.append(Judged(slot.branch_id, slot.region_id, at, reason))
    return judged


def levels_of(
    branch_id: str, region_id: str, day: date, limits: Limits, used: Mapping[tuple[QuotaKey, date], int]
) -> list[QuotaState]:
    """The limited levels that a booking at the branch on the day counts in."""
    return [
        QuotaState(key, start, limits[key, start], used.get((key, start), 0))
        for key, start in counted_in(branch_id, region_id, day)
        if (key, start) in limits
    ]


def counted_in(branch_id: str, region_id: str, day: date) -> Iterator[tuple[QuotaKey, date]]:
    """Every level and period that a booking at the branch on the day counts in, limited or not."""
    scopes = ((ScopeKind.BRANCH, branch_id), (ScopeKind.REGION, region_id), (ScopeKind.BANK, BANK_SCOPE_ID))
    for scope, scope_id in scopes:
        for kind in UNIT_PERIODS:
            yield QuotaKey(scope, scope_id, kind), period_start(kind, day)


def served_share(judged: Iterable[Judged]) -> float:
    """The share that was served; 0 of nothing."""
    outcomes = [one.reason is None for one in judged]
    return sum(outcomes) / len(outcomes) if outcomes else 0.0
