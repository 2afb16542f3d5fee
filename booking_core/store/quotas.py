"""SQL of quotas: standing limits, the concrete periods that are counted, and their locks.

Counters are rows of quota_periods; a row is made, with what is booked already, by whoever needs it first.
docs/locking.md says why this never oversells and never deadlocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, func, or_, select, text

from booking_core import tables as t
from booking_core.decide import SCOPE_ORDER
from booking_core.domain import QuotaKey, QuotaState, SlotState, next_period_start, period_start
from booking_core.store.rows import Among, by_keys, change_rows, put_rows
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, Channel, PeriodKind, ScopeKind

COUNTED_STATUSES: Final = ("offered", "held", "confirmed", "checked_in", "completed", "no_show")
"""Bookings that use units of their quotas."""

PLACES: Final = 4_096
"""Branch days and channels whose periods are kept by name: some 6 KB each."""

Period = tuple[QuotaKey, date]
"""One concrete period of a quota: the quota and the first day."""

_COLUMNS: Final = ("scope_kind", "scope_id", "channel", "period_kind", "period_start")


@dataclass(frozen=True, slots=True)
class UsedPeriod:
    """The counter of a period: what is used, the override where a plan set one, temporary extra units."""

    used_units: int
    override_units: int | None = None
    extra_units: int = 0

    def limit_units(self, standing: int | None) -> int | None:
        """The limit in force: the override, else the standing limit, and what is extra; None = no limit."""
        limit = standing if self.override_units is None else self.override_units
        return None if limit is None else limit + self.extra_units


@dataclass(slots=True)
class Levels:
    """The locked counters that bookings of one slot and channel move, and of these the ones with a limit."""

    counted: list[QuotaState]
    judged: list[QuotaState]


def key_of(quota_id: str) -> QuotaKey | None:
    """The key of an id scope_kind:scope_id:channel:period_kind, None when it is none."""
    try:
        scope, channel, period_kind = quota_id.rsplit(":", 2)
        scope_kind, scope_id = scope.split(":", 1)
        narrowed = channel if channel == ALL_CHANNELS else Channel(channel)
        key = QuotaKey(ScopeKind(scope_kind), scope_id, PeriodKind(period_kind), narrowed)
    except ValueError:
        return None
    funds_of_a_channel = key.period_kind is PeriodKind.FUNDS_DAY and key.channel != ALL_CHANNELS
    return None if funds_of_a_channel else key


def period_of(row: Any) -> Period:
    """The period that a row of quota_periods or plan_items names."""
    key = QuotaKey(ScopeKind(row.scope_kind), row.scope_id, PeriodKind(row.period_kind), row.channel)
    return key, row.period_start


@lru_cache(maxsize=PLACES)
def periods_of(branch_id: str, region_id: str, day: date, channel: str) -> tuple[Period, ...]:
    """Every period that a booking counts in: branch, region, bank × day, week, month × all channels, its own.

    And the day's funds of the three scopes, which know no channels.
    """
    return tuple(
        (QuotaKey(scope, scope_id, kind, narrowed), period_start(kind, day))
        for scope, scope_id in zip(SCOPE_ORDER, (branch_id, region_id, BANK_SCOPE_ID), strict=True)
        for kind in PeriodKind
        for narrowed in ((ALL_CHANNELS,) if kind is PeriodKind.FUNDS_DAY else (ALL_CHANNELS, channel))
    )


def period_id(period: Period) -> str:
    """The key of the period's row; counters are locked in the order of these."""
    key, start = period
    return f"{key.quota_id}:{start}"


@lru_cache(maxsize=PLACES)
def _named_periods(branch_id: str, region_id: str, day: date, channel: str) -> dict[str, Period]:
    """`periods_of` by their ids."""
    return {period_id(period): period for period in periods_of(branch_id, region_id, day, channel)}


# --- counters ---------------------------------------------------------------------------------


