"""Builders of what a bank has recorded: attempts, wishes, forecasts, plans and pressure."""

from __future__ import annotations

import zlib
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import numpy as np
from sqlalchemy import Table, insert

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from tests.support.bank import Bank

DAY = date(2026, 3, 31)
NOON = datetime(2026, 3, 30, 4, 0, tzinfo=UTC)
"""12:00 of the day before DAY, in Shanghai."""
_traces = count(1)


def put(bank: Bank, table: Table, *rows: dict[str, Any]) -> None:
    """The rows, in the table."""
    with write_transaction(bank.engine) as connection:
        connection.execute(insert(table), list(rows))


def attempt(reason: str | None = None, cause: str | None = None, **changes: Any) -> dict[str, Any]:
    """A row of attempts: held, or refused for the reason."""
    outcome = "held" if reason is None else "refused"
    row = {
        "at_utc": NOON,
        "business_utc": NOON,
        "trace_id": f"{next(_traces):032x}",
        "branch_id": "b1",
        "region_id": "north",
        "channel": "app",
        "outcome": outcome,
        "reason": reason,
        "cause": cause,
    }
    return row | changes


def plan(plan_id: str, **changes: Any) -> dict[str, Any]:
    """A row of plans: north's quota plan of DAY, applied."""
    row = {
        "plan_id": plan_id,
        "kind": "quota",
        "region_id": "north",
        "period": DAY.isoformat(),
        "status": "applied",
        "in_band": True,
        "verdict": None,
        "model": "champion",
        "policy": {},
        "inputs": {},
        "fingerprint": plan_id,
        "created_utc": NOON,
        "created_by": "test",
        "applied_utc": NOON,
    }
    return row | changes


def wish(loan: str, **changes: Any) -> dict[str, Any]:
    """A row of wish_episodes: booked as wished."""
    row = {
        "loan_ref": loan,
        "branch_id": "b1",
        "region_id": "north",
        "wished_day": DAY,
        "channel": "app",
        "tries": 1,
        "first_reason": None,
        "opened_business_utc": NOON,
        "last_try_business_utc": NOON,
        "outcome": "booked",
    }
    return row | changes


def two_regions(bank: Bank) -> Bank:
    """The bank with a second region and branch."""
    bank.add_region("south", automatic_application=False)
    bank.add_branch("b2", "south", staff_cap_units=40)
    return bank


def run_row(run_id: str, period: date, **changes: Any) -> dict[str, Any]:
    """A row of forecast_runs: ready, of demand."""
    row = {
        "run_id": run_id,
        "kind": "demand",
        "period": period,
        "status": "ready",
        "verdict": None,
        "trained_utc": NOON,
        "parameters": {},
        "scores": None,
        "libraries": None,
    }
    return row | changes


def event_row(event_id: str = "e1", **changes: Any) -> dict[str, Any]:
    """A row of events: a confirmed campaign of the whole bank on DAY, announced at NOON."""
    row = {
        "event_id": event_id,
        "kind": "campaign",
        "name": "Campaign",
        "first_day": DAY,
        "last_day": DAY,
        "scope": "bank:bank",
        "confirmed": True,
        "expected_effect_ratio": 1.5,
        "note": None,
        "created_by": "test",
        "created_utc": NOON,
        "ended_utc": None,
    }
    return row | changes


