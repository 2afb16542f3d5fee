"""The pressure on the servers: forecast demand → requests by business quarter-hour, with their quantiles.

Requests of a day = wishes first made for a service day `lead_days` later × requests per wish, spread over
the day by the measured profile of its day type. All three are measured on recent weeks (synthetic
history counts too, and its share is reported); the policy states what is assumed until then. The cost of
a request comes from real requests as soon as there are enough of them, and its source is reported.

The quantiles are those of past errors where enough are known: requests that came ÷ requests foreseen the day
before. They hold what the sample paths of demand do not: the shape of the day, requests per wish, the count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.decisions.policy import Policy
from forecasting.frames import LOAD_QUANTILES, Floats, SamplePaths

QUARTERS_A_DAY: Final = 96
_MEDIAN: Final = LOAD_QUANTILES.index(0.5)
_UPPER: Final = LOAD_QUANTILES.index(0.9)
_FURTHEST: Final = 1000.0
"""No quantile counts as further from the median than by this factor: 0 has no logarithm."""
_OPEN_QUARTERS: Final = slice(32, 72)
"""08:00 to 18:00: the shape assumed for a day that was never measured."""
_LEAST_DAYS: Final = 7
"""Below a week of matched days nothing is concluded from them."""
_BUSY_RATIO: Final = 0.5
"""Quarter-hours foreseen at half the day's peak or more are busy; their errors are kept apart."""
_COLLAPSE_RATIO: Final = 0.1
_COLLAPSE_LEAST_REQUESTS: Final = 16.0
"""Where so many were foreseen and a tenth came, it was an outage: no error of the forecast."""

MEASURED: Final = "measured"
SYNTHETIC: Final = "synthetic"
ASSUMED: Final = "assumed"

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ErrorRatios:
    """Quantiles of requests that came ÷ requests foreseen (its mean), at `LOAD_QUANTILES`."""

    values: tuple[float, ...]

    @property
    def q50(self) -> float:
        """The median ratio."""
        return self.values[_MEDIAN]

    @property
    def q90(self) -> float:
        """The ratio's 0.9 quantile."""
        return self.values[_UPPER]


@dataclass(frozen=True, slots=True)
class PressureErrors:
    """How far the pressure forecasts of the last weeks missed, a day ahead."""

    busy: ErrorRatios
    quiet: ErrorRatios
    days: int

    def as_record(self) -> dict[str, Any]:
        """What a run says about it: the ratios at `LOAD_QUANTILES`."""
        return {
            name: [round(ratio, 4) for ratio in ratios.values]
            for name, ratios in (("busy", self.busy), ("quiet", self.quiet))
        } | {"days": self.days}


@dataclass(frozen=True, slots=True)
class PressureModel:
    """How wishes become requests, as measured or assumed."""

    requests_per_wish: float
    lead_days: int
    """Requests of a day belong to the wishes for the day so many days later."""
    cost_seconds: float
    """Busy seconds a request."""
    profiles: Mapping[str, Shares]
    """By day type: the share of the day's requests in each of its 96 local quarter-hours."""
    default_profile: Shares
    measured_days: int
    synthetic_ratio: float
    """Share of the measured quarter-hours that is synthetic."""
    cost_source: str
    """What cost_seconds comes from: measured (real requests), synthetic (the overlay), assumed (policy)."""
    cost_requests: int
    """On how many requests it was measured."""
    errors: PressureErrors | None = None
    """None: too few past forecasts are known; the spread is then that of the demand's paths alone."""

    def share(self, day_type: str, quarter: int) -> float:
        """The share of the day's requests in one local quarter-hour (0 to 95)."""
        return float(self.profiles.get(day_type, self.default_profile)[quarter])

    def as_record(self) -> dict[str, Any]:
        """What a plan or a run says about it."""
        return {
            "requests_per_wish": round(self.requests_per_wish, 4),
            "lead_days": self.lead_days,
            "cost_seconds": round(self.cost_seconds, 6),
            "cost_source": self.cost_source,
            "cost_requests": self.cost_requests,
            "measured_days": self.measured_days,
            "synthetic_ratio": round(self.synthetic_ratio, 4),
            "day_types": sorted(self.profiles),
            "errors": None if self.errors is None else self.errors.as_record(),
        }


@dataclass(frozen=True, slots=True)
class Quarter:
    """A business quarter-hour and where it lies in the bank's local day."""

    starts_utc: datetime
    day: date
    quarter: int
    """0 (midnight) to 95."""
    day_type: str