def lock_slots(connection: Connection) -> None:
    """Keep bookings out until the transaction ends (each locks its slot row first); SQLite has one writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE slots IN EXCLUSIVE MODE"))


def lock_levels(
    connection: Connection, places: Iterable[tuple[SlotState, str]]
) -> Callable[[], dict[tuple[str, str], Levels]]:
    """Asks for the levels of each (locked slot, channel): all counters locked in one order.

    Those that are missing are made when the answer is read.
    """
    of = {(s.slot_id, channel): _slot_periods(s, channel) for s, channel in places}
    periods: dict[str, Period] = {}
    for some in of.values():
        periods |= some
    quota_of = {name: name.rsplit(":", 1)[0] for name in periods}
    asked_limits = _standing(connection, set(quota_of.values()))
    asked_counters = _counters(connection, periods, lock=True)

    def answer() -> dict[tuple[str, str], Levels]:
        standing, counters = asked_limits(), asked_counters()
        missing = [name for name in periods if name not in counters and quota_of[name] in standing]
        if missing:
            make_counters(connection, [periods[name] for name in missing])
            counters |= _counters(connection, missing, lock=True)()
        states, limited = {}, set()
        for name, counter in counters.items():
            limit = counter.limit_units(standing.get(quota_of[name]))
            states[name] = QuotaState(*periods[name], limit or 0, counter.used_units)
            if limit is not None:
                limited.add(name)
        return {
            place: Levels(
                counted=[states[name] for name in some if name in states],
                judged=[states[name] for name in some if name in limited],
            )
            for place, some in of.items()
        }

    return answer


def read_levels(
    connection: Connection, slots: Sequence[SlotState], channel: str
) -> dict[str, tuple[QuotaState, ...]]:
    """The limits of each slot (by slot id) as committed, without locks: for calendars and remedies."""
    by_slot = {slot.slot_id: tuple(_slot_periods(slot, channel).values()) for slot in slots}
    periods = list(dict.fromkeys(period for some in by_slot.values() for period in some))
    standing, counters = standing_limits(connection, periods), read_counters(connection, periods)
    missing = [period for period in periods if period[0] in standing and period not in counters]
    counters |= {period: UsedPeriod(used) for period, used in count_units(connection, missing).items()}
    states = {
        period: QuotaState(*period, limit, counters[period].used_units)
        for period, limit in _limits(periods, standing, counters).items()
    }
    return {slot_id: tuple(states[p] for p in some if p in states) for slot_id, some in by_slot.items()}


def make_counters(connection: Connection, periods: Collection[Period]) -> None:
    """Make the counters that are missing, counting what is booked already.

    Call it with the slot locked for levels whose limit stands, else under `lock_slots`.
    """
    present = read_counters(connection, periods)
    used = count_units(connection, [period for period in periods if period not in present])
    rows = [{**_named(period), "used_units": units} for period, units in used.items()]
    put_rows(connection, t.quota_periods, rows, replace=False)  # another may have been faster


def read_counters(
    connection: Connection, periods: Iterable[Period], *, lock: bool = False
) -> dict[Period, UsedPeriod]:
    """The counters that exist of these periods; locked in the order of their ids."""
    of = {period_id(period): period for period in periods}
    return {of[name]: counter for name, counter in _counters(connection, of, lock=lock)().items()}


def set_used(connection: Connection, changed: Iterable[QuotaState]) -> None:
    """Write what is used of the locked counters."""
    rows = [{"period_id": period_id((q.key, q.start)), "used_units": q.used_units} for q in changed]
    change_rows(connection, t.quota_periods, "period_id", rows)


def set_overrides(connection: Connection, overrides: Mapping[Period, tuple[int | None, str | None]]) -> None:
    """Set (override, plan behind it) on counters that exist."""
    rows = [
        {**_named(period), "limit_units": limit, "plan_id": plan_id}
        for period, (limit, plan_id) in overrides.items()
    ]
    put_rows(connection, t.quota_periods, rows)


def count_units(connection: Connection, periods: Collection[Period]) -> dict[Period, int]:
    """The units that each period's bookings use, counted from the bookings: the truth behind a counter."""
    if not periods:
        return {}
    b = t.bookings.c
    first = min(start for _, start in periods)
    end = max(next_period_start(key.period_kind, start) for key, start in periods)
    where = [b.service_day >= first, b.service_day < end, b.status.in_(COUNTED_STATUSES)]
    scopes = {(key.scope_kind, key.scope_id) for key, _ in periods}
    if (ScopeKind.BANK, BANK_SCOPE_ID) not in scopes:
        branches = [scope_id for kind, scope_id in scopes if kind is ScopeKind.BRANCH]
        regions = [scope_id for kind, scope_id in scopes if kind is ScopeKind.REGION]
        where.append(or_(b.branch_id.in_(branches), b.region_id.in_(regions)))
    by = (b.branch_id, b.region_id, b.service_day, b.channel)
    sums = select(*by, func.sum(b.units), func.sum(b.reserved_cny)).where(*where).group_by(*by)
    used: Counter[Period] = Counter()
    for *booked, units, cny in connection.execute(sums):
        for period in periods_of(*booked):
            used[period] += period[0].measured(int(units), int(cny or 0))
    return {period: used[period] for period in periods}


def booked_periods(connection: Connection, key: QuotaKey, first_day: date) -> list[Period]:
    """The periods of the quota, from the one that contains `first_day` on, that its scope has bookings in."""
    b = t.bookings.c
    where = [b.service_day >= period_start(key.period_kind, first_day), b.status.in_(COUNTED_STATUSES)]
    if key.scope_kind is not ScopeKind.BANK:
        where.append((b.branch_id if key.scope_kind is ScopeKind.BRANCH else b.region_id) == key.scope_id)
    days = connection.scalars(select(b.service_day).distinct().where(*where))
    return [(key, start) for start in sorted({period_start(key.period_kind, day) for day in days})]


# --- limits -----------------------------------------------------------------------------------


