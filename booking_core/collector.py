"""Gauges about the database, computed when Prometheus asks: quotas, workers, forecasts, plans, invariants.

Any worker can answer for all, since what they tell lies in the database. The answer is kept for some seconds;
while the database is away the gauges are left out, and /metrics goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, Integer, and_, case, cast, false, func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.clock import Clock, utc_now
from booking_core.domain import next_period_start, period_start
from booking_core.invariants import alone, broken_rows, current_month, snapshot
from booking_core.scaling import ScalingReason
from booking_core.settings import BankSettings, load_settings
from booking_core.store.quotas import COUNTED_STATUSES
from metrics import contract
from metrics.contract import ALL_CHANNELS, NOBODY_DECIDED, UNIT_PERIODS, PeriodKind, ScopeKind

log = logging.getLogger(__name__)

CACHE_SECONDS: Final = 5.0
INVARIANT_SECONDS: Final = 30.0
"""Recounting reads every booking from this month on, so it is done less often."""
TOLD_ROWS: Final = 20
"""How many of the rows that break an invariant are logged."""
SCORED_DAYS: Final = 28
ACTUATOR_SILENT: Final = timedelta(minutes=5)
"""The actuator writes at least every minute; older counts of workers say nothing about now."""
BUSINESS_DAY: Final = 86_400.0
QUARTER_SECONDS: Final = 900.0


class DatabaseCollector(Collector):
    """The gauges that live in the database; register one beside the process's own instruments."""

    def __init__(
        self, engine: Engine, *, wall: Clock = utc_now, cache_seconds: float = CACHE_SECONDS
    ) -> None:
        self._engine = engine
        self._wall = wall
        self._cache_seconds = cache_seconds
        self._lock = threading.Lock()
        self._families: list[Metric] = []
        self._good_until = 0.0
        self._broken: dict[str, list[str]] | None = None
        self._broken_good_until = 0.0

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families, at most `cache_seconds` old; none while the database does not answer."""
        with self._lock:
            if time.monotonic() >= self._good_until:
                try:
                    self._families = self._read()
                except (SQLAlchemyError, OSError) as error:
                    log.warning("gauges of the database left out, it does not answer: %s", error)
                    self._families = []
                self._good_until = time.monotonic() + self._cache_seconds
            families = list(self._families)
        yield from families

    def _read(self) -> list[Metric]:
        now = self._wall()
        with snapshot(self._engine) as connection:
            bank = load_settings(connection)
            today = bank.local_day(bank.business_now(now))
            families = [
                *quota_families(connection, bank, today, now),
                *waitlist_families(connection),
                unmet_family(connection),
                *worker_families(connection, now),
                *forecast_families(connection, today),
                *plan_families(connection, paused=bank.paused),
            ]
            if time.monotonic() >= self._broken_good_until:
                self._recount(connection, now)
        return families if self._broken is None else [*families, invariant_family(self._broken)]

    def _recount(self, connection: Connection, now: datetime) -> None:
        """Judge the invariants anew and log what broke since; left to the process that is at it already."""
        with alone(connection) as ours:
            if not ours:
                return
            broken = broken_rows(connection, current_month(connection, now), now)
        for name, rows in broken.items():
            if rows and rows != (self._broken or {}).get(name):
                log.error("invariant %s broken by %d rows: %s", name, len(rows), "; ".join(rows[:TOLD_ROWS]))
        self._broken = broken
        self._broken_good_until = time.monotonic() + max(INVARIANT_SECONDS, self._cache_seconds)


def quota_families(connection: Connection, bank: BankSettings, today: date, now: datetime) -> list[Metric]:
    """Limit, use, exhausted branches and expected exhaustion of the current day, week and month."""
    limit = GaugeMetricFamily(
        contract.QUOTA_LIMIT, "Units of the current period, branches summed", labels=["period", "region"]
    )
    used = GaugeMetricFamily(
        contract.QUOTA_USED, "Units used of the current period", labels=["period", "region"]
    )
    exhausted = GaugeMetricFamily(
        contract.BRANCHES_EXHAUSTED, "Branches whose current period is full", labels=["period"]
    )
    exhaustion = GaugeMetricFamily(
        contract.PLAN_EXHAUSTION,
        "When the current period's units run out if bookings go on as they do",
        labels=["region", "period"],
    )
    for kind in UNIT_PERIODS:
        start = period_start(kind, today)
        limits, uses, full = _current(connection, kind, start)
        rates = _units_a_second(connection, bank, start, next_period_start(kind, start), now)
        for region, units in sorted(limits.items()):
            limit.add_metric([kind, region], units)
            used.add_metric([kind, region], uses[region])
            left = max(0, units - uses[region])
            if left == 0 or rates[region] > 0:
                seconds = left / rates[region] if left else 0.0
                exhaustion.add_metric([region, kind], now.timestamp() + seconds)
        exhausted.add_metric([kind], full)
    return [limit, used, exhausted, exhaustion]


def _current(connection: Connection, kind: PeriodKind, start: date) -> tuple[Counter[str], Counter[str], int]:
    """(limit by region, used by region, full branches) of the branches that have a limit in this period."""
    b, q, p = t.branches.c, t.quotas.c, t.quota_periods.c
    standing = and_(
        q.scope_kind == ScopeKind.BRANCH,
        q.scope_id == b.branch_id,
        q.channel == ALL_CHANNELS,
        q.period_kind == kind,
    )
    counted = and_(
        p.scope_kind == ScopeKind.BRANCH,
        p.scope_id == b.branch_id,
        p.channel == ALL_CHANNELS,
        p.period_kind == kind,
        p.period_start == start,
    )
    rows = connection.execute(
        select(
            b.region_id,
            (func.coalesce(p.limit_units, q.limit_units) + func.coalesce(p.extra_units, 0)).label("units"),
            func.coalesce(p.used_units, 0).label("used"),
        )
        .select_from(t.branches.outerjoin(t.quotas, standing).outerjoin(t.quota_periods, counted))
        .where(b.active)
    )
    limits: Counter[str] = Counter()
    uses: Counter[str] = Counter()
    full = 0
    for row in rows:
        if row.units is not None:
            limits[row.region_id] += row.units
            uses[row.region_id] += row.used
            full += row.used >= row.units
    return limits, uses, full


def _units_a_second(
    connection: Connection, bank: BankSettings, first: date, end: date, now: datetime
) -> Counter[str]:
    """Units of the period taken a wall second, by region, over the last business day."""
    seconds = BUSINESS_DAY * bank.quarter_seconds / QUARTER_SECONDS
    b = t.bookings.c
    rows = connection.execute(
        select(b.region_id, func.sum(b.units))
        .where(
            b.service_day >= first,
            b.service_day < end,
            b.status.in_(COUNTED_STATUSES),
            b.created_utc >= now - timedelta(seconds=seconds),
        )
        .group_by(b.region_id)
    )
    rates: Counter[str] = Counter()
    for region, units in rows:
        rates[region] = units / seconds
    return rates


def waitlist_families(connection: Connection) -> list[Metric]:
    """Entries that wait, and since when the oldest does."""
    w = t.waitlist.c
    entries, oldest = connection.execute(
        select(func.count(), func.min(w.joined_utc)).where(w.status == "waiting")
    ).one()
    return [
        _gauge(contract.WAITLIST_ENTRIES, "Waitlist entries that wait", entries),
        _gauge(contract.WAITLIST_OLDEST, "When the oldest waiting entry joined", _timestamp(oldest)),
    ]


def unmet_family(connection: Connection) -> Metric:
    """Wish episodes closed without a booking, by region, every region from 0 on."""
    e = t.wish_episodes.c
    family = CounterMetricFamily(
        contract.UNMET_DEMAND, "Wish episodes closed with no booking", labels=["region"]
    )
    counts: dict[str, int] = dict(
        connection.execute(
            select(e.region_id, func.count()).where(e.outcome == "unmet").group_by(e.region_id)
        )
        .tuples()
        .all()
    )
    for region in connection.scalars(select(t.regions.c.region_id).order_by(t.regions.c.region_id)):
        family.add_metric([region], counts.get(region, 0))
    return family


def worker_families(connection: Connection, now: datetime) -> list[Metric]:
    """Workers running and wanted, as the actuator last wrote them; none while it is silent."""
    d = tf.scaling_decisions.c
    row = connection.execute(
        select(d.running, d.target, d.reason)
        .where(d.at_utc >= now - ACTUATOR_SILENT)
        .order_by(d.at_utc.desc(), d.decision_id.desc())
        .limit(1)
    ).one_or_none()
    running, target, reason = row or (None, None, None)
    if reason == ScalingReason.FORECAST_ONLY:
        target = running  # nobody carries it out: no worker is missing
    return [
        _gauge(contract.WORKERS_RUNNING, "API worker processes", running),
        _gauge(contract.WORKERS_TARGET, "API worker processes wanted", target),
    ]


def forecast_families(connection: Connection, today: date) -> list[Metric]:
    """When the newest usable demand forecast was trained, and how forecasts of the last days fared."""
    r, s = tf.forecast_runs.c, tf.score_forecasts.c
    trained = connection.scalar(
        select(func.max(r.trained_utc)).where(r.kind == "demand", r.status == "ready")
    )
    inside, error, actual = connection.execute(
        select(
            func.avg(cast(s.inside80, Integer)), func.sum(func.abs(s.actual - s.mean)), func.sum(s.actual)
        ).where(s.day >= today - timedelta(days=SCORED_DAYS))
    ).one()
    return [
        _gauge(
            contract.FORECAST_TIMESTAMP,
            "When the newest usable demand forecast was trained",
            _timestamp(trained),
        ),
        _gauge(contract.FORECAST_COVERAGE, "Share of scored days inside the 80 % band, last 28 days", inside),
        _gauge(
            contract.FORECAST_WAPE,
            "Sum of absolute errors over sum of demand, last 28 days",
            error / actual if actual else None,
        ),
    ]


def plan_families(connection: Connection, *, paused: bool) -> list[Metric]:
    """When a quota plan was last applied, why the newest plans of regions changed nothing, and who applies.

    A plan changes nothing where it was kept, where nobody decided it in time, and while plans are paused.
    """
    p, r = t.plans.c, t.regions.c
    applied = connection.scalar(select(func.max(p.applied_utc)).where(p.kind == "quota"))
    kept = GaugeMetricFamily(
        contract.PLAN_KEPT, "Regions whose newest quota plan kept the limits, by reason", labels=["reason"]
    )
    latest_first = (p.period.desc(), p.created_utc.desc(), p.plan_id.desc())  # a period may be planned twice
    place = func.row_number().over(partition_by=p.region_id, order_by=latest_first).label("place")
    placed = select(p.plan_id, place).where(p.kind == "quota").subquery()
    newest = select(placed.c.plan_id).where(placed.c.place == 1).subquery()
    is_newest = case((newest.c.plan_id.is_not(None), 1), else_=0)
    waits = p.status.in_(("proposed", "approved")) if paused else false()
    timed_out = and_(p.status == "rejected", p.decided_by == NOBODY_DECIDED)
    reason = case((waits, "paused"), (timed_out, NOBODY_DECIDED), else_=func.coalesce(p.verdict, "none"))
    rows = connection.execute(
        select(reason.label("reason"), func.sum(is_newest))
        .select_from(t.plans.outerjoin(newest, newest.c.plan_id == p.plan_id))
        .where(p.kind == "quota", or_(p.status == "kept", timed_out, waits))
        .group_by("reason")
        .order_by("reason")
    )
    for why, regions in rows:
        kept.add_metric([why], regions)
    automatic = GaugeMetricFamily(
        contract.PLAN_AUTOMATIC, "1 where plans are applied, 0 in shadow mode", labels=["region"]
    )
    for region, applies in connection.execute(
        select(r.region_id, r.automatic_application).order_by(r.region_id)
    ):
        automatic.add_metric([region], float(applies))
    last = _gauge(contract.PLAN_TIMESTAMP, "When a quota plan was last applied", _timestamp(applied))
    return [last, kept, automatic]


def invariant_family(broken: Mapping[str, list[str]]) -> Metric:
    """How many rows break what must always hold, by invariant; each is 0 in a healthy bank."""
    family = GaugeMetricFamily(
        contract.INVARIANT_VIOLATIONS, "Rows that break the invariant", labels=["invariant"]
    )
    for name, rows in broken.items():
        family.add_metric([name], len(rows))
    return family


def _gauge(name: str, text: str, value: float | None) -> Metric:
    """A gauge without labels; without a sample where there is no value."""
    family = GaugeMetricFamily(name, text)
    if value is not None:
        family.add_metric([], float(value))
    return family


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
