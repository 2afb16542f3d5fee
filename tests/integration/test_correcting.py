"""Special periods and corrections within the day on the real core: posted, approved, applied, repeated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import select, update

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.read.bank import bank_settings
from booking_core.read.plans import plan_items, plans
from booking_core.read.quotas import quota_periods
from forecasting import correcting, jobs, store
from forecasting.__main__ import main
from forecasting.caps import Funds
from forecasting.core_client import CoreClient, CoreError
from forecasting.decisions.intraday import Above
from forecasting.decisions.policy import Policy
from forecasting.frames import SamplePaths
from forecasting.pressure import quarter_start
from forecasting.retuning import usable_run
from tests.support.bank import ZONE, Bank
from tests.support.planning import core_of
from tests.support.recorded import plan, put, wish
from tests.support.serving import Served
from tests.support.staffed import staff

USUAL = 20


def at_noon(bank: Bank) -> Bank:
    """The bank at about noon of its business day, whatever the wall says: some of it is still to come."""
    local = datetime.now(ZoneInfo(ZONE))
    quarters = (12 * 4 - local.hour * 4 - local.minute // 15) % 96
    bank.set("business_offset_seconds", quarters * 900)
    bank.set("country", "none")
    bank.today = (local + timedelta(minutes=15 * quarters)).date()
    return bank


@pytest.fixture
def shifted(sqlite_bank: Bank) -> Bank:
    """A bank on SQLite, at noon."""
    return at_noon(sqlite_bank)


def forecast(bank: Bank, *, mean: float = USUAL, back: int = 1) -> str:
    """A ready run of so many days back that forecasts so many units a day at b1; its id."""
    engine, period = bank.engine, bank.today - timedelta(days=back)
    run_id = f"demand-{period}"
    store.start_run(
        engine,
        run_id=run_id,
        kind="demand",
        period=period,
        trained_utc=datetime.now(UTC),
        span=None,
        parameters={},
        libraries={},
    )
    choice: dict[str, Any] = {"champion": "combination", "why": "test", "observations": 120}
    units = np.random.default_rng(6).poisson(mean, size=(400, 70)).astype(float)
    paths = SamplePaths(period + timedelta(days=1), units)
    store.save_series(engine, run_id=run_id, branch_id="b1", choice=choice, quantiles=None, paths=paths)
    store.finish_run(engine, run_id, status=store.READY, verdict=None, scores={})
    return run_id


def wishes(bank: Bank, day: date, count: int, hour: int = 9) -> None:
    """So many wishes for the day, opened at the hour of the day itself."""
    opened = datetime.combine(day, time(hour), ZoneInfo(ZONE)).astimezone(UTC)
    row = wish("L1", wished_day=day, opened_business_utc=opened, last_try_business_utc=opened)
    put(bank, t.wish_episodes, *([row] * count))


def usual_mornings(bank: Bank) -> None:
    """Sixty days with half of their wishes before ten and half at two."""
    for back in range(1, 61):
        day = bank.today - timedelta(days=back)
        wishes(bank, day, USUAL // 2)
        wishes(bank, day, USUAL // 2, hour=14)


def limits(bank: Bank, day: date) -> dict[str, tuple[int, int]]:
    """(limit in force, extra units) of b1's day by channel."""
    rows = quota_periods(bank.engine, since=day, until=day)
    return {
        row["channel"]: (int(row["limit_units"]), int(row["extra_units"])) for row in rows.to_dict("records")
    }


