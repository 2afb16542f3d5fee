"""What really was taken, recounted from the bookings, and whether every refusal told the truth.

It trusts no counter: units come from the rows of bookings, limits from the standing quotas, and the order of
events from the ids that attempts were given while their transaction held its locks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from booking_core.domain import period_start
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, PeriodKind, ScopeKind

GIVEN_BACK: Final = ("cancelled", "expired")
"""Bookings that use no units any more."""


@dataclass
class Audit:
    """What was found; `told` is room for what the caller saw itself."""

    attempts: int = 0
    false_refusals: int = 0
    oversold: int = 0
    drift: int = 0
    """Counters that differ from the recount."""
    leftover_refused: int = 0
    refused_by_level: dict[str, int] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    levels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)

    def free_slots(self) -> Iterator[str]:
        """A slot with a free unit at every level, until there is none; each counts as taken from then on."""
        for slot, levels in self.levels.items():
            while all(self.used[level] < self.limits[level] for level in levels):
                self.used.update(levels)
                yield slot


def audit(url: str, *, gone_for_good: bool) -> Audit:
    """The audit of a bank whose limits stood still; `gone_for_good`: no unit was ever given back."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        found = Audit()
        found.levels, found.limits = _levels(connection)
        _recount(connection, found)
        _judge_refusals(connection, found, gone_for_good=gone_for_good)
    return found


def _levels(connection: psycopg.Connection[Any]) -> tuple[dict[str, list[str]], dict[str, int]]:
    """The levels that each slot counts in, and the limit of each: "slot:ID", or quota id and first day."""
    standing = dict(connection.execute("SELECT quota_id, limit_units FROM quotas").fetchall())
    levels, limits = {}, {}
    rows = connection.execute("SELECT slot_id, branch_id, region_id, service_day, capacity_units FROM slots")
    for slot, branch, region, day, capacity in rows:
        limits[f"slot:{slot}"] = capacity
        levels[slot] = [f"slot:{slot}"]
        for scope, scope_id in zip(ScopeKind, (BANK_SCOPE_ID, region, branch), strict=True):
            for kind in (PeriodKind.DAY, PeriodKind.WEEK, PeriodKind.MONTH):
                quota = f"{scope}:{scope_id}:{ALL_CHANNELS}:{kind}"
                if quota in standing:
                    level = f"{quota}:{period_start(kind, day)}"
                    limits[level] = standing[quota]
                    levels[slot].append(level)
    return levels, limits


def _recount(connection: psycopg.Connection[Any], found: Audit) -> None:
    """Units by level from the bookings; what was oversold, and which counters say something else."""
    statement = "SELECT slot_id, sum(units) FROM bookings WHERE status <> ALL(%s) GROUP BY slot_id"
    for slot, units in connection.execute(statement, [list(GIVEN_BACK)]):
        found.used.update(dict.fromkeys(found.levels[slot], units))
    found.oversold = sum(max(0, units - found.limits[level]) for level, units in found.used.items())
    counters = dict(connection.execute("SELECT 'slot:' || slot_id, used_units FROM slots").fetchall())
    statement = (
        "SELECT concat_ws(':', scope_kind, scope_id, channel, period_kind, period_start), used_units "
        "FROM quota_periods"
    )
    counters |= dict(connection.execute(statement).fetchall())
    found.drift = sum(units != found.used[level] for level, units in counters.items())


def _judge_refusals(connection: psycopg.Connection[Any], found: Audit, *, gone_for_good: bool) -> None:
    """Count the refusals for capacity that were not true.

    Each must name its limits, with what was used at its judgement, and none of them may have had room. Where
    no unit was ever given back, each named level must also be full by our own count of what was taken up to
    the last row of the refusal's transaction (a batch writes its rows in any order).
    """
    last: dict[str, int] = dict(
        connection.execute("SELECT xmin::text, max(attempt_id) FROM attempts GROUP BY 1").fetchall()
    )
    taken: Counter[str] = Counter()
    waiting: dict[int, list[list[str]]] = {}
    refused: Counter[str] = Counter()
    statement = "SELECT attempt_id, xmin::text, slot_id, outcome, cause, violations FROM attempts ORDER BY 1"
    with connection.cursor("attempts") as cursor:
        cursor.itersize = 10_000
        for attempt, transaction, slot, outcome, cause, violations in cursor.execute(statement):
            if outcome == "held":
                found.attempts += 1
                taken.update(found.levels[slot])
            elif cause == "capacity":
                found.attempts += 1
                named = [_level(v) for v in violations or ()]
                refused.update(
                    level.split(":")[0] if level.startswith("slot:") else _kind(level) for level in named
                )
                true = all(
                    v["used"] + 1 > v["limit"] == found.limits.get(level)
                    for v, level in zip(violations or (), named, strict=True)
                )
                if not named or not true:
                    found.false_refusals += 1
                elif gone_for_good:
                    waiting.setdefault(last[transaction], []).append(named)
            for levels in waiting.pop(attempt, ()):
                found.false_refusals += any(taken[level] < found.limits[level] for level in levels)
    found.refused_by_level = dict(sorted(refused.items()))


def _level(violation: Mapping[str, Any]) -> str:
    """The level that a violation names."""
    quota = str(violation["quota"])
    return quota if quota.startswith("slot:") else f"{quota}:{violation['period_start']}"


def _kind(level: str) -> str:
    scope, _, _, period, _ = level.split(":", 4)
    return f"{scope} {period}"
