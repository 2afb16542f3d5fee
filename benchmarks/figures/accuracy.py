"""How accurate and how well calibrated forecasts are, on real demand, against the forecasts to beat.

One job is one set at one origin: every model sees the same past (what was known a day before the first scored
day), and is scored on the same steps. Sums are kept by series, so that figures can be pooled and resampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.support.anchors import ANCHORS, AVERAGE, anchor_quantiles
from benchmarks.support.censoring_trial import cap_training
from benchmarks.support.demand_sets import DemandSet
from benchmarks.support.rounds import Figure
from forecasting.frames import SCORED_QUANTILES, TIME, VALUE, Floats
from forecasting.models.calendar import day_types
from forecasting.models.censoring import unconstrain
from forecasting.models.intraday import train_intraday
from forecasting.models.losses import mase, pinball
from forecasting.models.selection import SCORED, special_days
from forecasting.models.train import train_panel

OURS: Final = "slotcast"
CAPPED: Final = "slotcast_capped"
UNCAPPED: Final = "slotcast_uncapped"
RIVALS: Final = (*ANCHORS, AVERAGE)

LAG_DAYS: Final = 1
"""Data is a day late: the first coming day is forecast and not scored."""
HORIZON_DAYS: Final = {"D": 28, "h": 7, "30min": 7}
STEP_DAYS: Final = {"D": 29, "h": 15, "30min": 15}
SHORT_SET_DAYS: Final = 120
SHORT_HORIZON: Final = (7, 8)
LEAST_PAST_DAYS: Final = 42
LEAST_KNOWN_DAYS: Final = 28
BEFORE_DAYS: Final = 10
"""Forced origins lie so many days before Spring Festival and National Day."""
FEASTS: Final = ("Chinese New Year (Spring Festival)", "National Day")
SEED: Final = 1
RESAMPLES: Final = 100
WANTED_COVERAGE: Final = 0.8
DESIGN_EFFECT: Final = 4.0
"""Steps of a series in a row are alike: so many of them count as one in a binomial interval."""


@dataclass(frozen=True, slots=True)
class Job:
    """One set at one origin: the first day that is not known."""

    demand: DemandSet
    origin: pd.Timestamp
    censored: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one series at one origin: sums over the scored steps."""

    demand_set: str
    origin: str
    series: str
    model: str
    loss: float
    newsvendor: float
    size: float
    mase: float
    inside: int
    steps: int
    special_inside: int
    special_steps: int


def jobs_of(demand: DemandSet, origins: int, *, forced: bool) -> list[Job]:
    """The jobs of one set, latest origin first; forced ones lie before Chinese feasts."""
    end = max(series.index[-1] for series in demand.series.values()).normalize()
    start = min(series.index[0] for series in demand.series.values()).normalize()
    days = (end - start).days + 1
    horizon, step = horizon_of(demand), STEP_DAYS[demand.freq]
    if days < SHORT_SET_DAYS:
        step = SHORT_HORIZON[1]
    last = end - pd.Timedelta(days=horizon + LAG_DAYS - 1)
    found = [last - pd.Timedelta(days=step * number) for number in range(origins)]
    if forced and demand.country == "CN" and demand.freq == "D":
        types = day_types(pd.date_range(start, end, freq="D", unit="us"), "CN")
        names = types["holiday"]
        for feast in FEASTS:
            firsts = names.index[(names == feast) & (names.shift() != feast)]
            found += [day - pd.Timedelta(days=BEFORE_DAYS) for day in firsts]
    kept = {day for day in found if (day - start).days >= LEAST_PAST_DAYS and day <= last}
    return [Job(demand, day) for day in sorted(kept, reverse=True)]


def horizon_of(demand: DemandSet) -> int:
    """Days scored."""
    spans = [(series.index[-1] - series.index[0]).days for series in demand.series.values()]
    return SHORT_HORIZON[0] if max(spans) < SHORT_SET_DAYS else HORIZON_DAYS[demand.freq]


