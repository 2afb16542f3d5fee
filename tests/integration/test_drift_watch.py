"""The drift watch in the loop: a broken forecast is vetoed within two days, visibly; a healthy one is not."""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd
import pytest

from booking_core import tables_forecast as tf
from booking_core.read.forecasts import latest_run
from booking_core.read.scores import forecast_drift
from forecasting import jobs, store
from forecasting.decisions.guardrails import Veto
from forecasting.decisions.policy import Policy
from forecasting.drift_watch import drifted, judge, promise_of
from forecasting.retuning import usable_run
from tests.support.bank import Bank
from tests.support.counts import rows
from tests.support.live_scores import PROMISE, add_live_scores
from tests.support.planning import core_of, furnish
from tests.support.recorded import put, run_row


@pytest.fixture
def period(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> date:
    """Yesterday in the bank's zone; no holiday changes what the tests see."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    sqlite_bank.set("country", "none")
    return sqlite_bank.today - timedelta(days=1)


def test_a_forecast_of_half_the_level_is_vetoed_within_two_days_and_the_plan_says_so(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty branches, two days: the run is not planned with, quotas are kept, the plan names the numbers."""
    add_live_scores(sqlite_bank, period, days=2, told=0.5)
    with core_of(sqlite_bank, monkeypatch) as core:
        jobs.score(period.isoformat())
        jobs.propose(period.isoformat())
        plan_id = jobs.guard(period.isoformat(), "north")
        with core.client("reader") as client:
            plan = client.get(f"/v1/plans/{plan_id}").json()
    assert (plan["status"], plan["verdict"], plan["model"]) == ("kept", "drift", "keep")
    assert "units came" in plan["inputs"]["condition"]
    assert plan["forecast_run_id"] == f"demand-{period - timedelta(days=1)}"
    before = rows(sqlite_bank.engine, "forecast_drift")
    assert {(row["scope"], row["verdict"]) for row in before} == {("bank", "drift"), ("group:north", "drift")}
    jobs.score(period.isoformat())
    assert rows(sqlite_bank.engine, "forecast_drift") == before


@pytest.mark.parametrize("days", [1, 2, 7])
def test_a_healthy_forecast_is_planned_with(sqlite_bank: Bank, period: date, days: int) -> None:
    """What errs as promised is judged fit, and kept with its numbers."""
    add_live_scores(sqlite_bank, period, days=days)
    jobs.score(period.isoformat())
    jobs.propose(period.isoformat())
    body = store.proposal(sqlite_bank.engine, period=period.isoformat(), kind="quota", region="north")
    assert body is not None
    assert body["veto"] is None
    kept = forecast_drift(sqlite_bank.engine, since=period, scope="bank").iloc[0]
    assert (kept["days"], kept["coverage80_promised"], kept["wape_promised"]) == (days * 20, 0.8, 0.16)
    assert 0.6 < kept["coverage80"] <= 1
    assert pd.isna(kept["verdict"])


def test_a_region_is_vetoed_by_its_own_forecasts(sqlite_bank: Bank, period: date) -> None:
    """Where one region's verdict is drift, the others go on; an old verdict tells nothing any more."""
    sqlite_bank.add_region("south")
    put(sqlite_bank, tf.forecast_runs, run_row("r1", period, scores={"promise": {"bank": PROMISE}}))
    row = {"run_id": "r1", "day": period, "days": 40, "coverage80": 0.8, "wape": 0.2}
    told = {"verdict": "drift", "condition": "80 units came, 40 were forecast"}
    fit = {"verdict": None, "condition": None}
    put(sqlite_bank, tf.forecast_drift, row | {"scope": "bank"} | fit, row | {"scope": "group:south"} | told)
    engine, policy = sqlite_bank.engine, Policy()
    assert usable_run(engine, period, policy, "north")[1:] == (None, "")
    _, veto, condition = usable_run(engine, period, policy, "south")
    assert veto is Veto.DRIFT
    assert condition == "group:south: 80 units came, 40 were forecast"
    later = period + timedelta(days=policy.stale_days + 1)
    assert drifted(engine, later, policy, "south").fit
    healed = row | {"day": period + timedelta(days=1), "scope": "group:south"} | fit
    put(sqlite_bank, tf.forecast_drift, healed)
    assert drifted(engine, period + timedelta(days=1), policy, "south").fit


def test_holidays_and_the_days_beside_them_are_not_judged(sqlite_bank: Bank) -> None:
    """In a week of Golden Week nothing is judged; without the country's calendar the same week is vetoed."""
    sqlite_bank.set("country", "CN")
    until = date(2026, 10, 7)
    add_live_scores(sqlite_bank, until, days=7, told=0.5)
    assert judge(sqlite_bank.engine, until, Policy()) == []
    with sqlite_bank.engine.begin() as connection:
        connection.exec_driver_sql("""update settings set value = '"none"' where key = 'country'""")
    assert {found.verdict for found in judge(sqlite_bank.engine, until, Policy())} == {"drift"}


def test_a_finished_run_promises_for_the_bank_and_each_region(sqlite_bank: Bank, period: date) -> None:
    """Coverage and WAPE of the backtest, how many series and days they rest on."""
    furnish(sqlite_bank, period, days=120)
    jobs.start_training(period.isoformat())
    jobs.train_batch(period.isoformat(), ["b1", "b2", "b3"])
    jobs.finish_training(period.isoformat())
    run = latest_run(sqlite_bank.engine, "demand")
    assert run is not None
    assert run.scores is not None
    bank, north = promise_of(run.scores, "bank"), promise_of(run.scores, "group:north")
    assert bank is not None
    assert north is not None
    assert (bank.series, north.series) == (3, 2)
    assert bank.days >= 28
    assert bank.wape == run.scores["wape"]
    assert 0.05 < run.scores["wape"] < 0.6
    assert promise_of(run.scores, "group:none") is None
    assert promise_of(None, "bank") is None
