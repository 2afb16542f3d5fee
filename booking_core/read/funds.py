"""Funds: what an appointment takes of a day's funds on average, by branch."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import pandas as pd
from sqlalchemy import Engine, func, or_, select

from booking_core import tables as t
from booking_core.read.bank import branches
from booking_core.read.quotas import LIVE_STATUSES
from booking_core.read.sql import frame, in_region, typed

STATED: Final = tuple(status for status in LIVE_STATUSES if status not in ("offered", "held"))
"""Bookings whose amount is stated: before, the loan's whole payoff is reserved, and may be given back."""

_COLUMNS: Final = {"branch_id": "str", "mean_cny": "float64", "units": "int64"}


def mean_payoffs(
    engine: Engine, *, day: date, days: int, least: int = 20, region: str | None = None
) -> pd.DataFrame:
    """[branch_id, mean_cny (yuan a unit), units (its own that were measured)] by branch, as known on the day.

    A day's funds = units of quota × mean payoff asks what the coming appointments will take of the funds, and
    those resemble the last ones: the mean of what was stated by the bookings for service days from `days`
    before the day on, those to come included. It is the branch's own with `least` such units, else its
    region's, else the bank's (of the region, where one is given). Where not even that many are known, as in
    the first weeks: what the branch's loans that may be prepaid by the day would pay off whole, which is too
    much rather than too little. No row: nothing is known.
    """
    b, loan = t.bookings.c, t.loans.c
    paid = frame(
        engine,
        select(
            b.branch_id,
            func.sum(b.reserved_cny).label("cny"),
            func.sum(b.units).label("units"),
        )
        .where(
            b.service_day >= day - timedelta(days=days),
            b.reserved_cny.is_not(None),
            b.status.in_(STATED),
            *in_region(b.region_id, region),
        )
        .group_by(b.branch_id),
        {"branch_id": "str", "cny": "float64", "units": "float64"},
    )
    owed = frame(
        engine,
        select(loan.branch_id, func.avg(loan.payoff_cny).label("owed_cny"))
        .join(t.branches, t.branches.c.branch_id == loan.branch_id)
        .where(
            loan.status == "active",
            loan.payoff_cny > 0,
            or_(loan.eligible_from.is_(None), loan.eligible_from <= day),
            *in_region(t.branches.c.region_id, region),
        )
        .group_by(loan.branch_id),
        {"branch_id": "str", "owed_cny": "float64"},
    )
    known = branches(engine, region)[["branch_id", "region_id"]]
    rows = known.merge(paid, how="left").merge(owed, how="left")
    rows[["cny", "units"]] = rows[["cny", "units"]].fillna(0.0)
    rows["mean_cny"] = float("nan")
    for pool in (rows["branch_id"], rows["region_id"], pd.Series("bank", index=rows.index)):
        of = rows.groupby(pool)[["cny", "units"]].transform("sum")
        rows["mean_cny"] = rows["mean_cny"].fillna((of["cny"] / of["units"]).where(of["units"] >= least))
    rows["mean_cny"] = rows["mean_cny"].fillna(rows["owed_cny"])
    return typed(rows.dropna(subset=["mean_cny"])[[*_COLUMNS]].reset_index(drop=True), _COLUMNS)
