"""The read layer answers the same on SQLite and PostgreSQL, typed even when there is nothing to read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, update

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import make_engine, write_transaction
from booking_core.read import bank as read_bank
from booking_core.read import demand, events, failures, forecasts, plans, pressure, quotas, scores, servers
from tests.support.bank import Bank
from tests.support.recorded import DAY, NOON, attempt, filled, plan, put, run_row, two_regions, wish
from tests.support.wishes import book, core_on


def every_frame(engine: Engine, region: str | None = None) -> dict[str, pd.DataFrame]:
    """Every frame that the read layer offers, by name."""
    days: Any = {"since": DAY - timedelta(days=2), "until": DAY, "region": region}
    span: Any = {"since": NOON - timedelta(hours=1), "until": NOON + timedelta(hours=1)}
    return {
        "demand": demand.demand(engine, until=DAY, region=region),
        "daily_total": demand.daily_total(engine, **days),
        "unmet_by_day": demand.unmet_by_day(engine, **days),
        "wishes_of_day": demand.wishes_of_day(engine, DAY, region),
        "by_reason": failures.by_reason(engine, **span, region=region),
        "over_time": failures.over_time(engine, **span, grain="day", region=region),
        "by_branch": failures.by_branch(engine, **span, region=region),
        "quota_periods": quotas.quota_periods(engine, **days),
        "slot_capacity": quotas.slot_capacity(engine, **days),
        "live_bookings": quotas.live_bookings(engine, **days),
        "plans": plans.plans(engine, region=region),
        "plan_items": plans.plan_items(engine, "p1"),
        "forecast_days": forecasts.forecast_days(engine, "r1", region),
        "series_choices": forecasts.series_choices(engine, "r1", region),
        "total_quantiles": forecasts.total_quantiles(engine, "r1", region=region),
        "pressure_forecast": forecasts.pressure_forecast(engine, **span),
        "pressure_quarters": pressure.pressure_quarters(engine, **span),
        "scaling_decisions": servers.scaling_decisions(engine, since_wall=NOON),
        "workers_by_quarter": servers.workers_by_quarter(engine, **span),
        "server_targets": servers.server_targets(engine, **span),
        "forecast_scores": scores.forecast_scores(engine, since=DAY, region=region),
        "plan_scores": scores.plan_scores(engine, since=DAY, region=region),
        "forecast_drift": scores.forecast_drift(engine, since=DAY),
        "events": events.events(engine, **days),
        "branches": read_bank.branches(engine, region),
        "regions": read_bank.regions(engine, region),
    }


def test_an_empty_bank_reads_as_typed_empty_frames(bank: Bank) -> None:
    """Columns and dtypes are the same whether there is anything to read or not."""
    nothing = every_frame(bank.engine)
    something = every_frame(filled(bank).engine)
    assert all(not frame.empty for frame in something.values())
    for name, frame in nothing.items():
        assert frame.dtypes.to_dict() == something[name].dtypes.to_dict(), name


def test_a_region_claim_reads_nothing_of_another_region(bank: Bank) -> None:
    """With region south, no frame mentions branch b1 or region north."""
    for name, frame in every_frame(filled(bank).engine, "south").items():
        if name != "plan_items":
            assert not frame.isin(["b1", "north", "p1"]).to_numpy().any(), name


def test_demand_adds_imported_and_recorded_and_knows_a_true_zero(bank: Bank) -> None:
    """History, overlay and episodes add up; an open day without wishes is 0, an unknown day has no row."""
    filled(bank).add_slot("b2", DAY - timedelta(days=5))
    frame = demand.demand(bank.engine, until=DAY)
    found = {(r.unique_id, r.ds.date()): (r.y, r.synthetic_ratio) for r in frame.itertuples()}
    assert found == {
        ("b1", DAY - timedelta(days=1)): (10.0, 0.2),
        ("b1", DAY): (2.0, 0.0),
        ("b2", DAY - timedelta(days=5)): (0.0, 0.0),
        ("b2", DAY - timedelta(days=1)): (5.0, 0.0),
        ("b2", DAY): (1.0, 0.0),
    }
    assert len(demand.demand(bank.engine, until=DAY, since=DAY)) == 2
    total = demand.daily_total(bank.engine, since=DAY - timedelta(days=1), until=DAY)
    assert total["y"].tolist() == [15.0, 3.0]


def test_a_day_is_at_least_where_any_imported_part_of_it_is(bank: Bank) -> None:
    """One source of b1's day left no record of its refused; its other days and b2's are exact."""
    filled(bank)
    day = DAY - timedelta(days=1)
    more = {"branch_id": "b1", "day": day, "source": "desk", "units": 3.0, "synthetic": False}
    put(bank, t.demand_history, more | {"censored": True})
    frame = demand.demand(bank.engine, until=DAY)
    found = {(r.unique_id, r.ds.date()): (r.y, r.censored) for r in frame.itertuples()}
    assert found == {
        ("b1", day): (13.0, True),
        ("b1", DAY): (2.0, False),
        ("b2", day): (5.0, False),
        ("b2", DAY): (1.0, False),
    }


def test_outcomes_of_wishes_add_up_to_demand(bank: Bank) -> None:
    """Booked + displaced + unmet + open = demand, by day and branch."""
    put(
        bank,
        t.wish_episodes,
        wish("L1"),
        wish("L2", outcome="displaced"),
        wish("L3", outcome="unmet"),
        wish("L4", outcome="open"),
        wish("L5", outcome="open", wished_day=DAY + timedelta(days=1)),
    )
    frame = demand.unmet_by_day(bank.engine, since=DAY, until=DAY + timedelta(days=1))
    parts = frame[["booked_units", "displaced_units", "unmet_units", "open_units"]]
    assert parts.sum(axis=1).tolist() == frame["demand_units"].tolist() == [4, 1]


def test_displaced_units_stand_where_they_are_booked(bank: Bank) -> None:
    """Live bookings of wishes for another day or branch, by booked and wished place; typed when empty."""
    two_regions(bank)
    core, day = core_on(bank.engine), bank.today + timedelta(days=2)
    later = day + timedelta(days=1)
    span: Any = {"since": day, "until": later}
    empty = demand.displaced_in(bank.engine, **span)
    full = bank.add_slot(day=day, capacity=0)
    tomorrow = bank.add_slot(day=later)
    elsewhere = bank.add_slot("b2", day, region_id="south")
    for loan, slot in (("L1", tomorrow), ("L2", tomorrow), ("L3", elsewhere), ("L4", tomorrow)):
        book(core, loan, full)
        book(core, loan, slot)
    book(core, "L5", tomorrow)  # as wished
    with write_transaction(bank.engine) as connection:
        b = t.bookings
        connection.execute(update(b).where(b.c.loan_ref == "L4").values(status="cancelled"))
    found = demand.displaced_in(bank.engine, **span)
    assert [(r.service_day.date(), r.branch_id, r.wished_day.date(), r.wished_branch_id, r.units)
            for r in found.itertuples()] == [
        (day, "b2", day, "b1", 1),
        (later, "b1", day, "b1", 2),
    ]  # fmt: skip
    assert demand.displaced_in(bank.engine, **span, region="south")["branch_id"].tolist() == ["b2"]
    assert demand.displaced_in(bank.engine, since=day, until=day)["units"].tolist() == [1]
    assert empty.dtypes.to_dict() == found.dtypes.to_dict()


def test_attempts_are_the_held_and_the_refused(bank: Bank) -> None:
    """Totals, reasons, branches and the course over time count the same attempts."""
    two_regions(bank)
    put(
        bank,
        t.attempts,
        attempt(),
        attempt("slot_full", "capacity"),
        attempt("quota_day_full", "capacity"),
        attempt("quota_day_full", "capacity"),
        attempt("loan_not_found", "rule", branch_id=None, region_id=None),
        attempt(business_utc=NOON + timedelta(hours=2)),
    )
    span: Any = {"since": NOON, "until": NOON + timedelta(hours=1)}
    totals = failures.totals(bank.engine, **span)
    assert (totals.attempts, totals.held, totals.refused, totals.refused_ratio) == (5, 1, 4, 0.8)
    reasons = failures.by_reason(bank.engine, **span)
    assert reasons["reason"].tolist() == ["quota_day_full", "loan_not_found", "slot_full"]
    assert reasons["attempts"].sum() == totals.refused
    assert failures.over_time(bank.engine, **span)["attempts"].sum() == totals.attempts
    branches = failures.by_branch(bank.engine, **span).set_index("branch_id")
    assert branches.loc["b1", ["attempts", "held", "refused", "top_reason"]].tolist() == [
        4,
        1,
        3,
        "quota_day_full",
    ]
    assert branches.loc["b2", "attempts"] == 0
    assert pd.isna(branches.loc["b2", "top_reason"])
    assert (totals.first_at, totals.last_at) == (NOON, NOON)


def test_days_and_hours_are_the_banks_own(bank: Bank) -> None:
    """An attempt at 23:50 and one at 00:10 in Shanghai lie in two days, hours and quarter-hours."""
    late = datetime(2026, 3, 30, 15, 50, tzinfo=UTC)
    put(bank, t.attempts, attempt(business_utc=late), attempt(business_utc=late + timedelta(minutes=20)))
    span: Any = {"since": late - timedelta(hours=1), "until": late + timedelta(hours=1)}
    day = failures.over_time(bank.engine, **span, grain="day")["at"].tolist()
    assert day == [datetime(2026, 3, 29, 16, tzinfo=UTC), datetime(2026, 3, 30, 16, tzinfo=UTC)]
    hour = failures.over_time(bank.engine, **span, grain="hour")["at"].tolist()
    assert hour == [datetime(2026, 3, 30, 15, tzinfo=UTC), datetime(2026, 3, 30, 16, tzinfo=UTC)]
    quarter = failures.over_time(bank.engine, **span, grain="quarter_hour")["at"].tolist()
    assert quarter == [late.replace(minute=45), datetime(2026, 3, 30, 16, tzinfo=UTC)]


def test_a_quota_in_force_is_the_override_else_the_standing_limit(bank: Bank) -> None:
    """Every period in range appears, with what is used even where the core keeps no counter."""
    filled(bank).add_quota("region", "south", "week", 70)
    put(
        bank,
        t.quota_periods,
        {
            "scope_kind": "branch",
            "scope_id": "b2",
            "channel": "*",
            "period_kind": "day",
            "period_start": DAY,
            "used_units": 7,
            "limit_units": 33,
            "plan_id": "p2",
        },
        {
            "scope_kind": "branch",
            "scope_id": "b1",
            "channel": "*",
            "period_kind": "week",
            "period_start": DAY - timedelta(days=DAY.weekday()),
            "used_units": 4,
            "limit_units": 50,
            "plan_id": "p1",
        },
    )
    days = quotas.quota_periods(bank.engine, since=DAY - timedelta(days=1), until=DAY)
    found = days[["scope_id", "limit_units", "standing_units", "used_units"]].to_numpy().tolist()
    assert found == [["b1", 10, 10, 0], ["b1", 10, 10, 1], ["b2", 20, 20, 0], ["b2", 33, 20, 7]]
    assert days["plan_id"].dropna().tolist() == ["p2"]
    weeks = quotas.quota_periods(bank.engine, since=DAY, until=DAY + timedelta(days=7), period_kind="week")
    assert weeks["limit_units"].isna().tolist() == [False, True]
    assert weeks["used_units"].tolist() == [4, 0]
    regional = quotas.quota_periods(
        bank.engine, since=DAY, until=DAY, period_kind="week", scope_kind="region"
    )
    assert regional["region_id"].tolist() == ["south"]


def test_uncounted_bookings_are_counted_for_every_kind_of_scope(bank: Bank) -> None:
    """A limit that nobody booked under yet still shows the bookings that live in its period."""
    filled(bank)
    for kind, scope in (("region", "north"), ("bank", "bank")):
        bank.add_quota(kind, scope, "month", 100)
        bank.add_quota(kind, scope, "month", 50, channel="app")
        rows = quotas.quota_periods(bank.engine, since=DAY, until=DAY, period_kind="month", scope_kind=kind)
        assert rows["used_units"].tolist() == [1, 1]


def test_the_latest_run_is_the_ready_one_of_the_newest_period(bank: Bank) -> None:
    """Vetoed and later runs are passed over; until_period looks back."""
    put(
        bank,
        tf.forecast_runs,
        run_row("old", DAY - timedelta(days=7)),
        run_row("new", DAY),
        run_row("bad", DAY + timedelta(days=1), status="vetoed", verdict="stale"),
    )
    latest = forecasts.latest_run(bank.engine, "demand")
    assert latest is not None
    assert latest.run_id == "new"
    earlier = forecasts.latest_run(bank.engine, "demand", until_period=DAY - timedelta(days=1))
    assert earlier is not None
    assert earlier.run_id == "old"
    vetoed = forecasts.latest_run(bank.engine, "demand", status=None)
    assert vetoed is not None
    assert vetoed.verdict == "stale"
    assert forecasts.latest_run(bank.engine, "pressure") is None


def test_quantiles_of_the_total_come_from_summed_paths(bank: Bank) -> None:
    """The total's quantiles are those of path sums, on the days that every branch covers."""
    filled(bank)
    paths = forecasts.sample_paths(bank.engine, "r1")
    assert {branch: values.shape for branch, (_, values) in paths.items()} == {"b1": (3, 2), "b2": (3, 2)}
    total = forecasts.total_quantiles(bank.engine, "r1", (0.5,))
    assert total["q50"].tolist() == [6.0, 8.0]
    assert total["day"].dt.date.tolist() == [DAY, DAY + timedelta(days=1)]


