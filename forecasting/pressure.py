"""Pressure read, measured and forecast: between the read models and the pure server decisions.

The forecast of the coming weeks follows from demand, once a day. `updated_today` moves the rest of today by
the requests counted so far, every quarter-hour. docs/forecast-pressure.md tells both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import bank_settings
from booking_core.read.demand import daily_total
from booking_core.read.forecasts import ForecastRun, pressure_forecast
from booking_core.read.pressure import pressure_foreseen, pressure_quarters
from booking_core.settings import BankSettings
from forecasting.decisions.guardrails import Veto, distrusted, stale
from forecasting.decisions.plan import server_plan
from forecasting.decisions.policy import Policy
from forecasting.decisions.reliability import ForetoldStep, Reliability, judged_lately
from forecasting.decisions.server_needs import server_needs, worth_record
from forecasting.decisions.servers import (
    PressureModel,
    Quarter,
    QuarterPressure,
    forecast_pressure,
    measure_errors,
    measure_pressure,
)
from forecasting.frames import LOAD_QUANTILES, Floats, SamplePaths, rps_column
from forecasting.models.calendar import day_types
from forecasting.models.requests import RequestState, begin, factors, predict, update
from forecasting.models.steps import step_grid

QUARTER_HOUR: Final = timedelta(minutes=15)
QUARTER_MINUTES: Final = 15
RPS_COLUMNS: Final = [rps_column(level) for level in LOAD_QUANTILES]
JUDGED_LEVELS: Final = [LOAD_QUANTILES.index(level) for level in (0.1, 0.5, 0.9)]
LEARNED_DAYS: Final = 28
"""Days before today that the update learns persistence and errors on."""
_DAYS_AHEAD: Final = 2
_LEAST_SHARE: Final = 0.02
_LEAST_REQUESTS: Final = 16.0
"""The day's forecast stands until so much of it was to be expected: a share of the day, so many requests."""
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
    model = measure_pressure(quarters, demand, policy)
    foreseen = _foreseen(engine, first, period, model.requests_per_wish)
    past = quarters.merge(foreseen[["starts_utc", "foreseen"]], on="starts_utc")
    past["requests"] = past["rps"] * settings.quarter_seconds
    return replace(model, errors=measure_errors(past))


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


@dataclass(frozen=True, slots=True)
class TodayUpdate:
    """The rest of today as the requests counted so far say; empty where the day's forecast stands."""

    reliability: Reliability
    """How good the forecasts of the last quarter-hours were, as plans would have taken them."""
    quarters: list[QuarterPressure] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    """What a plan says about it: quarter-hours counted today, day level and surge, outages skipped."""


def updated_today(engine: Engine, run: ForecastRun, now: datetime, policy: Policy) -> TodayUpdate:
    """The pressure of today's quarter-hours from `now` (business time, aware) on, given what was counted.

    Learned on the last four weeks: what each day was foreseen to bring the day before, and what came; on the
    way each quarter-hour is held against what was foretold of it when the one before had ended. Only
    quarter-hours that are over by `now` count, so the answer is the same throughout a quarter-hour. One
    without a record is unknown, not empty; a collapse is an outage and is skipped. Empty before the day is
    under way, and where no earlier day was counted.
    """
    rule = policy.reliability_rule(QUARTER_MINUTES)
    settings = bank_settings(engine)
    now = quarter_start(now)
    today = settings.local_day(now)
    since = _midnight(today - timedelta(days=LEARNED_DAYS), settings)
    counted = pressure_quarters(engine, since=since, until=now)
    if counted.empty or (first := settings.local_day(counted["starts_utc"].iloc[0])) >= today:
        return TodayUpdate(Reliability(rule))
    last = today + timedelta(days=_DAYS_AHEAD)
    starts = _starts(first, last, settings)
    begins, seen, ends = (
        int(starts.searchsorted(pd.Timestamp(moment)))
        for moment in (_midnight(today, settings), now, _midnight(today + timedelta(days=1), settings))
    )
    rows = _foreseen(engine, first, last, float(run.parameters["requests_per_wish"]))
    foreseen = rows.set_index("starts_utc").reindex(starts)
    rps = counted.set_index("starts_utc")["rps"].reindex(starts[:seen]).to_numpy()
    local = starts.tz_convert(settings.zone).tz_localize(None).to_numpy()
    works = {day: kind == WORKDAY for day, kind in _kinds(first, last, settings).items()}
    grid = step_grid(local, QUARTER_MINUTES, works)
    moves = _under_way(foreseen["foreseen"].to_numpy(), grid.day) & (grid.day > grid.day[0])
    # a quarter-hour may last less on the wall (the demo): the model is told requests, and tells them
    state = begin(grid, foreseen["foreseen"].to_numpy())
    load = float(run.parameters["cost_seconds"]) / policy.full_utilisation / settings.quarter_seconds
    day_ahead = foreseen[RPS_COLUMNS].to_numpy() * foreseen["quarter_seconds"].to_numpy()[:, None]
    before, foretold = math.nan, list[ForetoldStep]()
    for step, requests in enumerate((rps * settings.quarter_seconds).tolist()):
        if not math.isnan(requests + before):
            told = _one_ahead(state) if moves[step] else day_ahead[step]
            q10, q50, q90 = (told[JUDGED_LEVELS] * load).tolist()
            foretold.append(ForetoldStep(requests * load, q10, q50, q90, before * load))
        update(state, requests)
        before = requests
    reliability = judged_lately(rule, foretold)
    if not moves[seen]:
        return TodayUpdate(reliability)
    pace = QUARTER_MINUTES * 60.0 / settings.quarter_seconds
    record = {
        "quarter_hours": int(np.isfinite(rps[begins:]).sum()),
        "day_level": round(factors(state, 1).day_level, 4),
        "surge": round(factors(state, 1).surge, 4),
        "outage_quarter_hours": sum(step >= begins for step in state.outages),
    }
    return TodayUpdate(reliability, _told(state, starts[seen:ends], pace), record)