@dataclass(frozen=True, slots=True)
class QuarterPressure:
    """The forecast requests per wall second of one business quarter-hour."""

    starts_utc: datetime
    mean_rps: float
    quantiles_rps: tuple[float, ...]
    """At `LOAD_QUANTILES`; NaN: unknown (runs made before migration 0010 know the 0.5 and 0.9 ones)."""

    @property
    def q50_rps(self) -> float:
        """The median."""
        return self.quantiles_rps[_MEDIAN]

    @property
    def q90_rps(self) -> float:
        """The 0.9 quantile."""
        return self.quantiles_rps[_UPPER]


def measure_pressure(quarters: pd.DataFrame, demand: Mapping[date, float], policy: Policy) -> PressureModel:
    """The pressure model of recent weeks.

    quarters: [day (date), day_type, quarter (0 to 95), requests, busy_seconds, synthetic], complete days
    only. demand: units first wished for each service day, whole bank. Missing measurements take the
    policy's assumptions.
    """
    assumed = np.zeros(QUARTERS_A_DAY)
    assumed[_OPEN_QUARTERS] = 1.0
    requests = float(quarters["requests"].sum())
    if requests <= 0:
        return PressureModel(
            requests_per_wish=policy.requests_per_wish,
            lead_days=0,
            cost_seconds=policy.cost_seconds,
            profiles={},
            default_profile=assumed / assumed.sum(),
            measured_days=0,
            synthetic_ratio=0.0,
            cost_source=ASSUMED,
            cost_requests=0,
        )
    by_day: dict[date, float] = {}
    for day, count in zip(quarters["day"], quarters["requests"], strict=True):
        by_day[day] = by_day.get(day, 0.0) + float(count)
    ratio, lead_days = _match(by_day, demand, policy)
    cost_seconds, cost_source, cost_requests = _cost(quarters, policy)
    return PressureModel(
        requests_per_wish=ratio,
        lead_days=lead_days,
        cost_seconds=cost_seconds,
        profiles={
            str(kind): _profile(rows)
            for kind, rows in quarters.groupby("day_type")
            if rows["requests"].sum() > 0
        },
        default_profile=_profile(quarters),
        measured_days=len(by_day),
        synthetic_ratio=float(quarters["synthetic"].mean()),
        cost_source=cost_source,
        cost_requests=cost_requests,
    )


def measure_errors(past: pd.DataFrame) -> PressureErrors | None:
    """The errors of past forecasts; None below a week of days on which requests were foreseen and counted.

    past: [day (date), foreseen, requests], requests a quarter-hour; foreseen a day ahead or more. Each
    quarter-hour counts by what was foreseen. Outages (hardly anything came of a lot) are left out.
    """
    outage = (past["foreseen"] >= _COLLAPSE_LEAST_REQUESTS) & (
        past["requests"] <= _COLLAPSE_RATIO * past["foreseen"]
    )
    rows = past[~outage & (past["foreseen"] > 0)]
    days = int(rows["day"].nunique())
    if days < _LEAST_DAYS:
        return None
    busy = rows["foreseen"] >= _BUSY_RATIO * rows.groupby("day")["foreseen"].transform("max")
    return PressureErrors(_ratios(rows[busy]), _ratios(rows[~busy] if (~busy).any() else rows), days)


def forecast_pressure(
    model: PressureModel,
    quarters: Sequence[Quarter],
    *,
    total: SamplePaths,
    known: Mapping[date, float],
    quarter_seconds: float,
) -> list[QuarterPressure]:
    """The pressure of every given quarter-hour whose wishes are known or forecast.

    total: sample paths of the whole bank's demand. known: demand of the days up to the period.
    quarter_seconds: wall seconds that a business quarter-hour lasts. Quantiles come from the summed
    paths, or from the model's errors where it has any: these were made a day ahead, so that what the paths
    spread wider on later days is added.
    """
    by_day: dict[date, tuple[float, Floats]] = {}
    result = []
    first = _wishes(total.first_day, total, known)
    first_spread = 0.0 if first is None else _spread(first[1])
    peaks = {kind: float(profile.max()) for kind, profile in model.profiles.items()}
    for quarter in quarters:
        wished = quarter.day + timedelta(days=model.lead_days)
        if wished not in by_day:
            if (figures := _wishes(wished, total, known)) is None:
                continue
            by_day[wished] = figures
        share = model.share(quarter.day_type, quarter.quarter)
        scale = model.requests_per_wish * share / quarter_seconds
        wishes, quantiles = by_day[wished]
        mean = wishes * scale
        if model.errors is None:
            foretold = quantiles * scale
        else:
            peak = peaks.get(quarter.day_type, float(model.default_profile.max()))
            ratios = model.errors.busy if share >= _BUSY_RATIO * peak else model.errors.quiet
            later = np.sqrt(np.maximum(0.0, _spread(quantiles) ** 2 - first_spread**2))
            foretold = mean * _widened(ratios, later)
        result.append(QuarterPressure(quarter.starts_utc, mean, tuple(foretold.tolist())))
    return result


