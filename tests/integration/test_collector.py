"""Gauges of the database: what they say, and that they never take /metrics down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import insert, update

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.collector import DatabaseCollector
from booking_core.database import make_engine, write_transaction
from metrics import contract
from tests.support.bank import Bank

INVARIANTS = (
    "slot_within_capacity",
    "slot_used_is_recount",
    "slot_offered_is_recount",
    "quota_used_is_recount",
    "loan_has_one_live_booking",
    "hold_ends_in_time",
    "offered_entry_has_its_offer",
)
NOW = datetime(2026, 3, 4, 2, tzinfo=UTC)
TODAY = NOW.date()
MONDAY = TODAY - timedelta(days=2)
MONTH = TODAY.replace(day=1)


def registry(bank: Bank, cache_seconds: float = 0.0) -> CollectorRegistry:
    """A registry that holds the database's gauges only."""
    made = CollectorRegistry()
    made.register(DatabaseCollector(bank.engine, wall=lambda: NOW, cache_seconds=cache_seconds))
    return made


def put(bank: Bank, table: Any, **values: Any) -> None:
    """A row."""
    with write_transaction(bank.engine) as connection:
        connection.execute(insert(table).values(**values))


def put_period(
    bank: Bank, kind: str, start: Any, used: int, limit: int | None = None, *, branch: str = "b1"
) -> None:
    """A counted period of a branch."""
    put(
        bank,
        t.quota_periods,
        scope_kind="branch",
        scope_id=branch,
        channel="*",
        period_kind=kind,
        period_start=start,
        used_units=used,
        limit_units=limit,
    )


def book(bank: Bank, loan: str, slot: str, *, status: str = "held", hours_ago: float = 1.0) -> None:
    """A booking row of today."""
    put(
        bank,
        t.bookings,
        booking_ref=f"B{loan}",
        loan_ref=loan,
        slot_id=slot,
        branch_id="b1",
        region_id="north",
        service_day=TODAY,
        channel="app",
        status=status,
        units=1,
        created_utc=NOW - timedelta(hours=hours_ago),
    )


def test_quotas_are_summed_over_branches(bank: Bank) -> None:
    """Limit = override, else standing; periods not yet booked count as unused; full branches are counted."""
    bank.add_branch("b2")
    bank.add_branch("b3")
    bank.add_quota("branch", "b1", "day", 10)
    bank.add_quota("branch", "b2", "day", 20)
    put_period(bank, "day", TODAY, 7, 7)
    put_period(bank, "day", TODAY - timedelta(days=1), 9)
    put_period(bank, "week", MONDAY, 5, 40, branch="b3")
    get = registry(bank).get_sample_value
    assert get(contract.QUOTA_LIMIT, {"period": "day", "region": "north"}) == 27
    assert get(contract.QUOTA_USED, {"period": "day", "region": "north"}) == 7
    assert get(contract.QUOTA_LIMIT, {"period": "week", "region": "north"}) == 40
    assert get(contract.QUOTA_LIMIT, {"period": "month", "region": "north"}) is None, "no limit stands"
    assert get(contract.BRANCHES_EXHAUSTED, {"period": "day"}) == 1
    assert get(contract.BRANCHES_EXHAUSTED, {"period": "week"}) == 0


def test_exhaustion_is_extrapolated_from_the_last_business_day(bank: Bank) -> None:
    """Two units taken in a business day, four left: two business days on, in wall time of the demo's pace."""
    bank.set("quarter_seconds", 90.0)
    slot = bank.add_slot(day=TODAY, capacity=50)
    book(bank, "L1", slot, hours_ago=0.1)
    book(bank, "L2", slot, hours_ago=2.0)
    book(bank, "L3", slot, hours_ago=30.0)
    put_period(bank, "month", MONTH, 3, 7)
    get = registry(bank).get_sample_value
    labels = {"region": "north", "period": "month"}
    assert get(contract.PLAN_EXHAUSTION, labels) == pytest.approx(NOW.timestamp() + 2 * 86_400 / 10)
    with write_transaction(bank.engine) as connection:
        connection.execute(update(t.quota_periods).values(limit_units=3))
    assert registry(bank).get_sample_value(contract.PLAN_EXHAUSTION, labels) == NOW.timestamp()


