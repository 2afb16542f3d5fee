"""A program: our DAGs in real Airflow. The last line it prints is JSON.

    python -m tests.support.airflow_runs describe | keys | run DAG_ID,… CONF | ask DAG_ID CONF ANSWERS

ANSWERS: JSON, map index of the question → [who, Approve or Reject]; a question without an answer times out.

A program and not a fixture, because Airflow reads AIRFLOW_HOME when it is imported.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.asset import AssetPartitionDagRun
from airflow.utils.session import create_session
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from dags.common import explicit_period, partition_of
from tests.support.serving import ROOT

ENDING_SECONDS = 20.0
"""So long a run may take to end after its last task."""


def describe() -> dict[str, Any]:
    """Import errors, and of each DAG its schedule and its tasks."""
    bag = DagBag(str(ROOT / "dags"))
    return {
        "errors": bag.import_errors,
        "dags": {dag_id: _described(dag) for dag_id, dag in bag.dags.items()},
    }


def _described(dag: Any) -> dict[str, Any]:
    return {
        "timetable": type(dag.timetable).__name__,
        "cron": getattr(dag.timetable, "expression", None),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "params": list(dag.params),
        "tasks": {
            task.task_id: {
                "retries": task.retries,
                "backoff": bool(task.retry_exponential_backoff),
                "timeout_seconds": task.execution_timeout.total_seconds() if task.execution_timeout else None,
                "mapped": task.is_mapped or task.get_closest_mapped_task_group() is not None,
                "group": task.task_group.group_id,
                "trigger_rule": str(task.trigger_rule.value),
                "downstream": sorted(task.downstream_task_ids),
                "outlets": [outlet.name for outlet in task.outlets],
            }
            for task in dag.tasks
        },
    }


def keys() -> dict[str, Any]:
    """What our DAGs read from a run's context."""
    import pendulum  # noqa: PLC0415  (Airflow's)

    tick = pendulum.datetime(2026, 3, 10, 20, 30, tz="Asia/Shanghai")
    runs = {
        "scheduled": SimpleNamespace(
            partition_key="2026-03-10T20:30:00", partition_date=tick.in_timezone("UTC")
        ),
        "by_asset": SimpleNamespace(partition_key="2016-07-28", partition_date=None),
        "by_hand": SimpleNamespace(partition_key=None, partition_date=None),
    }
    return {name: partition_of({"dag_run": run}) for name, run in runs.items()} | {
        "explicit": explicit_period({"params": {"period": "2016-07-28"}}),
        "empty": explicit_period({"params": {"period": None}}),
    }


def run_all(dag_ids: str, conf: str) -> list[dict[str, Any]]:
    """One run of each DAG, one after the other, until one does not succeed: see `run_once`."""
    outcomes = []
    for dag_id in dag_ids.split(","):
        outcomes.append(run_once(dag_id, conf))
        if outcomes[-1]["state"] != "success":
            break
    return outcomes


def run_once(dag_id: str, conf: str) -> dict[str, Any]:
    """One run of the DAG: its state, its tasks' states and the partitions that now wait for retune."""
    dag = DagBag(str(ROOT / "dags")).dags[dag_id]
    run = dag.test(run_conf=json.loads(conf))
    with create_session() as session:
        waiting = session.execute(
            select(AssetPartitionDagRun.target_dag_id, AssetPartitionDagRun.partition_key)
        ).all()
    return {
        "state": str(run.state),
        "tasks": sorted([ti.task_id, ti.map_index, str(ti.state)] for ti in run.get_task_instances()),
        "waiting": sorted([row.target_dag_id, row.partition_key] for row in waiting),
    }


def run_asked(dag_id: str, conf: str, answers: str) -> dict[str, Any]:
    """As `run_once`, its questions answered through the route of Airflow's API or timed out by its scheduler.

    And the questions as they were put: [map index, subject, options, defaults, whether a time-out is set].
    """
    wanted = json.loads(answers)
    asked: dict[int, list[Any]] = {}
    over = threading.Event()
    person = threading.Thread(target=_answer, args=(wanted, asked, over), daemon=True)
    person.start()
    outcome = run_once(dag_id, conf)
    over.set()
    person.join(ENDING_SECONDS)
    return outcome | {"asked": [asked[index] for index in sorted(asked)]}


def _answer(wanted: dict[str, list[str]], asked: dict[int, list[Any]], over: threading.Event) -> None:
    """Answer or time out each question once parked; a fault ends the program, which would wait for ever.

    A run that ends takes Airflow's database session with it: a fault then is none.
    """
    try:
        while not over.wait(0.5):
            _answer_parked(wanted, asked)
    except Exception:  # noqa: BLE001  (whatever it is)
        if over.wait(ENDING_SECONDS):
            return
        traceback.print_exc()
        os._exit(1)


def _answer_parked(wanted: dict[str, list[str]], asked: dict[int, list[Any]]) -> None:
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload  # noqa: PLC0415
    from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail  # noqa: PLC0415
    from airflow.jobs.job import Job  # noqa: PLC0415
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner  # noqa: PLC0415
    from airflow.models.taskinstance import TaskInstance  # noqa: PLC0415

    with create_session() as session:
        parked = session.scalars(
            select(TaskInstance)
            .where(TaskInstance.state == "awaiting_input")
            .options(joinedload(TaskInstance.hitl_detail))
        ).all()
        for ti in parked:
            detail, index = ti.hitl_detail, ti.map_index
            timed = ti.trigger_timeout is not None
            asked[index] = [index, detail.subject, detail.options, detail.defaults, timed]
            if str(index) in wanted:
                who, option = wanted[str(index)]
                user: Any = SimpleNamespace(get_id=lambda name=who: name, get_name=lambda name=who: name)
                payload = UpdateHITLDetailPayload(chosen_options=[option])
                update_hitl_detail(ti.dag_id, ti.run_id, ti.task_id, payload, user, session, index)
            else:
                ti.trigger_timeout -= timedelta(days=3)
    if parked:
        SchedulerJobRunner(Job()).check_awaiting_input_timeouts()


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    answer = {"describe": describe, "keys": keys, "run": run_all, "ask": run_asked}[command](*words)
    print(json.dumps(answer))
