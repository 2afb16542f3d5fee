"""One batch of a run's branches trained and kept: what was announced goes in, forecasts come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.demand import demand
from booking_core.read.forecasts import ForecastRun
from forecasting import store
from forecasting.announced import announced, with_announced
from forecasting.decisions.policy import policy_from
from forecasting.drift_watch import drifted
from forecasting.frames import CENSORED, ID, TIME, VALUE
from forecasting.selections import SELECTION, keep_selection, kept_selection, selection_id
from forecasting.training import Trained, train_branches


def train(engine: Engine, run: ForecastRun, branch_ids: Sequence[str]) -> dict[str, str]:
    """The model used for each branch ("keep": none), its forecast kept with the run."""
    known = demand(engine, until=run.period)
    policy = policy_from(run.parameters["policy"])
    until = date.fromisoformat(run.parameters["until"])
    histories = {branch: known.loc[known[ID] == branch, [TIME, VALUE, CENSORED]] for branch in branch_ids}
    told = announced(engine, run, histories, until, policy)
    healthy = drifted(engine, run.period, policy).fit  # else what was selected is no longer right
    # one seed for all branches: path k of each draws the same past days, so that sums keep the dependence
    # between branches
    made = train_branches(
        histories,
        period=run.period,
        until=until,
        country=run.parameters["country"],
        seed=run.parameters["seed"],
        paths=run.parameters["paths"],
        policy=policy,
        extras=told.features,
        chosen=kept_selection(engine, run, branch_ids, policy) if healthy else None,
    )
    selection = _keep_selection(engine, run, histories, made)
    for branch, plain in made.items():
        trained = with_announced(_told(plain, run, selection), told.effects.get(branch))
        store.save_series(
            engine,
            run_id=run.run_id,
            branch_id=branch,
            choice={name: value for name, value in trained.choice.items() if name != "details"},
            quantiles=trained.quantiles,
            paths=trained.paths,
            parts=trained.parts,
            details=trained.choice.get("details"),
        )
    return {branch: trained.choice["champion"] for branch, trained in made.items()}


def _keep_selection(
    engine: Engine, run: ForecastRun, histories: Mapping[str, pd.DataFrame], made: Mapping[str, Trained]
) -> str | None:
    """The id of the artefact that holds the batch's selection; None where it has several, or none judged."""
    found = {id(trained.chosen): trained.chosen for trained in made.values() if trained.chosen is not None}
    if len(found) != 1:
        return None
    (chosen,) = found.values()
    if not chosen.selection.folds:
        return None  # nothing was judged: the next day knows more
    days = pd.concat([histories[name].dropna(subset=[VALUE])[TIME] for name in chosen.ids])
    keep_selection(engine, run, list(histories), chosen, (days.min().date(), days.max().date()))
    return selection_id(chosen.period, list(histories))


def _told(trained: Trained, run: ForecastRun, selection: str | None) -> Trained:
    """The forecast with what selected its model in its record."""
    if selection is None or trained.chosen is None:
        return trained
    choice = dict(trained.choice)
    choice["details"] = {**(choice.get("details") or {}), SELECTION: selection}
    if trained.chosen.period != run.period:
        choice["why"] = f"{choice['why']}; as selected on {trained.chosen.period}"
    return replace(trained, choice=choice)
