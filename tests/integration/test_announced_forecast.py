"""Announced events and pay days reach the forecast: expected where history knows none, else learned."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import delete, insert, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.read.forecasts import forecast_days, sample_paths, series_details
from forecasting import jobs
from forecasting.announced import announced_of
from forecasting.models.train import train_panel
from tests.support.bank import Bank
from tests.support.planning import WEEK
from tests.support.recorded import event_row, put

WRITTEN = (tf.forecast_paths, tf.forecast_parts, tf.forecast_values, tf.forecast_series, tf.forecast_runs)
CAMPAIGN_DAYS = 4
BRANCH = "b1"


@pytest.fixture
def period(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> date:
    """Yesterday in the bank's zone; the jobs' environment points to the bank."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    return sqlite_bank.today - timedelta(days=1)


def add_days(bank: Bank, until: date, days: int, campaigns: tuple[date, ...] = ()) -> None:
    """Demand of b1 on the days up to `until`, doubled on the days of the campaigns."""
    rng = np.random.default_rng(11)
    doubled = {first + timedelta(days=n) for first in campaigns for n in range(CAMPAIGN_DAYS)}
    rows = []
    for back in range(days):
        day = until - timedelta(days=back)
        units = float(rng.poisson(WEEK[day.weekday()] * (2 if day in doubled else 1)))
        rows.append({"branch_id": BRANCH, "day": day, "source": "test", "units": units, "synthetic": False})
    with write_transaction(bank.engine) as connection:
        connection.execute(insert(t.demand_history), rows)


def campaign(name: str, first: date, **changes: object) -> dict[str, object]:
    return event_row(name, first_day=first, last_day=first + timedelta(days=CAMPAIGN_DAYS - 1), **changes)


def means(bank: Bank, period: date) -> pd.Series:
    """The means by day of b1 that a run of the period stores."""
    text = period.isoformat()
    run_id = jobs.start_training(text)
    jobs.train_batch(text, [BRANCH])
    rows = forecast_days(bank.engine, run_id)
    return rows.set_index(rows["day"].dt.date)["mean"]


def forget(bank: Bank) -> None:
    """Erase what runs have stored, so that the period can be trained again."""
    with write_transaction(bank.engine) as connection:
        for table in (tf.forecast_artifacts, *WRITTEN):
            connection.execute(delete(table))


def test_an_event_never_seen_moves_its_days_by_what_people_expect(sqlite_bank: Bank, period: date) -> None:
    """Expected at 1.5, it multiplies quantiles and paths of its days, no other; a re-run changes nothing."""
    add_days(sqlite_bank, period, 120)
    without, first = means(sqlite_bank, period), period + timedelta(days=6)
    _, plain = sample_paths(sqlite_bank.engine, f"demand-{period}")[BRANCH]
    forget(sqlite_bank)
    put(sqlite_bank, tf.events, campaign("e1", first))
    told = means(sqlite_bank, period)
    expected = pd.Series(1.0, index=without.index)
    expected[[first + timedelta(days=n) for n in range(CAMPAIGN_DAYS)]] = 1.5
    np.testing.assert_allclose(told, without * expected, rtol=1e-9)
    start, paths = sample_paths(sqlite_bank.engine, f"demand-{period}")[BRANCH]
    assert start == period + timedelta(days=1)
    np.testing.assert_allclose(paths, plain * expected.to_numpy(), rtol=1e-6)
    details = series_details(sqlite_bank.engine, f"demand-{period}")[BRANCH]["announced"]
    assert details[str(first)] == 1.5
    assert len(details) == CAMPAIGN_DAYS

    before = stored(sqlite_bank)
    means(sqlite_bank, period)
    assert stored(sqlite_bank) == before


def test_an_ended_event_and_one_of_another_branch_do_nothing(sqlite_bank: Bank, period: date) -> None:
    """What was called off before the run, or is announced for others, leaves the forecast as it was."""
    add_days(sqlite_bank, period, 120)
    without, first = means(sqlite_bank, period), period + timedelta(days=6)
    forget(sqlite_bank)
    announced = event_row()["created_utc"]
    put(
        sqlite_bank,
        tf.events,
        campaign("over", first, ended_utc=announced + timedelta(hours=1)),
        campaign("other", first, scope="branch:b7"),
    )
    pd.testing.assert_series_equal(means(sqlite_bank, period), without)


