"""Selections kept between trainings: used while fresh and whole, made anew otherwise, same numbers again."""

from __future__ import annotations

import json
import logging
import zlib
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import delete, update

from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.read.artifacts import latest_artifact
from booking_core.read.forecasts import forecast_days, series_choices, series_details
from forecasting import jobs
from forecasting.models.combine import Spread
from forecasting.models.components import Rates
from forecasting.models.selection import Selection, select, unjudged
from forecasting.selections import SelectionError, dumped, loaded, selection_id
from tests.support.bank import Bank
from tests.support.planning import BRANCHES, furnish
from tests.support.recorded import put

IDS = sorted(BRANCHES)
RUNS = (tf.forecast_paths, tf.forecast_parts, tf.forecast_values, tf.forecast_series, tf.forecast_runs)


@pytest.fixture
def period(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> date:
    """The day before yesterday; the bank has 120 days of demand up to yesterday."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    furnish(sqlite_bank, sqlite_bank.today - timedelta(days=1), days=120)
    return sqlite_bank.today - timedelta(days=2)


@pytest.fixture
def selections(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each selection made."""
    made = []

    def counted(*args: Any, **kwargs: Any) -> Selection:
        made.append(1)
        return select(*args, **kwargs)

    monkeypatch.setattr("forecasting.training.select", counted)
    return made


def train(bank: Bank, period: date) -> pd.DataFrame:
    """The forecast of the period's run, of one batch of all branches."""
    text = period.isoformat()
    run_id = jobs.start_training(text)
    jobs.train_batch(text, IDS)
    return forecast_days(bank.engine, run_id)


def forget(bank: Bank, *also: Any) -> None:
    """Erase what runs have stored; artefacts stay, unless `also` names them."""
    with write_transaction(bank.engine) as connection:
        for table in (*also, *RUNS):
            connection.execute(delete(table))


def test_the_next_day_forecasts_with_the_selection_that_was_kept(
    sqlite_bank: Bank, period: date, selections: list[int]
) -> None:
    """The second day selects nothing, names artefact and day, keeps the rates; repeated, its numbers stay."""
    first = train(sqlite_bank, period)
    kept = latest_artifact(sqlite_bank.engine, "selection")
    assert kept is not None
    assert kept.artifact_id == selection_id(period, IDS)
    assert (kept.period, kept.span_to, kept.parameters["ids"]) == (period, period, IDS)
    assert kept.libraries["prophet"]
    assert kept.scores is not None
    assert kept.scores["folds"] > 0
    _, selection = loaded(kept.data)
    assert all(rates.daytype is not None for rates in selection.rates)

    after = period + timedelta(days=1)
    second = train(sqlite_bank, after)
    assert len(selections) == 1
    for branch, details in series_details(sqlite_bank.engine, f"demand-{after}").items():
        assert details["selection"] == kept.artifact_id
        place = IDS.index(branch)
        assert Rates(**details["rates"]) == selection.rates[place]
    why = series_choices(sqlite_bank.engine, f"demand-{after}")["why"]
    assert why.str.endswith(f"; as selected on {period}").all()
    earlier = series_choices(sqlite_bank.engine, f"demand-{period}")["why"]
    assert not earlier.str.contains("as selected on").any()

    forget(sqlite_bank)
    pd.testing.assert_frame_equal(train(sqlite_bank, period), first)
    pd.testing.assert_frame_equal(train(sqlite_bank, after), second)
    assert len(selections) == 1
    forget(sqlite_bank, tf.forecast_artifacts)
    pd.testing.assert_frame_equal(train(sqlite_bank, period), first)
    assert len(selections) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data": b"damaged"}, "is damaged"),
        ({"format": 2}, "has format 2"),
        ({"period": date(2020, 1, 1)}, None),
    ],
)
def test_what_cannot_be_used_is_named_and_selected_anew(
    sqlite_bank: Bank,
    period: date,
    selections: list[int],
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    told: str | None,
) -> None:
    """Damaged and newer artefacts are named in the log, old ones are passed over; the run goes on."""
    train(sqlite_bank, period)
    with write_transaction(sqlite_bank.engine) as connection:
        connection.execute(update(tf.forecast_artifacts).values(**change))
    after = period + timedelta(days=1)
    with caplog.at_level(logging.WARNING, logger="forecasting.selections"):
        assert not train(sqlite_bank, after).empty
    assert len(selections) == 2
    warnings = [record.getMessage() for record in caplog.records if record.name == "forecasting.selections"]
    assert [told in text and selection_id(period, IDS) in text for text in warnings if told] == [True] * (
        told is not None
    )
    details = series_details(sqlite_bank.engine, f"demand-{after}")
    assert {found["selection"] for found in details.values()} == {selection_id(after, IDS)}


def judged() -> Selection:
    """A selection of two branches, one without scores."""
    return replace(
        unjudged(2, [[0], [1]], "no folds"),
        spread=Spread(np.array([1.1, 1 / 3]), 1.2),
        rates=(Rates(0.1, None), Rates(0.2, 0.3)),
        folds=3,
        fold_days=28,
        wql={"weeks8": 0.1},
        series_wql=np.array([0.1, np.nan]),
        wape=0.2,
        failures={"b1": "too short"},
    )


def test_a_selection_survives_its_bytes() -> None:
    """Every number comes back as it was, unknown ones as unknown."""
    ids, back = loaded(dumped(["b1", "b2"], judged()))
    assert ids == ("b1", "b2")
    assert dumped(ids, back) == dumped(ids, judged())
    np.testing.assert_array_equal(back.series_wql, judged().series_wql)
    np.testing.assert_array_equal(back.spread.series, judged().spread.series)
    assert (back.rates, back.wape, back.failures) == (judged().rates, 0.2, {"b1": "too short"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["oracle"]}, "its models are"),
        ({"champion": "oracle"}, "'oracle' is none of its models"),
        ({"coverage80": [0.8]}, "another count"),
        ({"groups": [[0], [0]]}, "each branch once"),
        ({"spread": {"series": [None, 1.0], "special": 1.0}}, "spread is not known"),
        ({"rates": None}, "hold no selection"),
    ],
)
def test_a_selection_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    """Whatever would forecast nonsense is refused with what is wrong; the same bytes unchanged are read."""
    body = json.loads(zlib.decompress(dumped(["b1", "b2"], judged())))
    assert loaded(zlib.compress(json.dumps(body).encode()))[0] == ("b1", "b2")
    body["selection"] |= change
    with pytest.raises(SelectionError, match=message):
        loaded(zlib.compress(json.dumps(body).encode()))
    with pytest.raises(SelectionError, match="format 9"):
        loaded(zlib.compress(json.dumps(body | {"format": 9}).encode()))
    with pytest.raises(SelectionError, match="hold no selection"):
        loaded(b"[]")


def test_while_forecasts_drift_each_day_selects_anew(
    sqlite_bank: Bank, period: date, selections: list[int]
) -> None:
    """A selection whose forecasts broke their promise is used no more, however fresh it is."""
    train(sqlite_bank, period)
    after = period + timedelta(days=1)
    row = {"run_id": f"demand-{period}", "day": after, "scope": "bank", "days": 40, "coverage80": 0.3}
    put(sqlite_bank, tf.forecast_drift, row | {"verdict": "drift", "condition": "80 % band held 30 %"})
    train(sqlite_bank, after)
    assert len(selections) == 2
