"""The booking benchmark as a command: one cheap figure with tiny rounds, on a PostgreSQL of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.tools import require_tool

ROOT = Path(__file__).parents[2]


def test_one_figure_is_measured_and_told(tmp_path: Path) -> None:
    """A hot slot served by real workers, pgbench beside it: a table for people, JSON for programs."""
    require_tool("pgbench", "postgresql")
    file = tmp_path / "figures.json"
    command = [sys.executable, "benchmarks/booking.py", "--quick", "--rounds", "1", "--seconds", "1"]
    command += ["--workers", "1", "--only", "hot_slot_over_pgbench", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "hot_slot_over_pgbench" in done.stdout
    told = json.loads(file.read_text())
    assert set(told) == {"figures", "setting"}
    assert told["figures"]["hot_slot_over_pgbench"] > 0
    assert told["setting"]["failed"] == []
    batched = told["setting"]["details"]["hot_slot"]["batched"]
    assert set(batched["cpu_cores"]) == {"generator", "workers", "postgres"}


def test_an_unknown_figure_is_named_with_those_there_are() -> None:
    """Exit 2, before anything is started."""
    command = [sys.executable, "benchmarks/booking.py", "--only", "speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "speed" in done.stderr
    assert "goodput_at_10x" in done.stderr
