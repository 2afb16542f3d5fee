"""Staff from the database: what is measured, what a roster leaves of a quota, and the roster proposed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.read.day_shapes import calls_by_half_hour, visits_by_half_hour
from booking_core.read.forecasts import latest_run
from booking_core.read.rosters import roster_proposal
from forecasting import jobs, rostering
from forecasting.__main__ import main
from forecasting.decisions.plan import quota_plan
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import QuotaProposal
from forecasting.retuning import region_proposals
from forecasting.staff_caps import staff_caps
from forecasting.staff_measures import measure_staff
from tests.support.bank import ZONE, Bank
from tests.support.planning import core_of, furnish
from tests.support.staffed import foresee, serve_customers, staff


@pytest.fixture
def staffed(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """Branches b1 and b2 of region north, b3 of south, with a forecast made yesterday; the jobs' database."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period)
    foresee(sqlite_bank, period, {"b1": 60.0, "b2": 20.0, "b3": 20.0})
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    return sqlite_bank


def yesterday(bank: Bank) -> date:
    """The period that is planned from."""
    return bank.today - timedelta(days=1)


def proposals(bank: Bank, policy: Policy | None = None) -> dict[tuple[str, str, str], QuotaProposal]:
    """What is proposed for region north, by scope, kind and start of period."""
    run = latest_run(bank.engine, "demand")
    assert run is not None
    found = region_proposals(bank.engine, "north", yesterday(bank), run, policy or Policy())
    return {(p.scope_id, p.period_kind, p.period_start): p for p in found}


def test_a_roster_caps_the_quotas_of_its_day(staffed: Bank) -> None:
    """Two heads from nine to five, a break each: 2 × 7 h × 85 % ÷ 15 min = 47 units, on that day alone."""
    day = staffed.today + timedelta(days=2)
    staff(staffed, "b1", day, ("09:00", "17:00", 2, "counter"), ("09:00", "17:00", 9, "phone"))
    found = proposals(staffed)
    capped = found["b1", "day", day.isoformat()]
    assert (capped.staff_cap_units, capped.inputs["rostered_days"]) == (47, 1)
    free = found["b1", "day", (day + timedelta(days=1)).isoformat()]
    assert (free.staff_cap_units, "rostered_days" in free.inputs) == (None, False)
    assert found["b2", "day", day.isoformat()].staff_cap_units is None
    assert capped.proposed is not None
    assert capped.proposed > 47
    plan = quota_plan(
        period=yesterday(staffed).isoformat(), region="north", run_id="r", proposals=[capped], veto=None,
        condition="", policy=Policy(max_step_up_ratio=10.0),
    )  # fmt: skip
    assert (plan["items"][0]["new_limit"], plan["items"][0]["guardrail"]) == (47, "staff_cap")


def test_a_roster_wins_over_the_branchs_own_cap_and_both_add_up_in_a_week(sqlite_bank: Bank) -> None:
    """The rostered day by its heads, the others as imported; nobody there serves nobody."""
    sqlite_bank.add_branch("b2", staff_cap_units=30)
    day = sqlite_bank.today + timedelta(days=2)
    staff(sqlite_bank, "b2", day, ("09:00", "17:00", 0, "counter"))
    caps = staff_caps(sqlite_bank.engine, "north", sqlite_bank.today, day, Policy())
    assert (caps.of("b2", day), caps.of("b2", sqlite_bank.today), caps.of("b1", day)) == (0, 30, None)
    ended = staff_caps(sqlite_bank.engine, "south", sqlite_bank.today, day, Policy())
    assert (ended.standing, ended.rostered) == ({}, {})


def test_handling_times_and_no_shows_are_measured_and_lean_on_the_region(staffed: Bank) -> None:
    """A branch's own weigh half from `staff_prior_units` customers on; unmeasured: what is assumed."""
    day = yesterday(staffed)
    serve_customers(staffed, "b1", day, served=80, absent=20, minutes=30)
    policy = Policy(staff_prior_units=100, staff_weeks=1)
    found = measure_staff(staffed.engine, day, policy, None)
    region = (80 * 1800 + 100 * 900) / 180
    assert found["b1"].handling_seconds == pytest.approx((80 * 1800 + 100 * region) / 180)
    assert found["b1"].no_show_ratio == pytest.approx((20 + 100 * 0.1) / 200)
    assert found["b2"].handling_seconds == pytest.approx(region)
    assert (found["b3"].handling_seconds, found["b3"].no_show_ratio) == (900, 0)
    assert found["b1"].visit_shares.argmax() == 4  # ten o'clock, of the half-hours from eight on
    assert found["b3"].visit_shares == pytest.approx([1 / 20] * 20)
    own = measure_staff(staffed.engine, day, Policy(staff_prior_units=0, staff_weeks=1), None)
    assert (own["b1"].handling_seconds, own["b1"].no_show_ratio) == (1800, 0.2)


