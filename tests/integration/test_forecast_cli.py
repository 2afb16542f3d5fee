"""`python -m forecasting forecast | backtest` from file to file, as a user runs it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting.__main__ import main


def daily(
    name: str, periods: int, *, first: str = "2023-01-02", scale: float = 30.0, seed: int = 1
) -> pd.DataFrame:
    index = pd.date_range(first, periods=periods, freq="D")
    level = np.where(index.weekday >= 5, 0.4, 1.0) * scale
    y = np.random.default_rng(seed).poisson(level)
    return pd.DataFrame({"unique_id": name, "ds": index.strftime("%Y-%m-%d"), "y": y})


def run(*arguments: object) -> int:
    """The exit code of the command, in this process."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse's way out
        return int(str(stop.code))


def test_every_id_is_answered_after_its_own_last_day(tmp_path: Path) -> None:
    """Odd series beside ordinary ones: each gets its steps, quantiles ascend, ids keep their text."""
    gapped = daily("007", 200).drop(index=range(50, 90))
    odd = [
        gapped.sample(frac=1.0, random_state=1),
        daily("分行,一", 150, scale=1e7),
        daily("constant", 120).assign(y=5),
        daily("zero", 120).assign(y=0),
        daily("one", 1, first="2023-06-01"),
        daily("unknown", 30).assign(y=""),
    ]
    pd.concat(odd).to_csv(tmp_path / "in.csv", index=False)
    code = run(
        "forecast", "--input", tmp_path / "in.csv", "--horizon", 9, "--country", "US",
        "--quantiles", "0.95,0.05,0.5", "--output", tmp_path / "out.csv",
    )  # fmt: skip
    assert code == 0
    out = pd.read_csv(tmp_path / "out.csv", dtype={"unique_id": str}, parse_dates=["ds"])
    assert list(out.columns) == ["unique_id", "ds", "mean", "q0.05", "q0.5", "q0.95"]
    for series in odd:
        name, last = series["unique_id"].iloc[0], pd.Timestamp(series["ds"].max())
        found = out[out["unique_id"] == name]
        assert found["ds"].tolist() == list(pd.date_range(last, periods=10, freq="D")[1:])
    assert out.notna().all().all()
    assert (out["q0.05"] >= 0).all()
    assert (out["q0.05"] <= out["q0.5"]).all()
    assert (out["q0.5"] <= out["q0.95"]).all()
    assert (out.loc[out["unique_id"] == "zero", "q0.95"] == 0).all()
    assert (out.loc[out["unique_id"] == "constant", ["q0.05", "q0.95"]] == 5).all(axis=None)
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("007,2023-07-21,")


def test_the_same_call_writes_the_same_bytes_in_time(tmp_path: Path) -> None:
    """Six series through worker processes, twice: equal files, within 20 s and 4 s a series."""
    pd.concat([daily(f"s{number}", 220, seed=number) for number in range(6)]).to_csv(
        tmp_path / "in.csv", index=False
    )
    outputs = []
    for turn in ("a", "b"):
        output = tmp_path / f"{turn}.csv.gz"
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "forecasting", "forecast", "--input", str(tmp_path / "in.csv"),
             "--horizon", "14", "--freq", "D", "--country", "none", "--output", str(output)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - started < 20 + 4 * 6
        assert "6/6" in done.stderr
        assert "cmdstanpy" not in done.stderr
        assert "6 series, 14 steps each" in done.stdout
        outputs.append(output.read_bytes())
    assert outputs[0] == outputs[1]
    assert len(gzip.decompress(outputs[0]).splitlines()) == 1 + 6 * 14


@pytest.mark.parametrize("freq", ["h", "30min"])
def test_fine_grains_know_the_shape_of_the_day(tmp_path: Path, freq: str) -> None:
    """Closed nights stay 0 and days keep their peak, from an odd last hour on; Parquet in and out."""
    index = pd.date_range("2024-01-01", "2024-04-20 13:00", freq=freq)
    level = np.where((index.hour >= 8) & (index.hour < 18), 20.0 + 20.0 * (index.hour == 10), 0.0)
    table = pd.DataFrame({"unique_id": "counter", "ds": index, "y": np.random.default_rng(1).poisson(level)})
    table.to_parquet(tmp_path / "in.parquet")
    steps = 48 if freq == "h" else 96
    code = run(
        "forecast",
        "--input",
        tmp_path / "in.parquet",
        "--horizon",
        steps,
        "--freq",
        freq,
        "--output",
        tmp_path / "out.parquet",
    )
    assert code == 0
    out = pd.read_parquet(tmp_path / "out.parquet")
    assert out["ds"].tolist() == list(pd.date_range(index[-1], periods=steps + 1, freq=freq)[1:])
    night = (out["ds"].dt.hour < 8) | (out["ds"].dt.hour >= 18)
    assert (out.loc[night, "q0.9"] == 0).all()
    assert (
        out.loc[out["ds"].dt.hour == 10, "q0.5"].min() > 1.4 * out.loc[out["ds"].dt.hour == 15, "q0.5"].max()
    )