@contextmanager
def running(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A core on the bank."""
    with core_of(bank, monkeypatch) as core:
        yield core


def test_arrivals_that_outrun_the_forecast_raise_today_and_ask_for_the_rest(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thrice the usual morning: a little at once, the rest by a person; again nothing; approved: applied.

    The region's and the bank's limits that would bind are raised with the branch's; also where many plans are
    newer than the one that was approved. Every plan replays from its record.
    """
    shifted = at_noon(bank)
    shifted.add_quota("branch", "b1", "day", 26)
    shifted.add_quota("branch", "b1", "month", 27)
    shifted.add_quota("region", "north", "day", 26)
    shifted.add_quota("bank", "bank", "day", 26)
    usual_mornings(shifted)
    wishes(shifted, shifted.today, 30)
    forecast(shifted)
    with running(shifted, monkeypatch) as core:
        made = jobs.correct()
        assert [(o["status"], o["limits"]) for o in made] == [
            ("applied", 1), ("pending", 0), ("applied", 2), ("pending", 0)
        ]  # fmt: skip
        assert made[1]["plan_id"].endswith("Z-bank+ask")
        assert [main(["replay-plan", outcome["plan_id"]]) for outcome in made] == [0, 0, 0, 0]
        own, region = plan_items(shifted.engine, made[2]["plan_id"]).to_dict("records")
        assert (region["scope_kind"], region["old_limit"], region["applied_limit"]) == ("region", 26, 29)
        assert (own["old_limit"], own["new_limit"], own["applied_limit"]) == (26, 29, 29)
        assert own["inputs"]["why"] == "emergency"
        month = f"branch:b1:*:month {shifted.today.replace(day=1)}"
        assert own["inputs"]["binds"] == [{"limit": month, "room_units": 27, "opened_units": 29}]
        assert limits(shifted, shifted.today) == {"*": (29, 3)}
        tomorrow = shifted.today + timedelta(days=1)
        assert limits(shifted, tomorrow) == {"*": (26, 0)}

        assert jobs.correct() == made
        later = (datetime.now(UTC) + offset(shifted) + timedelta(minutes=30)).isoformat()
        assert jobs.correct(later) == []
        past = (datetime.now(UTC) + offset(shifted) - timedelta(minutes=30)).isoformat()
        assert jobs.correct(past) == []

        with core.client("operator") as operator:
            assert operator.post(f"/v1/plans/{made[3]['plan_id']}/approve").status_code == 200
        newer = {"kind": "extra", "status": "kept", "period": f"{tomorrow}T00:00Z"}
        put(shifted, t.plans, *(plan(f"newer{n}", **newer) for n in range(60)))
        monkeypatch.setenv("SLOTCAST_APPROVER_TOKEN", core.tokens["operator"])
        [question] = jobs.questions([outcome["plan_id"] for outcome in made])
        assert question["plan_id"] == made[1]["plan_id"]
        assert "- bank bank * day" in question["body"]
        assert question["response_timeout"] < timedelta(hours=24)  # until the day is over
        decided = jobs.decide(made[1]["plan_id"], approved=False, by="zhao.min")
        assert (decided["status"], decided["decided_by"]) == ("rejected", "zhao.min")
        for person in ("wang", None):  # a rejection after another's approval applies nothing
            late = jobs.decide(made[3]["plan_id"], approved=False, by=person)
            assert (late["status"], late["refused"]) == ("approved", "plan_wrong_status")
        assert limits(shifted, shifted.today)["*"] == (29, 3)
        [applied] = jobs.correct(later)
        assert (applied["plan_id"], applied["status"]) == (made[3]["plan_id"], "applied")
        asked = plan_items(shifted.engine, made[3]["plan_id"]).iloc[0]["new_limit"]
        assert limits(shifted, shifted.today)["*"][0] == asked > 40


def test_a_morning_as_usual_corrects_nothing_and_a_paused_bank_neither(
    shifted: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: usual arrivals leave every limit; while paused nothing is raised, only recorded."""
    shifted.add_quota("branch", "b1", "day", 26)
    usual_mornings(shifted)
    wishes(shifted, shifted.today, USUAL // 2)
    forecast(shifted)
    with running(shifted, monkeypatch):
        assert jobs.correct() == []
        wishes(shifted, shifted.today, 25)
        shifted.set("paused", True)
        first, asked = jobs.correct()
        assert (first["status"], first["refused"], asked["status"]) == ("proposed", "paused", "pending")
        assert limits(shifted, shifted.today) == {"*": (26, 0)}


def test_without_a_forecast_it_says_so_and_one_in_training_is_not_waited_for(
    shifted: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run: kept, and why. A run that is in training, or has died in it: the last ready one is used."""
    shifted.add_quota("branch", "b1", "day", 26)
    usual_mornings(shifted)
    wishes(shifted, shifted.today, 30)
    with running(shifted, monkeypatch):
        assert jobs.correct() == [
            {"plan_id": None, "region": "north", "status": "kept", "limits": 0, "refused": "no_forecast"}
        ]
        forecast(shifted, back=2)
        yesterday = shifted.today - timedelta(days=1)
        store.start_run(
            shifted.engine,
            run_id=f"demand-{yesterday}",
            kind="demand",
            period=yesterday,
            trained_utc=datetime.now(UTC),
            span=None,
            parameters={},
            libraries={},
        )
        with pytest.raises(RuntimeError, match="still in training"):  # a retune waits for it
            usable_run(shifted.engine, yesterday, Policy(), "north")
        assert [outcome["status"] for outcome in jobs.correct()] == ["applied", "pending"]


def test_approved_quota_plans_are_applied_and_one_regions_failure_stops_no_other(
    shifted: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest approved quota plan is applied, an older one refused; where the core fails is named last."""
    shifted.add_region("south")
    forecast(shifted)
    waits = {"status": "approved", "in_band": False, "applied_utc": None}
    days = [(shifted.today - timedelta(days=n)).isoformat() for n in (1, 2)]
    put(
        shifted,
        t.plans,
        plan("n1", **waits, period=days[0]),
        plan("s1", **waits, period=days[0], region_id="south"),
        plan("s2", **waits, period=days[1], region_id="south"),
    )
    real = correcting.outcome_of

    def broken(core: CoreClient, told: dict[str, Any]) -> dict[str, Any]:
        if told["region"] == "north":
            raise CoreError("the core is gone")
        return real(core, told)

    with running(shifted, monkeypatch):
        with monkeypatch.context() as patched:
            patched.setattr(correcting, "outcome_of", broken)
            with pytest.raises(CoreError, match="not corrected: north: the core is gone"):
                jobs.correct()
        found = plans(shifted.engine, kind="quota").set_index("plan_id")["status"]
        assert found.to_dict() == {"n1": "approved", "s1": "applied", "s2": "approved"}
        told = [(o["plan_id"], o["region"], o["status"], o["refused"]) for o in jobs.correct()]
        assert told == [
            ("n1", "north", "applied", None),
            ("s2", "south", "approved", "plan_older_period"),
        ]


def offset(bank: Bank) -> timedelta:
    """The bank's business offset."""
    with bank.engine.connect() as connection:
        value = connection.scalar(
            select(t.settings.c.value).where(t.settings.c.key == "business_offset_seconds")
        )
    return timedelta(seconds=value)


def test_the_evening_before_unused_shares_open_to_every_channel(
    shifted: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At noon tomorrow's channels may use the whole of tomorrow; the day after is still divided; once."""
    shifted.add_quota("branch", "b1", "day", 26)
    shifted.add_quota("branch", "b1", "day", 6, channel="phone")
    shifted.set("policy", {"correction_days": 3})
    forecast(shifted)
    with running(shifted, monkeypatch):
        [made] = jobs.correct()
        assert made["status"] == "applied"
        days = [shifted.today + timedelta(days=n) for n in range(3)]
        found = [limits(shifted, day)["phone"] for day in days]
        assert found == [(26, 20), (26, 20), (6, 0)]
        assert [limits(shifted, day)["*"] for day in days] == [(26, 0)] * 3
        later = (datetime.now(UTC) + offset(shifted) + timedelta(minutes=15)).isoformat()
        assert jobs.correct(later) == []


def test_an_announced_event_asks_for_extra_units_that_end_with_the_day(
    shifted: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate cut's day that the step limit holds down: pending, approved, in force until the day is over."""
    shifted.set(
        "policy", {"auto_band_high_ratio": 9.0, "auto_band_clipped_ratio": 1.0, "special_month_end_days": 0}
    )
    shifted.add_quota("branch", "b1", "day", 3)
    period = shifted.today - timedelta(days=1)
    day = shifted.today + timedelta(days=5)
    put(
        shifted,
        tf.events,
        {
            "event_id": "cut", "kind": "rate_cut", "name": "Rate cut 降息", "first_day": day,
            "last_day": day, "scope": "bank:bank", "confirmed": True, "created_by": "test",
            "created_utc": datetime.now(UTC),
        },
    )  # fmt: skip
    forecast(shifted)
    with running(shifted, monkeypatch) as core:
        jobs.propose(period.isoformat())
        jobs.apply(jobs.guard(period.isoformat(), "north"))
        jobs.guard(period.isoformat(), "north")  # a repetition
        special = plans(shifted.engine, kind="extra")
        assert special[["plan_id", "status", "verdict"]].to_numpy().tolist() == [
            [f"special-{period}-north", "pending", "special_period"]
        ]
        [item] = plan_items(shifted.engine, f"special-{period}-north").to_dict("records")
        assert (item["period_start"].date(), item["old_limit"], item["new_limit"]) == (day, 9, 26)
        assert item["condition"].startswith("Rate cut 降息: 26 are forecast, 9 planned")
        assert limits(shifted, day)["*"] == (9, 0)
        with core.client("operator") as operator:
            operator.post(f"/v1/plans/special-{period}-north/approve")
            operator.post(f"/v1/plans/special-{period}-north/apply")
        assert limits(shifted, day)["*"] == (26, 17)
        with shifted.engine.connect() as connection:
            expires = connection.scalar(select(t.quota_temporaries.c.expires_utc))
        midnight = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(ZONE))
        assert expires == midnight - offset(shifted)
        assert main(["replay-plan", f"special-{period}-north"]) == 0
        with write_transaction(shifted.engine) as connection:
            connection.execute(
                update(t.plan_items)
                .where(t.plan_items.c.plan_id == f"special-{period}-north")
                .values(old_limit=8)
            )
        assert main(["replay-plan", f"special-{period}-north"]) == 1
        assert asks_again(shifted, period) is None


def asks_again(bank: Bank, period: date) -> str | None:
    """The id of the special plan of the period after, made from the same forecast."""
    after = (period + timedelta(days=1)).isoformat()
    body = {"period": after, "region": "north", "plan_id": "q", "model": "champion", "forecast_run_id": None}
    items = plan_items(bank.engine, f"special-{period}-north").to_dict("records")
    told = [{**item, "period_start": item["period_start"].date().isoformat()} for item in items]
    with CoreClient.from_environment() as core:
        return correcting.post_special(core, bank.engine, {**body, "items": told}, Policy())


def test_held_back_units_are_released_before_anybody_is_asked(
    shifted: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that keeps a fifth back, and a morning that outruns it: what was kept back opens by itself."""
    today = shifted.today
    shifted.set("policy", {"hold_back_ratio": 0.2, "max_step_down_ratio": 0.01})
    shifted.add_quota("branch", "b1", "day", 26)
    staff(shifted, "b1", today, ("09:00", "17:00", 2, "counter"))
    shifted.add_quota("branch", "b1", "funds_day", 10_000_000)
    shifted.add_loan("F1", payoff="250000.00")
    usual_mornings(shifted)
    forecast(shifted)
    period = (today - timedelta(days=1)).isoformat()
    with running(shifted, monkeypatch):
        jobs.propose(period)
        assert jobs.apply(jobs.guard(period, "north"))["status"] == "applied"
        planned = limits(shifted, today)["*"][0]
        assert planned < 24
        settings, policy = bank_settings(shifted.engine), Policy(hold_back_ratio=0.2)
        now = quarter_start(settings.business_now(datetime.now(UTC)))
        funds = Funds.of(shifted.engine, today - timedelta(days=1), policy)
        state = correcting.day_states(
            shifted.engine, "north", f"demand-{period}", now, settings, policy, funds
        )[0]
        assert (state.limit_units, state.unplanned_units, state.held_back_units) == (
            planned,
            26,
            26 - planned,
        )
        # capped by the day's roster, not by the branch's own cap, and by what its funds pay out
        assert (state.staff_cap_units, state.funds_cap_units) == (47, 40)
        assert state.above == (Above(f"branch:b1:*:funds_day {today}", 40),)
        assert jobs.correct() == []
        wishes(shifted, today, 14)
        assert jobs.correct()[0]["status"] == "applied"
        assert limits(shifted, today)["*"][0] > planned