def _wishes(day: date, total: SamplePaths, known: Mapping[date, float]) -> tuple[float, Floats] | None:
    """Mean and quantiles of the wishes for the day; None where they are neither known nor forecast."""
    if total.first_day <= day <= total.last_day:
        sums = total.sums(day, day)
        return float(sums.mean()), np.quantile(sums, LOAD_QUANTILES)
    if day in known:
        return known[day], np.full(len(LOAD_QUANTILES), known[day])
    return None


def _ratios(rows: pd.DataFrame) -> ErrorRatios:
    """The ratio's quantiles, quarter-hours weighted by what was foreseen."""
    ratio = (rows["requests"] / rows["foreseen"]).to_numpy(dtype=float)
    order = np.argsort(ratio)
    weight = np.cumsum(rows["foreseen"].to_numpy(dtype=float)[order])
    places = [min(int(np.searchsorted(weight, q * weight[-1])), len(order) - 1) for q in LOAD_QUANTILES]
    return ErrorRatios(tuple(ratio[order][places].tolist()))


def _spread(quantiles: Floats) -> Floats:
    """How far each quantile of the wishes lies from their median, in logs, 0 or more."""
    median = quantiles[_MEDIAN]
    if median <= 0:
        return np.zeros(len(quantiles))
    apart: Floats = np.abs(np.log(np.clip(quantiles / median, 1.0 / _FURTHEST, _FURTHEST)))
    return apart


def _widened(ratios: ErrorRatios, later: Floats) -> Floats:
    """The ratio's quantiles with a further, independent spread (in logs, 0 or more) added in quadrature."""
    side = np.sign(np.arange(len(later)) - _MEDIAN)
    values = np.array(ratios.values)
    if ratios.q50 <= 0:
        return values * np.exp(side * later)
    own = _spread(values)
    wider: Floats = ratios.q50 * np.exp(side * np.hypot(own, later))
    return wider


def _match(requests: Mapping[date, float], demand: Mapping[date, float], policy: Policy) -> tuple[float, int]:
    """(requests per wish, lead days): the lead at which daily requests follow daily wishes best.

    As assumed where no lead matches a week of days, or where no wish met a request.
    """
    best: tuple[float, float, int] | None = None
    for lead in range(policy.max_lead_days + 1):
        pairs = [
            (count, demand[day + timedelta(days=lead)])
            for day, count in requests.items()
            if demand.get(day + timedelta(days=lead), 0.0) > 0
        ]
        matched = sum(count for count, _ in pairs)
        if len(pairs) < _LEAST_DAYS or matched == 0:
            continue
        ratio = matched / sum(wishes for _, wishes in pairs)
        error = sum(abs(count - ratio * wishes) for count, wishes in pairs) / matched
        if best is None or error < best[0] - 1e-9:
            best = (error, ratio, lead)
    return (policy.requests_per_wish, 0) if best is None else (best[1], best[2])


def _cost(quarters: pd.DataFrame, policy: Policy) -> tuple[float, str, int]:
    """(busy seconds a request, where from, on how many requests).

    Measured on the quarter-hours without anything synthetic once these hold `cost_least_requests`
    requests: a handful of real ones says less than the history. Synthetic and real ones never mix in one
    figure, because the overlay's cost is an assumption too.
    """
    synthetic = quarters["synthetic"].astype(bool)
    for rows, source, least in (
        (quarters[~synthetic], MEASURED, policy.cost_least_requests),
        (quarters[synthetic], SYNTHETIC, 1),
        (quarters[~synthetic], MEASURED, 1),
    ):
        requests, busy = int(rows["requests"].sum()), float(rows["busy_seconds"].sum())
        if requests >= least and busy > 0:
            return busy / requests, source, requests
    return policy.cost_seconds, ASSUMED, 0


def _profile(rows: pd.DataFrame) -> Shares:
    """The share of requests in each local quarter-hour, summing to 1."""
    sums = np.zeros(QUARTERS_A_DAY)
    np.add.at(sums, rows["quarter"].to_numpy(dtype=int), rows["requests"].to_numpy(dtype=float))
    shares: Shares = sums / sums.sum()
    return shares
