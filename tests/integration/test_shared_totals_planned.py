"""A month that head office fixed, and a day's funds, on the real core: kept, and shared out beneath."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.read.forecasts import latest_run
from booking_core.read.plans import plan_items
from forecasting import jobs
from forecasting.decisions.policy import Policy
from forecasting.retuning import region_proposals
from forecasting.sharing import with_totals
from tests.support.bank import Bank
from tests.support.planning import WEEK, add_run, core_of, furnish


def items_of(bank: Bank, period: date) -> Any:
    return plan_items(bank.engine, f"quota-{period}-north")


def planned(bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The items of north's plan for the period."""
    with core_of(bank, monkeypatch):
        jobs.propose(period.isoformat())
        jobs.guard(period.isoformat(), "north")
    return items_of(bank, period)


def test_a_fixed_week_is_kept_and_shared_out(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The region's week stays as a person set it; its branches' days of that week sum up to it."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period)
    sqlite_bank.add_quota("region", "north", "week", 200)
    add_run(sqlite_bank, period)
    sqlite_bank.set("policy", {"fixed_totals": ["region:north:week"], "max_step_down_ratio": 0.1})
    items = planned(sqlite_bank, period, monkeypatch)
    week = items[(items["scope_kind"] == "region") & (items["period_kind"] == "week")]
    assert set(week["guardrail"]) == {"fixed"}
    assert week["new_limit"].isna().all()
    monday = period + timedelta(days=7 - period.weekday())
    days = items[(items["scope_kind"] == "branch") & (items["period_kind"] == "day")]
    first_week = days[days["period_start"].dt.date.between(monday, monday + timedelta(days=6))]
    assert len(first_week) == 14
    assert first_week["new_limit"].sum() == 200
    asked = sum(row["asked_units"] for row in first_week["inputs"] if "asked_units" in row)
    assert asked > 200
    assert {row["shared_total"] for row in first_week["inputs"] if "shared_total" in row} == {
        f"region:north:week {monday}"
    }


def test_without_a_fixed_total_days_get_their_own_quantile(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same bank without the policy plans the week too, and more than 200 for its days."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period)
    sqlite_bank.add_quota("region", "north", "week", 200)
    add_run(sqlite_bank, period)
    items = planned(sqlite_bank, period, monkeypatch)
    monday = period + timedelta(days=7 - period.weekday())
    days = items[(items["scope_kind"] == "branch") & (items["period_kind"] == "day")]
    first_week = days[days["period_start"].dt.date.between(monday, monday + timedelta(days=6))]
    assert first_week["new_limit"].sum() > 200
    assert not any("shared_total" in row for row in first_week["inputs"])


def test_a_days_funds_are_shared_by_the_branches_beneath(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a region's funds pay out fewer units than its branches ask for, they share them."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period)
    add_run(sqlite_bank, period)
    sqlite_bank.add_quota("region", "north", "funds_day", 3_000_000)
    sqlite_bank.set("policy", {"max_step_down_ratio": 0.05, "floor_units": 0})
    items = planned(sqlite_bank, period, monkeypatch)
    days = items[(items["scope_kind"] == "branch") & (items["period_kind"] == "day")]
    shared = [row for row in days["inputs"] if "shared_total" in row]
    if not shared:
        pytest.fail(f"no day was shared out: {days['inputs'].iloc[0]}")
    assert all(row["shared_total"].startswith("funds of region:north") for row in shared)
    units = {row["shared_total_units"] for row in shared}
    for day, rows in days.groupby("period_start"):
        assert rows["new_limit"].sum() <= max(units), day


def test_a_total_is_not_shared_by_a_forecast_that_was_wrong_for_weeks(sqlite_bank: Bank) -> None:
    """A forecast with the week upside down loses the trust, and the past shares the week out; told with it.

    The control: by the forecast alone, the busy Friday gets less than the quiet Sunday.
    """
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period, days=430)
    sqlite_bank.add_quota("region", "north", "week", 200)
    for back in range(9):
        add_run(sqlite_bank, period - timedelta(days=7 * back), week=WEEK[::-1], parts=True)
    run = latest_run(sqlite_bank.engine, "demand")
    assert run is not None
    monday = period + timedelta(days=7 - period.weekday())
    friday, sunday = (str(monday + timedelta(days=n)) for n in (4, 6))

    def shared(policy: Policy) -> tuple[dict[str, float], list[Any]]:
        """The units of the week's days, and what is told of trust."""
        asked = region_proposals(sqlite_bank.engine, "north", period, run, policy)
        items = [
            item
            for item in with_totals(sqlite_bank.engine, {"north": asked}, period, run, policy)["north"]
            if (item.scope_kind, item.period_kind) == ("branch", "day")
        ]
        units: dict[str, float] = {}
        for item in items:
            units[item.period_start] = units.get(item.period_start, 0.0) + (item.proposed or 0.0)
        return units, [item.inputs["trusted"] for item in items if "trusted" in item.inputs]

    policy = Policy(fixed_totals=("region:north:week",))
    units, told = shared(policy)
    assert units[friday] > units[sunday]
    assert told[0]["forecast"] + told[0]["daytype"] < 0.05
    assert sum(told[0].values()) == pytest.approx(1.0, abs=0.01)
    # a model that the weeks before did not have is trusted no more than the forecast was
    with write_transaction(sqlite_bank.engine) as connection:
        part = {"run_id": run.run_id, "part": "daytype"}
        same = [tf.forecast_parts.c[name] == value for name, value in part.items()]
        connection.execute(update(tf.forecast_parts).where(*same).values(part="prophet"))
    units, told = shared(policy)
    assert units[friday] > units[sunday]
    assert told[0]["forecast"] + told[0]["prophet"] < 0.05
    units, told = shared(replace(policy, trust_weeks=0))
    assert units[friday] < units[sunday]
    assert not told