def test_invariants_are_zero_in_a_healthy_bank_and_count_what_is_broken(bank: Bank) -> None:
    """Every invariant is exported at 0, and counts the rows that break it."""
    slot, other = bank.add_slot(day=TODAY, capacity=2), bank.add_slot(day=TODAY, at="11:00", capacity=2)
    book(bank, "L1", slot)
    book(bank, "L2", slot, status="cancelled")
    with write_transaction(bank.engine) as connection:
        connection.execute(update(t.slots).where(t.slots.c.slot_id == slot).values(used_units=1))
    put_period(bank, "day", TODAY, 1)
    put_period(bank, "month", MONTH, 1)

    def violations() -> dict[str, float]:
        family = next(f for f in registry(bank).collect() if f.name == contract.INVARIANT_VIOLATIONS)
        return {sample.labels["invariant"]: sample.value for sample in family.samples}

    assert violations() == dict.fromkeys(INVARIANTS, 0)
    with write_transaction(bank.engine) as connection:
        connection.execute(update(t.slots).where(t.slots.c.slot_id == other).values(used_units=3))
        connection.execute(update(t.quota_periods).values(used_units=2))
    assert violations() == dict.fromkeys(INVARIANTS, 0) | {
        "slot_within_capacity": 1,
        "slot_used_is_recount": 1,
        "quota_used_is_recount": 2,
    }


def test_workers_forecasts_plans_and_demand(bank: Bank) -> None:
    """The other families speak from the newest rows."""
    for minutes, running in ((2, 1), (1, 3)):
        put(
            bank,
            tf.scaling_decisions,
            at_utc=NOW - timedelta(minutes=minutes),
            business_utc=NOW,
            running=running,
            target=3,
            reactive_need=1,
            observed_rps=1.0,
            reason="forecast",
        )
    for run, hours, status in (("r1", 30, "ready"), ("r2", 5, "ready"), ("r3", 1, "vetoed")):
        put(
            bank,
            tf.forecast_runs,
            run_id=run,
            kind="demand",
            period=TODAY,
            status=status,
            trained_utc=NOW - timedelta(hours=hours),
            parameters={},
        )
    for days, actual, inside in ((1, 10.0, True), (2, 30.0, False), (60, 99.0, False)):
        put(
            bank,
            tf.score_forecasts,
            run_id="r1",
            branch_id="b1",
            day=TODAY - timedelta(days=days),
            horizon_days=1,
            actual=actual,
            mean=20.0,
            inside80=inside,
            pinball=1.0,
        )
    bank.add_region("south")
    for plan, region, period, status, verdict in (
        ("p1", "north", "2026-03-03", "kept", "stale"),
        ("p2", "north", "2026-03-04", "applied", None),
        ("p3", "south", "2026-03-04", "kept", "short"),
    ):
        put(
            bank,
            t.plans,
            plan_id=plan,
            kind="quota",
            region_id=region,
            period=period,
            status=status,
            in_band=True,
            verdict=verdict,
            policy={},
            inputs={},
            fingerprint="f",
            created_utc=NOW,
            created_by="x",
            applied_utc=NOW - timedelta(hours=1) if status == "applied" else None,
        )
    for n, outcome in enumerate(("unmet", "unmet", "open")):
        put(
            bank,
            t.wish_episodes,
            loan_ref=f"L{n}",
            branch_id="b1",
            region_id="north",
            wished_day=TODAY,
            channel="app",
            tries=1,
            opened_business_utc=NOW,
            last_try_business_utc=NOW,
            outcome=outcome,
        )
    put(
        bank,
        t.waitlist,
        entry_ref="w1",
        loan_ref="L1",
        branch_id="b1",
        region_id="north",
        wished_day=TODAY,
        latest_day=TODAY,
        channel="app",
        status="waiting",
        actor="test",
        joined_utc=NOW - timedelta(hours=3),
    )
    get = registry(bank).get_sample_value
    assert (get(contract.WORKERS_RUNNING), get(contract.WORKERS_TARGET)) == (3, 3)
    assert get(contract.FORECAST_TIMESTAMP) == (NOW - timedelta(hours=5)).timestamp()
    assert get(contract.FORECAST_COVERAGE) == 0.5
    assert get(contract.FORECAST_WAPE) == 0.5
    assert get(contract.PLAN_TIMESTAMP) == (NOW - timedelta(hours=1)).timestamp()
    assert get(contract.PLAN_KEPT, {"reason": "stale"}) == 0, "a newer plan of the region was applied"
    assert get(contract.PLAN_KEPT, {"reason": "short"}) == 1
    assert get(contract.UNMET_DEMAND, {"region": "north"}) == 2
    assert get(contract.UNMET_DEMAND, {"region": "south"}) == 0
    assert get(contract.WAITLIST_ENTRIES) == 1
    assert get(contract.WAITLIST_OLDEST) == (NOW - timedelta(hours=3)).timestamp()


