"""What a region's proposals are made from: whole periods forecast, and room for displaced customers."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from booking_core.read.forecasts import ForecastRun, latest_run
from booking_core.read.plans import plan_items
from booking_core.read.scores import plan_scores
from forecasting import jobs
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import QuotaProposal
from forecasting.retuning import region_proposals
from tests.support.bank import Bank
from tests.support.planning import MEAN_DAY, core_of, furnish
from tests.support.wishes import book, core_on, reason


def trained(bank: Bank, period: date) -> ForecastRun:
    """The run of the period, ready or vetoed."""
    text = period.isoformat()
    jobs.start_training(text)
    for batch in jobs.series_batches(text):
        jobs.train_batch(text, batch)
    jobs.finish_training(text)
    run = latest_run(bank.engine, "demand", status=None)
    assert run is not None
    return run


def surge_and_day_after(bank: Bank) -> tuple[str, str, date]:
    """A full slot in two days, a free one on the day after, and that day."""
    after = bank.today + timedelta(days=3)
    return bank.add_slot(day=after - timedelta(days=1), capacity=0), bank.add_slot(day=after), after


def test_the_day_after_a_surge_keeps_room_for_its_own_customers(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Customers displaced onto a day come on top of its own demand, and the plan's item says how many."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period)
    full, free, after = surge_and_day_after(sqlite_bank)
    core = core_on(sqlite_bank.engine)
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    engine, run = sqlite_bank.engine, trained(sqlite_bank, period)
    assert run.status == "ready"

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


def test_a_plan_is_scored_on_what_it_left_for_the_days_own_customers(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units that displaced customers held when the plan was made are neither idle nor there to be taken."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period)
    full, free, after = surge_and_day_after(sqlite_bank)
    core = core_on(sqlite_bank.engine)
    for loan, slots in {"L1": (full, free), "L2": (full, free), "L3": (free,)}.items():
        for slot in slots:
            book(core, loan, slot)
    with core_of(sqlite_bank, monkeypatch):
        trained(sqlite_bank, period)
        jobs.propose(period.isoformat())
        assert jobs.apply(jobs.guard(period.isoformat(), "north"))["status"] == "applied"
    sqlite_bank.set("business_offset_seconds", 4 * 86_400)
    jobs.score(after.isoformat())
    scores = plan_scores(sqlite_bank.engine, since=after).set_index("plan_id")
    items = plan_items(sqlite_bank.engine, f"quota-{period}-north")
    mine = items[(items["scope_id"] == "b1") & (items["period_kind"] == "day")]
    limit = int(mine.loc[mine["period_start"].dt.date == after, "applied_limit"].iloc[0])
    scored = scores.loc[f"quota-{period}-north"]
    assert (scored["demand_units"], scored["idle_units"]) == (1, limit - 2 - 1)
    assert scored["idle_old_units"] == MEAN_DAY - 2 - 1


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
    assert run.status == "ready"
    items = region_proposals(sqlite_bank.engine, "north", ends, run, Policy())
    assert {item.period_kind for item in items} == {"day", "week", "month"}
    assert [item.period_start for item in items if item.proposed is None] == []
    assert (date.fromisoformat(run.parameters["until"]) - ends).days <= 62


@pytest.mark.parametrize(("known", "model"), [(40, "weeks8"), (10, "keep")])
def test_a_plan_tells_why_its_branches_fall_back(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch, known: int, model: str
) -> None:
    """Short histories are planned by weeks8, shorter ones keep their quotas; plan and run name the veto."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period, days=known)
    with core_of(sqlite_bank, monkeypatch) as core:
        trained(sqlite_bank, period)
        jobs.propose(period.isoformat())
        plan_id = jobs.guard(period.isoformat(), "north")
        with core.client("reader") as client:
            plan = client.get(f"/v1/plans/{plan_id}").json()
    assert plan["model"] == model
    assert set(plan["inputs"]["fallbacks"]) == {"b1", "b2"}
    assert all("(short)" in why for why in plan["inputs"]["fallbacks"].values())
    if model == "keep":
        assert (plan["status"], plan["verdict"]) == ("kept", "mostly_unfit")
        assert "10 known days" in plan["inputs"]["condition"]
