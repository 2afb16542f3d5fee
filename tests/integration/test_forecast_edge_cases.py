"""`python -m forecasting forecast` on files as they come: odd clocks, counts and names, very many ids."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting.__main__ import main
from forecasting.file_tasks import ONE_THREAD, in_batches

QUANTILES = ["q0.1", "q0.25", "q0.5", "q0.75", "q0.9"]


def forecast(
    folder: Path, table: pd.DataFrame, *more: object, horizon: int = 7, freq: str = "D"
) -> pd.DataFrame:
    """What the command makes of the table; asserts that it went well and gave every id its steps."""
    table.to_csv(folder / "in.csv", index=False)
    words = ["forecast", "--input", folder / "in.csv", "--output", folder / "out.csv", "--freq", freq]
    assert main([str(word) for word in [*words, "--horizon", horizon, *more]]) == 0
    out = pd.read_csv(folder / "out.csv", dtype={"unique_id": str}, parse_dates=["ds"])
    assert (out.groupby("unique_id")["ds"].count() == horizon).all()
    assert out["unique_id"].nunique() == table["unique_id"].nunique()
    numbers = out[["mean", *QUANTILES]].to_numpy()
    assert np.isfinite(numbers).all()
    assert (numbers >= 0).all()
    assert (np.diff(out[QUANTILES].to_numpy(), axis=1) >= 0).all()
    return out


def days(name: str, y: object, *, first: str = "2023-01-02", count: int | None = None) -> pd.DataFrame:
    values = np.asarray(y, dtype=float)
    index = pd.date_range(first, periods=count or len(values), freq="D").strftime("%Y-%m-%d")
    return pd.DataFrame({"unique_id": name, "ds": index, "y": values})


def poisson(level: float, count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).poisson(level, count).astype(float)


def clock_hours(days: int = 40) -> pd.DataFrame:
    """Counts by the hour of a naive clock: a 23-hour day in spring, a 25-hour day would repeat an hour."""
    index = pd.date_range("2024-03-01", periods=24 * days, freq="h")
    level = np.where((index.hour >= 8) & (index.hour < 18), 20.0, 1.0)
    y = np.random.default_rng(1).poisson(level)
    return pd.DataFrame({"unique_id": "counter", "ds": index.strftime("%Y-%m-%d %H:%M"), "y": y})


def test_the_hour_that_spring_skips_is_unknown_and_fine(tmp_path: Path) -> None:
    """A 23-hour day: the forecast is that of ordinary days, in steps of one hour on a clock of 24."""
    hours = clock_hours()
    out = forecast(tmp_path, hours[hours["ds"] != "2024-03-31 02:00"], horizon=30, freq="h")
    assert out["ds"].diff().dropna().eq(pd.Timedelta(hours=1)).all()
    peak = out[out["ds"].dt.hour == 10]["q0.5"]
    assert (peak > 12).all()


def test_the_hour_that_autumn_repeats_is_an_error_that_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A 25-hour day in naive time has one hour twice: add the two up. Summed up, the file is taken."""
    hours = clock_hours()
    twice = hours[hours["ds"] == "2024-03-31 02:00"]
    table = pd.concat([hours, twice]).sort_values("ds", kind="stable")
    table.to_csv(tmp_path / "in.csv", index=False)
    words = ["forecast", "--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv", "--freq", "h"]
    assert main([str(word) for word in [*words, "--horizon", 5]]) == 2
    told = capsys.readouterr().err
    assert "repeats line 724" in told
    assert "add up the hour that the clocks go through twice in autumn" in told
    forecast(tmp_path, table.groupby(["unique_id", "ds"], as_index=False).sum(), horizon=5, freq="h")


def test_odd_counts_keep_their_size(tmp_path: Path) -> None:
    """Constant, all zero, huge, below one, near nothing at all: each on its own scale."""
    weekly = np.tile([5.0, 4, 4, 4, 6, 2, 1], 26)
    noise = np.random.default_rng(1).uniform(0.9, 1.1, len(weekly))
    table = pd.concat(
        [
            days("constant", np.full(182, 7.0)),
            days("zero", np.zeros(182)),
            days("huge", 1e12 * weekly * noise),
            days("small", 0.01 * weekly * noise),
            days("rare", (poisson(0.05, 182) > 0).astype(float)),
        ]
    )
    out = forecast(tmp_path, table).set_index("unique_id")
    assert (out.loc["constant", ["q0.1", "q0.9"]] == 7.0).all(axis=None)
    assert (out.loc["zero", ["mean", "q0.9"]] == 0.0).all(axis=None)
    for name, unit in (("huge", 1e12), ("small", 0.01)):
        middle = out.loc[name, "q0.5"].to_numpy() / unit
        expected = np.array([5.0, 4, 4, 4, 6, 2, 1])
        np.testing.assert_allclose(middle, expected, rtol=0.4)
        assert (out.loc[name, "q0.9"] - out.loc[name, "q0.1"] < 2.0 * out.loc[name, "q0.5"]).all()
    assert (out.loc["rare", "q0.5"] == 0.0).all()


