"""The small programs of deploy/ run for real: health checks, required variables, KEDA's query."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from sqlalchemy import insert, text

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from tests.support.bank import Bank
from tests.support.tools import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"


@contextmanager
def answering(status: int, body: object) -> Iterator[str]:
    """Serve one answer to every GET."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def healthcheck(*arguments: str, url: str = "") -> tuple[int, str]:
    """Run the health check: exit code and what it said."""
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "healthcheck.py"), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "SLOTCAST_DATABASE_URL": url},
    )
    return done.returncode, done.stdout + done.stderr


def test_an_http_check_is_well_only_on_success() -> None:
    """2xx is well; 503, silence and a URL that is none are told apart by exit code and text."""
    with answering(200, {}) as url:
        assert healthcheck("http", url)[0] == 0
    with answering(503, {}) as url:
        code, said = healthcheck("http", url)
        assert code == 1
        assert "503" in said
    code, said = healthcheck("http", f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert "does not answer" in said
    assert healthcheck("http", "file:///etc/passwd")[0] == 2


def test_a_field_is_compared() -> None:
    """Airflow's health answers 200 even when a part is ill: the field decides."""
    with answering(200, {"scheduler": {"status": "healthy"}, "triggerer": {"status": None}}) as url:
        assert healthcheck("http", url, "--field", "scheduler.status=healthy")[0] == 0
        assert healthcheck("http", url, "--field", "triggerer.status=healthy")[0] == 1
        assert healthcheck("http", url, "--field", "dag_processor.status=healthy")[0] == 1


def test_the_actuator_is_well_while_it_decides(postgres_bank: Bank) -> None:
    """No decision and an old one are unwell, a fresh one is well."""

    def decided(ago: timedelta) -> None:
        now = datetime.now(UTC)
        with write_transaction(postgres_bank.engine) as connection:
            connection.execute(
                insert(tf.scaling_decisions).values(
                    at_utc=now - ago, business_utc=now, running=2, target=2, reactive_need=1,
                    observed_rps=0.0, reason="steady",
                )
            )  # fmt: skip

    assert healthcheck("scaling", url=postgres_bank.url)[0] == 1
    decided(timedelta(minutes=5))
    code, said = healthcheck("scaling", url=postgres_bank.url)
    assert code == 1
    assert "old" in said
    decided(timedelta(seconds=5))
    assert healthcheck("scaling", url=postgres_bank.url)[0] == 0
    assert healthcheck("scaling", url="postgresql://postgres@127.0.0.1:1/none")[0] == 1


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_variable_is_named_with_its_remedy(value: str | None) -> None:
    """Unset and empty are refused before the command runs."""
    done = required("SLOTCAST_PLANNER_TOKEN=Issue one.", "--", "echo", "ran", token=value)
    assert done.returncode == 2
    assert "SLOTCAST_PLANNER_TOKEN is not set. Issue one." in done.stderr
    assert done.stdout == ""


def test_with_its_variables_the_command_takes_over() -> None:
    """Arguments reach the command whole, and its exit code is the answer."""
    done = required(
        "SLOTCAST_PLANNER_TOKEN=Issue one.", "--", "sh", "-c", 'echo "$1"; exit 7', "sh", "a b", token="s"
    )
    assert (done.returncode, done.stdout) == (7, "a b\n")
    assert required("SLOTCAST_PLANNER_TOKEN=Issue one.", token="s").returncode == 2


def required(*arguments: str, token: str | None) -> subprocess.CompletedProcess[str]:
    """Run require-env.sh with the planner's token as given."""
    environment = {k: v for k, v in os.environ.items() if k != "SLOTCAST_PLANNER_TOKEN"}
    if token is not None:
        environment["SLOTCAST_PLANNER_TOKEN"] = token
    return subprocess.run(
        [str(DEPLOY / "require-env.sh"), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )


def test_kedas_query_follows_the_newest_server_plan(postgres_bank: Bank) -> None:
    """The manifest's SQL counts the plan's running and next quarter-hour; a kept plan plans nothing."""
    now = datetime.now(UTC)
    quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)

    def planned() -> int:
        documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "scaledobject.yml").read_text())
        scaled = next(d for d in documents if d["kind"] == "ScaledObject")
        trigger = next(x for x in scaled["spec"]["triggers"] if x["type"] == "postgresql")
        with postgres_bank.engine.connect() as connection:
            return int(connection.execute(text(trigger["metadata"]["query"])).scalar_one())

    def add_plan(plan_id: str, status: str, workers: dict[int, int]) -> None:
        with write_transaction(postgres_bank.engine) as connection:
            connection.execute(
                insert(t.plans).values(
                    plan_id=plan_id, kind="server", region_id="bank", period=plan_id, status=status,
                    in_band=True, policy={}, inputs={}, fingerprint="f", created_utc=now, created_by="test",
                )
            )  # fmt: skip
            for seq, (quarters, limit) in enumerate(workers.items()):
                connection.execute(
                    insert(t.plan_items).values(
                        plan_id=plan_id, seq=seq, scope_kind="bank", scope_id="bank", channel="*",
                        period_kind="quarter_hour", starts_utc=quarter + timedelta(minutes=15 * quarters),
                        applied_limit=limit,
                    )
                )  # fmt: skip

    assert planned() == 0
    add_plan("server-1", "applied", {-1: 90, 0: 4, 1: 6, 2: 80})
    assert planned() == 6
    add_plan("server-2", "superseded", {0: 50})
    assert planned() == 6
    add_plan("server-3", "kept", {})
    assert planned() == 0