def standing_limits(connection: Connection, periods: Iterable[Period]) -> dict[QuotaKey, int]:
    """The standing limits over these periods; absent = none."""
    keys = {key.quota_id: key for key, _ in periods}
    return {keys[quota_id]: limit for quota_id, limit in _standing(connection, keys)().items()}


def put_standing(connection: Connection, key: QuotaKey, limit: int, now: datetime) -> int | None:
    """Set the standing limit, new or there already; the one before, None where there was none."""
    before = connection.scalar(select(t.quotas.c.limit_units).where(t.quotas.c.quota_id == key.quota_id))
    scope = {name: getattr(key, name) for name in _COLUMNS[:-1]}
    row = {"quota_id": key.quota_id, **scope, "limit_units": limit, "updated_utc": now}
    put_rows(connection, t.quotas, [row])
    return before


def limits_in_force(connection: Connection, asked: Iterable[tuple[str, date]]) -> dict[str, int]:
    """The limits in force of these (quota id, first day), by quota id; absent = none."""
    periods = [(key, start) for quota_id, start in asked if (key := key_of(quota_id))]
    limits = _limits(periods, standing_limits(connection, periods), read_counters(connection, periods))
    return {key.quota_id: limit for (key, _), limit in limits.items()}


def scope_regions(connection: Connection) -> dict[tuple[str, str], str]:
    """The region of every scope there is: (scope_kind, scope_id) -> region id, or "bank" for the bank."""
    regions = connection.scalars(select(t.regions.c.region_id))
    branches = connection.execute(select(t.branches.c.branch_id, t.branches.c.region_id))
    return {
        (ScopeKind.BANK, BANK_SCOPE_ID): BANK_SCOPE_ID,
        **{(ScopeKind.REGION, region_id): region_id for region_id in regions},
        **{(ScopeKind.BRANCH, branch_id): region_id for branch_id, region_id in branches},
    }


def standing_rows(connection: Connection, filters: Mapping[str, str | None]) -> Sequence[Row[Any]]:
    """The standing limits whose columns equal the filters, in the order of their ids."""
    conditions = [t.quotas.c[name] == value for name, value in filters.items() if value is not None]
    return connection.execute(select(t.quotas).where(*conditions).order_by(t.quotas.c.quota_id)).all()


def counted_rows(
    connection: Connection, filters: Mapping[str, str | None], first: date | None, last: date | None
) -> Sequence[Row[Any]]:
    """The counted periods that start within first..last; in_force = override, else standing limit."""
    p, q = t.quota_periods, t.quotas.c
    conditions = [p.c[name] == value for name, value in filters.items() if value is not None]
    conditions += [p.c.period_start >= first] if first else []
    conditions += [p.c.period_start <= last] if last else []
    statement = (
        select(p, (func.coalesce(p.c.limit_units, q.limit_units) + p.c.extra_units).label("in_force"))
        .select_from(p.outerjoin(t.quotas, and_(*(p.c[name] == q[name] for name in _COLUMNS[:-1]))))
        .where(*conditions)
    )
    return connection.execute(statement.order_by(*(p.c[name] for name in _COLUMNS))).all()


def _counters(
    connection: Connection, period_ids: Collection[str], *, lock: bool
) -> Callable[[], dict[str, UsedPeriod]]:
    """Asks for the counters that exist, by period id; locked in the order of these."""
    rows = _periods(connection, lock=lock, ids=period_ids)
    return lambda: {
        row["period_id"]: UsedPeriod(row["used_units"], row["limit_units"], row["extra_units"])
        for row in rows()
    }


@by_keys
def _periods(among: Among) -> Select[Any]:
    p = t.quota_periods.c
    told = (p.period_id, p.used_units, p.limit_units, p.extra_units)
    return select(*told).where(among(p.period_id, "ids")).order_by(p.period_id)


def _standing(connection: Connection, quota_ids: Collection[str]) -> Callable[[], dict[str, int]]:
    """Asks for the standing limits that exist, by quota id."""
    rows = _quotas(connection, ids=quota_ids)
    return lambda: {row["quota_id"]: row["limit_units"] for row in rows()}


@by_keys
def _quotas(among: Among) -> Select[Any]:
    q = t.quotas.c
    return select(q.quota_id, q.limit_units).where(among(q.quota_id, "ids"))


def _limits(
    periods: Iterable[Period], standing: Mapping[QuotaKey, int], counters: Mapping[Period, UsedPeriod]
) -> dict[Period, int]:
    """The limit in force of each period that has one."""
    none = UsedPeriod(0)
    limits = {p: counters.get(p, none).limit_units(standing.get(p[0])) for p in periods}
    return {period: limit for period, limit in limits.items() if limit is not None}


def _slot_periods(slot: SlotState, channel: str) -> dict[str, Period]:
    return _named_periods(slot.branch_id, slot.region_id, slot.service_day, channel)


def _named(period: Period) -> dict[str, Any]:
    key, start = period
    values = (key.scope_kind.value, key.scope_id, key.channel, key.period_kind.value, start)
    return dict(zip(_COLUMNS, values, strict=True))
