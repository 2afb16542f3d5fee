"""A stored run brought up to date with what a small bank has on hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from booking_core import tables as t
from booking_core.read.forecasts import sample_paths
from forecasting import store
from forecasting.frames import SamplePaths
from forecasting.reforecast import reforecast, reforecast_day
from tests.support.bank import Bank
from tests.support.planning import WEEK
from tests.support.recorded import put, wish

UNTIL = date(2026, 3, 30)
CURVE = (0.1, 0.2, 0.3, 0.2, 0.1, 0.1)
"""Of a day's wishes, those made so many days before it."""
RUN = "demand-2026-03-29"
DAYS = 14
BUSY = UNTIL + timedelta(days=2)


def opened(day: date, lead: int, hour: int = 10) -> datetime:
    """So many days before the day, at the hour in Shanghai."""
    return datetime(day.year, day.month, day.day, hour - 8, tzinfo=UTC) - timedelta(days=lead)


def wishes(day: date, counts: list[int], **changes: Any) -> list[dict[str, Any]]:
    """Wishes for the day, so many of each lead."""
    return [
        wish(f"{day}-{lead}-{n}", wished_day=day, opened_business_utc=opened(day, lead), **changes)
        for lead, count in enumerate(counts)
        for n in range(count)
    ]


def add_wishes(bank: Bank, *, busy: float = 1.0) -> None:
    """Ten weeks of wishes and those on hand for the days to come; BUSY has `busy` times as many so far."""
    rng = np.random.default_rng(11)
    rows: list[dict[str, Any]] = []
    for ahead in range(-70, len(CURVE)):
        day = UNTIL + timedelta(days=ahead)
        usual = WEEK[day.weekday()] * np.array(CURVE) * (busy if day == BUSY else 1.0)
        counts = rng.poisson(usual) if ahead < 0 else np.rint(usual).astype(int)
        counts[: max(ahead + 1, 0)] = 0  # not wished yet
        rows += wishes(day, counts.tolist())
    put(bank, t.wish_episodes, *rows)


def add_run(bank: Bank, *, branch: str = "b1") -> SamplePaths:
    """A stored run that knows the weekdays and nothing else."""
    rng = np.random.default_rng(12)
    mean = np.array([WEEK[(UNTIL + timedelta(days=n)).weekday()] for n in range(DAYS)])
    paths = SamplePaths(UNTIL, rng.negative_binomial(25, 25 / (25 + mean), (200, DAYS)).astype(float))
    store.start_run(
        bank.engine, run_id=RUN, kind="demand", period=UNTIL - timedelta(days=1),
        trained_utc=datetime.now(UTC), span=None, parameters={}, libraries={},
    )  # fmt: skip
    choice = dict.fromkeys(("wql_champion", "wql_weeks8", "coverage80"), 0.1)
    choice |= {"champion": "weeks8", "why": "test", "observations": 70}
    store.save_series(bank.engine, run_id=RUN, branch_id=branch, choice=choice, quantiles=None, paths=paths)
    return paths


def quantile(paths: SamplePaths, level: float, day: date) -> float:
    """The quantile of one day."""
    return paths.quantile_of_sum(level, day, day)


def on_hand_of(bank: Bank, day: date) -> int:
    """Wishes recorded for the day."""
    with bank.engine.connect() as connection:
        w = t.wish_episodes.c
        return connection.scalar(select(func.count()).where(w.wished_day == day)) or 0


def test_a_day_with_many_early_wishes_is_expected_to_be_larger(sqlite_bank: Bank) -> None:
    """Twice the usual on hand raises the day's quantiles, and what is on hand is their floor on every day."""
    stored = add_run(sqlite_bank)
    add_wishes(sqlite_bank, busy=2.0)
    updated = reforecast(sqlite_bank.engine, RUN, until=UNTIL)["b1"]
    for level in (0.1, 0.5, 0.9):
        assert quantile(updated, level, BUSY) > 1.3 * quantile(stored, level, BUSY)
    for ahead in range(DAYS):
        day = UNTIL + timedelta(days=ahead)
        assert updated.sums(day, day).min() >= on_hand_of(sqlite_bank, day)
    spread = [quantile(paths, 0.9, BUSY) - quantile(paths, 0.1, BUSY) for paths in (updated, stored)]
    assert spread[0] / quantile(updated, 0.5, BUSY) < spread[1] / quantile(stored, 0.5, BUSY)


def test_usual_wishes_leave_the_forecast_near_where_it_was(sqlite_bank: Bank) -> None:
    """The control: the same day with usual wishes is not raised, and far days keep their very numbers."""
    stored = add_run(sqlite_bank)
    add_wishes(sqlite_bank)
    updated = reforecast(sqlite_bank.engine, RUN, until=UNTIL)["b1"]
    assert quantile(updated, 0.5, BUSY) == pytest.approx(quantile(stored, 0.5, BUSY), rel=0.25)
    assert np.array_equal(updated.values[:, len(CURVE) :], stored.values[:, len(CURVE) :])


