"""In a real browser: what was refused is on the page, filters survive, an empty bank is no failure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import expect

from booking_core import tables as t
from tests.support.bank import Bank
from tests.support.browser import browser_page, dashboard
from tests.support.recorded import attempt, put, two_regions
from tests.support.serving import serve


def refused_just_now(bank: Bank) -> Bank:
    """Seven refusals for the day quota, three full slots in the south, five held, all a moment ago."""
    two_regions(bank)
    now = datetime.now(UTC)
    rows = [attempt("quota_day_full", "capacity") for _ in range(7)]
    rows += [attempt("slot_full", "capacity", branch_id="b2", region_id="south") for _ in range(3)]
    rows += [attempt() for _ in range(5)]
    put(bank, t.attempts, *(row | {"at_utc": now, "business_utc": now} for row in rows))
    return bank


def test_refusals_are_seen_with_reason_and_count(sqlite_bank: Bank, tmp_path: Path) -> None:
    """Reasons and counts stand in the table and the chart; the view survives page and language switches."""
    bank = refused_just_now(sqlite_bank)
    with dashboard(bank.url, tmp_path) as address, browser_page() as page:
        page.goto(f"{address}/?days=28")
        rows = page.get_by_test_id("stTable").get_by_role("row")
        expect(rows.filter(has_text="Day quota full")).to_contain_text(re.compile(r"Capacity\s*7\s*70 %"))
        expect(rows.filter(has_text="Slot full")).to_contain_text(re.compile(r"Capacity\s*3\s*30 %"))
        expect(page.locator(".js-plotly-plot").first).to_contain_text("Day quota full")
        expect(page.get_by_text("Alerts off").first).to_be_visible()

        page.get_by_role("link", name="Peak pressure").click()
        expect(page.get_by_role("heading", name="Peak pressure")).to_be_visible()
        page.get_by_role("radio", name="中文").click()
        expect(page.get_by_role("heading", name="高峰压力")).to_be_visible()
        page.get_by_role("link", name="预约为何失败").click()
        expect(rows.filter(has_text="日配额已满")).to_contain_text(re.compile(r"容量\s*7"))
        expect(page).to_have_url(re.compile("days=28"))
        expect(page).to_have_url(re.compile("lang=zh"))

        page.goto(f"{address}/?region=south")
        expect(rows.filter(has_text="Slot full")).to_contain_text(re.compile(r"Capacity\s*3\s*100 %"))
        expect(rows.filter(has_text="Day quota full")).to_have_count(0)
        assert page.get_by_test_id("stException").count() == 0


def test_new_refusals_appear_without_a_reload(sqlite_bank: Bank, tmp_path: Path) -> None:
    """The page refreshes itself: a refusal recorded while it is open shows within seconds."""
    with dashboard(sqlite_bank.url, tmp_path) as address, browser_page(width=420) as page:
        page.goto(address)
        expect(page.get_by_text("No booking was attempted in this period")).to_be_visible()
        refused_just_now(sqlite_bank)
        expect(page.get_by_test_id("stTable").get_by_text("Day quota full")).to_be_visible()


def booked(core: httpx.Client, loan: str, key: str, **wish: str) -> int:
    """The status of the core's answer to an attempt to book."""
    wanted = {"loan": loan, "channel": "app", **wish}
    return core.post("/v1/bookings", json=wanted, headers={"Idempotency-Key": key}).status_code


def pending_plan(bank: Bank, day: date) -> dict[str, Any]:
    """A plan outside the guard band: b1's quota of the day from 1 to 5."""
    item = {"scope_kind": "branch", "scope_id": "b1", "channel": "*", "period_kind": "day",
            "period_start": day.isoformat(), "old_limit": 1, "proposed": 4.6, "new_limit": 5, "quantile": 0.9,
            "guardrail": "max_step_up", "condition": "9 is more than 5 × 1", "inputs": {}}  # fmt: skip
    return {"plan_id": "quota-north-1", "kind": "quota", "region": "north",
            "period": bank.today.isoformat(), "in_band": False, "verdict": "total_up", "model": "champion",
            "forecast_run_id": None, "policy": {}, "inputs": {}, "items": [item]}  # fmt: skip


def test_what_the_core_refused_is_seen_and_the_plan_that_mends_it_is_approved(
    sqlite_bank: Bank, tmp_path: Path
) -> None:
    """Refusals of a real core show with counts; approve and apply on the page, and the wish is served."""
    sqlite_bank.add_quota("branch", "b1", "day", 1)
    slot, day = sqlite_bank.add_slot(), sqlite_bank.today + timedelta(days=2)
    with serve(sqlite_bank.url) as core, core.client() as channel:
        answers = [booked(channel, loan, f"{loan}-1", slot=slot) for loan in ("L1", "L2", "L3")]
        assert [*answers, booked(channel, "L4", "L4-1")] == [201, 409, 409, 400]
        with core.client("planner") as planner:
            assert planner.post("/v1/plans", json=pending_plan(sqlite_bank, day)).status_code == 201
        environment = {"SLOTCAST_API_URL": core.url, "SLOTCAST_OPERATOR_TOKEN": core.tokens["operator"]}
        with dashboard(core.database_url, tmp_path, **environment) as address, browser_page() as page:
            page.goto(address)
            rows = page.get_by_test_id("stTable").get_by_role("row")
            expect(rows.filter(has_text="Day quota full")).to_contain_text(re.compile(r"Capacity\s*2\s*67 %"))
            expect(rows.filter(has_text="Missing field")).to_contain_text(re.compile(r"Input\s*1\s*33 %"))

            page.get_by_role("link", name="Plans").click()
            expect(page.get_by_text("Outside the guard band").first).to_be_visible()
            page.get_by_role("button", name="Approve").click()
            page.get_by_role("button", name="Apply").click()
            expect(page.get_by_role("button", name="Roll back")).to_be_visible()
        assert booked(channel, "L2", "L2-2", slot=slot) == 201