def test_forecast_pressure_comes_from_the_newest_ready_run(bank: Bank) -> None:
    """A later run replaces the quarter-hours that it covers, and only those."""
    put(
        bank,
        tf.forecast_runs,
        run_row("a", DAY, kind="pressure"),
        run_row("b", DAY + timedelta(days=1), kind="pressure"),
        run_row("c", DAY + timedelta(days=2), kind="pressure", status="vetoed"),
    )
    later = NOON + timedelta(minutes=15)
    put(
        bank,
        tf.forecast_pressure,
        *(
            {"run_id": run, "starts_utc": at, "mean_rps": rps, "q50_rps": rps, "q90_rps": rps}
            for run, at, rps in (("a", NOON, 1.0), ("a", later, 2.0), ("b", later, 3.0), ("c", NOON, 9.0))
        ),
    )
    frame = forecasts.pressure_forecast(bank.engine, since=NOON, until=NOON + timedelta(hours=1))
    assert frame["q50_rps"].tolist() == [1.0, 3.0]


def minute(at: datetime, business: datetime, **changes: Any) -> dict[str, Any]:
    """A row of pressure_minutes."""
    row = {
        "minute_utc": at,
        "business_utc": business,
        "source": "w1",
        "requests": 90,
        "refused": 5,
        "failed": 2,
        "busy_seconds": 4.5,
        "synthetic": False,
    }
    return row | changes


