"""Wishes on hand, arrivals so far and kept forecasts are read alike from SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.read.on_hand import arrivals_so_far, on_hand
from booking_core.read.past_forecasts import past_forecasts
from tests.support.bank import Bank
from tests.support.recorded import put, run_row, two_regions, wish
from tests.support.wishes import book, core_on

UNTIL = date(2026, 3, 30)


def at(text: str) -> datetime:
    """The moment of a local time in Shanghai, eight hours ahead of UTC all year."""
    return datetime.fromisoformat(f"{text}+08:00").astimezone(UTC)


def wished(loan: str, day: str, opened: str, **changes: Any) -> dict[str, Any]:
    """A wish for the day, opened at the local time."""
    return wish(loan, wished_day=date.fromisoformat(day), opened_business_utc=at(opened), **changes)


def rows(frame: Any) -> list[tuple[Any, ...]]:
    """The frame's rows, days as text."""
    return [
        tuple(str(value.date()) if hasattr(value, "date") else value for value in row)
        for row in frame.itertuples(index=False)
    ]


def test_wishes_are_counted_by_branch_service_day_and_bank_local_lead(bank: Bank) -> None:
    """Leads are days of the bank's own zone; what was opened when `until` had begun is not on hand yet."""
    two_regions(bank)
    put(
        bank,
        t.wish_episodes,
        wished("L1", "2026-04-02", "2026-03-29 00:10"),  # in UTC still the 28th
        wished("L2", "2026-04-02", "2026-03-29 23:50", outcome="unmet"),
        wished("L3", "2026-04-02", "2026-03-30 00:00"),
        wished("L4", "2026-03-29", "2026-03-29 08:00", outcome="displaced"),
        wished("L5", "2026-03-29", "2026-03-01 08:00", branch_id="b2", region_id="south"),
        wished("L6", "2026-03-09", "2026-03-01 08:00"),
        wished("L7", "2026-04-06", "2026-03-01 08:00"),
    )
    asked: Any = {"until": UNTIL, "horizon_days": 7, "history_days": 20}
    found = on_hand(bank.engine, **asked)
    assert rows(found) == [
        ("b1", "2026-03-29", 0, 1),
        ("b1", "2026-04-02", 4, 2),
        ("b2", "2026-03-29", 28, 1),
    ]
    assert rows(on_hand(bank.engine, **asked, region="south")) == [("b2", "2026-03-29", 28, 1)]


def test_leads_are_right_on_both_sides_of_a_change_of_clocks(bank: Bank) -> None:
    """In Lisbon midnight is 00:00 UTC in winter and 23:00 UTC the day before in summer."""
    with write_transaction(bank.engine) as connection:
        connection.execute(update(t.settings).where(t.settings.c.key == "zone").values(value="Europe/Lisbon"))
    moments = {
        "2026-03-27T23:30": 3, "2026-03-28T23:30": 2, "2026-03-29T00:30": 1, "2026-03-29T22:30": 1,
        "2026-03-29T23:30": 0,
    }  # fmt: skip
    for moment, lead in moments.items():
        opened = datetime.fromisoformat(f"{moment}+00:00")
        put(bank, t.wish_episodes, wish(moment, wished_day=UNTIL, opened_business_utc=opened))
        found = on_hand(bank.engine, until=UNTIL + timedelta(days=1), horizon_days=0, history_days=1)
        assert lead in set(found["lead_days"])
    assert found.set_index("lead_days")["units"].to_dict() == {3: 1, 2: 1, 1: 2, 0: 1}


def test_a_wish_is_on_hand_once_however_often_it_is_tried(bank: Bank) -> None:
    """A refused try, and a booking on another day, are the first day's demand; the other day has none."""
    full, free = bank.add_slot(capacity=0), bank.add_slot(day=bank.today + timedelta(days=3))
    core = core_on(bank.engine)
    for slot in (full, full, free):
        book(core, "L1", slot)
    found = on_hand(bank.engine, until=bank.today + timedelta(days=1), horizon_days=9, history_days=1)
    assert rows(found) == [("b1", str(bank.today + timedelta(days=2)), 2, 1)]


