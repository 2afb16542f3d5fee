"""Earned autonomy with the real core: regions let loose and taken back by scores, bad plans kept, pauses."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from booking_core import tables as t
from booking_core.read.bank import regions
from booking_core.read.plans import plan_items
from forecasting import jobs
from tests.support.bank import Bank
from tests.support.planning import add_judged_days, add_run, core_of, furnish

BETTER, WORSE = [70.0, 90.0] * 14, [105.0, 115.0] * 14
BAD = [140.0, 160.0] * 3 + [150.0]


@pytest.fixture
def period(sqlite_bank: Bank) -> date:
    """Yesterday; regions north (automatic) and south (shadow) with three branches and a ready forecast."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period)
    return period


def modes(bank: Bank) -> dict[str, tuple[bool, bool]]:
    """(automatic, fixed by a person) of each region."""
    rows = regions(bank.engine)
    return dict(
        zip(
            rows["region_id"],
            zip(rows["automatic_application"], rows["automatic_fixed"], strict=True),
            strict=True,
        )
    )


def moves(bank: Bank) -> list[tuple[str, str]]:
    """(region, actor) of every change of a mode."""
    a = t.audit.c
    with bank.engine.connect() as connection:
        return list(
            connection.execute(
                select(a.target, a.actor).where(a.action == "region.mode").order_by(a.audit_id)
            ).tuples()
        )


def planned(period: date, region: str = "north") -> dict[str, Any]:
    """What became of the region's plan, made and applied as the DAG does."""
    jobs.propose(period.isoformat())
    return jobs.apply(jobs.guard(period.isoformat(), region))


def test_regions_earn_and_lose_automatic_application_by_their_scores(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both directions in one score; a repetition changes nothing; what a person fixed stays, and is told."""
    add_judged_days(sqlite_bank, "north", period, WORSE)
    add_judged_days(sqlite_bank, "south", period, BETTER, status="shadow")
    with core_of(sqlite_bank, monkeypatch) as core:
        told = jobs.score(period.isoformat())["regions"]
        assert {name: (row["mode"], row["reason"], row["refused"]) for name, row in told.items()} == {
            "north": ("shadow", "worse_than_without", None),
            "south": ("automatic", "better_than_without", None),
        }
        assert modes(sqlite_bank) == {"north": (False, False), "south": (True, False)}
        assert moves(sqlite_bank) == [("north", "test-planner"), ("south", "test-planner")]
        assert "28 days cost 2240 idle units with plans, 2800 without" in told["south"]["condition"]
        jobs.score(period.isoformat())
        assert len(moves(sqlite_bank)) == 2
        # south's older plans were bad: a day scored again a month later does not take its mode back
        add_judged_days(sqlite_bank, "south", period - timedelta(days=28), WORSE)
        again = jobs.score((period - timedelta(days=28)).isoformat())["regions"]
        assert (again["south"]["mode"], len(moves(sqlite_bank))) == ("automatic", 2)

        with core.client("operator") as operator:
            for region, mode in (("north", "automatic"), ("south", "shadow")):
                operator.put(f"/v1/control/autonomy/{region}", json={"mode": mode}).raise_for_status()
        again = jobs.score(period.isoformat())["regions"]
        assert {name: (row["mode"], row["refused"]) for name, row in again.items()} == {
            "north": ("automatic", "region_fixed"),
            "south": ("shadow", "region_fixed"),
        }
        assert modes(sqlite_bank) == {"north": (True, True), "south": (False, True)}


def test_scores_that_change_nothing_need_no_core(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too few judged days, or days no better: the region stays as it is, and the core is not asked."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    monkeypatch.delenv("SLOTCAST_PLANNER_TOKEN", raising=False)
    add_judged_days(sqlite_bank, "south", period, BETTER[:27], status="shadow")
    told = jobs.score(period.isoformat())["regions"]
    assert {row["reason"] for row in told.values()} == {None}
    assert told["south"]["condition"] == "27 judged days, needs 28"


def test_bad_plans_are_kept_visibly_until_proposals_are_better(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a bad week the next plan is kept, with what it would have set; after a good one it is applied."""
    add_judged_days(sqlite_bank, "north", period, BAD)
    add_run(sqlite_bank, period)
    with core_of(sqlite_bank, monkeypatch) as core:
        outcome = planned(period)
        assert (outcome["status"], outcome["limits"]) == ("kept", 0)
        items = plan_items(sqlite_bank.engine, outcome["plan_id"])
        assert (items["new_limit"] != items["old_limit"]).any()
        with core.client("reader") as client:
            plan = client.get(f"/v1/plans/{outcome['plan_id']}").json()
            kept = [line for line in client.get("/metrics").text.splitlines() if "plan_kept{" in line]
        assert (plan["verdict"], plan["model"]) == ("bad_plans", "keep")
        assert "7 days cost 1050 idle units with plans, 700 without" in plan["inputs"]["condition"]
        assert kept == ['plan_kept{reason="bad_plans"} 1.0']

        later = period + timedelta(days=8)
        add_judged_days(sqlite_bank, "north", later, [80.0] * 7)
        add_run(sqlite_bank, later)
        with core.client("operator") as operator:
            operator.put("/v1/clock", json={"offset_seconds": 9 * 86_400}).raise_for_status()
        assert planned(later)["status"] == "applied"


def test_a_shadow_region_plans_on_however_bad_its_plans_are(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It harms nobody, and has to show that it has become better."""
    add_judged_days(sqlite_bank, "south", period, BAD, status="shadow")
    add_run(sqlite_bank, period)
    with core_of(sqlite_bank, monkeypatch):
        assert planned(period, "south")["status"] == "shadow"


def test_while_paused_a_plan_says_so_and_waits(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is applied while the switch is on; afterwards the very same plan is."""
    add_run(sqlite_bank, period)
    with core_of(sqlite_bank, monkeypatch) as core, core.client("operator") as operator:
        operator.post("/v1/control/pause").raise_for_status()
        outcome = planned(period)
        assert (outcome["status"], outcome["refused"]) == ("proposed", "paused")
        assert operator.get(f"/v1/plans/{outcome['plan_id']}").json()["inputs"]["paused"] is True
        operator.post("/v1/control/resume").raise_for_status()
        assert planned(period) == outcome | {
            "status": "applied",
            "refused": None,
            "limits": len(plan_items(sqlite_bank.engine, outcome["plan_id"])),
        }