def test_overbooking_is_off_until_the_policy_turns_it_on(staffed: Bank) -> None:
    """With a fifth absent more is booked than can be served, by imported caps and rosters alike."""
    day, coming = yesterday(staffed), staffed.today + timedelta(days=2)
    serve_customers(staffed, "b1", day, served=80, absent=20)
    staff(staffed, "b1", coming, ("09:00", "17:00", 1, "counter"))
    off = Policy(staff_prior_units=0)
    on = Policy(staff_prior_units=0, overbooking=True)
    caps = [staff_caps(staffed.engine, "north", staffed.today, coming, policy) for policy in (off, on)]
    assert [each.of("b1", coming) for each in caps] == [23, 26]
    item = proposals(staffed, on)["b1", "day", coming.isoformat()]
    assert item.staff_cap_units == 26
    assert "distrusted_no_show_ratio" not in item.inputs
    # more no-shows than the policy believes: booked by its largest share, and the plan's item says so
    wary = replace(on, overbooking_most_no_shows_ratio=0.1)
    item = proposals(staffed, wary)["b1", "day", coming.isoformat()]
    assert (item.staff_cap_units, item.inputs["distrusted_no_show_ratio"]) == (24, 0.2)


def test_visits_and_calls_are_counted_by_half_hour(bank: Bank) -> None:
    """Bookings at their slot's half-hour; calls at a day's first try, with the days until the day meant."""
    day = bank.today - timedelta(days=1)
    serve_customers(bank, "b1", day, served=2, absent=1)
    called = datetime.combine(day, time(9, 40), ZoneInfo(ZONE)).astimezone(UTC)
    tries = [
        (called, "x"),
        (called + timedelta(minutes=50), "x"),
        (called, "y"),
        (called - timedelta(days=1), "x"),
    ]
    with write_transaction(bank.engine) as connection:
        connection.execute(
            insert(t.attempts),
            [
                {
                    "at_utc": at, "business_utc": at, "trace_id": "t", "loan_hash": loan, "branch_id": "b1",
                    "region_id": "north", "service_day": day + timedelta(days=2), "channel": "phone",
                    "outcome": "refused",
                }
                for at, loan in tries
            ],
        )  # fmt: skip
    visits = visits_by_half_hour(bank.engine, since=day, until=day)
    assert visits.to_dict("records") == [{"branch_id": "b1", "half_hour": 20, "units": 3}]
    calls = calls_by_half_hour(bank.engine, since=day - timedelta(days=1), until=day)
    assert calls.to_dict("records") == [
        {"branch_id": "b1", "half_hour": 19, "lead_days": 2, "calls": 2},
        {"branch_id": "b1", "half_hour": 19, "lead_days": 3, "calls": 1},
    ]
    assert calls_by_half_hour(bank.engine, since=day, until=day, region="none").empty


def test_the_roster_names_what_is_missing_and_is_kept(staffed: Bank) -> None:
    """One head for sixty customers is short; without a roster the shifts are those to be staffed."""
    period, day = yesterday(staffed).isoformat(), staffed.today
    staff(staffed, "b1", day, ("08:00", "18:00", 1, "counter"))
    made = rostering.roster(period, "north", days=2)
    assert roster_proposal(staffed.engine, "north") == json.loads(json.dumps(made))
    assert {each["branch"] for each in made["rosters"]} == {"b1", "b2"}
    by_day = {(each["branch"], each["day"], each["skill"]): each for each in made["rosters"]}
    short = by_day["b1", day.isoformat(), "counter"]
    assert (short["heads"], short["rostered"]) == (1, True)
    assert short["shortages"]
    assert made["totals"]["counter"]["short_days"] == 1
    after = by_day["b1", (day + timedelta(days=1)).isoformat(), "counter"]
    assert (after["rostered"], after["shortages"]) == (False, [])
    assert after["heads"] > 1


