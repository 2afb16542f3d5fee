"""`python -m forecasting replay-servers`: requests in; table, JSON, picture out; bad files told in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting.__main__ import main


def request_file(path: Path, *, days: int = 12, minutes: int = 30, off: str = "0s") -> Path:
    """Requests with a daily jump, by so many minutes, each row `off` its step's start."""
    per_day = 1440 // minutes
    slot = np.arange(days * per_day) % per_day
    busy = (slot > per_day // 3) & (slot < per_day * 3 // 4)
    ds = pd.date_range("2026-03-02", periods=days * per_day, freq=f"{minutes}min") + pd.Timedelta(off)
    y = np.random.default_rng(1).poisson(100.0 + 700.0 * busy)
    pd.DataFrame({"unique_id": "web", "ds": ds, "y": y}).to_csv(path, index=False)
    return path


def test_a_file_of_requests_is_replayed_and_told_in_every_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The step is the file's own; table, JSON and picture agree, and the autoscaler is late each morning."""
    source, told, chart = (
        request_file(tmp_path / "web.csv", off="7s"),
        tmp_path / "r.json",
        tmp_path / "r.png",
    )
    command = ["replay-servers", str(source), "--json", str(told), "--chart", str(chart)]
    assert main([*command, "--peak-workers", "9"]) == 0
    printed = capsys.readouterr()
    assert "1 series by 30 minutes" in printed.out
    assert "6/6" in printed.err
    result = json.loads(told.read_text())
    found = result["series"]["web"]["policies"]
    assert list(found) == ["autoscaler", "forecast_only", "slotcast", "slotcast_no_forecast", "foresight"]
    assert found["foresight"]["violating_minutes"] == 0
    assert found["autoscaler"]["violating_minutes"] >= 4
    assert result["figures"]["violating_minutes_autoscaler"] == found["autoscaler"]["violating_minutes"]
    assert result["figures"]["slo_minutes_cut_mean"] is None, "too little trouble to be compared"
    assert (result["setting"]["step_minutes"], result["setting"]["peak_workers"]) == (30, 9)
    assert chart.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("minutes", "days", "says"),
    [
        (1440, 30, "most rows lie 1440 minutes apart; expected a step of whole minutes"),
        (30, 5, "no series has 9 days with requests; expected 8 to learn from"),
    ],
)
def test_a_file_that_says_nothing_about_servers_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], minutes: int, days: int, says: str
) -> None:
    """In one line with the file's name and what was expected; nothing is written."""
    source, told = request_file(tmp_path / "web.csv", minutes=minutes, days=days), tmp_path / "r.json"
    assert main(["replay-servers", str(source), "--json", str(told)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{source}: {says}" in error
    assert not told.exists()


def test_an_output_is_checked_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The input is never written over, a picture is a .png file, a missing file is named."""
    source = request_file(tmp_path / "web.csv")
    assert main(["replay-servers", str(source), "--json", str(source)]) == 2
    assert main(["replay-servers", str(source), "--chart", str(tmp_path / "r.svg")]) == 2
    assert main(["replay-servers", str(tmp_path / "absent.csv")]) == 2
    told = capsys.readouterr().err
    assert "is the input" in told
    assert "a chart is a .png file" in told
    assert "no such file" in told