def test_short_and_broken_off_series_beside_good_ones(tmp_path: Path) -> None:
    """One row, three rows, nothing known, an end long unknown: all answered after their own last ds."""
    tail = poisson(30, 200)
    tail[-60:] = np.nan
    table = pd.concat(
        [
            days("one row", [4.0]),
            days("three\trows", [4.0, 5.0, 6.0]),
            days("unknown", np.full(90, np.nan)),
            days("broken off", tail),
            *[days(f"good {number}", poisson(30, 200, number)) for number in range(3)],
        ]
    )
    out = forecast(tmp_path, table).set_index("unique_id")
    last = table.groupby("unique_id")["ds"].max()
    for name, end in last.items():
        assert out.loc[name, "ds"].iloc[0] == pd.Timestamp(end) + pd.Timedelta(days=1)
    assert out.loc["broken off", "q0.5"].between(20, 40).all()
    assert out.loc["three\trows", "q0.5"].between(1, 15).all()


def test_a_horizon_longer_than_the_history(tmp_path: Path) -> None:
    """Sixty days on from thirty: still the level of the history."""
    out = forecast(tmp_path, days("a", poisson(30, 30)), horizon=60)
    assert out["q0.5"].between(20, 40).all()


def test_pictures_and_explanations_of_ids_with_any_letters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One picture and one explanation an id; a folder that is not there is made."""
    names = ["浦东 支行", "a/b", "A", "a", "zero"]
    table = pd.concat(
        [days(name, poisson(0 if name == "zero" else 30, 60, seed)) for seed, name in enumerate(names)]
    )
    names.append("unknown")
    table = pd.concat([table, days("unknown", np.full(30, np.nan))])
    folder, reasons = tmp_path / "deep" / "plots", tmp_path / "why.parquet"
    out = forecast(tmp_path, table, "--plot", folder, "--explain", reasons, "--quantiles", ",".join(
        name.removeprefix("q") for name in QUANTILES))  # fmt: skip
    pictures = sorted(path.name for path in folder.iterdir())
    assert len({name.casefold() for name in pictures}) == len(names)
    assert all(name.endswith(".png") for name in pictures)
    told = pd.read_parquet(reasons)
    assert set(told["unique_id"]) == set(names)
    finals = told[told["part"] == "forecast"].sort_values(["unique_id", "ds"])
    np.testing.assert_allclose(
        finals["units"], out.sort_values(["unique_id", "ds"])["q0.5"], rtol=1e-6, atol=1e-9
    )
    assert "Glyph" not in capsys.readouterr().err


def test_explain_prints_days_for_an_hourly_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`-` prints a short table: whole days, the parts that do anything, each model with its weight."""
    forecast(tmp_path, clock_hours(), "--explain", "-", horizon=48, freq="h")
    told = capsys.readouterr().out
    assert "counter, days: units, parts as factors" in told
    assert "usual_day" in told
    assert "Wed 2024-04-10" in told


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--plot", "in.csv", "is no folder and cannot be made one"),
        ("--explain", "absent/why.csv", "its folder does not exist"),
        ("--explain", "why.txt", "expected .csv, .csv.gz, .parquet"),
        ("--explain", "in.csv", "is the input"),
        ("--explain", "out.csv", "is the output, too"),
    ],
)
def test_a_bad_place_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    option: str, value: str, told: str,
) -> None:  # fmt: skip
    """Exit 2, one line, nothing written."""
    monkeypatch.chdir(tmp_path)
    days("a", poisson(30, 20)).to_csv("in.csv", index=False)
    words = ["forecast", "--input", "in.csv", "--output", "out.csv", "--horizon", "5", option, value]
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert not Path("out.csv").exists()


def _threads(histories: dict[str, pd.DataFrame]) -> dict[str, str]:
    return {name: ",".join(os.environ.get(one, "") for one in ONE_THREAD) for name in histories}


def test_worker_processes_keep_to_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numeric libraries' threads are off in the pool's children only; the parent's setting comes back."""
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    table = pd.concat([days(f"s{number:02d}", [1.0]) for number in range(14)])
    assert set(in_batches(table, _threads, "threads").values()) == {"1,1,1"}
    assert not any(name in os.environ for name in ONE_THREAD)


def test_two_thousand_tiny_ids_in_time(tmp_path: Path) -> None:
    """2,000 ids of 20 days: 0.02 s of one core each, far below the 20 s + 4 s a series that is allowed."""
    table = pd.concat([days(f"s{number:04d}", poisson(3, 20, number)) for number in range(2_000)])
    started = time.monotonic()
    forecast(tmp_path, table)
    assert time.monotonic() - started < (20 + 4 * 2_000) / 20