def test_a_roster_made_again_knows_who_is_there_by_now(staffed: Bank) -> None:
    """The same forecast and staff give the same roster; a roster stated in between changes it."""
    period = yesterday(staffed).isoformat()
    first = rostering.roster(period, "north", days=1)
    assert rostering.roster(period, "north", days=1) == first
    staff(staffed, "b1", staffed.today, ("08:00", "18:00", 0, "counter"))
    again = rostering.roster(period, "north", days=1)
    assert again["totals"]["counter"]["short_days"] == 1
    assert roster_proposal(staffed.engine, "north", until_period=staffed.today) == json.loads(
        json.dumps(again)
    )
    assert roster_proposal(staffed.engine, "north", until_period=date(2020, 1, 1)) is None


def test_the_next_weeks_roster_names_what_is_missing_and_is_the_same_again(staffed: Bank) -> None:
    """Monday to Sunday after the period; a second run leaves what is kept as it is; no forecast: told why."""
    period = yesterday(staffed)
    monday = period + timedelta(days=7 - period.weekday())
    staff(staffed, "b1", monday, ("08:00", "10:00", 0, "counter"))
    assert jobs.roster_regions(period.isoformat()) == ["north", "south"]
    told = jobs.roster_week(period.isoformat(), "north")
    assert (told["first_day"], told["refused"]) == (monday.isoformat(), None)
    [short] = told["shortages"]
    assert (short["branch"], short["day"], short["skill"]) == ("b1", monday.isoformat(), "counter")
    assert short["missing"].startswith("08:00–")
    kept = roster_proposal(staffed.engine, "north")
    assert kept is not None
    assert {each["day"] for each in kept["rosters"]} == {
        (monday + timedelta(days=n)).isoformat() for n in range(7)
    }
    with staffed.engine.connect() as connection:
        made = connection.scalar(select(tf.forecast_proposals.c.created_utc))
        assert jobs.roster_week(period.isoformat(), "north") == told
        assert connection.scalar(select(tf.forecast_proposals.c.created_utc)) == made
    nothing = jobs.roster_week((period - timedelta(days=9)).isoformat(), "north")
    assert nothing["shortages"] == []
    assert "no_forecast" in nothing["refused"]


def test_a_proposal_stated_as_rosters_caps_the_next_retune(
    staffed: Bank, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its shifts become who is there, once; quotas of its days are then capped by what they can serve."""
    period = yesterday(staffed)
    monday = (period + timedelta(days=7 - period.weekday())).isoformat()
    before = proposals(staffed)["b1", "day", monday]
    assert before.staff_cap_units is None
    command = ["roster", "--region", "north", "--period", period.isoformat(), "--week", "--state"]
    with core_of(staffed, monkeypatch):
        assert main(command) == 0
        assert f"proposed-{period}-{monday}-b1: stands" in capsys.readouterr().out
        assert main(command) == 0  # who is there now needs no roster any more
        assert "stands" not in capsys.readouterr().out.replace("no roster stands", "")
    after = proposals(staffed)["b1", "day", monday]
    assert after.inputs["rostered_days"] == 1
    assert after.staff_cap_units is not None
    assert 20 < after.staff_cap_units < 200


def test_the_command_prints_a_table_and_json(staffed: Bank, capsys: pytest.CaptureFixture[str]) -> None:
    """Shifts by the clock and what is missing; --json prints what is kept."""
    staff(staffed, "b1", staffed.today, ("08:00", "18:00", 0, "counter"))
    command = ["roster", "--region", "north", "--period", yesterday(staffed).isoformat(), "--days", "1"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "MISSING 08:00 −" in told
    assert "(no roster stands)" in told
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["region"] == "north"


def test_a_roster_needs_a_region_and_a_forecast(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either the command says so in a line, exit 1; a bad number of days is exit 2."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    period = yesterday(sqlite_bank).isoformat()
    with pytest.raises(LookupError, match="no branches"):
        rostering.roster(period, "nowhere")
    with pytest.raises(RuntimeError, match=r"no roster for north.*no_forecast"):
        rostering.roster(period, "north")
    assert main(["roster", "--region", "north", "--period", period]) == 1
    assert main(["roster", "--region", "north", "--period", period, "--days", "0"]) == 2
    assert main(["roster", "--region", "north", "--period", period, "--days", "7", "--week"]) == 2
