"""Airflow as the demo runs it: its environment, its three processes, and its REST API."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from demo.overlay import ZONE
from demo.preflight import Ports

COMPONENTS: Final = ("api-server", "scheduler", "dag-processor")
"""No triggerer: no task here waits for an outside event."""
PARALLELISM: Final = 2
DONE: Final = frozenset({"success", "failed"})
OK: Final = 200
NOT_FOUND: Final = 404


def environment(*, root: Path, var: Path, ports: Ports) -> dict[str, str]:
    """Airflow's settings: LocalExecutor on SQLite in var/airflow, everyone on loopback an admin."""
    home = var / "airflow"
    base = f"http://127.0.0.1:{ports.airflow}"
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(ports.airflow),
        "AIRFLOW__API__BASE_URL": base,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": kept_secret(var / "run" / "airflow_secret"),
        "AIRFLOW__API_AUTH__JWT_SECRET": kept_secret(var / "run" / "airflow_jwt"),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports.airflow_logs),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__CORE__DEFAULT_TIMEZONE": ZONE,
        "SLOTCAST_WALL_SCHEDULES": "off",
        "PYTHONPATH": str(root),
    }


def kept_secret(path: Path) -> str:
    """The secret in the file (mode 0600), made at the first call."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path.read_text().strip()


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run as far as the demo looks at it."""

    dag_id: str
    run_id: str
    state: str
    conf: Mapping[str, Any]
    partition_key: str | None


class Airflow:
    """The REST API of the demo's Airflow."""

    def __init__(self, ports: Ports) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{ports.airflow}", timeout=30)

    def healthy(self) -> bool:
        """Whether the API answers and both scheduler and DAG processor beat."""
        try:
            answer = self._client.get("/api/v2/monitor/health", timeout=3)
        except httpx.HTTPError:
            return False
        if answer.status_code != OK:
            return False
        parts = answer.json()
        return all(
            parts[name]["status"] == "healthy" for name in ("metadatabase", "scheduler", "dag_processor")
        )

    def log_in(self) -> None:
        """Take a token; all requests carry it from then on."""
        token = self._client.get("/auth/token").raise_for_status().json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG processor has read the DAG yet."""
        return self._client.get(f"/api/v2/dags/{dag_id}").status_code == OK

    def import_errors(self) -> list[str]:
        """What kept DAG files from being read."""
        rows = self._client.get("/api/v2/importErrors").raise_for_status().json()["import_errors"]
        return [f"{row['filename']}: {row['stack_trace'].strip().splitlines()[-1]}" for row in rows]

    def unpause(self, dag_id: str) -> None:
        """Let the DAG run."""
        self._client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False}).raise_for_status()

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> None:
        """A run of the DAG under that id (asking again for the same id changes nothing)."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        answer = self._client.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body)
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()

    def run(self, dag_id: str, run_id: str) -> Run | None:
        """The run, None where there is none."""
        answer = self._client.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
        if answer.status_code == NOT_FOUND:
            return None
        return _run(answer.raise_for_status().json())

    def runs(self, dag_id: str) -> list[Run]:
        """The runs of the DAG, newest first."""
        query: dict[str, str | int] = {"order_by": "-run_after", "limit": 20}
        answer = self._client.get(f"/api/v2/dags/{dag_id}/dagRuns", params=query).raise_for_status()
        return [_run(row) for row in answer.json()["dag_runs"]]

    def tasks(self, dag_id: str, run_id: str) -> list[tuple[str, str]]:
        """(task id with its map index, state) of the run's tasks."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        rows = self._client.get(path, params={"limit": 200}).raise_for_status().json()["task_instances"]
        return [
            (
                row["task_id"] + (f"[{row['map_index']}]" if row["map_index"] >= 0 else ""),
                row["state"] or "waiting",
            )
            for row in rows
        ]

    def task_log_tail(self, dag_id: str, run_id: str, lines: int = 15) -> list[str]:
        """The last log lines of the run's first failed task."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        rows = self._client.get(path, params={"limit": 200}).raise_for_status().json()["task_instances"]
        for row in rows:
            if row["state"] == "failed":
                url = f"{path}/{row['task_id']}/logs/{row['try_number']}"
                answer = self._client.get(url, params={"map_index": row["map_index"]})
                if answer.status_code == OK:
                    return [str(event.get("event", event)) for event in answer.json()["content"]][-lines:]
        return []


def watch(
    ask: Callable[[], Run | None], *, timeout_seconds: float, poll_seconds: float = 1.0
) -> Iterator[Run | None]:
    """The run as it stands, once a poll, ending with its last state. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        run = ask()
        yield run
        if run is not None and run.state in DONE:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"the Airflow run was not done within {timeout_seconds:.0f} s")
        time.sleep(poll_seconds)


def _run(row: Mapping[str, Any]) -> Run:
    return Run(
        dag_id=row["dag_id"],
        run_id=row["dag_run_id"],
        state=row["state"],
        conf=row.get("conf") or {},
        partition_key=row.get("partition_key"),
    )
