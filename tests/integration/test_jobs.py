"""The jobs on a real database and a real core server: train → propose → guard → apply, prescale, score."""

from __future__ import annotations

import argparse
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.forecasts import pressure_forecast, sample_paths, series_choices, unscored_days
from booking_core.read.plans import plan_items
from booking_core.read.quotas import quota_periods
from booking_core.read.scores import plan_scores
from booking_core.read.servers import server_targets
from forecasting import jobs
from forecasting.cli_jobs import add_commands
from forecasting.core_client import CoreClient, CoreError
from forecasting.replaying import replay_plan
from tests.support.bank import ZONE, Bank
from tests.support.planning import MEAN_DAY, add_demand, add_pressure, core_of, furnish
from tests.support.tools import free_port

WRITTEN = (
    tf.forecast_runs, tf.forecast_series, tf.forecast_values, tf.forecast_paths, tf.forecast_parts,
    tf.forecast_pressure, tf.forecast_proposals, tf.score_forecasts, tf.score_plans,
    t.plans, t.plan_items, t.quota_periods,
)  # fmt: skip


@pytest.fixture
def period(sqlite_bank: Bank) -> date:
    """Yesterday in the bank's zone: the newest day whose demand is surely complete."""
    return sqlite_bank.today - timedelta(days=1)


def train(period: str) -> dict[str, Any]:
    jobs.start_training(period)
    for batch in jobs.series_batches(period, batch_size=2):
        jobs.train_batch(period, batch)
    return jobs.finish_training(period)


def retune(period: str) -> dict[str, dict[str, Any]]:
    """What became of each region's plan."""
    return {region: jobs.apply(jobs.guard(period, region)) for region in jobs.propose(period)}


def everything(bank: Bank) -> dict[str, list[Any]]:
    """All rows of the tables that jobs or their plans write."""
    with bank.engine.connect() as connection:
        return {table.name: sorted(map(repr, connection.execute(select(table)))) for table in WRITTEN}


def day_limits(bank: Bank, period: date, branch: str) -> list[int]:
    rows = quota_periods(bank.engine, since=period + timedelta(days=1), until=period + timedelta(days=28))
    return [int(limit) for limit in rows.loc[rows["scope_id"] == branch, "limit_units"]]


def noon(bank: Bank) -> datetime:
    """Noon UTC of the bank's day."""
    return datetime.combine(bank.today, time(12), UTC)