def test_pressure_is_requests_over_the_wall_seconds_a_quarter_hour_lasted(bank: Bank) -> None:
    """A turned quarter-hour lasts quarter_seconds; one on which the clock stood lasts longer."""
    bank.set("quarter_seconds", 5.0)
    second, third = (NOON + timedelta(minutes=15 * n) for n in (1, 2))
    put(
        bank,
        tf.pressure_minutes,
        minute(NOON, NOON),
        minute(NOON, NOON, source="w2", requests=10),
        minute(NOON, second),
        minute(NOON + timedelta(minutes=4), second),
        minute(third, third, source="import:sample", requests=20, synthetic=True),
    )
    frame = pressure.pressure_quarters(bank.engine, since=NOON, until=NOON + timedelta(hours=1))
    assert frame["wall_seconds"].tolist() == [5.0, 180.0, 5.0]
    assert frame["rps"].tolist() == [20.0, 1.0, 4.0]
    assert frame["synthetic"].tolist() == [False, False, True]


def test_only_the_applied_server_plan_gives_targets(bank: Bank) -> None:
    """A superseded plan's items are not targets; what was really set wins over what was asked."""
    filled(bank)
    put(
        bank,
        t.plans,
        plan("s0", kind="server", region_id="bank", period="2026-03-29", status="superseded"),
    )
    put(
        bank,
        t.plan_items,
        {
            "plan_id": "s0",
            "seq": 1,
            "scope_kind": "bank",
            "scope_id": "bank",
            "channel": "*",
            "period_kind": "quarter_hour",
            "starts_utc": NOON,
            "new_limit": 9,
        },
    )
    targets = servers.server_targets(bank.engine, since=NOON, until=NOON + timedelta(hours=1))
    assert targets[["workers", "plan_id"]].to_numpy().tolist() == [[3, "s1"]]
    assert plans.applied_plan_id(bank.engine, "server", "bank") == "s1"
    assert plans.applied_plan_id(bank.engine, "quota", "west") is None


