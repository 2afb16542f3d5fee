"""Branches trained and judged: the champion's forecast, or the next safe thing (weeks8, then keep)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

import numpy as np
import pandas as pd

from forecasting.decisions.guardrails import Verdict, Veto, series_verdict, stale
from forecasting.decisions.plan import KEEP
from forecasting.decisions.policy import Policy
from forecasting.decisions.trust import FORECAST
from forecasting.frames import QUANTILES, TIME, VALUE, Floats, SamplePaths, forecast_frame
from forecasting.models.bounds import at_least_days, filled_series, told
from forecasting.models.calendar import check_country
from forecasting.models.components import WEEKS8, Rates
from forecasting.models.panel import WEEK, panel_of
from forecasting.models.paths import arrange, ranks_of
from forecasting.models.selection import select
from forecasting.models.train import PATHS, SeriesForecast, regular_series, train_panel
from forecasting.models.weeks8 import weeks8_paths
from forecasting.selections import Chosen

WEEKS8_LEAST_DAYS: Final = 14
"""weeks8 needs every weekday twice."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What is kept of one branch: `quantiles` and `paths` are None when its quotas are to be kept."""

    choice: dict[str, Any]
    """champion (model used, or "keep"), why, wql_champion, wql_weeks8, coverage80, observations."""
    quantiles: pd.DataFrame | None
    paths: SamplePaths | None
    veto: Veto | None
    """Why the champion was not used."""
    chosen: Chosen | None = None
    """What the champion was selected by, shared by branches that were trained together."""
    parts: Mapping[str, Floats] = field(default_factory=dict)
    """What the champion's models say one by one: quantiles (MODEL_LEVELS, days) from the paths' first day."""


def train_branches(
    histories: Mapping[str, pd.DataFrame],
    *,
    period: date,
    until: date,
    country: str,
    seed: int,
    paths: int,
    policy: Policy,
    extras: Mapping[str, pd.DataFrame] | None = None,
    chosen: Chosen | None = None,
) -> dict[str, Trained]:
    """The forecast of each branch from its last known day through `until`, by id.

    histories: `ds`, `y` and, optionally, `censored` (see models.train.train_panel) of days up to the period.
    Branches that are trained together are judged together:
    their champion, weights and spread draw on all of them. The champion is used where no veto meets it; else
    weeks8 where the history is fresh and two weeks long; else the branch keeps its quotas. extras: further
    day features by id. chosen: an earlier selection, used where exactly its branches are trained,
    all together.
    """
    trained: dict[str, Trained] = {}
    by_end: dict[date, dict[str, pd.DataFrame]] = {}
    for name, history in histories.items():
        known = history.dropna(subset=[VALUE])
        if known.empty:
            trained[name] = _keep("no demand is known", Veto.SHORT, observations=0)
            continue
        newest = pd.Timestamp(known[TIME].max()).date()
        fresh = stale((period - newest).days, policy)
        if fresh.fit:
            by_end.setdefault(newest, {})[name] = known
        else:
            trained[name] = _keep(fresh.condition, Veto.STALE, observations=len(known))
    for newest, members in by_end.items():
        fits = chosen is not None and len(by_end) == 1 and set(members) == set(chosen.ids)
        made, used = _train(
            members,
            (until - newest).days,
            period=period,
            chosen=chosen if fits else None,
            given={"country": country, "seed": seed, "paths": paths, "extras": extras},
        )
        for name, known in members.items():
            judged = _judged(
                made[name],
                known,
                period=period,
                newest=newest,
                until=until,
                country=country,
                policy=policy,
            )
            trained[name] = replace(judged, chosen=used)
    return {name: trained[name] for name in histories}


def _train(
    histories: Mapping[str, pd.DataFrame],
    steps: int,
    *,
    period: date,
    chosen: Chosen | None,
    given: dict[str, Any],
) -> tuple[dict[str, SeriesForecast | str], Chosen | None]:
    """The forecasts of branches that end on one day, or why there is none, and what they were selected by.

    Each is trained alone, and nothing is selected for all, where training them together fails.
    """
    try:
        return _together(histories, steps, period=period, chosen=chosen, given=given)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        if len(histories) == 1:
            return dict.fromkeys(histories, str(error)), None
    # one broken series must not stop the bank's retune; the failure stands in its record
    alone: dict[str, SeriesForecast | str] = {}
    for name, history in histories.items():
        alone |= _train({name: history}, steps, period=period, chosen=None, given=given)[0]
    return alone, None


