"""Funds: what an appointment pays out on average, by branch."""

from __future__ import annotations

from datetime import date

import pandas as pd
from sqlalchemy import Engine, func, select

from booking_core import tables as t
from booking_core.read.quotas import LIVE_STATUSES
from booking_core.read.sql import frame, in_region, typed

_COLUMNS = {"branch_id": "str", "mean_cny": "float64", "units": "int64"}


def mean_payoffs(engine: Engine, *, since: date, least: int = 20, region: str | None = None) -> pd.DataFrame:
    """[branch_id, mean_cny (yuan a unit), units (that it is measured on)] by branch; no row: nothing known.

    Measured on what bookings for service days from `since` on count against funds; with fewer than `least`
    of them, the payoff of the branch's active loans (units 0).
    """
    b, loan = t.bookings.c, t.loans.c
    paid = frame(
        engine,
        select(
            b.branch_id,
            (func.sum(b.reserved_cny) * 1.0 / func.sum(b.units)).label("mean_cny"),
            func.sum(b.units).label("units"),
        )
        .where(
            b.service_day >= since,
            b.reserved_cny.is_not(None),
            b.status.in_(LIVE_STATUSES),
            *in_region(b.region_id, region),
        )
        .group_by(b.branch_id)
        .order_by(b.branch_id),
        _COLUMNS,
    )
    owed = frame(
        engine,
        select(loan.branch_id, func.avg(loan.payoff_cny).label("mean_cny"))
        .join(t.branches, t.branches.c.branch_id == loan.branch_id)
        .where(loan.status == "active", *in_region(t.branches.c.region_id, region))
        .group_by(loan.branch_id)
        .order_by(loan.branch_id),
        {"branch_id": "str", "mean_cny": "float64"},
    )
    measured = paid[paid["units"] >= least]
    assumed = owed[~owed["branch_id"].isin(measured["branch_id"])].assign(units=0)
    found = pd.concat([measured, assumed]) if len(assumed) else measured
    return typed(found.sort_values("branch_id", ignore_index=True), _COLUMNS)
