"""In a real browser: what was refused is on the page, filters survive, an empty bank is no failure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import expect

from booking_core import tables as t
from tests.support.bank import Bank
from tests.support.browser import browser_page, dashboard
from tests.support.recorded import attempt, put, two_regions


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
