"""One batch of a run's branches trained and kept: what was announced goes in, forecasts come out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Engine

from booking_core.read.demand import demand
from booking_core.read.forecasts import ForecastRun
from forecasting import store
from forecasting.announced import announced, with_announced
from forecasting.decisions.policy import policy_from
from forecasting.frames import ID, TIME, VALUE
from forecasting.training import train_branches


def train(engine: Engine, run: ForecastRun, branch_ids: Sequence[str]) -> dict[str, str]:
    """The model used for each branch ("keep": none), its forecast kept with the run."""
    known = demand(engine, until=run.period)
    policy = policy_from(run.parameters["policy"])
    until = date.fromisoformat(run.parameters["until"])
    histories = {branch: known.loc[known[ID] == branch, [TIME, VALUE]] for branch in branch_ids}
    told = announced(engine, run, histories, until, policy)
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
    )
    for branch, plain in made.items():
        trained = with_announced(plain, told.effects.get(branch))
        store.save_series(
            engine,
            run_id=run.run_id,
            branch_id=branch,
            choice={name: value for name, value in trained.choice.items() if name != "details"},
            quantiles=trained.quantiles,
            paths=trained.paths,
            details=trained.choice.get("details"),
        )
    return {branch: trained.choice["champion"] for branch, trained in made.items()}
