"""Forecasts as stored: runs, daily quantiles, sample paths and pressure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import Engine, func, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.sql import DAY, UTC_TIME, frame, in_region

_DAYS: Final = {"branch_id": "str", "day": DAY, "model": "str"} | dict.fromkeys(
    ("mean", "q10", "q25", "q50", "q75", "q90"), "float64"
)
FEW_BRANCHES: Final = 500
"""More are not named one by one in a query."""


@dataclass(frozen=True, slots=True)
class ForecastRun:
    """One row of forecast_runs."""

    run_id: str
    kind: str
    """demand | pressure"""
    period: date
    """Business day it was made on."""
    status: str
    """training | ready | vetoed"""
    verdict: str | None
    trained_utc: datetime
    """Wall time."""
    span_from: date | None
    span_to: date | None
    parameters: dict[str, Any]
    scores: dict[str, Any] | None
    libraries: dict[str, Any] | None


def latest_run(
    engine: Engine, kind: str, *, until_period: date | None = None, status: str | None = "ready"
) -> ForecastRun | None:
    """The newest run of the kind, by period then training time; None where there is none.

    until_period: only runs made on that day or before. status None: whatever became of it.
    """
    r = tf.forecast_runs.c
    statement = (
        select(tf.forecast_runs)
        .where(r.kind == kind)
        .where(*([] if status is None else [r.status == status]))
        .where(*([] if until_period is None else [r.period <= until_period]))
        .order_by(r.period.desc(), r.trained_utc.desc(), r.run_id.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else ForecastRun(**row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)


def runs_of(engine: Engine, kind: str, periods: Sequence[date]) -> dict[date, str]:
    """The ids of the ready runs of the kind, by period; of several of a period the last one trained."""
    r = tf.forecast_runs.c
    statement = (
        select(r.period, r.run_id)
        .where(r.kind == kind, r.status == "ready", r.period.in_(periods))
        .order_by(r.period, r.trained_utc, r.run_id)
    )
    with engine.connect() as connection:
        return dict(connection.execute(statement).tuples().all())


def forecast_days(engine: Engine, run_id: str, region: str | None = None) -> pd.DataFrame:
    """Daily demand quantiles of a run, by branch and day.

    [branch_id, day, model, mean, q10, q25, q50, q75, q90]
    """
    v = tf.forecast_values.c
    statement = (
        select(*(v[name] for name in _DAYS))
        .join(t.branches, t.branches.c.branch_id == v.branch_id)
        .where(v.run_id == run_id, *in_region(t.branches.c.region_id, region))
        .order_by(v.branch_id, v.day)
    )
    return frame(engine, statement, _DAYS)


def unscored_days(engine: Engine, run_id: str, *, until: date) -> pd.DataFrame:
    """The days of `forecast_days` after the run's period, up to `until`, that have no score yet."""
    v, s, r = tf.forecast_values.c, tf.score_forecasts.c, tf.forecast_runs.c
    scored = select(s.day).where(s.run_id == v.run_id, s.branch_id == v.branch_id, s.day == v.day)
    statement = (
        select(*(v[name] for name in _DAYS))
        .join(tf.forecast_runs, r.run_id == v.run_id)
        .where(v.run_id == run_id, v.day > r.period, v.day <= until, ~scored.exists())
        .order_by(v.branch_id, v.day)
    )
    return frame(engine, statement, _DAYS)


def series_choices(engine: Engine, run_id: str, region: str | None = None) -> pd.DataFrame:
    """The model chosen for each branch and why.

    [branch_id, champion, why, wql_champion, wql_weeks8, coverage80, observations]
    """
    s = tf.forecast_series.c
    dtypes = {
        "branch_id": "str",
        "champion": "str",
        "why": "str",
        "wql_champion": "float64",
        "wql_weeks8": "float64",
        "coverage80": "float64",
        "observations": "int64",
    }
    statement = (
        select(*(s[name] for name in dtypes))
        .join(t.branches, t.branches.c.branch_id == s.branch_id)
        .where(s.run_id == run_id, *in_region(t.branches.c.region_id, region))
        .order_by(s.branch_id)
    )
    return frame(engine, statement, dtypes)


def series_details(engine: Engine, run_id: str, region: str | None = None) -> dict[str, dict[str, Any]]:
    """How each branch's forecast came about, by branch id; branches of which nothing was kept are left out.

    As stored with the forecast: weights, scores of each candidate, group, calibration, explanation.
    """
    s = tf.forecast_series.c
    statement = (
        select(s.branch_id, s.details)
        .join(t.branches, t.branches.c.branch_id == s.branch_id)
        .where(s.run_id == run_id, s.details.is_not(None), *in_region(t.branches.c.region_id, region))
        .order_by(s.branch_id)
    )
    with engine.connect() as connection:
        return {row.branch_id: row.details for row in connection.execute(statement)}