@pytest.mark.parametrize(
    ("plan", "paused", "kept"),
    [
        ({"status": "kept", "verdict": "bad_plans"}, False, {"bad_plans": 1.0}),
        ({"status": "rejected", "decided_by": "timeout", "verdict": "total_up"}, False, {"timeout": 1.0}),
        ({"status": "rejected", "decided_by": "li.wei"}, False, {}),
        ({"status": "proposed"}, False, {}),
        ({"status": "proposed"}, True, {"paused": 1.0}),
        ({"status": "approved"}, True, {"paused": 1.0}),
        ({"status": "applied"}, True, {}),
    ],
)
def test_a_plan_that_changed_nothing_is_told_whatever_the_cause(
    sqlite_bank: Bank, plan: dict[str, Any], paused: bool, kept: dict[str, float]
) -> None:
    """Kept, undecided in time, or held up by the pause switch: the region counts with the reason."""
    sqlite_bank.set("paused", paused)
    common = {"kind": "quota", "region_id": "north", "period": "2026-03-04", "in_band": True, "policy": {}}
    common |= {"plan_id": "p1", "inputs": {}, "fingerprint": "f", "created_utc": NOW, "created_by": "x"}
    put(sqlite_bank, t.plans, **common | plan)
    told = {
        sample.labels["reason"]: sample.value
        for family in registry(sqlite_bank).collect()
        if family.name == contract.PLAN_KEPT
        for sample in family.samples
    }
    assert told == kept


def test_who_applies_by_itself_is_told_for_every_region(sqlite_bank: Bank) -> None:
    """1 where plans are applied, 0 in shadow mode."""
    sqlite_bank.add_region("south", automatic_application=False)
    get = registry(sqlite_bank).get_sample_value
    told = {region: get(contract.PLAN_AUTOMATIC, {"region": region}) for region in ("north", "south")}
    assert told == {"north": 1, "south": 0}


def test_a_fresh_bank_says_nothing_it_does_not_know(bank: Bank) -> None:
    """Without forecasts, plans or an actuator their gauges have no sample, rather than a false 0."""
    get = registry(bank).get_sample_value
    for name in (
        contract.FORECAST_TIMESTAMP,
        contract.FORECAST_COVERAGE,
        contract.PLAN_TIMESTAMP,
        contract.WORKERS_RUNNING,
        contract.WAITLIST_OLDEST,
    ):
        assert get(name) is None
    assert get(contract.WAITLIST_ENTRIES) == 0


def test_a_silent_actuator_is_not_quoted(bank: Bank) -> None:
    """Worker counts older than five minutes are left out."""
    put(
        bank,
        tf.scaling_decisions,
        at_utc=NOW - timedelta(minutes=6),
        business_utc=NOW,
        running=2,
        target=2,
        reactive_need=1,
        observed_rps=1.0,
        reason="steady",
    )
    assert registry(bank).get_sample_value(contract.WORKERS_RUNNING) is None


@pytest.mark.parametrize("url", ["sqlite:///{folder}/empty.db", "postgresql://postgres@127.0.0.1:1/nothing"])
def test_metrics_go_on_while_the_database_is_away(tmp_path: Path, url: str) -> None:
    """No table, or no database at all: the scrape answers without these gauges."""
    engine = make_engine(url.format(folder=tmp_path))
    made = CollectorRegistry()
    made.register(DatabaseCollector(engine, wall=lambda: NOW))
    assert generate_latest(made) == b""


def test_answers_are_kept_for_some_seconds(bank: Bank) -> None:
    """A second scrape within the cache time asks nothing of the database."""
    made = registry(bank, cache_seconds=60.0)
    assert made.get_sample_value(contract.WAITLIST_ENTRIES) == 0
    bank.engine.dispose()
    with write_transaction(bank.engine) as connection:
        connection.execute(
            t.waitlist.insert().values(
                entry_ref="w1",
                loan_ref="L1",
                branch_id="b1",
                region_id="north",
                wished_day=TODAY,
                latest_day=TODAY,
                channel="app",
                priority=0,
                status="waiting",
                actor="test",
                joined_utc=NOW,
            )
        )
    assert made.get_sample_value(contract.WAITLIST_ENTRIES) == 0
