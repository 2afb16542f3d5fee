"""What is announced for a branch's days: events and pay days as features, and what people expect of the rest.

A kind of event that history knows is learned; one that it hardly knows (`models.events.SEEN_DAYS`) moves the
forecast by the effect that was announced with it. No event counts twice.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.events import branch_scopes, events
from booking_core.read.forecasts import ForecastRun
from forecasting.decisions.policy import Policy
from forecasting.frames import TIME, VALUE
from forecasting.models.calendar import PAY_DAY, extra_regressors
from forecasting.models.events import (
    AROUND_DAYS,
    event_features,
    fallback_effect,
    holding,
    unseen_kinds,
)
from forecasting.training import Trained

ANNOUNCED: Final = "announced"


@dataclass(frozen=True, slots=True)
class Announced:
    """Day features and expected effects of branches, by id; a branch without any is in neither."""

    features: dict[str, pd.DataFrame]
    """Index: known and coming days. Branches with the same features share one frame."""
    effects: dict[str, pd.Series]
    """What to multiply the forecast of these coming days by: only days where that is not 1."""


def announced(
    engine: Engine, run: ForecastRun, histories: Mapping[str, pd.DataFrame], until: date, policy: Policy
) -> Announced:
    """What the bank had announced when the run was begun, for the branches' known days and on to `until`."""
    first = min((days[TIME].min() for days in histories.values() if len(days)), default=None)
    if first is None:
        return Announced({}, {})
    days = pd.date_range(first, until, freq="D", unit="us")
    around = timedelta(days=AROUND_DAYS)
    found = events(engine, since=days[0].date() - around, until=until + around, as_of=run.trained_utc)
    country = run.parameters["country"]
    return announced_of(found, branch_scopes(engine), histories, days, country, policy.pay_days)


def announced_of(
    found: pd.DataFrame,
    scopes: Mapping[str, Sequence[str]],
    histories: Mapping[str, pd.DataFrame],
    days: pd.DatetimeIndex,
    country: str,
    pay_days: Sequence[int],
) -> Announced:
    """The same, of events as booking_core.read.events gives them and each branch's scopes.

    histories: `ds`, `y` by id; days: every known and coming day. Columns without a day among the known ones
    are left out, and so are pay days unless the bank named them.
    """
    built: dict[Hashable, tuple[pd.DataFrame, pd.Series]] = {}
    features, effects = {}, {}
    for name, history in histories.items():
        known = pd.DatetimeIndex(history.dropna(subset=[VALUE])[TIME]).sort_values()
        if known.empty:
            continue
        held = holding(found, scopes[name])
        unseen = unseen_kinds(held, known)
        key = (tuple(held["event_id"]), unseen, known[-1])
        if key not in built:
            effect = fallback_effect(held, days[days > known[-1]], known_days=known)
            table = event_features(held, days)
            # a day or two of a kind explain themselves in the past; what comes the announcement tells
            table.loc[effect.index[effect != 1.0], [f"event_{kind}" for kind in unseen]] = 0.0
            if pay_days:
                table = table.join(_pay_days(days, country, pay_days))
            seen = (table[days <= known[-1]] != 0.0).any()
            built[key] = table.loc[:, seen], effect[effect != 1.0]
        table, effect = built[key]
        if not table.empty:
            features[name] = table
        if not effect.empty:
            effects[name] = effect
    return Announced(features, effects)


def _pay_days(days: pd.DatetimeIndex, country: str, pay_days: Sequence[int]) -> pd.DataFrame:
    """The pay day and its neighbours; weeks of the month are among the features already, as parts of it."""
    table = extra_regressors(days, country, pay_days=pay_days)
    return table.loc[:, table.columns.str.startswith(PAY_DAY)]


def with_announced(trained: Trained, effect: pd.Series | None) -> Trained:
    """The forecast with the announced effect (by day) on quantiles, paths, parts; told in its details."""
    if effect is None or trained.quantiles is None or trained.paths is None:
        return trained
    quantiles = trained.quantiles.copy()
    ratio = effect.reindex(pd.DatetimeIndex(quantiles[TIME]), fill_value=1.0).to_numpy()
    told = [name for name in quantiles.columns if name != TIME]
    quantiles[told] = quantiles[told].mul(ratio, axis=0)
    paths = replace(trained.paths, values=trained.paths.values * ratio)
    parts = {name: levels * ratio for name, levels in trained.parts.items()}
    days = dict(zip(pd.DatetimeIndex(effect.index).strftime("%Y-%m-%d"), effect.round(4), strict=True))
    details = {**(trained.choice.get("details") or {}), ANNOUNCED: days}
    choice = {**trained.choice, "details": details}
    return replace(trained, quantiles=quantiles, paths=paths, choice=choice, parts=parts)
