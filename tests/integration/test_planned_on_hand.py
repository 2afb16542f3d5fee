"""Quotas follow the wishes that stand already for the days to be planned."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from booking_core import tables as t
from booking_core.read.forecasts import ForecastRun, latest_run
from forecasting import store
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import QuotaProposal
from forecasting.frames import SamplePaths
from forecasting.retuning import region_proposals
from tests.support.bank import ZONE, Bank
from tests.support.recorded import put, wish

EARLY, LATE = 5, 1
"""Days before its day on which one half of a day's wishes is opened, and the other."""
USUAL = 10
"""Wishes of each half."""
PERIOD = date(2026, 6, 10)
EMPTY = PERIOD + timedelta(days=4)
"""A day that nobody has wished for yet."""


def wishes(day: date, lead: int, count: int) -> list[dict[str, Any]]:
    """So many wishes for the day, opened at noon `lead` days before it."""
    opened = datetime.combine(day - timedelta(days=lead), time(12), ZoneInfo(ZONE)).astimezone(UTC)
    row = wish("L1", wished_day=day, opened_business_utc=opened, last_try_business_utc=opened)
    return [row] * count


@pytest.fixture
def run(sqlite_bank: Bank) -> ForecastRun:
    """A ready run of the period that forecasts 20 units a day for b1; 120 days of wishes before it."""
    engine, rng = sqlite_bank.engine, np.random.default_rng(5)
    sqlite_bank.set("country", "none")
    sqlite_bank.add_quota("branch", "b1", "day", 20)
    past = []
    for back in range(-EARLY, 120):
        day = PERIOD - timedelta(days=back)
        for lead in (EARLY, LATE):
            if day != EMPTY and day - timedelta(days=lead) <= PERIOD:
                past += wishes(day, lead, int(rng.poisson(USUAL)))
    put(sqlite_bank, t.wish_episodes, *past)
    store.start_run(
        engine,
        run_id="r1",
        kind="demand",
        period=PERIOD,
        trained_utc=datetime.now(UTC),
        span=None,
        parameters={},
        libraries={},
    )
    choice: dict[str, Any] = {"champion": "combination", "why": "test", "observations": 120}
    units = np.random.default_rng(6).poisson(2 * USUAL, size=(1000, 40)).astype(float)
    paths = SamplePaths(PERIOD + timedelta(days=1), units)
    store.save_series(engine, run_id="r1", branch_id="b1", choice=choice, quantiles=None, paths=paths)
    store.finish_run(engine, "r1", status=store.READY, verdict=None, scores={})
    found = latest_run(engine, "demand")
    assert found is not None
    return found


def test_days_with_more_on_hand_are_planned_higher_and_those_with_less_lower(
    sqlite_bank: Bank, run: ForecastRun
) -> None:
    """Twice the usual on hand raises its day, nothing on hand lowers its own, far days keep the forecast."""
    more, far = PERIOD + timedelta(days=3), PERIOD + timedelta(days=22)

    def planned() -> dict[str, QuotaProposal]:
        items = region_proposals(sqlite_bank.engine, "north", PERIOD, run, Policy())
        return {item.period_start: item for item in items}

    usual = planned()[str(more)].inputs
    put(sqlite_bank, t.wish_episodes, *wishes(more, EARLY, USUAL))
    items = planned()
    assert items[str(more)].inputs["on_hand_units"] == usual["on_hand_units"] + USUAL
    assert items[str(EMPTY)].inputs["on_hand_units"] == 0
    mean = {day: items[str(day)].inputs["mean_units"] for day in (more, EMPTY, far)}
    assert mean[more] > usual["mean_units"] + USUAL / 2
    assert mean[EMPTY] < 2 * USUAL - 4
    assert mean[far] == pytest.approx(2 * USUAL, abs=1.0)
    wanted = {day: items[str(day)].proposed or 0.0 for day in (more, EMPTY, far)}
    assert wanted[more] > wanted[far] > wanted[EMPTY]

    put(sqlite_bank, t.wish_episodes, *wishes(EMPTY, EARLY, USUAL))
    assert planned()[str(EMPTY)].inputs["mean_units"] == pytest.approx(2 * USUAL, abs=2.0)