def test_the_loop_sets_quotas_and_a_second_run_changes_nothing(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prophet is judged, quotas follow through the API, a shadow region keeps its own; twice is as once."""
    furnish(sqlite_bank, period, days=200)
    text = period.isoformat()
    with core_of(sqlite_bank, monkeypatch) as core:
        result = train(text)
        assert (result["status"], result["verdict"], result["run_id"]) == ("ready", None, f"demand-{text}")
        choices = series_choices(sqlite_bank.engine, f"demand-{text}")
        assert list(choices["branch_id"]) == ["b1", "b2", "b3"]
        assert choices["wql_champion"].notna().all()  # really judged against weeks8
        first, paths = sample_paths(sqlite_bank.engine, f"demand-{text}")["b1"]
        assert first == period + timedelta(days=1)
        assert paths.shape[1] >= 28

        outcome = retune(text)
        assert outcome["north"]["status"] == "applied"
        assert outcome["south"] == {
            "plan_id": f"quota-{text}-south",
            "status": "shadow",
            "limits": 0,
            "refused": None,
        }
        limits = day_limits(sqlite_bank, period, "b1")
        assert len(limits) == 28
        assert set(limits) != {MEAN_DAY}
        assert set(day_limits(sqlite_bank, period, "b3")) == {MEAN_DAY}
        with core.client("reader") as client:
            plan = client.get(f"/v1/plans/quota-{text}-north").json()
        kinds = {(item["scope_kind"], item["period_kind"]) for item in plan["items"]}
        assert kinds == {("branch", "day"), ("branch", "week"), ("branch", "month"), ("region", "month")}
        assert all(item["applied_limit"] >= item["inputs"]["used_units"] for item in plan["items"])

        before = everything(sqlite_bank)
        train(text)
        assert retune(text) == outcome
        assert everything(sqlite_bank) == before


def test_a_stale_forecast_is_vetoed_and_keeps_the_quotas(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Demand that ends ten days before the period gives a kept plan that says stale, and no new limit."""
    furnish(sqlite_bank, period, until=period - timedelta(days=10))
    with core_of(sqlite_bank, monkeypatch) as core:
        result = train(period.isoformat())
        assert (result["status"], result["verdict"]) == ("vetoed", "stale")
        assert {o["status"] for o in retune(period.isoformat()).values()} == {"kept"}
        with core.client("reader") as client:
            plan = client.get(f"/v1/plans/quota-{period}-north").json()
        assert (plan["verdict"], plan["model"], plan["items"]) == ("stale", "keep", [])
        assert "10 days old" in plan["inputs"]["condition"]
    assert set(day_limits(sqlite_bank, period, "b1")) == {MEAN_DAY}


def test_a_plan_outside_the_band_waits_until_an_operator_approves(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forecast five times the quotas stays pending however often it is applied, until it is approved."""
    furnish(sqlite_bank, period, level=5.0)
    with core_of(sqlite_bank, monkeypatch) as core:
        train(period.isoformat())
        assert retune(period.isoformat())["north"]["status"] == "pending"
        assert set(day_limits(sqlite_bank, period, "b1")) == {MEAN_DAY}

        plan_id = f"quota-{period}-north"
        with core.client("operator") as client:
            assert client.post(f"/v1/plans/{plan_id}/approve").status_code == 200
        outcome = jobs.apply(plan_id)
        assert (outcome["status"], outcome["refused"]) == ("applied", None)
        assert max(day_limits(sqlite_bank, period, "b1")) == 3 * MEAN_DAY  # as far as a step may go


def test_paused_and_older_plans_are_reported_not_raised(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause switch and a newer plan stop an application; the job says which and goes on."""
    furnish(sqlite_bank, period)
    newer, older = period.isoformat(), (period - timedelta(days=1)).isoformat()
    with core_of(sqlite_bank, monkeypatch) as core, core.client("operator") as operator:
        train(older)
        train(newer)
        assert jobs.propose(newer) == jobs.propose(older) == ["north", "south"]
        plan_id = jobs.guard(newer, "north")
        assert operator.post("/v1/control/pause").is_success
        assert jobs.apply(plan_id)["refused"] == "paused"
        assert operator.post("/v1/control/resume").is_success
        assert jobs.apply(plan_id)["status"] == "applied"
        late = jobs.apply(jobs.guard(older, "north"))
        assert (late["status"], late["refused"]) == ("proposed", "plan_older_period")


def test_a_failed_training_falls_back_on_the_last_fresh_run(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a run of its own the period is planned with yesterday's; without any, it says no_forecast."""
    furnish(sqlite_bank, period)
    older = (period - timedelta(days=1)).isoformat()
    with core_of(sqlite_bank, monkeypatch) as core, core.client("reader") as client:
        assert retune(older)["north"]["status"] == "kept"
        assert client.get(f"/v1/plans/quota-{older}-north").json()["verdict"] == "no_forecast"
        train(older)
        assert retune(period.isoformat())["north"]["status"] == "applied"
        plan = client.get(f"/v1/plans/quota-{period}-north").json()
        assert plan["forecast_run_id"] == f"demand-{older}"


def test_prescale_applies_workers_for_the_coming_quarter_hours(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pressure forecast becomes a server plan in force; repetition and back-filling do nothing."""
    furnish(sqlite_bank, period)
    add_pressure(sqlite_bank, period)
    with core_of(sqlite_bank, monkeypatch):
        # a day ahead, so that the quarter-hour does not pass while this test runs
        quarter = (noon(sqlite_bank) + timedelta(days=1)).isoformat()
        first = jobs.prescale(quarter)
        assert first["status"] == "kept"  # no pressure forecast at all: the actuator obeys observed load
        train(period.isoformat())
        outcome = jobs.prescale(quarter)
        assert outcome["plan_id"] == f"{first['plan_id']}+pressure-{period}"
        assert outcome["status"] == "applied"
        assert outcome["limits"] > 96
        assert jobs.prescale(quarter) == outcome
        past = jobs.prescale((noon(sqlite_bank) - timedelta(days=2)).isoformat())
        assert past == {"plan_id": None, "status": "past", "limits": 0, "refused": None}
    since = noon(sqlite_bank)
    targets = server_targets(sqlite_bank.engine, since=since, until=since + timedelta(days=4))
    expected = pressure_forecast(sqlite_bank.engine, since=since, until=since + timedelta(days=4))
    assert expected["q90_rps"].max() == pytest.approx(1.0, rel=0.6)  # 900 requests in 900 s, give or take
    assert targets["workers"].min() == 1
    assert targets["workers"].max() >= 1
    plan, differences = replay_plan(sqlite_bank.engine, outcome["plan_id"])
    assert (len(plan["items"]), differences) == (outcome["limits"], [])


def test_scores_compare_with_what_came_and_with_the_old_quotas(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week later forecasts and plans, shadow ones too, are scored once, beside the old quotas."""
    earlier = period - timedelta(days=7)
    furnish(sqlite_bank, earlier)
    with core_of(sqlite_bank, monkeypatch):
        train(earlier.isoformat())
        retune(earlier.isoformat())
    add_demand(sqlite_bank, period, days=7)
    assert len(unscored_days(sqlite_bank.engine, f"demand-{earlier}", until=period)) == 3 * 7
    result = jobs.score(period.isoformat())
    assert result["scored_days"] == 3 * 7
    assert 0 < result["wape"] < 0.6
    assert 0.4 <= result["coverage80"] <= 1
    assert result["plan_days"] == 2 * 7
    assert result["refused_units"] < result["refused_old_units"]
    scores = plan_scores(sqlite_bank.engine, since=earlier)
    assert set(scores["plan_id"]) == {f"quota-{earlier}-north", f"quota-{earlier}-south"}
    assert (scores["regret_units"] >= 0).all()

    before = everything(sqlite_bank)
    for day in (earlier, period):  # what was scored is not read again
        assert unscored_days(sqlite_bank.engine, f"demand-{day}", until=period).empty
    assert jobs.score(period.isoformat()) == result | {"scored_days": 0}
    assert everything(sqlite_bank) == before


def test_a_branch_without_demand_keeps_its_quotas(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One branch that nothing is known of is kept and named; the others are planned."""
    furnish(sqlite_bank, period)
    sqlite_bank.add_branch("b9", "north")
    sqlite_bank.add_quota("branch", "b9", "day", 7)
    with core_of(sqlite_bank, monkeypatch):
        assert train(period.isoformat())["champions"]["keep"] == 1
        assert retune(period.isoformat())["north"]["status"] == "applied"
    items = plan_items(sqlite_bank.engine, f"quota-{period}-north")
    kept = items[items["scope_id"] == "b9"]
    assert kept["new_limit"].isna().all()
    assert set(kept["guardrail"]) == {"short"}


def test_steps_out_of_order_say_what_to_run_first(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job names the one that has to come before it, and a day to come is refused."""
    furnish(sqlite_bank, period)
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    text = period.isoformat()
    with pytest.raises(LookupError, match="start_training"):
        jobs.train_batch(text, ["b1"])
    with pytest.raises(LookupError, match="propose"):
        jobs.guard(text, "north")
    jobs.start_training(text)
    with pytest.raises(RuntimeError, match=r"train_batch has not trained \['b1', 'b2', 'b3'\]"):
        jobs.finish_training(text)
    with pytest.raises(RuntimeError, match="finish_training"):
        jobs.propose(text)
    with pytest.raises(ValueError, match="not known yet"):
        jobs.start_training((sqlite_bank.today + timedelta(days=2)).isoformat())
    tomorrow = (sqlite_bank.today + timedelta(days=1)).isoformat()
    for job in (jobs.propose, jobs.score):
        with pytest.raises(ValueError, match="not known yet"):
            job(tomorrow)
    with pytest.raises(ValueError, match="expected an ISO day"):
        jobs.start_training("28.07.2016")


def test_a_day_is_scored_once_it_is_over_and_not_before(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores stand for good: at 10:00 today's are refused, naming yesterday; from day_closes_hour on not."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    today = sqlite_bank.today

    def at(hour: int) -> int:
        local = datetime.combine(today, time(hour, 30), ZoneInfo(ZONE))
        return int((local - datetime.now(UTC)).total_seconds())

    sqlite_bank.set("business_offset_seconds", at(10))
    with pytest.raises(
        ValueError, match=f"{today} is not over.* latest complete day is {today - timedelta(1)}"
    ):
        jobs.score(today.isoformat())
    assert jobs.score((today - timedelta(days=1)).isoformat())["scored_days"] == 0
    with sqlite_bank.engine.begin() as connection:
        connection.execute(
            t.settings.update().where(t.settings.c.key == "business_offset_seconds").values(value=at(18))
        )
    assert jobs.score(today.isoformat())["scored_days"] == 0


def test_the_period_of_a_run_comes_from_parameter_key_or_clock(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parameter wins; a day key is the period; a wall time is moved by the offset to a complete day."""
    sqlite_bank.set("business_offset_seconds", -86_400)
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    assert jobs.resolve_period("2016-07-28", "2016-07-01") == "2016-07-28"
    assert jobs.resolve_period(None, "2016-07-28") == "2016-07-28"
    assert jobs.resolve_period(None, "2026-03-10T12:30:00+00:00") == "2026-03-09"  # 20:30 in Shanghai
    assert jobs.resolve_period(None, "2026-03-10T02:00:00+00:00") == "2026-03-08"  # 10:00: the day still runs
    assert jobs.resolve_quarter(None, "2026-03-10T12:30:00+00:00") == "2026-03-09T12:30:00+00:00"
    assert jobs.resolve_quarter(None, None) is None


def test_a_core_that_is_away_or_refuses_is_told_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing token and an unreachable core name what to do or where it was sought."""
    monkeypatch.delenv("SLOTCAST_PLANNER_TOKEN", raising=False)
    with pytest.raises(CoreError, match="SLOTCAST_PLANNER_TOKEN is not set"):
        CoreClient.from_environment()
    url = f"http://127.0.0.1:{free_port()}"
    with (
        CoreClient(url, "secret", first_wait_seconds=0.01) as core,
        pytest.raises(CoreError, match="not reachable"),
    ):
        core.plan("quota-2016-07-28-north")


def test_a_wrong_token_and_an_unfit_plan_carry_the_cores_reason(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The core's reason and the field it names reach the job's error."""
    with core_of(sqlite_bank, monkeypatch) as served:
        with CoreClient(served.url, "wrong") as core, pytest.raises(CoreError) as denied:
            core.plan("x")
        assert denied.value.reason == "unauthenticated"
        with CoreClient.from_environment() as core, pytest.raises(CoreError, match="model") as unfit:
            core.post_plan({"plan_id": "x", "kind": "quota", "region": "north", "period": "2016-07-28"})
        assert unfit.value.reason in {"missing_field", "invalid_field"}


def test_jobs_write_the_same_on_postgresql(postgres_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training twice on PostgreSQL leaves one run, one forecast a branch and day, and readable paths."""
    period = postgres_bank.today - timedelta(days=1)
    furnish(postgres_bank, period)
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", postgres_bank.url)
    for _ in range(2):
        assert train(period.isoformat())["status"] == "ready"
        jobs.propose(period.isoformat())
    with postgres_bank.engine.connect() as connection:
        runs = connection.scalar(select(func.count()).select_from(tf.forecast_runs))
        proposals = connection.scalar(select(func.count()).select_from(tf.forecast_proposals))
    assert (runs, proposals) == (2, 2)  # demand and pressure; north and south
    assert len(sample_paths(postgres_bank.engine, f"demand-{period}")) == 3


def test_the_commands_run_the_loop(
    sqlite_bank: Bank,
    period: date,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """train, propose, apply and score print what they did; a bad period is one clear line and exit 2."""
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())

    def command(*words: str) -> int:
        arguments = parser.parse_args(words)
        return int(arguments.run(arguments))

    furnish(sqlite_bank, period)
    with core_of(sqlite_bank, monkeypatch):
        for name in ("train", "propose", "apply", "score"):
            assert command(name, "--period", period.isoformat()) == 0
    printed = capsys.readouterr().out
    assert f"demand-{period}: ready" in printed
    assert f"quota-{period}-north: applied" in printed
    assert command("train", "--period", "someday") == 2
    assert "expected an ISO day" in capsys.readouterr().err