def _together(
    histories: Mapping[str, pd.DataFrame],
    steps: int,
    *,
    period: date,
    chosen: Chosen | None,
    given: dict[str, Any],
) -> tuple[dict[str, SeriesForecast | str], Chosen]:
    """The forecasts of branches trained together, and their selection: the one given, or one made now."""
    if chosen is not None:
        ordered = {name: histories[name] for name in chosen.ids}
        return dict(train_panel(ordered, steps, selection=chosen.selection, **given)), chosen
    series = {name: regular_series(history, "D") for name, history in histories.items()}
    panel = panel_of(series, check_country(given["country"]), at_least_days(histories))
    selection = select(panel, steps, extras=given["extras"])
    made = train_panel(histories, steps, selection=selection, **given)
    # a selection leaves the rates of the levels open: the forecast chose them, and a refresh keeps them
    rates = tuple(Rates(**forecast.parameters["rates"]) for forecast in made.values())
    return dict(made), Chosen(tuple(made), replace(selection, rates=rates), period)


def _judged(
    made: SeriesForecast | str,
    known: pd.DataFrame,
    *,
    period: date,
    newest: date,
    until: date,
    country: str,
    policy: Policy,
) -> Trained:
    """The branch with its champion, or what stands in for a champion that is vetoed."""
    steps = (until - newest).days
    if isinstance(made, str):
        failed = Verdict(False, f"training failed: {made}", Veto.FAILED)
        return _fallback(known, failed, None, steps, PATHS, country)
    verdict = series_verdict(
        age_days=(period - newest).days,
        observations=made.observations,
        wql_champion=made.wql_champion,
        wql_weeks8=made.wql_weeks8,
        coverage80=made.coverage80,
        policy=policy,
    )
    if verdict.fit:
        choice = _choice(made, made.champion, made.why)
        return Trained(choice, made.quantiles, made.paths, None, parts={FORECAST: made.levels} | made.parts)
    return _fallback(known, verdict, made, steps, len(made.paths.values), country)


def _fallback(
    known: pd.DataFrame,
    verdict: Verdict,
    made: SeriesForecast | None,
    steps: int,
    paths: int,
    country: str,
) -> Trained:
    """The weeks8 forecast, with why the champion was not used; keep where weeks8 has too little to go on."""
    veto = verdict.reason if isinstance(verdict.reason, Veto) else None
    if len(known) < WEEKS8_LEAST_DAYS:
        why = f"{verdict.condition}; weeks8 needs {WEEKS8_LEAST_DAYS} known days"
        return _keep(why, veto, observations=len(known))
    y = known.set_index(TIME)[VALUE].sort_index()
    at_least = at_least_days({"": known}).get("")
    y = y.reindex(pd.date_range(y.index[0], y.index[-1], freq="D", unit="us"))
    y = filled_series(y, at_least, country)
    days = pd.date_range(y.index[-1] + pd.Timedelta(days=1), periods=steps, freq="D", unit="us")
    seed = 0 if made is None else int(made.parameters["seed"])
    values = weeks8_paths(y.to_numpy(), steps, season=WEEK, paths=paths, rng=np.random.default_rng(seed))
    if made is not None:
        # the vetoed champion's paths still say which days go together, with which branches
        values = arrange(np.sort(values, axis=0), ranks_of(made.paths.values))
    why = f"weeks8: {'' if made is None else made.champion + ' '}vetoed ({veto}), {verdict.condition}"
    why += told(0 if at_least is None else len(at_least), len(known))
    choice = _choice(made, WEEKS8, why) if made else _nothing(WEEKS8, why, observations=len(known))
    return Trained(choice, forecast_frame(days, values, QUANTILES), SamplePaths(days[0].date(), values), veto)


def _keep(why: str, veto: Veto | None, *, observations: int) -> Trained:
    return Trained(_nothing(KEEP, f"keep ({veto}): {why}", observations=observations), None, None, veto)


def _choice(made: SeriesForecast, model: str, why: str) -> dict[str, Any]:
    """What forecast_series keeps of a backtested series."""
    return {
        "champion": model,
        "why": why,
        "wql_champion": made.wql_champion,
        "wql_weeks8": made.wql_weeks8,
        "coverage80": made.coverage80,
        "observations": made.observations,
        "details": made.parameters,
    }


def _nothing(model: str, why: str, *, observations: int) -> dict[str, Any]:
    """What forecast_series keeps of a series that was not backtested."""
    return {
        "champion": model,
        "why": why,
        "wql_champion": None,
        "wql_weeks8": None,
        "coverage80": None,
        "observations": observations,
    }