def filled(bank: Bank) -> Bank:
    """The bank with one row or more for every frame."""
    two_regions(bank)
    bank.add_quota("branch", "b1", "day", 10)
    bank.add_quota("branch", "b2", "day", 20)
    slot = bank.add_slot("b1", DAY)
    bank.add_slot("b2", DAY, region_id="south")
    put(
        bank,
        t.demand_history,
        {"branch_id": "b1", "day": DAY - timedelta(days=1), "source": "s", "units": 8.0, "synthetic": False},
        {"branch_id": "b1", "day": DAY - timedelta(days=1), "source": "o", "units": 2.0, "synthetic": True},
        {"branch_id": "b2", "day": DAY - timedelta(days=1), "source": "s", "units": 5.0, "synthetic": False},
    )
    put(
        bank,
        t.attempts,
        attempt(),
        attempt("quota_day_full", "capacity"),
        attempt("slot_full", "capacity", branch_id="b2", region_id="south"),
    )
    put(
        bank,
        t.wish_episodes,
        wish("L1"),
        wish("L2", outcome="unmet", first_reason="quota_day_full"),
        wish("L3", branch_id="b2", region_id="south"),
    )
    put(
        bank,
        t.bookings,
        {
            "booking_ref": "B1",
            "loan_ref": "L1",
            "slot_id": slot,
            "branch_id": "b1",
            "region_id": "north",
            "service_day": DAY,
            "channel": "app",
            "units": 1,
            "status": "held",
            "created_utc": NOON,
            "held_until_utc": NOON,
            "version": 1,
        },
    )
    put(
        bank,
        t.plans,
        *(
            plan(name, kind=kind, region_id=region)
            for name, kind, region in (
                ("p1", "quota", "north"),
                ("p2", "quota", "south"),
                ("s1", "server", "bank"),
            )
        ),
    )
    item = {
        "scope_kind": "branch",
        "scope_id": "b1",
        "channel": "*",
        "old_limit": 10,
        "proposed": 12.3,
        "new_limit": 12,
        "quantile": 0.9,
        "guardrail": None,
        "condition": None,
        "inputs": {},
    }
    put(bank, t.plan_items, item | {"plan_id": "p1", "seq": 1, "period_kind": "day", "period_start": DAY})
    put(
        bank,
        t.plan_items,
        item | {"plan_id": "s1", "seq": 1, "period_kind": "quarter_hour", "starts_utc": NOON, "new_limit": 3},
    )
    put(bank, tf.forecast_runs, run_row("r1", DAY), run_row("pr1", DAY, kind="pressure"))
    quantiles = {"mean": 10.0, "q10": 7.0, "q25": 8.0, "q50": 10.0, "q75": 12.0, "q90": 14.0}
    choice = {
        "champion": "prophet",
        "why": "lower loss",
        "wql_champion": 0.1,
        "wql_weeks8": 0.2,
        "coverage80": 0.8,
        "observations": 100,
    }
    for branch in ("b1", "b2"):
        put(
            bank,
            tf.forecast_values,
            {"run_id": "r1", "branch_id": branch, "day": DAY, "model": "prophet", **quantiles},
        )
        put(bank, tf.forecast_series, {"run_id": "r1", "branch_id": branch, **choice})
        data = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
        put(
            bank,
            tf.forecast_paths,
            {
                "run_id": "r1",
                "branch_id": branch,
                "first_day": DAY,
                "days": 2,
                "paths": 3,
                "data": zlib.compress(data.tobytes()),
            },
        )
        put(
            bank,
            tf.score_forecasts,
            {
                "run_id": "r1",
                "branch_id": branch,
                "day": DAY,
                "horizon_days": 1,
                "actual": 9.0,
                "mean": 10.0,
                "inside80": True,
                "pinball": 0.4,
            },
        )
    put(
        bank,
        tf.forecast_pressure,
        {"run_id": "pr1", "starts_utc": NOON, "mean_rps": 5.0, "q50_rps": 5.0, "q90_rps": 8.0},
    )
    put(bank, tf.events, event_row("e1", scope="branch:b1"), event_row("e2", scope="region:south"))
    put(
        bank,
        tf.forecast_drift,
        {
            "run_id": "r1",
            "day": DAY,
            "scope": "bank",
            "days": 2,
            "coverage80": 0.5,
            "coverage80_promised": 0.8,
            "wape": 0.3,
            "wape_promised": 0.2,
            "verdict": None,
            "condition": None,
        },
    )
    put(
        bank,
        tf.pressure_minutes,
        {
            "minute_utc": NOON,
            "business_utc": NOON,
            "source": "w1",
            "requests": 90,
            "refused": 10,
            "failed": 1,
            "busy_seconds": 3.0,
            "synthetic": False,
        },
    )
    put(
        bank,
        tf.scaling_decisions,
        {
            "at_utc": NOON,
            "business_utc": NOON,
            "running": 2,
            "target": 3,
            "reactive_need": 1,
            "forecast_need": 3,
            "observed_rps": 4.0,
            "reason": "forecast",
            "plan_id": "s1",
        },
    )
    put(
        bank,
        tf.score_plans,
        *(
            {
                "plan_id": plan,
                "day": DAY,
                "demand_units": 9.0,
                "served_units": 8.0,
                "refused_units": 1.0,
                "idle_units": 0.0,
                "refused_old_units": 3.0,
                "idle_old_units": 0.0,
                "regret_units": 1.0,
            }
            for plan in ("p1", "p2")
        ),
    )
    return bank
