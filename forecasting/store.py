"""The only writer of the forecast_* and score_* tables. Writing what stands already changes nothing.

Also home of the one read that no read model has: the proposals that wait for their guardrails.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine, Table, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from booking_core import tables_forecast as tf
from booking_core.database import database_url, make_engine, write_transaction
from booking_core.read.artifacts import NEWEST_FORMAT
from forecasting.decisions.score import DriftScore, ForecastScore, PlanScore, PlanTotal, ServerScore
from forecasting.decisions.servers import QuarterPressure
from forecasting.frames import (
    LOAD_QUANTILES,
    MEAN,
    QUANTILES,
    TIME,
    Floats,
    SamplePaths,
    quantile_column,
    rps_column,
)

TRAINING: Final = "training"
READY: Final = "ready"
VETOED: Final = "vetoed"

_CHUNK: Final = 500
"""Rows of one INSERT: SQLite allows 32,766 bound values."""
_QUANTILE_COLUMNS: Final = {f"q{round(level * 100)}": quantile_column(level) for level in QUANTILES}


def open_engine() -> Engine:
    """The engine of SLOTCAST_DATABASE_URL, one for each URL and process."""
    return _engine_of(database_url())


@lru_cache(maxsize=4)
def _engine_of(url: str) -> Engine:
    return make_engine(url)


def start_run(
    engine: Engine,
    *,
    run_id: str,
    kind: str,
    period: date,
    trained_utc: datetime,
    span: tuple[date, date] | None,
    parameters: Mapping[str, Any],
    libraries: Mapping[str, str],
) -> None:
    """Record that the run has begun (status training); one that stands already is left as it is."""
    row = {
        "run_id": run_id,
        "kind": kind,
        "period": period,
        "status": TRAINING,
        "trained_utc": trained_utc,
        "span_from": span[0] if span else None,
        "span_to": span[1] if span else None,
        "parameters": dict(parameters),
        "libraries": dict(libraries),
    }
    with write_transaction(engine) as connection:
        _insert_missing(connection, tf.forecast_runs, [row])


def save_series(
    engine: Engine,
    *,
    run_id: str,
    branch_id: str,
    choice: Mapping[str, Any],
    quantiles: pd.DataFrame | None,
    paths: SamplePaths | None,
    details: Mapping[str, Any] | None = None,
    parts: Mapping[str, Floats] | None = None,
) -> None:
    """Keep one branch's forecast: the choice, its daily quantiles and its sample paths (None: no forecast).

    choice: champion, why, wql_champion, wql_weeks8, coverage80, observations. quantiles: `ds`, `mean`,
    `q0.1` to `q0.9`. details, JSON-able: weights, scores of each candidate, group, calibration, explanation.
    parts: the forecast and its models one by one, quantiles (MODEL_LEVELS, days) of the paths' days.
    """
    key = {"run_id": run_id, "branch_id": branch_id}
    kept = {"details": None if details is None else dict(details)}
    with write_transaction(engine) as connection:
        _insert_missing(connection, tf.forecast_series, [key | dict(choice) | kept])
        if quantiles is not None:
            days = [
                key
                | {"day": row[TIME].date(), "model": choice["champion"], "mean": float(row[MEAN])}
                | {column: float(row[name]) for column, name in _QUANTILE_COLUMNS.items()}
                for row in quantiles.to_dict("records")
            ]
            _insert_missing(connection, tf.forecast_values, days)
        if paths is not None:
            values = np.ascontiguousarray(paths.values, dtype=np.float32)
            packed = {
                "first_day": paths.first_day,
                "days": values.shape[1],
                "paths": values.shape[0],
                "data": zlib.compress(values.tobytes()),
            }
            _insert_missing(connection, tf.forecast_paths, [key | packed])
        if paths is not None and parts:
            rows = [
                key
                | {"part": part, "first_day": paths.first_day, "days": levels.shape[1]}
                | {"data": zlib.compress(np.ascontiguousarray(levels, dtype=np.float32).tobytes())}
                for part, levels in parts.items()
            ]
            _insert_missing(connection, tf.forecast_parts, rows)


def save_pressure(engine: Engine, run_id: str, quarters: Sequence[QuarterPressure]) -> None:
    """Keep the pressure forecast of a run."""
    names = [rps_column(level) for level in LOAD_QUANTILES]
    rows = [
        {"run_id": run_id, "starts_utc": quarter.starts_utc, "mean_rps": quarter.mean_rps}
        | dict(zip(names, quarter.quantiles_rps, strict=True))
        for quarter in quarters
    ]
    with write_transaction(engine) as connection:
        _insert_missing(connection, tf.forecast_pressure, rows)


def finish_run(
    engine: Engine, run_id: str, *, status: str, verdict: str | None, scores: Mapping[str, Any]
) -> None:
    """Close a run that is in training as ready or vetoed; a closed run stays as it was closed."""
    r = tf.forecast_runs.c
    statement = (
        update(tf.forecast_runs)
        .where(r.run_id == run_id, r.status == TRAINING)
        .values(status=status, verdict=verdict, scores=dict(scores))
    )
    with write_transaction(engine) as connection:
        connection.execute(statement)


def save_proposal(
    engine: Engine,
    *,
    period: str,
    kind: str,
    region: str,
    run_id: str,
    created_utc: datetime,
    body: Any,
    replacing: str | None = None,
) -> None:
    """Keep what the forecast asks for, before guardrails; a proposal that stands already stays.

    replacing: the run id of the one that gives way to this.
    """
    row = {
        "period": period,
        "kind": kind,
        "region_id": region,
        "run_id": run_id,
        "created_utc": created_utc,
        "body": body,
    }
    p = tf.forecast_proposals.c
    with write_transaction(engine) as connection:
        if replacing is not None:
            same = (p.period == period, p.kind == kind, p.region_id == region, p.run_id == replacing)
            connection.execute(delete(tf.forecast_proposals).where(*same))
        _insert_missing(connection, tf.forecast_proposals, [row])


def proposal(engine: Engine, *, period: str, kind: str, region: str) -> dict[str, Any] | None:
    """The body of the proposal of this period, kind and region; None where there is none."""
    p = tf.forecast_proposals.c
    statement = select(p.body).where(p.period == period, p.kind == kind, p.region_id == region)
    with engine.connect() as connection:
        body = connection.scalar(statement)
    return None if body is None else dict(body)


def keep_proposal(
    engine: Engine, *, period: str, kind: str, region: str, run_id: str, body: Any
) -> dict[str, Any]:
    """The body that is kept of this period, kind and region: this one, unless one stood already."""
    save_proposal(
        engine,
        period=period,
        kind=kind,
        region=region,
        run_id=run_id,
        created_utc=datetime.now(UTC),
        body=body,
    )
    kept = proposal(engine, period=period, kind=kind, region=region)
    return body if kept is None else kept


def save_scores(engine: Engine, forecasts: Sequence[ForecastScore], plans: Sequence[PlanScore]) -> None:
    """Keep scores; days scored before stay as they were scored."""
    with write_transaction(engine) as connection:
        _insert_missing(connection, tf.score_forecasts, [asdict(score) for score in forecasts])
        _insert_missing(connection, tf.score_plans, [asdict(score) for score in plans])


def save_totals(engine: Engine, plans: Sequence[PlanTotal], servers: Sequence[ServerScore]) -> None:
    """Keep the scores of whole plans and of days of servers; those scored before stay as they were."""
    with write_transaction(engine) as connection:
        _insert_missing(connection, tf.score_plan_totals, [asdict(score) for score in plans])
        _insert_missing(connection, tf.score_servers, [asdict(score) for score in servers])


def save_artifact(
    engine: Engine,
    *,
    artifact_id: str,
    kind: str,
    period: date,
    created_utc: datetime,
    span: tuple[date, date] | None,
    parameters: Mapping[str, Any],
    libraries: Mapping[str, str],
    scores: Mapping[str, Any] | None,
    data: bytes,
    payload_format: int = NEWEST_FORMAT,
) -> None:
    """Keep what a selection learned, stamped and with its sha256; one that stands already stays as it is.

    Read back by booking_core.read.artifacts. created_utc: aware wall time.
    """
    row = {
        "artifact_id": artifact_id,
        "kind": kind,
        "period": period,
        "created_utc": created_utc,
        "span_from": span[0] if span else None,
        "span_to": span[1] if span else None,
        "parameters": dict(parameters),
        "libraries": dict(libraries),
        "scores": None if scores is None else dict(scores),
        "format": payload_format,
        "sha256": hashlib.sha256(data).hexdigest(),
        "data": data,
    }
    with write_transaction(engine) as connection:
        _insert_missing(connection, tf.forecast_artifacts, [row])


def save_drift(engine: Engine, scores: Sequence[DriftScore]) -> None:
    """Keep how live forecasts kept their promise; what was judged before stays as it was judged."""
    with write_transaction(engine) as connection:
        _insert_missing(connection, tf.forecast_drift, [asdict(score) for score in scores])


def _insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose key is not there yet."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for start in range(0, len(rows), _CHUNK):
        chunk = [dict(row) for row in rows[start : start + _CHUNK]]
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), chunk)
