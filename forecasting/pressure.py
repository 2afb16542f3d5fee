"""Pressure read, measured and forecast: between the read models and the pure server decisions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import Engine

from booking_core.read.demand import daily_total
from booking_core.read.forecasts import ForecastRun, pressure_forecast
from booking_core.read.pressure import pressure_quarters
from booking_core.settings import BankSettings
from forecasting.decisions.guardrails import Veto, stale
from forecasting.decisions.plan import server_plan
from forecasting.decisions.policy import Policy
from forecasting.decisions.servers import (
    PressureModel,
    Quarter,
    QuarterPressure,
    forecast_pressure,
    measure_pressure,
    server_needs,
)
from forecasting.frames import SamplePaths
from forecasting.models.calendar import day_types

QUARTER_HOUR: Final = timedelta(minutes=15)
WORKDAY: Final = "workday"
DAY_OFF: Final = "day_off"


def quarter_start(moment: datetime) -> datetime:
    """The start (aware UTC) of the quarter-hour that contains the moment."""
    moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def measure(engine: Engine, settings: BankSettings, policy: Policy, period: date) -> PressureModel:
    """The pressure model of the `pressure_weeks` weeks up to the period, that day included."""
    first = period - timedelta(weeks=policy.pressure_weeks) + timedelta(days=1)
    rows = pressure_quarters(
        engine, since=_midnight(first, settings), until=_midnight(period + timedelta(days=1), settings)
    )
    local = rows["starts_utc"].dt.tz_convert(settings.zone)
    quarters = rows.assign(day=local.dt.date, quarter=local.dt.hour * 4 + local.dt.minute // 15)
    kinds = _kinds(first, period, settings)
    quarters["day_type"] = quarters["day"].map(kinds).astype("str")
    total = daily_total(engine, since=first, until=period)
    demand = {day.date(): float(y) for day, y in zip(total["ds"], total["y"], strict=True)}
    return measure_pressure(quarters, demand, policy)


def forecast(
    engine: Engine,
    model: PressureModel,
    *,
    total: SamplePaths,
    settings: BankSettings,
    policy: Policy,
    period: date,
) -> list[QuarterPressure]:
    """The pressure of every quarter-hour from the period's day on, for `plan_days` days after it.

    total: sample paths of the whole bank's demand, from the day after the period at the latest.
    """
    known_days = daily_total(engine, since=period - timedelta(days=policy.max_lead_days), until=period)
    known = {day.date(): float(y) for day, y in zip(known_days["ds"], known_days["y"], strict=True)}
    quarters = _quarters(period, period + timedelta(days=policy.plan_days), settings)
    return forecast_pressure(
        model, quarters, total=total, known=known, quarter_seconds=settings.quarter_seconds
    )


def summed(paths: Mapping[str, tuple[date, npt.NDArray[np.float32]]]) -> SamplePaths | None:
    """Sample paths of the bank: path k of every branch added up, on the days that all cover; or None."""
    if not paths:
        return None
    first = max(start for start, _ in paths.values())
    last = min(start + timedelta(days=values.shape[1] - 1) for start, values in paths.values())
    if last < first:
        return None
    days = (last - first).days + 1
    fewest = min(len(values) for _, values in paths.values())
    total = np.zeros((fewest, days))
    for start, values in paths.values():
        skip = (first - start).days
        total += values[:fewest, skip : skip + days]
    return SamplePaths(first, total)


def plan_servers(
    engine: Engine, run: ForecastRun | None, policy: Policy, *, plan_id: str, quarter: datetime, today: date
) -> dict[str, Any]:
    """The body of the quarter-hour's server plan, from the run; keep where it is missing or stale.

    today: the bank-local business day of the quarter-hour.
    """
    rows = pressure_forecast(engine, since=quarter, until=quarter + timedelta(hours=policy.server_hours))
    veto: Veto | None = Veto.NO_FORECAST
    inputs: dict[str, Any] = {}
    needs = []
    if run is not None and len(rows):
        verdict = stale((today - run.period).days, policy)
        veto = None if verdict.fit else Veto.STALE
        inputs = {"condition": verdict.condition} if verdict.condition else dict(run.parameters)
        quarters = [
            QuarterPressure(
                row["starts_utc"].to_pydatetime(), row["mean_rps"], row["q50_rps"], row["q90_rps"]
            )
            for row in rows.to_dict("records")
        ]
        needs = server_needs(quarters, float(run.parameters["cost_seconds"]), policy)
    return server_plan(
        plan_id=plan_id,
        quarter=quarter,
        run_id=None if run is None else run.run_id,
        needs=needs,
        inputs=inputs,
        veto=veto,
        policy=policy,
    )


def _quarters(first: date, last: date, settings: BankSettings) -> list[Quarter]:
    """The quarter-hours of the bank-local days first..last; a day of clock change has 92 or 100."""
    starts = pd.date_range(
        _midnight(first, settings),
        _midnight(last + timedelta(days=1), settings),
        freq="15min",
        inclusive="left",
    )
    kinds = _kinds(first, last, settings)
    quarters = []
    for start in starts:
        local = start.tz_convert(settings.zone)
        day = local.date()
        quarters.append(Quarter(start.to_pydatetime(), day, local.hour * 4 + local.minute // 15, kinds[day]))
    return quarters


def _kinds(first: date, last: date, settings: BankSettings) -> dict[date, str]:
    """The day type of each day, by the country's calendar."""
    days = pd.date_range(first, last, freq="D")
    works = day_types(days, settings.country)["works"]
    return {day.date(): WORKDAY if w else DAY_OFF for day, w in zip(days, works, strict=True)}


def _midnight(day: date, settings: BankSettings) -> datetime:
    """The start of the bank-local day, aware UTC."""
    return datetime.combine(day, time(), settings.tzinfo()).astimezone(UTC)