def test_arrivals_are_those_before_the_same_time_of_each_day(bank: Bank) -> None:
    """Of past days also all they had in the end; of the running day what is known so far."""
    put(
        bank,
        t.wish_episodes,
        wished("L1", "2026-03-28", "2026-03-20 23:00"),
        wished("L2", "2026-03-28", "2026-03-28 09:59"),
        wished("L3", "2026-03-28", "2026-03-28 10:00"),
        wished("L4", "2026-03-29", "2026-03-29 11:00"),
        wished("L5", "2026-03-30", "2026-03-30 09:00"),
        wished("L6", "2026-03-30", "2026-03-30 10:30"),
        wished("L7", "2026-03-27", "2026-03-27 09:00"),
    )
    found = arrivals_so_far(bank.engine, UNTIL, at("2026-03-30 10:00"), history_days=2)
    assert rows(found) == [("b1", "2026-03-28", 2, 3), ("b1", "2026-03-29", 0, 1), ("b1", "2026-03-30", 1, 1)]
    assert rows(arrivals_so_far(bank.engine, UNTIL, at("2026-03-30 11:00"))) == [("b1", "2026-03-30", 2, 2)]
    with pytest.raises(ValueError, match="naive"):
        arrivals_so_far(bank.engine, UNTIL, datetime(2026, 3, 30, 10))  # noqa: DTZ001


def test_kept_forecasts_are_those_that_stood_so_many_days_before(bank: Bank) -> None:
    """A run stands from the day after its period on; vetoed runs and those trained again do not count."""
    two_regions(bank)
    later = at("2026-03-30 20:00")
    put(
        bank,
        tf.forecast_runs,
        run_row("old", date(2026, 3, 26)),
        run_row("new", date(2026, 3, 26), trained_utc=later),
        run_row("next", date(2026, 3, 27)),
        run_row("vetoed", date(2026, 3, 28), status="vetoed"),
    )
    for run, mean in (("old", 1.0), ("new", 2.0), ("next", 3.0), ("vetoed", 4.0)):
        for day in range(26, 31):
            for branch in ("b1", "b2"):
                values = {
                    "mean": mean,
                    "q10": mean - 1,
                    "q25": mean,
                    "q50": mean,
                    "q75": mean,
                    "q90": mean + 1,
                }
                key = {"run_id": run, "branch_id": branch, "day": date(2026, 3, day), "model": "weeks8"}
                put(bank, tf.forecast_values, key | values)
    found = past_forecasts(bank.engine, since=date(2026, 3, 27), until=UNTIL, leads=(0, 1), region="north")
    assert rows(found) == [
        ("b1", "2026-03-27", 0, 2.0, 1.0, 3.0),
        ("b1", "2026-03-28", 0, 3.0, 2.0, 4.0),
        ("b1", "2026-03-28", 1, 2.0, 1.0, 3.0),
        ("b1", "2026-03-29", 1, 3.0, 2.0, 4.0),
    ]


def test_an_empty_bank_reads_as_typed_empty_frames(bank: Bank) -> None:
    """Columns and dtypes are the same whether there is anything to read or not."""
    empty = (
        on_hand(bank.engine, until=UNTIL, horizon_days=9, history_days=9),
        arrivals_so_far(bank.engine, UNTIL, at("2026-03-30 10:00")),
        past_forecasts(bank.engine, since=date(2026, 3, 1), until=UNTIL, leads=(1,)),
    )
    days = {"unique_id": "str", "ds": "datetime64[us]"}
    counts = {"units": "int64"}
    expected = (
        days | {"lead_days": "int64"} | counts,
        days | counts | {"day_units": "int64"},
        days | {"lead_days": "int64"} | dict.fromkeys(("mean", "q10", "q90"), "float64"),
    )
    for frame, dtypes in zip(empty, expected, strict=True):
        assert frame.empty
        assert frame.dtypes.astype(str).to_dict() == dtypes
