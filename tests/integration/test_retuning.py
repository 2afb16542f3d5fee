"""What a region's proposals are made from: whole periods forecast, and room for displaced customers."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from booking_core.read.forecasts import ForecastRun, latest_run
from forecasting import jobs
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import QuotaProposal
from forecasting.retuning import region_proposals
from tests.support.bank import Bank
from tests.support.planning import furnish
from tests.support.wishes import book, core_on, reason


def trained(bank: Bank, period: date) -> ForecastRun:
    """The ready run of the period."""
    text = period.isoformat()
    jobs.start_training(text)
    for batch in jobs.series_batches(text):
        jobs.train_batch(text, batch)
    assert jobs.finish_training(text)["status"] == "ready"
    run = latest_run(bank.engine, "demand")
    assert run is not None
    return run


def test_the_day_after_a_surge_keeps_room_for_its_own_customers(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Customers displaced onto a day come on top of its own demand, and the plan's item says how many."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period)
    surge, after = sqlite_bank.today + timedelta(days=2), sqlite_bank.today + timedelta(days=3)
    full, free = sqlite_bank.add_slot(day=surge, capacity=0), sqlite_bank.add_slot(day=after)
    core = core_on(sqlite_bank.engine)
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    engine, run = sqlite_bank.engine, trained(sqlite_bank, period)

    def wanted() -> dict[tuple[str, str], QuotaProposal]:
        return {
            (item.scope_id, item.period_start): item
            for item in region_proposals(engine, "north", period, run, Policy())
            if item.period_kind == "day"
        }

    before = wanted()
    for loan in ("L1", "L2", "L3", "L4"):
        assert reason(book(core, loan, full)) == "slot_full"
        assert reason(book(core, loan, free)) is None
    assert reason(book(core, "L5", free)) is None  # as wished: in the day's own demand
    now = wanted()
    key = ("b1", after.isoformat())
    assert before[key].proposed is not None
    assert now[key].proposed == pytest.approx(before[key].proposed + 4)
    assert (now[key].inputs["displaced_units"], now[key].used_units) == (4, 5)
    assert {k: v for k, v in now.items() if k != key} == {k: v for k, v in before.items() if k != key}


@pytest.mark.parametrize(
    "ends", [date(2026, 1, 30), date(2026, 1, 31), date(2026, 6, 30), date(2026, 12, 31)]
)
def test_every_week_and_month_that_is_planned_is_forecast_to_its_end(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch, ends: date
) -> None:
    """At month, quarter and year end no limit is kept because the forecast stops within its period."""
    sqlite_bank.set("business_offset_seconds", (ends - sqlite_bank.today).days * 86_400)
    furnish(sqlite_bank, ends)
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    run = trained(sqlite_bank, ends)
    items = region_proposals(sqlite_bank.engine, "north", ends, run, Policy())
    assert {item.period_kind for item in items} == {"day", "week", "month"}
    assert [item.period_start for item in items if item.proposed is None] == []
    assert (date.fromisoformat(run.parameters["until"]) - ends).days <= 62