def run_job(job: Job) -> list[Row]:
    """The rows of all models, or of ours on capped and uncapped training demand."""
    demand, per_day = job.demand, job.demand.per_day
    steps = (horizon_of(demand) + LAG_DAYS) * per_day
    step = pd.Timedelta(days=1) / per_day
    coming = pd.date_range(job.origin, periods=steps, freq=step, unit="us")
    past: dict[str, pd.Series] = {}
    for name, series in demand.series.items():
        known = series[: job.origin - step]
        known = known[known.first_valid_index() :]  # type: ignore[misc]
        if known.notna().sum() >= LEAST_KNOWN_DAYS * per_day and known.index[-1] == job.origin - step:
            known.index = pd.DatetimeIndex(known.index).as_unit("us")
            past[name] = known
    if not past:
        return []
    made: dict[str, dict[str, Floats]] = {name: {} for name in past}
    if job.censored:
        for model, known in ((UNCAPPED, past), (CAPPED, _capped(past))):
            for name, quantiles in ours(known, steps, demand).items():
                made[name][model] = quantiles
    else:
        for name, quantiles in ours(past, steps, demand).items():
            made[name] = {OURS: quantiles} | anchor_quantiles(past[name], steps, per_day, demand.country)
    special = special_days(coming.normalize(), demand.country)
    scored = np.arange(steps) >= LAG_DAYS * per_day
    rows: list[Row] = []
    for name, models in made.items():
        actual = np.where(scored, demand.series[name].reindex(coming).to_numpy(dtype=np.float64), np.nan)
        if not np.isfinite(actual).any():
            continue
        rows += [
            _row(job, name, model, actual, quantiles, special, past[name])
            for model, quantiles in models.items()
        ]
    return rows


def ours(past: Mapping[str, pd.Series], steps: int, demand: DemandSet) -> dict[str, Floats]:
    """Our quantiles (SCORED_QUANTILES, steps) by series, as the command `forecast` makes them."""
    histories = {
        name: pd.DataFrame({TIME: known.index, VALUE: known.to_numpy()}) for name, known in past.items()
    }
    if demand.freq == "D":
        daily = train_panel(histories, steps, country=demand.country, seed=SEED)
        return {name: made.levels[SCORED] for name, made in daily.items()}
    return {
        name: train_intraday(history, steps, freq=demand.freq, country=demand.country, seed=SEED).levels[
            SCORED
        ]
        for name, history in histories.items()
    }


def _capped(past: Mapping[str, pd.Series]) -> dict[str, pd.Series]:
    """Training demand with its top 30 % capped, half of those days recorded in full, un-constrained."""
    seen: dict[str, pd.Series] = {}
    for number, (name, known) in enumerate(past.items()):
        capped, at_least = cap_training(known.to_numpy(), np.random.default_rng([SEED, number]))
        seen[name] = pd.Series(unconstrain(capped, at_least).y_hat, index=known.index)
    return seen


def _row(
    job: Job,
    name: str,
    model: str,
    actual: Floats,
    quantiles: Floats,
    special: np.ndarray[Any, np.dtype[np.bool_]],
    past: pd.Series,
) -> Row:
    known = np.isfinite(actual)
    losses = [
        float(pinball(actual[known], quantile[known], level).sum())
        for quantile, level in zip(quantiles, SCORED_QUANTILES, strict=True)
    ]
    inside = known & (actual >= quantiles[0]) & (actual <= quantiles[-1])
    return Row(
        demand_set=job.demand.name,
        origin=job.origin.date().isoformat(),
        series=name,
        model=model,
        loss=2.0 * float(np.mean(losses)),
        newsvendor=losses[-1],
        size=float(np.abs(actual[known]).sum()),
        mase=mase(
            actual, quantiles[SCORED_QUANTILES.index(0.5)], past.to_numpy(), season=7 * job.demand.per_day
        ),
        inside=int(inside.sum()),
        steps=int(known.sum()),
        special_inside=int((inside & special).sum()),
        special_steps=int((known & special).sum()),
    )


# --- figures --------------------------------------------------------------------------------------