def test_an_effect_that_history_knows_is_learned(sqlite_bank: Bank, period: date) -> None:
    """Four campaigns that doubled demand lift the fifth, without anybody's estimate."""
    firsts = tuple(period - timedelta(days=back) for back in (150, 110, 68, 29))
    add_days(sqlite_bank, period, 200, firsts)
    coming = period + timedelta(days=6)
    past = [campaign(f"e{n}", first, expected_effect_ratio=9.0) for n, first in enumerate(firsts)]
    put(sqlite_bank, tf.events, *past)
    without = means(sqlite_bank, period)
    forget(sqlite_bank)
    put(sqlite_bank, tf.events, campaign("next", coming, expected_effect_ratio=9.0))
    ratio = means(sqlite_bank, period) / without
    days = [coming + timedelta(days=n) for n in range(CAMPAIGN_DAYS)]
    on = ratio.index.isin(days)
    # doubled; only one of the three models knows of events, and the 9 is not used
    assert ratio[on].between(1.25, 2.4).all()
    assert ratio[~on].between(0.8, 1.25).all()


def test_branches_with_the_same_events_share_their_features() -> None:
    """One frame for both; the branch with an event of its own has another; pay days only where named."""
    days = pd.date_range("2026-01-01", "2026-03-31", freq="D", unit="us")
    history = pd.DataFrame({"ds": days[:60], "y": 1.0})
    found = pd.DataFrame(
        [
            campaign("bank", date(2026, 1, 12)),
            campaign("own", date(2026, 2, 2), scope="branch:c", kind="rate_cut"),
        ]
    ).astype({"first_day": "datetime64[us]", "last_day": "datetime64[us]"})
    scopes = {name: ("bank:bank", f"branch:{name}") for name in "abc"}
    histories = dict.fromkeys("abc", history)
    made = announced_of(found, scopes, histories, days, "none", (15,))
    assert made.features["a"] is made.features["b"]
    assert set(made.features["c"]) - set(made.features["a"]) == {
        "event_rate_cut", "event_rate_cut_before", "event_rate_cut_after"
    }  # fmt: skip
    assert {name for name in map(str, made.features["a"]) if name.startswith("pay")} == {
        "pay_day", "pay_day_before", "pay_day_after"
    }  # fmt: skip
    assert made.effects == {}
    assert "pay_day" not in announced_of(found, scopes, histories, days, "none", ()).features["a"]
    assert announced_of(found.iloc[:0], scopes, histories, days, "none", ()).features == {}


def test_a_school_break_of_every_year_is_learned_and_told() -> None:
    """Three summers' breaks of nine days at half as much again lift the fourth, as the explanation says."""
    days = pd.date_range("2023-01-02", "2026-07-29", freq="D", unit="us")
    breaks = [date(year, 7, 6) for year in (2023, 2024, 2025, 2026)]
    found = pd.DataFrame(
        [
            event_row(
                f"summer-{first.year}", kind="school_holiday", name="Summer break", first_day=first,
                last_day=first + timedelta(days=8), expected_effect_ratio=np.nan,
            )
            for first in breaks
        ]
    ).astype({"first_day": "datetime64[us]", "last_day": "datetime64[us]"})  # fmt: skip
    on = np.logical_or.reduce([(days.date >= d) & (days.date <= d + timedelta(days=8)) for d in breaks])
    usual = 5.0 * np.array([WEEK[day.weekday()] for day in days])
    noise = np.exp(0.1 * np.random.default_rng(1).standard_normal(len(days)))
    known = days <= pd.Timestamp("2026-07-01")
    y = usual * np.where(on, 1.5, 1.0) * noise
    histories = {BRANCH: pd.DataFrame({"ds": days[known], "y": y[known]})}
    told = announced_of(found, {BRANCH: ("bank:bank",)}, histories, days, "none", ())
    assert told.effects == {}  # nobody's estimate is needed
    made, plain = (
        train_panel(histories, 28, country="none", seed=1, paths=20, extras=extras, explain=True)[BRANCH]
        for extras in (told.features, None)
    )
    coming = on[~known]
    ratio = (made.quantiles["q0.5"] / plain.quantiles["q0.5"]).to_numpy()
    assert ratio[coming].mean() > 1.06  # one model of three knows of events
    assert ratio[~coming].mean() == pytest.approx(1.0, abs=0.03)
    effects = [
        table[table["part"] == "event"]
        for table in (made.explanation, plain.explanation)
        if table is not None
    ]
    effect = effects[0].set_index("ds")["effect"].reindex(days[~known]).to_numpy()
    assert effect[coming].mean() == pytest.approx(1.5, abs=0.15)
    assert effect[~coming].mean() == pytest.approx(1.0, abs=0.03)
    assert (effects[1]["effect"] == 1.0).all()  # the control: unannounced, it is no event


def stored(bank: Bank) -> list[list[str]]:
    with bank.engine.connect() as connection:
        return [sorted(map(repr, connection.execute(select(table)))) for table in WRITTEN]
