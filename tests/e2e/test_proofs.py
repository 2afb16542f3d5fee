"""The long proofs, run by `make proof`: a storm for the last units, and the whole demo with real Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from booking_core.database import make_engine
from booking_core.read.plans import plans
from booking_core.read.servers import scaling_decisions
from demo.preflight import Ports
from tests.support.postgres import PostgresCluster
from tests.support.race_demo import race
from tests.support.serving import ROOT
from tests.support.tools import free_port

pytestmark = pytest.mark.proof


@pytest.mark.timeout(900)
def test_a_storm_of_thousands_sells_exactly_the_units(postgres: PostgresCluster) -> None:
    """3,000 wishes of three processes race for 500 units: 500 sold, every attempt on record, no drift."""
    storm = race(postgres.fresh_database(), locks=True, units=500, wishes=3_000, slots=9)
    assert (storm.accepted, storm.oversold, storm.recorded, storm.drift) == (500, 0, 3_000, [])


@pytest.mark.timeout(1_200)
def test_make_run_tells_the_story_and_leaves_nothing_running(tmp_path: Path) -> None:
    """A first run trains and retunes in real Airflow, applies plans, moves workers, and stops everything."""
    ports = {f"SLOTCAST_{field.name.upper()}_PORT": str(free_port()) for field in fields(Ports)}
    command = [sys.executable, "-m", "demo", "run", "--once", "--var", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **ports},
        capture_output=True,
        text=True,
        check=False,
        timeout=1_100,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    assert (tmp_path / "before_after.png").stat().st_size > 10_000
    engine = make_engine(f"sqlite:///{tmp_path}/slotcast.db", read_only=True)
    quota_plans = plans(engine, kind="quota", region=None)
    assert quota_plans["status"].tolist() == ["applied"] * 4
    assert not scaling_decisions(engine, since_wall=datetime.now(UTC) - timedelta(hours=1)).empty
    engine.dispose()
    mine = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
    assert mine == []