def figures_of(rows: pd.DataFrame) -> tuple[list[Figure], dict[str, Any]]:
    """The accuracy figures with their ranges (origins resampled within sets), and the tables behind them."""
    plain = rows[~rows["model"].isin([CAPPED, UNCAPPED])]
    point = _summary(plain)
    resampled = [_summary(sample) for sample in _resamples(plain)]
    targets: dict[str, dict[str, float]] = {
        "wql_ratio": {"at_most": 0.87},
        "newsvendor_ratio": {"at_most": 0.87},
        "mase_ratio": {"at_most": 0.92},
        "wql_worst": {"at_most": 1.05},
        "cov80_min": {"at_least": 0.77},
        "cov80_max": {"at_most": 0.83},
        "cov80_special": {},
    }
    figures = []
    for name, target in targets.items():
        drawn = [one["figures"][name] for one in resampled]
        low, high = (float(np.nanquantile(drawn, level)) for level in (0.05, 0.95))
        figures.append(Figure(name, point["figures"][name], low, high, **target))
    if (censored := rows[rows["model"].isin([CAPPED, UNCAPPED])]).shape[0]:
        by_set = censored.pivot_table(
            index="demand_set", columns="model", values=["loss", "size"], aggfunc="sum"
        )
        ratio = by_set["loss"][CAPPED] / by_set["loss"][UNCAPPED]
        value = float(np.exp(np.log(ratio).mean()))
        figures.append(Figure("censored_ratio", value, float(ratio.min()), float(ratio.max()), at_most=1.10))
    return figures, point["details"]


def _summary(rows: pd.DataFrame) -> dict[str, Any]:
    """Figures and details of some rows."""
    sums = rows.groupby(["demand_set", "model"])[["loss", "newsvendor", "size"]].sum()
    sums = sums.assign(wql=sums["loss"] / sums["size"], cost=sums["newsvendor"] / sums["size"]).reset_index()
    wql, cost = (sums.pivot_table(index="demand_set", columns="model", values=v) for v in ("wql", "cost"))
    median_mase = rows.pivot_table(index="demand_set", columns="model", values="mase", aggfunc="median")
    mine = (
        rows[rows["model"] == OURS]
        .groupby("demand_set")[["inside", "steps", "special_inside", "special_steps"]]
        .sum()
    )
    coverage = mine["inside"] / mine["steps"]
    rivals = [name for name in RIVALS if name in wql.columns]
    figures: dict[str, float] = {}
    best: dict[str, str] = {}
    for name, table in (("wql_ratio", wql), ("newsvendor_ratio", cost), ("mase_ratio", median_mase)):
        usable = table.replace(0.0, np.nan).dropna()
        means = {rival: float(np.exp(np.log(usable[rival]).mean())) for rival in rivals}
        best[name] = min(means, key=lambda rival: means[rival])
        figures[name] = float(np.exp(np.log(usable[OURS]).mean())) / means[best[name]]
    figures["wql_worst"] = float((wql[OURS] / wql[rivals].min(axis=1)).max())
    figures["cov80_min"], figures["cov80_max"] = float(coverage.min()), float(coverage.max())
    figures["cov80_special"] = float(mine["special_inside"].sum() / max(mine["special_steps"].sum(), 1))
    half = 1.96 * np.sqrt(WANTED_COVERAGE * (1 - WANTED_COVERAGE) * DESIGN_EFFECT / mine["steps"])
    outside = [
        name for name in coverage.index if abs(coverage[name] - WANTED_COVERAGE) > max(0.03, half[name])
    ]
    return {
        "figures": figures,
        "details": {
            "best_anchor": best,
            "wql_of_anchors": {
                rival: round(float(np.exp(np.log((wql[rival] / wql["weeks8"]).dropna()).mean())), 4)
                for rival in [*rivals, OURS]
            },
            "wql": wql.round(4).to_dict("index"),
            "coverage80": coverage.round(3).to_dict(),
            "coverage80_outside_its_interval": outside,
            "series_origins": rows[rows["model"] == OURS].groupby("demand_set").size().to_dict(),
        },
    }


def _resamples(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows with each set's origins drawn again: origins, not days, are what was independent."""
    rng = np.random.default_rng(SEED)
    blocks = {
        name: [block for _, block in group.groupby("origin")] for name, group in rows.groupby("demand_set")
    }
    for _ in range(RESAMPLES):
        drawn = [
            found[place] for found in blocks.values() for place in rng.integers(0, len(found), len(found))
        ]
        yield pd.concat(drawn)
