"""Why bookings fail: attempts counted by reason, over time and by branch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import pandas as pd
from sqlalchemy import ColumnElement, Engine, case, func, select

from booking_core import tables as t
from booking_core.read.bank import bank_settings
from booking_core.read.sql import UTC_TIME, frame, in_region, quarter_index, quarter_starts, typed
from metrics.contract import Outcome

Grain = Literal["quarter_hour", "hour", "day"]

_OVER_TIME: Final = {
    "at": UTC_TIME,
    "outcome": "str",
    "reason": "str",
    "cause": "str",
    "attempts": "int64",
}
_BY_BRANCH: Final = {
    "branch_id": "str",
    "region_id": "str",
    "name_en": "str",
    "name_zh": "str",
    "attempts": "int64",
    "held": "int64",
    "refused": "int64",
    "top_reason": "str",
}


@dataclass(frozen=True, slots=True)
class Totals:
    """Attempts of a span of business time, and the wishes first made in it."""

    attempts: int
    held: int
    refused: int
    wishes: int
    booked: int
    displaced: int
    unmet: int
    """Closed with no booking."""
    open: int
    """Neither booked nor given up yet."""
    first_at: datetime | None = None
    """Business time (UTC) of the first attempt of the span; None where there was none."""
    last_at: datetime | None = None

    @property
    def refused_ratio(self) -> float:
        """Refused share of the attempts; 0 where there were none."""
        return self.refused / self.attempts if self.attempts else 0.0

    @property
    def unmet_ratio(self) -> float:
        """Share of the wishes that have no booking, given up or still open; 0 where there were none."""
        return (self.unmet + self.open) / self.wishes if self.wishes else 0.0


def totals(engine: Engine, *, since: datetime, until: datetime, region: str | None = None) -> Totals:
    """Attempts made, and wishes first made, in the span of business time."""
    a, w = t.attempts.c, t.wish_episodes.c
    attempted = select(
        func.count(),
        _count_if(a.outcome == Outcome.HELD),
        _count_if(a.outcome == Outcome.REFUSED),
        func.min(a.business_utc),
        func.max(a.business_utc),
    ).where(*_span(since, until, region))
    wished = select(
        func.count(), *(_count_if(w.outcome == o) for o in ("booked", "displaced", "unmet", "open"))
    ).where(w.opened_business_utc >= since, w.opened_business_utc < until, *in_region(w.region_id, region))
    with engine.connect() as connection:
        attempts, held, refused, first, last = connection.execute(attempted).one()
        wishes, *outcomes = connection.execute(wished).one()
    booked, displaced, unmet, still_open = (int(count) for count in outcomes)
    return Totals(
        attempts, int(held), int(refused), wishes, booked, displaced, unmet, still_open, first, last
    )


def by_reason(engine: Engine, *, since: datetime, until: datetime, region: str | None = None) -> pd.DataFrame:
    """Refused attempts [reason, cause, attempts] of a span of business time, most frequent first."""
    a = t.attempts.c
    statement = (
        select(a.reason, a.cause, func.count().label("attempts"))
        .where(*_span(since, until, region), a.outcome == Outcome.REFUSED)
        .group_by(a.reason, a.cause)
        .order_by(func.count().desc(), a.reason)
    )
    return frame(engine, statement, {"reason": "str", "cause": "str", "attempts": "int64"})


def over_time(
    engine: Engine, *, since: datetime, until: datetime, grain: Grain = "hour", region: str | None = None
) -> pd.DataFrame:
    """Attempts [at, outcome, reason, cause, attempts] by business time, outcome and reason.

    `at` is the start (UTC) of the quarter-hour, or of the hour or day of the bank's zone. The database
    counts by quarter-hour; hours and days are folded from those, as databases differ in zones.
    """
    a = t.attempts.c
    quarter = quarter_index(a.business_utc).label("quarter")
    statement = (
        select(quarter, a.outcome, a.reason, a.cause, func.count().label("attempts"))
        .where(*_span(since, until, region))
        .group_by(quarter, a.outcome, a.reason, a.cause)
        .order_by(quarter, a.outcome, a.reason)
    )
    rows = frame(
        engine,
        statement,
        {"quarter": "int64", "outcome": "str", "reason": "str", "cause": "str", "attempts": "int64"},
    )
    rows["at"] = quarter_starts(rows["quarter"])
    if grain == "quarter_hour" or rows.empty:
        return typed(rows, _OVER_TIME)
    local = rows["at"].dt.tz_convert(bank_settings(engine).zone)
    # A clock change never moves a bank's midnight here; an hour that occurs twice stays two hours.
    rows["at"] = (local.dt.normalize() if grain == "day" else _hour_starts(rows["at"], local)).dt.tz_convert(
        "UTC"
    )
    keys = ["at", "outcome", "reason", "cause"]
    folded = rows.groupby(keys, dropna=False)["attempts"].sum().reset_index()
    return typed(folded, _OVER_TIME)


def by_branch(engine: Engine, *, since: datetime, until: datetime, region: str | None = None) -> pd.DataFrame:
    """Every branch with its attempts in the span of business time, most refusals first.

    [branch_id, region_id, name_en, name_zh, attempts, held, refused, top_reason]; top_reason is missing
    where nothing was refused. Attempts that named no known branch are left out.
    """
    a, b = t.attempts.c, t.branches.c
    counted = (
        select(
            a.branch_id,
            a.reason,
            func.count().label("attempts"),
            _count_if(a.outcome == Outcome.HELD).label("held"),
            _count_if(a.outcome == Outcome.REFUSED).label("refused"),
            func.row_number()
            .over(
                partition_by=a.branch_id,
                order_by=(_count_if(a.outcome == Outcome.REFUSED).desc(), a.reason),
            )
            .label("place"),
        )
        .where(*_span(since, until, region), a.branch_id.is_not(None))
        .group_by(a.branch_id, a.reason)
        .subquery()
    )
    c = counted.c
    folded = (
        select(
            c.branch_id,
            func.sum(c.attempts).label("attempts"),
            func.sum(c.held).label("held"),
            func.sum(c.refused).label("refused"),
            func.max(case((c.place == 1, c.reason))).label("top_reason"),
        )
        .group_by(c.branch_id)
        .subquery()
    )
    statement = (
        select(
            b.branch_id,
            b.region_id,
            b.name_en,
            b.name_zh,
            func.coalesce(folded.c.attempts, 0).label("attempts"),
            func.coalesce(folded.c.held, 0).label("held"),
            func.coalesce(folded.c.refused, 0).label("refused"),
            folded.c.top_reason,
        )
        .outerjoin_from(t.branches, folded, folded.c.branch_id == b.branch_id)
        .where(*in_region(b.region_id, region))
        .order_by(func.coalesce(folded.c.refused, 0).desc(), b.branch_id)
    )
    return frame(engine, statement, _BY_BRANCH)


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _span(since: datetime, until: datetime, region: str | None) -> list[ColumnElement[bool]]:
    a = t.attempts.c
    return [a.business_utc >= since, a.business_utc < until, *in_region(a.region_id, region)]


def _hour_starts(at: pd.Series, local: pd.Series) -> pd.Series:
    """The starts of the local hours; exact where a zone is off by a half or quarter of an hour."""
    starts: pd.Series = at - pd.to_timedelta(local.dt.minute, unit="m")
    return starts