def test_a_bad_file_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File, line, column and expectation in one line on stderr; nothing is written."""
    (tmp_path / "in.csv").write_text("unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,oops\n")
    code = run("forecast", "--input", tmp_path / "in.csv", "--horizon", 5, "--output", tmp_path / "out.csv")
    told = capsys.readouterr().err
    assert code == 2
    assert told.count("\n") == 1
    assert f"{tmp_path}/in.csv: line 3, column y: 'oops' is no number; expected" in told
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"--freq": "W"}, "choose from"),
        ({"--horizon": "0"}, "expected a whole number, 1 or more"),
        ({"--horizon": "many"}, "expected a whole number, 1 or more"),
        ({"--horizon": "999999999"}, "expected at most 20000 steps"),
        ({"--seed": "-1"}, "expected a whole number, 0 or more"),
        ({"--output": "./in.csv"}, "is the input; expected another file"),
        ({"--country": "XX"}, "country 'XX' is unknown; expected an ISO 3166 code"),
        ({"--quantiles": "0.5,1"}, "expected levels between 0 and 1"),
        ({"--quantiles": "high"}, "expected numbers such as 0.1,0.25"),
        ({"--input": "absent.csv"}, "absent.csv: no such file"),
        ({"--output": "out.xlsx"}, "expected .csv, .csv.gz, .parquet"),
        ({"--output": "absent/out.csv"}, "its folder does not exist"),
    ],
)
def test_a_bad_argument_is_told_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    changed: dict[str, str], told: str,
) -> None:  # fmt: skip
    """What is wrong and what was expected; no trace."""
    monkeypatch.chdir(tmp_path)
    daily("a", 20).to_csv("in.csv", index=False)
    arguments = {"--input": "in.csv", "--horizon": "5", "--output": "out.csv"} | changed
    assert run("forecast", *[word for pair in arguments.items() for word in pair]) == 2
    assert told in capsys.readouterr().err


def test_backtest_ranks_the_models_on_the_same_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has every model and the champion; the JSON has its figures and their setting."""
    pd.concat([daily("a", 260), daily("b", 200, scale=80.0)]).to_csv(tmp_path / "in.csv", index=False)
    code = run(
        "backtest", "--input", tmp_path / "in.csv", "--horizon", 14, "--json", tmp_path / "figures.json",
        "--output", tmp_path / "scores.csv",
    )  # fmt: skip
    assert code == 0
    printed = capsys.readouterr().out
    for model in ("daytype", "prophet", "weeks8", "seasonal_naive", "champion"):
        assert model in printed
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["setting"] == {
        "input": "in.csv", "series": 2, "horizon": 14, "freq": "D", "country": "none", "folds": 2, "seed": 1,
    }  # fmt: skip
    figures = report["figures"]
    assert 0 < figures["wql_champion"] < figures["wql_seasonal_naive"]
    assert 0.5 < figures["coverage80_champion"] <= 1
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert len(scores) == 2 * 2 * 5


def test_days_marked_censored_lift_the_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Capped at 30 on its busiest days, marked or not: the marks lift the upper quantile, and are told."""
    table = daily("a", 300).assign(censored=lambda t: (t["y"] > 30).astype(int))
    table["y"] = table["y"].clip(upper=30)
    sums = {}
    for name, written in {"marked": table, "ignored": table.drop(columns="censored")}.items():
        written.to_csv(tmp_path / "in.csv", index=False)
        out = tmp_path / f"{name}.csv"
        assert run("forecast", "--input", tmp_path / "in.csv", "--horizon", 14, "--output", out) == 0
        sums[name] = pd.read_csv(out)["q0.9"].sum()
        assert ("at least" in capsys.readouterr().out) == (name == "marked")
    assert sums["marked"] > 1.05 * sums["ignored"]


def test_a_backtest_without_enough_history_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Series that are all too short are an error with what was expected."""
    daily("a", 20).to_csv(tmp_path / "in.csv", index=False)
    assert run("backtest", "--input", tmp_path / "in.csv") == 2
    assert "expected two weeks before the last 28 steps" in capsys.readouterr().err


def test_a_backtest_report_without_a_folder_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unwritable --json is bad input, not a failure after minutes."""
    daily("a", 20).to_csv(tmp_path / "in.csv", index=False)
    absent = tmp_path / "absent" / "figures.json"
    assert run("backtest", "--input", tmp_path / "in.csv", "--json", absent) == 2
    assert "its folder does not exist" in capsys.readouterr().err