def sample_paths(
    engine: Engine, run_id: str, region: str | None = None
) -> dict[str, tuple[date, npt.NDArray[np.float32]]]:
    """For each branch its first day and sample paths, float32 of shape (paths, days).

    Path k of every branch belongs together: sum over branches or days first, take quantiles after.
    """
    f = tf.forecast_paths.c
    statement = (
        select(f.branch_id, f.first_day, f.days, f.paths, f.data)
        .join(t.branches, t.branches.c.branch_id == f.branch_id)
        .where(f.run_id == run_id, *in_region(t.branches.c.region_id, region))
        .order_by(f.branch_id)
    )
    with engine.connect() as connection:
        rows = connection.execute(statement).all()
    return {row.branch_id: (row.first_day, _unpack(row.data, row.paths, row.days)) for row in rows}


def part_levels(
    engine: Engine, run_ids: Sequence[str], branch_ids: Sequence[str]
) -> dict[tuple[str, str], dict[str, tuple[date, npt.NDArray[np.float32]]]]:
    """What each model of the runs said, by run and branch: part → its first day and quantiles (levels, days).

    The levels are the models' own (forecasting.models.components.MODEL_LEVELS), ascending.
    """
    p = tf.forecast_parts.c
    wanted = set(branch_ids)
    statement = (
        select(p.run_id, p.branch_id, p.part, p.first_day, p.days, p.data)
        .where(p.run_id.in_(run_ids))
        .order_by(p.run_id, p.branch_id, p.part)
    )
    if len(wanted) <= FEW_BRANCHES:
        statement = statement.where(p.branch_id.in_(sorted(wanted)))
    found: dict[tuple[str, str], dict[str, tuple[date, npt.NDArray[np.float32]]]] = {}
    with engine.connect() as connection:
        for row in connection.execute(statement):
            if row.branch_id in wanted:
                levels = np.frombuffer(zlib.decompress(row.data), dtype=np.float32).reshape(-1, row.days)
                found.setdefault((row.run_id, row.branch_id), {})[row.part] = (row.first_day, levels)
    return found


def total_quantiles(
    engine: Engine, run_id: str, levels: tuple[float, ...] = (0.1, 0.5, 0.9), region: str | None = None
) -> pd.DataFrame:
    """[day, q10, q50, q90 …] of the demand of all branches together, by day.

    From the summed sample paths, never from summed quantiles. Only days that every branch covers.
    """
    names = [f"q{round(level * 100):02d}" for level in levels]
    paths = sample_paths(engine, run_id, region)
    empty = pd.DataFrame(
        {"day": pd.Series([], dtype=DAY)} | {n: pd.Series([], dtype="float64") for n in names}
    )
    if not paths:
        return empty
    first = max(start for start, _ in paths.values())
    last = min(np.datetime64(start) + values.shape[1] for start, values in paths.values())
    count = int((last - np.datetime64(first)).astype(int))
    if count <= 0:
        return empty
    total = np.sum([_cut(values, (first - start).days, count) for start, values in paths.values()], axis=0)
    quantiles = np.quantile(total, levels, axis=0)
    days = pd.Series(pd.date_range(first, periods=count)).astype(DAY)
    return pd.DataFrame({"day": days} | dict(zip(names, quantiles, strict=True)))


def pressure_forecast(engine: Engine, *, since: datetime, until: datetime) -> pd.DataFrame:
    """Forecast pressure by business quarter-hour, each from the newest ready run that covers it.

    [starts_utc, mean_rps, q10_rps, q25_rps, q50_rps, q75_rps, q90_rps, q95_rps, q975_rps, q99_rps, run_id];
    runs made before migration 0010 know only the mean, q50 and q90 (others NaN).
    """
    p, r = tf.forecast_pressure.c, tf.forecast_runs.c
    rates = [column.name for column in p if column.name.endswith("_rps")]
    dtypes = {"starts_utc": UTC_TIME} | dict.fromkeys(rates, "float64") | {"run_id": "str"}
    newest = (
        select(
            *(p[name] for name in dtypes),
            func.row_number()
            .over(
                partition_by=p.starts_utc, order_by=(r.period.desc(), r.trained_utc.desc(), r.run_id.desc())
            )
            .label("place"),
        )
        .join(tf.forecast_runs, r.run_id == p.run_id)
        .where(r.status == "ready", p.starts_utc >= since, p.starts_utc < until)
        .subquery()
    )
    statement = (
        select(*(newest.c[name] for name in dtypes)).where(newest.c.place == 1).order_by(newest.c.starts_utc)
    )
    return frame(engine, statement, dtypes)


def _unpack(data: bytes, paths: int, days: int) -> npt.NDArray[np.float32]:
    return np.frombuffer(zlib.decompress(data), dtype=np.float32).reshape(paths, days)


def _cut(values: npt.NDArray[np.float32], skip: int, count: int) -> npt.NDArray[np.float32]:
    return values[:, skip : skip + count]