def test_few_wishes_on_the_eve_lower_the_forecast(sqlite_bank: Bank) -> None:
    """A day that falls short of its curve is expected to be smaller."""
    stored = add_run(sqlite_bank)
    add_wishes(sqlite_bank, busy=0.2)
    updated = reforecast(sqlite_bank.engine, RUN, until=UNTIL)["b1"]
    assert quantile(updated, 0.9, BUSY) < quantile(stored, 0.5, BUSY)


def test_an_empty_bank_changes_nothing(sqlite_bank: Bank) -> None:
    """Without wishes on record every branch keeps its paths; without a run there is nothing to update."""
    assert reforecast(sqlite_bank.engine, RUN, until=UNTIL) == {}
    stored = add_run(sqlite_bank)
    updated = reforecast(sqlite_bank.engine, RUN, until=UNTIL)
    within = reforecast_day(sqlite_bank.engine, RUN, UNTIL, until=opened(UNTIL, 0))
    for paths in (updated["b1"], within["b1"]):
        assert paths.first_day == stored.first_day
        assert np.array_equal(paths.values, stored.values)


def test_a_run_again_changes_nothing(sqlite_bank: Bank) -> None:
    """The same numbers a second time, and the stored run as it was."""
    stored = add_run(sqlite_bank)
    add_wishes(sqlite_bank, busy=2.0)
    first, second = (reforecast(sqlite_bank.engine, RUN, until=UNTIL)["b1"] for _ in range(2))
    assert np.array_equal(first.values, second.values)
    assert np.array_equal(sample_paths(sqlite_bank.engine, RUN)["b1"][1], stored.values)


def test_days_that_have_passed_stay_as_they_were(sqlite_bank: Bank) -> None:
    """A run some days old is updated from the day asked for on."""
    stored = add_run(sqlite_bank)
    add_wishes(sqlite_bank, busy=2.0)
    updated = reforecast(sqlite_bank.engine, RUN, until=BUSY)["b1"]
    assert np.array_equal(updated.values[:, :2], stored.values[:, :2])
    assert not np.array_equal(updated.values[:, 2], stored.values[:, 2])


def test_a_new_branch_borrows_the_curve_but_not_the_level_of_the_others(sqlite_bank: Bank) -> None:
    """A branch with three weeks of a few wishes a day is updated at its own level; a region's claim holds."""
    add_run(sqlite_bank)
    sqlite_bank.add_region("south")
    sqlite_bank.add_branch("b2", "south")
    small = SamplePaths(UNTIL, np.random.default_rng(1).poisson(3.0, (200, DAYS)).astype(float))
    choice = {"champion": "weeks8", "why": "test", "observations": 21}
    choice |= dict.fromkeys(("wql_champion", "wql_weeks8", "coverage80"))
    store.save_series(
        sqlite_bank.engine, run_id=RUN, branch_id="b2", choice=choice, quantiles=None, paths=small
    )
    add_wishes(sqlite_bank)
    for back in range(24):
        day = UNTIL - timedelta(days=back + 1)
        rows = wishes(day, [0, 1, 1, 1], branch_id="b2", region_id="south")
        put(sqlite_bank, t.wish_episodes, *({**row, "loan_ref": f"b2-{row['loan_ref']}"} for row in rows))
    both = reforecast(sqlite_bank.engine, RUN, until=UNTIL)
    assert 0 < quantile(both["b2"], 0.9, BUSY) < 8
    assert set(reforecast(sqlite_bank.engine, RUN, until=UNTIL, region="south")) == {"b2"}


def test_the_running_day_follows_its_arrivals(sqlite_bank: Bank) -> None:
    """At noon a day that runs ahead is raised, one that falls short is lowered; no other day moves."""
    stored = add_run(sqlite_bank)
    add_wishes(sqlite_bank)
    noon, usual = opened(UNTIL, 0, 12), on_hand_of(sqlite_bank, UNTIL)
    short = reforecast_day(sqlite_bank.engine, RUN, UNTIL, until=noon)["b1"]
    assert usual < quantile(stored, 0.5, UNTIL)
    late = [wish(f"late-{n}", wished_day=UNTIL, opened_business_utc=opened(UNTIL, 0, 9)) for n in range(20)]
    put(sqlite_bank, t.wish_episodes, *late)
    ahead = reforecast_day(sqlite_bank.engine, RUN, UNTIL, until=noon)["b1"]
    assert quantile(ahead, 0.5, UNTIL) >= usual + 20 > quantile(short, 0.5, UNTIL)
    for paths in (short, ahead):
        assert np.array_equal(paths.values[:, 1:], stored.values[:, 1:])
    unseen = reforecast_day(sqlite_bank.engine, RUN, UNTIL, until=opened(UNTIL, 0, 8))["b1"]
    assert quantile(unseen, 0.9, UNTIL) < usual + 20
