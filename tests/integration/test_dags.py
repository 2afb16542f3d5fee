"""The DAGs in real Airflow: they parse, they are guarded by retries and time limits, and they set quotas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.read.rosters import roster_proposal
from tests.support.bank import Bank
from tests.support.planning import MEAN_DAY, add_run, furnish
from tests.support.serving import ROOT, serve


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a fresh Airflow on SQLite whose dags folder is the repository's."""
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DEFAULT_TIMEZONE": "Asia/Shanghai",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "PYTHONPATH": str(ROOT),
    }
    run(environment, sys.executable, "-m", "airflow", "db", "migrate")
    return environment


def run(environment: dict[str, str], *command: str) -> str:
    """What the command printed; fails with all of it when it failed."""
    # from a folder of its own: the DAGs need the dags folder and PYTHONPATH only
    done = subprocess.run(
        command, check=False, env=environment, cwd=environment["AIRFLOW_HOME"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


def ask(environment: dict[str, str], *words: str) -> Any:
    """The answer of tests.support.airflow_runs."""
    printed = run(environment, sys.executable, "-m", "tests.support.airflow_runs", *words)
    return json.loads(printed.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def described(airflow: dict[str, str]) -> Any:
    """What Airflow sees in the dags folder."""
    return ask(airflow, "describe")


def test_every_dag_parses_and_every_task_is_guarded(described: Any) -> None:
    """The six DAGs import cleanly; tasks retry with back-off and end by themselves, none catches up."""
    assert described["errors"] == {}
    dags = described["dags"]
    assert sorted(dags) == ["correct", "prescale", "retune", "roster", "score", "train_demand"]
    for dag in dags.values():
        assert (dag["catchup"], dag["params"]) == (False, ["period"])
        for name, task in dag["tasks"].items():
            assert task["retries"] >= 2
            assert task["backoff"]
            if name != "ask":  # it waits for a person until the plan's deadline, as long as that is
                assert 0 < task["timeout_seconds"] <= 20 * 60
    for dag_id in ("retune", "correct"):
        tasks = dags[dag_id]["tasks"]
        assert tasks["ask"]["timeout_seconds"] is None
        assert (tasks["questions"]["downstream"], tasks["ask"]["downstream"]) == (["ask"], ["decide"])
    runs = {dag_id: dag["max_active_runs"] for dag_id, dag in dags.items()}
    assert runs == {
        "correct": 48, "prescale": 1, "retune": 8, "roster": 1, "score": 1, "train_demand": 1
    }  # fmt: skip
    schedules = {dag_id: (dag["timetable"], dag["cron"]) for dag_id, dag in dags.items()}
    assert schedules == {
        "train_demand": ("CronPartitionTimetable", "30 20 * * *"),
        "retune": ("PartitionedAssetTimetable", None),
        "prescale": ("CronPartitionTimetable", "*/15 * * * *"),
        "correct": ("CronPartitionTimetable", "*/15 8-18 * * *"),
        "score": ("CronPartitionTimetable", "0 20 * * *"),
        "roster": ("CronPartitionTimetable", "0 6 * * 4"),
    }


def test_the_demos_switch_leaves_only_the_asset_schedule(airflow: dict[str, str]) -> None:
    """With the wall's schedules off nothing starts by the clock; retune still follows its asset."""
    dags = ask({**airflow, "SLOTCAST_WALL_SCHEDULES": "off"}, "describe")["dags"]
    assert {dag_id: dag["timetable"] for dag_id, dag in dags.items()} == {
        "train_demand": "NullTimetable",
        "retune": "PartitionedAssetTimetable",
        "prescale": "NullTimetable",
        "correct": "NullTimetable",
        "roster": "NullTimetable",
        "score": "NullTimetable",
    }


def test_training_and_retuning_are_mapped_and_joined_by_an_asset(described: Any) -> None:
    """Batches and regions are mapped; a finished training emits the asset that retune waits for."""
    dags = described["dags"]
    roster = dags["roster"]["tasks"]
    assert {name: (task["mapped"], task["downstream"]) for name, task in roster.items()} == {
        "period_of_run": (False, ["propose", "regions"]),
        "regions": (False, ["propose"]),
        "propose": (True, []),
    }
    training, retune = dags["train_demand"]["tasks"], dags["retune"]["tasks"]
    assert {name for name, task in training.items() if task["mapped"]} == {"train"}
    assert training["train"]["downstream"] == ["finish"]
    assert training["finish"]["outlets"] == ["demand_forecast"]
    assert {name for name, task in retune.items() if task["mapped"]} == {
        "guard", "apply", "ask", "decide"
    }  # fmt: skip
    # each region on its own: a group mapped as a whole; what failed still ends the run as failed
    assert [retune[name]["group"] for name in ("propose", "guard", "apply")] == [
        None,
        "region_plan",
        "region_plan",
    ]
    for name, tasks in (("apply", retune), ("correct_day", dags["correct"]["tasks"])):
        assert tasks[name]["downstream"] == ["nothing_failed", "questions"]
        watcher = tasks["nothing_failed"]
        assert (watcher["trigger_rule"], watcher["downstream"]) == ("all_success", [])
        assert tasks["questions"]["trigger_rule"] == "all_done"


def test_a_runs_partition_is_its_wall_time_or_its_period(airflow: dict[str, str]) -> None:
    """A scheduled run hands on an aware wall time, an asset-triggered one its period, one by hand nothing."""
    assert ask(airflow, "keys") == {
        "scheduled": "2026-03-10T12:30:00+00:00",
        "by_asset": "2016-07-28",
        "by_hand": None,
        "explicit": "2016-07-28",
        "empty": None,
    }


def test_training_then_retuning_changes_quotas_and_proposes_a_roster(
    airflow: dict[str, str], sqlite_bank: Bank
) -> None:
    """train_demand leaves retune waiting for its period; retune, run for it, sets the quotas in force.

    roster keeps the next week's shifts of every region, twice the same, and states none of them.
    """
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period, days=200)
    conf = json.dumps({"period": period.isoformat()})
    with serve(sqlite_bank.url) as core:
        environment = airflow | {k: v for k, v in core.environment().items() if k.startswith("SLOTCAST_")}
        runs = ask(environment, "run", "train_demand,retune,roster,roster", conf)
        assert [run["state"] for run in runs] == ["success"] * 4, runs
        trained, retuned, proposed, again = runs
        assert trained["waiting"] == [["retune", period.isoformat()]]
        assert proposed["tasks"] == again["tasks"]
        assert [task[:2] for task in again["tasks"] if task[0] == "propose"] == [
            ["propose", 0],
            ["propose", 1],
        ]
        assert [task[:2] for task in retuned["tasks"] if task[0] == "apply"] == [["apply", 0], ["apply", 1]]
        first = (period + timedelta(days=1)).isoformat()
        last = (period + timedelta(days=28)).isoformat()
        with core.client("reader") as client:
            answer = client.get(
                "/v1/quotas", params={"scope_kind": "branch", "from": first, "to": last}
            ).json()
            plans = client.get("/v1/plans", params={"kind": "quota"}).json()["plans"]
            stated = client.get("/v1/rosters", params={"from": first, "to": last}).json()["rosters"]
    assert stated == []
    kept = [roster_proposal(sqlite_bank.engine, region) for region in ("north", "south")]
    monday = (period + timedelta(days=7 - period.weekday())).isoformat()
    assert [each and each["first_day"] for each in kept] == [monday, monday]
    assert {plan["region"]: plan["status"] for plan in plans} == {"north": "applied", "south": "shadow"}
    days = [row for row in answer["periods"] if row["quota_id"] == "branch:b1:*:day"]
    assert len(days) == 28
    assert {row["limit_units"] for row in days} != {MEAN_DAY}
    assert not [row for row in answer["periods"] if row["quota_id"].startswith("branch:b3:")]


def test_a_person_answers_in_airflow_and_who_does_not_rejects(
    airflow: dict[str, str], sqlite_bank: Bank
) -> None:
    """Plans outside the band and the special periods beside them: one region's approved by name and applied.

    The other's are timed out; the core tells both, and who decided.
    """
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period, limit=5)
    # every day has a name, whenever this runs
    sqlite_bank.set("policy", {"special_month_end_days": 31, "plan_days": 7})
    with write_transaction(sqlite_bank.engine) as connection:
        connection.execute(update(t.regions).values(automatic_application=True))
    add_run(sqlite_bank, period)
    conf = json.dumps({"period": period.isoformat()})
    with serve(sqlite_bank.url) as core:
        environment = airflow | {k: v for k, v in core.environment().items() if k.startswith("SLOTCAST_")}
        environment["SLOTCAST_APPROVER_TOKEN"] = core.tokens["operator"]
        told = ask(
            environment,
            "ask",
            "retune",
            conf,
            json.dumps({"0": ["li.wei", "Approve"], "1": ["wang.fang", "Approve"]}),
        )
        with core.client("reader") as client:
            told_plans = client.get("/v1/plans").json()["plans"]
            plans = {plan["plan_id"].split("-")[0] + " " + plan["region"]: plan for plan in told_plans}
    assert told["state"] == "success", told
    asked = [f"{kind}-{period}-{region}" for region in ("north", "south") for kind in ("quota", "special")]
    assert told["asked"] == [
        [index, f"Apply {plan_id}? · 是否应用 {plan_id}？", ["Approve", "Reject"], ["Reject"], True]
        for index, plan_id in enumerate(asked)
    ]
    assert {name: (plan["status"], plan["decided_by"]) for name, plan in plans.items()} == {
        "quota north": ("applied", "li.wei"),
        "special north": ("applied", "wang.fang"),
        "quota south": ("rejected", "timeout"),
        "special south": ("rejected", "timeout"),
    }
    with sqlite_bank.engine.connect() as connection:
        a = t.audit.c
        rows = connection.execute(
            select(a.actor, a.action, a.target, a.after).where(a.action.in_(("plan.approve", "plan.reject")))
        ).all()
    assert {(row.actor, row.action, row.target[-5:], row.after["by"]) for row in rows} == {
        ("test-operator", "plan.approve", "north", "li.wei"),
        ("test-operator", "plan.approve", "north", "wang.fang"),
        ("test-operator", "plan.reject", "south", "timeout"),
    }


def test_dags_import_quickly(airflow: dict[str, str]) -> None:
    """Parsing the DAGs loads neither Prophet nor pandas: the scheduler does it again and again."""
    code = (
        "import sys\n"
        "from dags import train_demand, retune, prescale, score, correct, roster\n"
        "print([m for m in ('prophet', 'pandas', 'forecasting') if m in sys.modules])"
    )
    assert run(airflow, sys.executable, "-c", code).strip().splitlines()[-1] == "[]"