def _under_way(expected: Floats, day: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """For each quarter-hour, whether its day is under way when it begins: enough was to be expected of it."""
    under_way = np.zeros(len(expected), dtype=bool)
    for number in np.unique(day):
        of_day = day == number
        requests = np.nan_to_num(expected[of_day])
        so_far = np.cumsum(requests) - requests
        under_way[of_day] = so_far >= max(_LEAST_REQUESTS, _LEAST_SHARE * float(requests.sum()))
    return under_way


def _one_ahead(state: RequestState) -> Floats:
    """The quantiles of the next quarter-hour's requests."""
    quantiles: Floats = predict(state, [1], LOAD_QUANTILES)[:, 0] * QUARTER_MINUTES * 60.0
    return quantiles


def _told(state: RequestState, starts: pd.DatetimeIndex, pace: float) -> list[QuarterPressure]:
    """The pressure that the state foretells for the quarter-hours that come next."""
    leads = range(1, len(starts) + 1)
    quantiles = predict(state, leads, LOAD_QUANTILES) * pace
    quarters = []
    for lead in leads:
        parts = factors(state, lead)
        mean = parts.shape_rps * parts.day_level * parts.surge * pace
        told = tuple(quantiles[:, lead - 1].tolist())
        quarters.append(QuarterPressure(starts[lead - 1].to_pydatetime(), mean, told))
    return quarters


def plan_servers(
    engine: Engine,
    run: ForecastRun | None,
    policy: Policy,
    *,
    plan_id: str,
    quarter: datetime,
    today: date,
    now: datetime,
) -> dict[str, Any]:
    """The body of the quarter-hour's server plan; keep where the run is missing, stale or distrusted.

    today: the bank-local business day of the quarter-hour. now: business time; what is left of its day
    follows the requests counted before it.
    """
    rows = pressure_forecast(engine, since=quarter, until=quarter + timedelta(hours=policy.server_hours))
    veto: Veto | None = Veto.NO_FORECAST
    inputs: dict[str, Any] = {}
    needs = []
    if run is not None and len(rows):
        verdict = stale((today - run.period).days, policy)
        if verdict.fit:
            moved = updated_today(engine, run, now, policy)
            verdict = distrusted(moved.reliability)
            inputs = dict(run.parameters) | {
                "worth": worth_record(policy),
                "reliability": moved.reliability.as_record(),
            }
            inputs |= {"today": moved.record} if moved.quarters else {}
            later = {each.starts_utc: each for each in moved.quarters}
            quarters = [later.get(each.starts_utc, each) for each in _stored(rows)]
            needs = server_needs(quarters, float(run.parameters["cost_seconds"]), policy)
        veto = None if verdict.reason is None else Veto(verdict.reason)
        inputs |= {"condition": verdict.condition} if verdict.condition else {}
    return server_plan(
        plan_id=plan_id,
        quarter=quarter,
        run_id=None if run is None else run.run_id,
        needs=needs,
        inputs=inputs,
        veto=veto,
        policy=policy,
    )


def _stored(rows: pd.DataFrame) -> list[QuarterPressure]:
    """The quarter-hours as stored."""
    return [
        QuarterPressure(starts.to_pydatetime(), float(mean), tuple(quantiles))
        for starts, mean, quantiles in zip(
            rows["starts_utc"], rows["mean_rps"], rows[RPS_COLUMNS].to_numpy().tolist(), strict=True
        )
    ]


def _quarters(first: date, last: date, settings: BankSettings) -> list[Quarter]:
    """The quarter-hours of the bank-local days first..last; a day of clock change has 92 or 100."""
    starts = _starts(first, last, settings)
    kinds = _kinds(first, last, settings)
    quarters = []
    for start in starts:
        local = start.tz_convert(settings.zone)
        day = local.date()
        quarters.append(Quarter(start.to_pydatetime(), day, local.hour * 4 + local.minute // 15, kinds[day]))
    return quarters


def _starts(first: date, last: date, settings: BankSettings) -> pd.DatetimeIndex:
    """When the quarter-hours of the bank-local days first..last begin, UTC."""
    begins, ends = (_midnight(day, settings) for day in (first, last + timedelta(days=1)))
    return pd.date_range(begins, ends, freq="15min", inclusive="left", unit="us")


def _foreseen(engine: Engine, first: date, last: date, requests_per_wish: float) -> pd.DataFrame:
    """What was forecast of each quarter-hour the day before, and `foreseen`: its requests (mean).

    The latter as today's requests per wish have it, so that a ratio corrected since then is corrected once.
    """
    rows = pressure_foreseen(engine, first=first, last=last)
    ratio = (requests_per_wish / rows["requests_per_wish"]).fillna(1.0)
    rows["foreseen"] = rows["mean_rps"] * rows["quarter_seconds"] * ratio
    return rows


def _kinds(first: date, last: date, settings: BankSettings) -> dict[date, str]:
    """The day type of each day, by the country's calendar."""
    days = pd.date_range(first, last, freq="D")
    works = day_types(days, settings.country)["works"]
    return {day.date(): WORKDAY if w else DAY_OFF for day, w in zip(days, works, strict=True)}


def _midnight(day: date, settings: BankSettings) -> datetime:
    """The start of the bank-local day, aware UTC."""
    return datetime.combine(day, time(), settings.tzinfo()).astimezone(UTC)
