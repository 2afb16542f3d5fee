"""`python -m forecasting replay`: a file in; table, JSON, rows and picture out; bad files told in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting.__main__ import main


def demand_file(path: Path, *, weeks: int = 58, series: int = 2) -> Path:
    """A file of daily demand with a weekday profile."""
    rng = np.random.default_rng(7)
    days = pd.date_range("2023-01-02", periods=weeks * 7, freq="D")
    profile = np.tile([60, 45, 40, 35, 50, 20, 0], weeks)
    tables = [
        pd.DataFrame({"unique_id": f"b{n}", "ds": days, "y": rng.poisson(profile)}) for n in range(series)
    ]
    pd.concat(tables).to_csv(path, index=False)
    return path


def test_a_file_is_replayed_and_told_in_every_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table, JSON, rows and picture agree on what was replayed."""
    source = demand_file(tmp_path / "demand.csv")
    told, chart, rows = (tmp_path / name for name in ("r.json", "r.png", "r.csv"))
    outputs = ["--json", str(told), "--chart", str(chart), "--output", str(rows)]
    assert main(["replay", "--input", str(source), "--weeks", "4", *outputs]) == 0
    printed = capsys.readouterr().out
    assert "2 series, 4 weeks from 2024-01-15" in printed
    for policy in ("static", "last_week", "weekday_mean", "slotcast", "foresight", "weekday_quantile"):
        assert policy in printed
    figures = json.loads(told.read_text())["figures"]
    assert figures["gap_closed_static"] == 0
    assert figures["gap_closed_slotcast"] > 0.5
    assert chart.read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(rows)
    assert len(table) == 2 * 28
    refused = np.maximum(table["y"] - table["slotcast_same_total"], 0).sum() / table["y"].sum()
    assert refused == pytest.approx(figures["refused_same_total_slotcast"], abs=1e-4)


def test_a_short_file_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A year is not enough, and the line says what is."""
    source = demand_file(tmp_path / "short.csv", weeks=50)
    assert main(["replay", "--input", str(source)]) == 2
    assert "expected 52 to learn from and 4 to replay" in capsys.readouterr().err


def test_the_input_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An output that is the input is refused, and the input stays."""
    source = demand_file(tmp_path / "demand.csv")
    before = source.read_bytes()
    assert main(["replay", "--input", str(source), "--output", str(source)]) == 2
    assert source.read_bytes() == before
    assert "is the input" in capsys.readouterr().err


def test_what_cannot_be_replayed_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too few weeks asked for, and weeks without any demand, are one line each."""
    source = demand_file(tmp_path / "demand.csv")
    with pytest.raises(SystemExit):
        main(["replay", "--input", str(source), "--weeks", "3"])
    assert "expected 4 weeks or more" in capsys.readouterr().err
    table = pd.read_csv(source)
    table.loc[table["ds"] >= "2024-01-15", "y"] = 0
    table.to_csv(source, index=False)
    assert main(["replay", "--input", str(source), "--weeks", "4"]) == 2
    assert "no demand in the 4 weeks from 2024-01-15" in capsys.readouterr().err
