"""What the retune reads for channels, the waitlist's backlog and the bank, and a period planned too early."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from booking_core import tables as t
from booking_core.collector import plan_families
from booking_core.read import waitlist
from booking_core.read.demand import wishes_by_channel
from booking_core.read.plans import plan_items, plans
from forecasting import jobs
from metrics import contract
from tests.support.bank import Bank
from tests.support.planning import core_of, furnish
from tests.support.recorded import put, wish

NOW = datetime(2026, 6, 10, 4, tzinfo=UTC)
TODAY = date(2026, 6, 10)


def entry(loan: str, wished: date, latest: date, **changes: Any) -> dict[str, Any]:
    """A waitlist entry that waits at b1 by app."""
    values: dict[str, Any] = {
        "entry_ref": f"W-{loan}",
        "loan_ref": loan,
        "branch_id": "b1",
        "region_id": "north",
        "wished_day": wished,
        "latest_day": latest,
        "channel": "app",
        "priority": 0,
        "status": "waiting",
        "joined_utc": NOW,
        "actor": "test",
    }
    return values | changes


def test_backlog_is_who_no_coming_day_counts(bank: Bank) -> None:
    """A wish for a coming day at the same branch is demand; one past, elsewhere or unknown is backlog."""
    bank.add_branch("b2", "north")
    past, soon, last = TODAY - timedelta(days=3), TODAY + timedelta(days=3), TODAY + timedelta(days=9)
    for n in range(6, 8):
        bank.add_loan(f"L{n}")
    put(
        bank,
        t.waitlist,
        entry("L1", past, last),  # wished a day that is over
        entry("L2", soon, last),  # counted as demand of `soon`
        entry("L3", soon, last),  # wished at another branch first
        entry("L4", past, past),  # too late for any coming day
        entry("L5", past, last, status="offered"),
        entry("L6", soon, last, channel="phone"),  # no wish known
    )
    put(
        bank,
        t.wish_episodes,
        wish("L1", wished_day=past, outcome="open"),
        wish("L2", wished_day=soon, outcome="open"),
        wish("L3", wished_day=soon, branch_id="b2", outcome="open"),
        wish("L4", wished_day=past, outcome="open"),
    )
    found = waitlist.backlog(bank.engine, since=TODAY, region="north")
    rows = [
        (r.branch_id, r.channel, r.first_day.date(), r.latest_day.date(), r.entries)
        for r in found.itertuples()
    ]
    assert rows == [
        ("b1", "app", TODAY, last, 1),
        ("b1", "app", soon, last, 1),
        ("b1", "phone", soon, last, 1),
    ]
    assert waitlist.backlog(bank.engine, since=TODAY, region="south").empty


def test_channels_and_the_bank_are_planned_where_they_stand(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel's limit follows its share in its region's plan; the bank's limits have their own plan."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period)
    sqlite_bank.add_quota("branch", "b1", "day", 20, channel="phone")
    sqlite_bank.add_quota("bank", "bank", "month", 1500)
    for n in range(6, 26):
        sqlite_bank.add_loan(f"L{n}")
    wished = [period - timedelta(days=n % 3) for n in range(20)]  # too few days to learn leads from
    put(
        sqlite_bank,
        t.wish_episodes,
        *(
            wish(
                f"L{n + 6}",
                wished_day=day,
                channel="phone" if n % 4 == 0 else "app",
                outcome="unmet",
                opened_business_utc=datetime.combine(day, time(1), UTC),
            )
            for n, day in enumerate(wished)
        ),
    )
    counts = wishes_by_channel(sqlite_bank.engine, since=min(wished), until=period)
    assert dict(zip(counts["channel"], counts["units"], strict=True)) == {"app": 15, "phone": 5}
    with core_of(sqlite_bank, monkeypatch):
        trained(period)
        assert jobs.propose(period.isoformat()) == ["north", "south", "bank"]
        for region in ("north", "bank"):
            jobs.guard(period.isoformat(), region)
    items = plan_items(sqlite_bank.engine, f"quota-{period}-north")
    days = items[(items["scope_id"] == "b1") & (items["period_kind"] == "day")]
    whole = days[days["channel"] == "*"].set_index("period_start")["new_limit"]
    phone = days[days["channel"] == "phone"].set_index("period_start")["new_limit"]
    assert len(phone) == 28
    assert (phone < whole).all()
    assert (phone > 0).all()
    [month] = (
        plan_items(sqlite_bank.engine, f"quota-{period}-bank")
        .query("new_limit.notna()")[["scope_kind", "period_kind"]]
        .drop_duplicates()
        .to_numpy()
        .tolist()
    )
    assert month == ["bank", "month"]


def test_a_period_proposed_before_any_training_is_planned_after_it(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that keeps all for want of a forecast gives way to one with it, which then stands."""
    period = sqlite_bank.today - timedelta(days=1)
    text = period.isoformat()
    furnish(sqlite_bank, period)
    with core_of(sqlite_bank, monkeypatch):
        jobs.propose(text)
        early = jobs.guard(text, "north")
        assert jobs.apply(early)["status"] == "kept"
        jobs.propose(text)
        assert jobs.guard(text, "north") == early
        trained(period)
        jobs.propose(text)
        later = jobs.guard(text, "north")
        assert later == f"{early}+trained"
        assert jobs.apply(later)["status"] == "applied"
        jobs.propose(text)
        assert jobs.guard(text, "north") == later
    made = plans(sqlite_bank.engine, kind="quota", region="north")
    assert dict(zip(made["plan_id"], made["status"], strict=True)) == {early: "kept", later: "applied"}
    with sqlite_bank.engine.connect() as connection:
        [kept] = [f for f in plan_families(connection, paused=False) if f.name == contract.PLAN_KEPT]
    told = {sample.labels["reason"]: sample.value for sample in kept.samples}
    assert told["no_forecast"] == 0, "the newer plan of the period was applied"


def trained(period: date) -> None:
    """The period's run, made."""
    text = period.isoformat()
    jobs.start_training(text)
    for batch in jobs.series_batches(text):
        jobs.train_batch(text, batch)
    jobs.finish_training(text)
