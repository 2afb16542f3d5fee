"""Whole plans, waiting days and worker-hours: scored once their time has passed, from what is on record."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.event import listen

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.scores import level_shares, plan_scores, plan_total_scores, server_scores
from booking_core.read.servers import planned_workers
from booking_core.read.waits import waiting_days
from forecasting import jobs
from forecasting.basis import planning_basis
from forecasting.decisions.policy import Policy
from forecasting.totals import plan_totals
from tests.support.bank import ZONE, Bank
from tests.support.recorded import put, run_row

LAST = date(2026, 3, 10)
"""A Tuesday."""


def plan_row(plan_id: str, period: object, **changes: Any) -> dict[str, Any]:
    """A row of plans: an applied quota plan of region north."""
    row = {
        "plan_id": plan_id, "kind": "quota", "region_id": "north", "period": str(period),
        "status": "applied", "in_band": True, "verdict": None, "model": "champion",
        "policy": {"plan_days": 4}, "inputs": {}, "fingerprint": "f", "created_utc": datetime.now(UTC),
        "created_by": "test", "applied_utc": None,
    }  # fmt: skip
    return row | changes


def item_row(plan_id: str, seq: int, day: date, new: int, **changes: Any) -> dict[str, Any]:
    """A row of plan_items: a day of branch b1, whose limit was 10 (set by a plan) and is 20 without plans."""
    row = {
        "plan_id": plan_id, "seq": seq, "scope_kind": "branch", "scope_id": "b1", "channel": "*",
        "period_kind": "day", "period_start": day, "old_limit": 10, "new_limit": new, "applied_limit": new,
        "inputs": {"unplanned_units": 20},
    }  # fmt: skip
    return row | changes


def demand_row(day: date, units: float) -> dict[str, Any]:
    return {"branch_id": "b1", "day": day, "source": "s", "units": units, "synthetic": False}


@pytest.fixture
def engine(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each database; a plan for four days of which the last has just passed, another that took over."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", bank.url)
    days = [LAST - timedelta(days=n) for n in (3, 2, 1, 0)]
    put(
        bank, t.plans,
        plan_row("p1", days[0] - timedelta(days=1), status="superseded"), plan_row("p2", days[0]),
        plan_row("p3", LAST, status="kept", verdict="bad_plans"),
        plan_row("p0", days[0] - timedelta(days=2), status="rejected"),
    )  # fmt: skip
    put(bank, t.plan_items, *(item_row("p1", n, day, 25) for n, day in enumerate(days)))
    put(
        bank,
        t.plan_items,
        *(item_row("p2", n, day, 30) for n, day in enumerate([*days[1:], LAST + timedelta(1)])),
    )
    put(bank, t.plan_items, item_row("p0", 0, days[0], 99), item_row("p3", 0, LAST + timedelta(1), 40))
    put(bank, t.demand_history, *map(demand_row, days, (25.0, 35.0, 22.0, 22.0)))
    return bank.engine


def test_a_plan_is_scored_whole_though_another_took_over(engine: Any) -> None:
    """All its days count, against the limits without any plan; one not over yet has to wait, unread."""
    read: list[str] = []
    listen(engine, "before_cursor_execute", lambda *told: read.append(told[2]))
    assert len(plan_totals(engine, ["north"], LAST, Policy())) == 1
    assert len([statement for statement in read if "plan_items.inputs" in statement]) == 1
    jobs.score(LAST.isoformat())
    rows = plan_total_scores(engine, since=LAST - timedelta(days=30))
    assert list(rows["plan_id"]) == ["p1"]
    total = rows.iloc[0]
    assert (total["first_day"].date(), total["last_day"].date()) == (LAST - timedelta(days=3), LAST)
    assert (total["demand_units"], total["refused_units"], total["idle_units"]) == (104, 10, 6)
    assert total["regret_units"] == 10 - (104 - 100)  # the same 100 units would have refused 4
    assert (total["refused_old_units"], total["idle_old_units"]) == (5 + 15 + 2 + 2, 0)
    assert total["cost"] == pytest.approx(9 * 10 + 6)
    assert total["cost_old"] == pytest.approx(9 * 24)
    assert (total["waited"], total["waiting_days"]) == (0, pytest.approx(float("nan"), nan_ok=True))
    # by day: p1 governed the first, p2 the others
    daily = plan_scores(engine, since=LAST - timedelta(days=30))
    assert list(zip(daily["plan_id"], daily["refused_units"], strict=True)) == [
        ("p1", 0), ("p2", 5), ("p2", 0), ("p2", 0)
    ]  # fmt: skip
    jobs.score(LAST.isoformat())
    assert len(plan_total_scores(engine, since=LAST - timedelta(days=30))) == 1


def test_a_plan_kept_for_being_bad_is_judged_by_what_it_would_have_set(engine: Any, bank: Bank) -> None:
    """So that a region gets out of the veto by better proposals."""
    put(bank, t.demand_history, demand_row(LAST + timedelta(days=1), 50.0))
    jobs.score((LAST + timedelta(days=1)).isoformat())
    daily = plan_scores(engine, since=LAST + timedelta(days=1)).iloc[0]
    assert (daily["plan_id"], daily["refused_units"], daily["refused_old_units"]) == ("p3", 10, 30)


def test_the_banks_plan_is_scored_by_all_branches_together(engine: Any, bank: Bank) -> None:
    """Its own day limits against their summed demand, apart from the regions'; not with a day known in part.

    A region whose branches have no limits is judged by its own.
    """
    bank.add_region("south")
    bank.add_branch("b2", "south")
    days = [LAST - timedelta(days=n) for n in (2, 1, 0)]
    before = str(days[0] - timedelta(days=1))
    three = {"policy": {"plan_days": 3}}
    put(
        bank, t.plans, plan_row("all", before, region_id="bank", **three),
        plan_row("s", before, region_id="south", **three),
    )  # fmt: skip
    put(
        bank, t.plan_items,
        *(item_row("all", n, day, 40, scope_kind="bank", scope_id="bank") for n, day in enumerate(days)),
        *(item_row("s", n, day, 3, scope_kind="region", scope_id="south") for n, day in enumerate(days)),
    )  # fmt: skip
    south = [demand_row(day, 5.0) | {"branch_id": "b2", "censored": n == 1} for n, day in enumerate(days)]
    put(bank, t.demand_history, *south)
    told = jobs.score(LAST.isoformat())
    rows = plan_scores(engine, since=LAST - timedelta(days=30))
    found = rows[rows["plan_id"] == "all"]
    assert list(found["demand_units"]) == [40, 27]  # 35 and 5, 22 and 5; of the day between b2 had at least 5
    assert list(found["refused_units"]) == [0, 0]
    assert list(found["refused_old_units"]) == [20, 7]
    assert list(rows.loc[rows["plan_id"] == "s", "refused_units"]) == [2, 2]
    names = ("refused_units", "bank_plan_days", "bank_refused_units", "bank_refused_old_units")
    assert [told[name] for name in names] == [5 + 2 + 2, 2, 0, 27]
    totals = plan_total_scores(engine, since=LAST)
    assert set(totals["plan_id"]) == {"p1", "all", "s"}


def test_a_plan_without_day_limits_is_scored_by_its_month(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month's limit, less what was used before the plan, against the demand of the days that were left."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", bank.url)
    last = date(2026, 2, 28)
    left = [last - timedelta(days=n) for n in range(3)]
    month = {
        "scope_kind": "bank", "scope_id": "bank", "period_kind": "month",
        "inputs": {"unplanned_units": 70, "days": 3, "used_before_units": 40, "displaced_units": 5},
    }  # fmt: skip
    put(bank, t.plans, plan_row("all", str(last - timedelta(days=3)), region_id="bank"))
    put(
        bank, t.plan_items, item_row("all", 0, date(2026, 2, 1), 100, **month),
        item_row("all", 1, date(2026, 3, 1), 900, **month | {"inputs": {"days": 31}}),
    )  # fmt: skip
    put(bank, t.demand_history, *(demand_row(day, 20.0) for day in [last - timedelta(days=3), *left]))
    jobs.score((last - timedelta(days=1)).isoformat())
    assert plan_total_scores(bank.engine, since=left[-1]).empty
    jobs.score(last.isoformat())
    [total] = plan_total_scores(bank.engine, since=last).to_dict("records")
    assert (total["first_day"].date(), total["last_day"].date()) == (left[-1], last)
    assert (total["demand_units"], total["refused_units"], total["idle_units"]) == (60, 5, 0)
    assert (total["refused_old_units"], total["cost_old"]) == (35, pytest.approx(9 * 35))
    assert plan_scores(bank.engine, since=left[-1]).empty


def test_waiting_days_count_who_waits_still_and_not_who_left(engine: Any, bank: Bank) -> None:
    """From the day first wished to the one booked, to the last that suited, or to now."""
    slot = bank.add_slot(day=LAST + timedelta(days=4))
    for n in range(6):
        bank.add_loan(f"W{n}")
    booking = {
        "booking_ref": "B0", "loan_ref": "W0", "slot_id": slot, "branch_id": "b1", "region_id": "north",
        "service_day": LAST + timedelta(days=4), "channel": "app", "status": "confirmed", "units": 1,
        "created_utc": datetime.now(UTC),
    }  # fmt: skip
    put(bank, t.bookings, booking)

    def entry(n: int, status: str, latest: int, **more: Any) -> dict[str, Any]:
        return {
            "entry_ref": f"E{n}", "loan_ref": f"W{n}", "branch_id": "b1", "region_id": "north",
            "wished_day": LAST, "latest_day": LAST + timedelta(days=latest), "channel": "app",
            "status": status, "joined_utc": datetime.now(UTC), "actor": "test", "booking_ref": None,
            "closed_reason": None, **more,
        }  # fmt: skip

    put(
        bank, t.waitlist, entry(0, "booked", 9, booking_ref="B0"), entry(1, "waiting", 30),
        entry(2, "expired", 2), entry(3, "left", 9), entry(4, "waiting", 30, wished_day=LAST + timedelta(1)),
        entry(5, "expired", 9, closed_reason="loan_not_eligible"),
    )  # fmt: skip
    rows = waiting_days(engine, since=LAST, until=LAST, as_of=LAST + timedelta(days=6))
    assert rows.to_dict("records") == [{"ds": rows["ds"][0], "waited": 3, "days": 4 + 6 + 2}]
    assert rows["ds"][0].date() == LAST
    jobs.score(LAST.isoformat())
    total = plan_total_scores(engine, since=LAST).iloc[0]
    assert (total["waited"], total["waiting_days"]) == (3, pytest.approx(4 / 3))


def at(quarter: int) -> datetime:
    """The start of that quarter-hour after 10:00 of LAST, bank-local."""
    return datetime.combine(LAST, time(10), ZoneInfo(ZONE)).astimezone(UTC) + timedelta(minutes=15 * quarter)


def server_rows(bank: Bank) -> None:
    """Two server plans (one from the second quarter-hour on), what ran and what came; 10:00 to 10:45."""
    for number in (0, 1):
        name, period = f"s{number}", at(number).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = "applied" if number else "superseded"
        put(bank, t.plans, plan_row(name, period, kind="server", region_id="bank", status=status))
        items = [
            {
                "plan_id": name, "seq": n, "scope_kind": "bank", "scope_id": "bank", "channel": "*",
                "period_kind": "quarter_hour", "starts_utc": at(n), "new_limit": 2 + 2 * number,
                "applied_limit": 2 + 2 * number,
            }
            for n in range(3)
        ]  # fmt: skip
        put(bank, t.plan_items, *items)
    put(
        bank, tf.scaling_decisions,
        *(
            {
                "at_utc": at(n), "business_utc": at(n), "running": running, "target": running,
                "reactive_need": 1, "observed_rps": 1.0, "reason": "steady",
            }
            for n, running in enumerate((2, 3, 4, 4))
        ),
    )  # fmt: skip
    put(
        bank, tf.pressure_minutes,
        *(
            {
                "minute_utc": at(n), "business_utc": at(n), "source": "w1", "requests": 900 * rps,
                "refused": 0, "failed": 0, "busy_seconds": 900 * rps * 0.6, "synthetic": False,
            }
            for n, rps in enumerate((1, 5))
        ),
    )  # fmt: skip


def test_worker_hours_are_scored_against_plan_and_need(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each quarter-hour by the plan then in force; one without requests needs the least workers."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", bank.url)
    server_rows(bank)
    planned = planned_workers(bank.engine, since=at(0), until=at(4))
    assert list(zip(planned["workers"], planned["plan_id"], strict=True)) == [(2, "s0"), (4, "s1"), (4, "s1")]
    jobs.score(LAST.isoformat())
    [row] = server_scores(bank.engine, since=LAST).to_dict("records")
    # needed at 0.6 busy seconds a request and utilisation 0.6: 1, 5 and (no requests) 1
    assert (row["day"].date(), row["quarters"]) == (LAST, 3)
    assert (row["planned_hours"], row["run_hours"]) == (10 / 4, 9 / 4)
    assert (row["needed_hours"], row["short_hours"]) == (7 / 4, 2 / 4)


def test_quantiles_that_kept_too_little_raise_the_planned_level(bank: Bank) -> None:
    """From the forecasts on record, the last for each branch and day: the basis tells the level and why."""
    branches = [f"t{n}" for n in range(10)]
    for branch in branches:
        bank.add_branch(branch)
    days = [LAST - timedelta(days=n) for n in range(28)]
    put(bank, tf.forecast_runs, *(run_row(run, LAST) for run in ("r1", "r2", "r3")))
    values, scores = [], []
    for number, branch in enumerate(branches):
        for place, day in enumerate(days):
            actual = 10.0 if (number + place) % 4 == 0 else 7.0 if (number + place) % 4 == 1 else 3.0
            # forecasts made earlier were higher; where one was made, they do not count
            for lead, run in enumerate(("r1", "r2", "r3"), start=1):
                key = {"run_id": run, "branch_id": branch, "day": day}
                levels = {"q10": 1.0, "q25": 3.0, "q50": 5.0 - 1e-9, "q75": 7.0 + 1e-9, "q90": 9.0}
                levels = {name: cut + 5 * (lead - 1) for name, cut in levels.items()}
                values.append(key | {"model": "prophet", "mean": 5.0} | levels)
                score = {"actual": actual, "mean": 5.0, "inside80": True, "pinball": 1.0}
                scores.append(key | score | {"horizon_days": lead})
    put(bank, tf.forecast_values, *values)
    put(bank, tf.score_forecasts, *scores)
    shares = level_shares(bank.engine, since=days[-1], until=LAST, horizon_days=7, region="north")
    assert (shares["days"], shares["branch_days"]) == (28, 280)
    names = ("q25", "q50", "q75", "q90")
    assert [float(shares[name]) for name in names] == [0.5, 0.5, 0.75, 0.75]
    assert [float(shares[f"{name}_below"]) for name in names] == [0.0, 0.5, 0.5, 0.75]
    assert level_shares(bank.engine, since=LAST, until=LAST, horizon_days=0)["branch_days"] == 0
    basis = planning_basis(bank.engine, "north", LAST, Policy())
    assert basis.tuned is not None
    assert basis.tuned.level == pytest.approx(0.95)
    assert basis.condition == "the 0.9 quantile kept 75% of 280 branch days (28 days): planned at 0.95"
    assert planning_basis(bank.engine, "north", LAST, Policy(tune_most_ratio=0.0)).tuned is None