def test_plans_that_wait_are_found_however_many_are_newer(bank: Bank) -> None:
    """By status without a limit; by the days of their periods, quarter-hours of the last day too."""
    newer = [
        plan(f"n{n:02}", kind="extra", period=f"2026-04-01T{n // 4:02}:{n % 4 * 15:02}Z") for n in range(60)
    ]
    old = {"kind": "extra", "period": "2026-03-30T02:15Z"}
    put(bank, t.plans, *newer, plan("w1", status="pending", **old), plan("w2", status="approved", **old))

    def found(**asked: Any) -> list[str]:
        return list(plans.plans(bank.engine, **asked)["plan_id"])

    assert not {"w1", "w2"} & set(found(kind="extra"))
    assert found(status=plans.WAITING, limit=None) == ["w1", "w2"]
    assert found(kind="extra", region="north", status=("approved",), limit=None) == ["w2"]
    assert found(kind="quota", status=plans.WAITING, limit=None) == []
    assert found(periods=(date(2026, 3, 29), date(2026, 3, 30)), limit=None) == ["w1", "w2"]
    assert len(found(periods=(date(2026, 3, 31), date(2026, 4, 1)), limit=None)) == 60


def test_settings_policy_and_migration_are_readable(bank: Bank) -> None:
    """Settings default where unset; the policy is what was stored; an empty file is not migrated."""
    assert read_bank.bank_settings(bank.engine).zone == "Asia/Shanghai"
    assert read_bank.policy(bank.engine) == {}
    bank.set("policy", {"service_level": 0.9})
    assert read_bank.policy(bank.engine) == {"service_level": 0.9}
    assert read_bank.is_migrated(bank.engine)
    assert not read_bank.has_synthetic(bank.engine)
    assert read_bank.has_synthetic(filled(bank).engine)


def test_an_unmigrated_database_is_told_from_a_migrated_one(tmp_path: Any) -> None:
    """A fresh SQLite file holds no tables."""
    engine = make_engine(f"sqlite:///{tmp_path}/fresh.db")
    assert not read_bank.is_migrated(engine)
    engine.dispose()


@pytest.mark.parametrize("days", [0, 40])
def test_failures_of_an_empty_span_are_zero(engine: Engine, days: int) -> None:
    """No attempts: ratios are 0, never a division by zero."""
    totals = failures.totals(engine, since=NOON, until=NOON + timedelta(days=days))
    assert (totals.refused_ratio, totals.unmet_ratio) == (0.0, 0.0)
