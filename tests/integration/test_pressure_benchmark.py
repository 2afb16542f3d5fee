"""The pressure benchmark as a command, on a small trace made up here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from tests.support.request_series import weekly

ROOT = Path(__file__).parents[2]


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/pressure_forecast.py", "--quick", *arguments]
    environment = os.environ | {"SLOTCAST_DATA": str(folder)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_trace_is_judged_against_the_rivals(tmp_path: Path) -> None:
    """Four weeks of Poisson days: better than every rival, which know no mean, and covered as told."""
    y = weekly(28, 30)
    y[700:703] = np.nan
    rows = pd.DataFrame({"ds": pd.date_range("2026-03-02", periods=len(y), freq="30min"), "y": y}).dropna()
    rows.assign(unique_id="made_up").to_csv(tmp_path / "made_up_30min.csv.gz", index=False)
    (tmp_path / "other_daily.csv").write_text("unique_id,ds,y\n")
    file = tmp_path / "figures.json"
    done = bench(tmp_path, "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "pressure_wql_ratio" in done.stdout
    told = json.loads(file.read_text())
    assert set(told) == {"figures", "setting"}
    assert told["figures"]["pressure_wql_ratio"] == told["figures"]["pressure_wql_worst"] < 0.95
    details = told["setting"]["details"]["made_up"]
    assert details["tuned_on"] is False
    assert len(details["by_lead"]) == 2  # steps of 30 minutes know leads of 30 and 60


def test_without_a_trace_it_says_so(tmp_path: Path) -> None:
    """A folder of daily data alone: a sentence, no figures, exit 0."""
    done = bench(tmp_path)
    assert done.returncode == 0
    assert "no trace" in done.stdout
