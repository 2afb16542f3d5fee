"""A day's funds: what a hold reserves, a confirmation leaves and a move carries to another day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from booking_core.service.housekeeping import sweep
from tests.support.api import Api, api_on
from tests.support.bank import Bank
from tests.support.counts import drift, rows

CAP = 600_000
"""Yuan of a day; the small bank's loans have a payoff of 250,000.00 each."""


@pytest.fixture(params=["bank", "branch"])
def api(bank: Bank, request: pytest.FixtureRequest) -> Iterator[Api]:
    """The application on each database in turn, its days' funds capped for the bank or the branch."""
    bank.add_quota(request.param, "b1", "funds_day", CAP)
    with api_on(bank) as running:
        yield running


def taken(api: Api) -> dict[date, int]:
    """Yuan taken of each day's funds."""
    counters = rows(api.bank.engine, "quota_periods")
    assert {c["period_kind"] for c in counters} <= {"funds_day"}
    return {c["period_start"]: int(str(c["used_units"])) for c in counters if c["used_units"]}  # type: ignore[misc]


def confirm(api: Api, ref: str, amount: str) -> httpx.Response:
    """The answer to a confirmation of the amount."""
    return api.client.post(f"/v1/bookings/{ref}/confirm", json={"amount": amount, "option": "full"})


def held(api: Api, loan: str, slot: str, **more: Any) -> str:
    """The reference of what was taken."""
    answer = api.book(loan, slot, **more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["booking"]["ref"])


def test_a_hold_reserves_the_payoff_and_the_cap_refuses_what_is_beyond(api: Api) -> None:
    """Two payoffs fit under the cap; the third is refused with the limit in yuan, though places are free."""
    slot = api.bank.add_slot()
    day = api.bank.today + timedelta(days=2)
    held(api, "L1", slot)
    held(api, "L2", slot)
    assert taken(api) == {day: 500_000}
    refused = api.book("L3", slot)
    body = refused.json()
    assert (refused.status_code, body["reason"], body["cause"]) == (409, "funds_cap_reached", "capacity")
    [violation] = body["violations"]
    assert (violation["period"], violation["limit"], violation["used"]) == ("funds_day", CAP, 500_000)
    assert violation["next_period_starts"] == str(day + timedelta(days=1))
    assert api.book("L3", slot, query="?dry_run=true").json()["reason"] == "funds_cap_reached"
    held(api, "L3", api.bank.add_slot(day=day + timedelta(days=1)))
    assert drift(api.bank.engine) == []


def test_a_smaller_amount_frees_funds_for_the_next(api: Api) -> None:
    """Confirming less than the payoff leaves the difference, rounded up to whole yuan, to others."""
    slot = api.bank.add_slot()
    day = api.bank.today + timedelta(days=2)
    first, _ = held(api, "L1", slot), held(api, "L2", slot)
    assert api.book("L3", slot).json()["reason"] == "funds_cap_reached"
    assert confirm(api, first, "99999.01").status_code == 200
    assert taken(api) == {day: 350_000}
    held(api, "L3", slot)
    assert taken(api) == {day: CAP}
    assert drift(api.bank.engine) == []


def test_an_amount_stated_at_once_is_all_that_is_reserved(api: Api) -> None:
    """A wish with its amount takes that of the funds, and fits where the whole payoff would not."""
    slot = api.bank.add_slot()
    held(api, "L1", slot)
    held(api, "L2", slot)
    assert api.book("L3", slot, amount="100000.01", option="full").json()["reason"] == "funds_cap_reached"
    held(api, "L3", slot, amount="100000", option="full")
    assert list(taken(api).values()) == [CAP]
    assert drift(api.bank.engine) == []


def test_a_confirmation_above_what_was_reserved_is_judged(api: Api) -> None:
    """A hold of a small amount may grow only as far as the cap has funds left; refused, it stays held."""
    slot = api.bank.add_slot()
    small = held(api, "L1", slot, amount="1000")
    held(api, "L2", slot)
    held(api, "L3", slot, amount="249000", option="full")
    refused = confirm(api, small, "101000.01")
    assert (refused.status_code, refused.json()["reason"]) == (409, "funds_cap_reached")
    assert refused.json()["violations"][0]["used"] == 499_000
    assert "101000 CNY" in refused.json()["errors"][0]["message"]
    assert refused.json()["remedies"] == [{"action": "change_field", "pointer": "/amount"}]
    assert api.client.get(f"/v1/bookings/{small}").json()["booking"]["status"] == "held"
    assert confirm(api, small, "101000").status_code == 200
    assert list(taken(api).values()) == [CAP]
    assert drift(api.bank.engine) == []


def test_a_lowered_cap_lets_holds_be_confirmed(api: Api) -> None:
    """A cap below what is taken refuses newcomers, never the confirmation of what is reserved."""
    slot = api.bank.add_slot()
    ref = held(api, "L1", slot)
    with api.bank.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE quotas SET limit_units = 1")
    assert confirm(api, ref, "250000").status_code == 200
    assert api.book("L2", slot, amount="1000", option="full").json()["reason"] == "funds_cap_reached"
    assert drift(api.bank.engine) == []


def test_a_move_carries_its_funds_to_the_other_day(api: Api) -> None:
    """Rescheduling gives the funds back on the one day and takes them on the other, or neither."""
    day = api.bank.today + timedelta(days=2)
    here, there = api.bank.add_slot(), api.bank.add_slot(day=day + timedelta(days=1))
    one, two, big = held(api, "L1", here), held(api, "L2", there), held(api, "L3", there)
    refused = api.client.post(f"/v1/bookings/{one}/reschedule", json={"slot": there})
    assert refused.json()["reason"] == "funds_cap_reached"
    assert taken(api) == {day: 250_000, day + timedelta(days=1): 500_000}
    confirm(api, one, "100000")
    moved = api.client.post(f"/v1/bookings/{one}/reschedule", json={"slot": there})
    assert moved.status_code == 200
    assert taken(api) == {day + timedelta(days=1): CAP}
    later = api.bank.add_slot(day=day + timedelta(days=1), at="15:00")
    same_day = api.client.post(f"/v1/bookings/{big}/reschedule", json={"slot": later})
    assert same_day.status_code == 200, "within the day nothing more is taken"
    api.client.delete(f"/v1/bookings/{two}")
    assert taken(api) == {day + timedelta(days=1): 350_000}
    assert drift(api.bank.engine) == []


def test_a_hold_that_is_over_gives_its_funds_back(api: Api) -> None:
    """Expired, a hold leaves its funds to others."""
    slot = api.bank.add_slot()
    held(api, "L1", slot)
    api.wall.move(seconds=601)
    assert sweep(api.client.app.state.core) == 1  # type: ignore[attr-defined]
    assert taken(api) == {}
    assert drift(api.bank.engine) == []
