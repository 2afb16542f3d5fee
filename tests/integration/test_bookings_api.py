"""POST /v1/bookings and what follows, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from booking_core import tables
from booking_core.service import housekeeping
from booking_core.service.batch import Moved
from booking_core.service.batching import run
from booking_core.service.bookings import taking
from booking_core.service.core import Core
from booking_core.service.housekeeping import sweep
from tests.support.api import Api, api_on
from tests.support.bank import Bank
from tests.support.counts import drift, rows
from tests.support.wishes import Wall, asking, core_on, wish


@pytest.fixture
def api(bank: Bank) -> Iterator[Api]:
    """The application on each database in turn."""
    with api_on(bank) as running:
        yield running


def test_a_try_that_a_token_may_not_make_is_counted_and_a_look_is_not(api: Api) -> None:
    """A reader who books is a refused attempt; one who only asks whether it would go is none."""
    slot, reader = api.bank.add_slot(), api.issue("reader")
    for query, counted in (("?dry_run=true", 0), ("", 1)):
        assert api.book("L1", slot, query=query, headers=reader).status_code == 403
        denied = {"channel": "app", "outcome": "refused", "reason": "forbidden"}
        unknown = {**denied, "channel": "unknown"}
        told = [api.metric("booking_attempts_total", **labels) for labels in (denied, unknown)]
        assert sum(told) == counted


def test_what_became_of_a_slot_shown_as_free_is_counted_of_moves_too(api: Api) -> None:
    """A move to a slot of the calendar counts as held, once; to one that was booked meanwhile, as taken."""
    ref = api.book("L1", api.bank.add_slot()).json()["booking"]["ref"]
    free, lost = (api.bank.add_slot(at=at, capacity=1) for at in ("11:00", "14:00"))
    day = str(api.bank.today + timedelta(days=2))
    api.client.get("/v1/slots", params={"branch": "b1", "from": day, "to": day})
    api.book("L2", lost)
    at = f"/v1/bookings/{ref}/reschedule"
    assert [api.client.post(at, json={"slot": s}).status_code for s in (lost, free, free)] == [409, 200, 200]
    assert api.metric("booking_shown_free_total", outcome="taken") == 1
    assert api.metric("booking_shown_free_total", outcome="held") == 2


def test_a_hold_tells_slot_times_and_its_end(api: Api) -> None:
    """A wish without amount becomes a hold with the slot's local times and an expiry."""
    slot = api.bank.add_slot(at="10:00")
    answer = api.book("L1", slot)
    booking = answer.json()["booking"]
    assert answer.status_code == 201
    assert (booking["status"], booking["slot"], booking["branch"]) == ("held", slot, "b1")
    assert booking["start"].endswith("T10:00:00+08:00")
    ends = datetime.fromisoformat(booking["expires_at"])
    assert timedelta(0) < ends - api.wall.now <= timedelta(seconds=600)
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]


def test_amount_and_option_confirm_at_once(api: Api) -> None:
    """A wish with amount and option is a booking from the start."""
    answer = api.book("L1", api.bank.add_slot(), amount="50000.00", option="shorten_term")
    assert answer.json()["booking"]["status"] == "confirmed"
    assert "expires_at" not in answer.json()["booking"]


def test_the_same_key_answers_the_same_and_another_body_is_a_conflict(api: Api) -> None:
    """A repeated request is answered from the record; its key for another wish is refused and recorded."""
    first, other = api.bank.add_slot(), api.bank.add_slot(at="11:00")
    one = api.book("L1", first, key="k")
    two = api.book("L1", first, key="k")
    three = api.book("L2", other, key="k")
    assert (two.status_code, two.json(), two.headers["idempotent-replay"]) == (201, one.json(), "true")
    assert (three.status_code, three.json()["reason"]) == (409, "idempotency_conflict")
    assert [a["reason"] for a in rows(api.bank.engine, "attempts")] == [None, "idempotency_conflict"]


def test_a_refusal_does_not_freeze_its_key(api: Api) -> None:
    """After a refusal the same request may succeed with the same key, since nothing was booked."""
    slot = api.bank.add_slot(capacity=1)
    ref = api.book("L1", slot).json()["booking"]["ref"]
    assert api.book("L2", slot, key="again").json()["reason"] == "slot_full"
    assert api.client.delete(f"/v1/bookings/{ref}").status_code == 200
    assert api.book("L2", slot, key="again").status_code == 201


def test_every_level_that_binds_is_listed(api: Api) -> None:
    """A wish against full quotas of every level names all of them, and first the longest wait."""
    for scope, scope_id in (("branch", "b1"), ("region", "north"), ("bank", "bank")):
        for kind in ("day", "week", "month"):
            api.bank.add_quota(scope, scope_id, kind, 1)
    api.bank.add_quota("branch", "b1", "day", 1, channel="app")
    slot = api.bank.add_slot(capacity=1)
    assert api.book("L1", slot).status_code == 201
    problem = api.book("L2", slot)
    body = problem.json()
    assert problem.headers["content-type"] == "application/problem+json"
    assert (problem.status_code, body["reason"], body["cause"]) == (409, "quota_month_full", "capacity")
    assert len(body["violations"]) == 11
    assert {v["scope"] for v in body["violations"]} == {
        "branch:b1",
        "region:north",
        "bank:bank",
        f"slot:{slot}",
    }
    first = body["violations"][0]
    assert (first["limit"], first["used"], first["next_limit"]) == (1, 1, 1)
    assert (first["quota"], first["scope"], first["period"]) == ("branch:b1:*:month", "branch:b1", "month")
    assert first["next_period_starts"] > first["period_start"]
    assert body["retryable"]
    assert int(problem.headers["retry-after"]) == body["retry_after"] > 0


def test_an_override_of_the_next_period_is_told(api: Api) -> None:
    """A violation names the next period's planned limit where a plan has set one."""
    api.bank.add_quota("branch", "b1", "day", 0)
    day = api.bank.today + timedelta(days=2)
    api.bank._insert(
        tables.quota_periods,
        scope_kind="branch",
        scope_id="b1",
        channel="*",
        period_kind="day",
        period_start=day + timedelta(days=1),
        used_units=0,
        limit_units=7,
    )
    [violation] = api.book("L1", api.bank.add_slot(day=day)).json()["violations"]
    assert (violation["next_period_starts"], violation["next_limit"]) == (
        str(day + timedelta(days=1)),
        7,
    )


def test_the_first_remedy_can_be_taken_as_it_stands(api: Api) -> None:
    """The remedies of a full day are ranked, and the first one, sent as given, books."""
    day = api.bank.today + timedelta(days=2)
    api.bank.add_branch("b2")
    full = api.bank.add_slot(day=day, capacity=0)
    same_day = api.bank.add_slot(day=day, at="15:00")
    next_day = api.bank.add_slot(day=day + timedelta(days=1))
    other_branch = api.bank.add_slot("b2", day)
    problem = api.book("L1", full).json()
    assert [r.get("slot") for r in problem["remedies"]] == [same_day, next_day, other_branch, None]
    best = problem["remedies"][0]
    taken = api.client.request(
        best["method"], best["href"], json=best["body"], headers={"Idempotency-Key": "remedy"}
    )
    assert taken.status_code == 201


def test_no_remedy_is_offered_that_another_limit_would_refuse(api: Api) -> None:
    """Slots with room on a day without quota are not offered; the waitlist is."""
    day = api.bank.today + timedelta(days=2)
    api.bank.add_quota("branch", "b1", "month", 0)
    api.bank.add_slot(day=day, at="15:00")
    [remedy] = api.book("L1", api.bank.add_slot(day=day)).json()["remedies"]
    wished = {"loan": "L1", "branch": "b1", "wished_day": str(day), "channel": "app"}
    assert (remedy["action"], remedy["href"], remedy["body"]) == ("join_waitlist", "/v1/waitlist", wished)


@pytest.mark.parametrize(
    ("loan", "slot", "reason", "status"),
    [
        ("nobody", "open", "loan_not_found", 404),
        ("closed", "open", "loan_not_eligible", 422),
        ("later", "open", "loan_not_eligible", 422),
        ("L1", "nothing", "invalid_field", 400),
        ("L1", "shut", "slot_closed", 409),
        ("L1", "past", "outside_booking_window", 422),
        ("L1", "far", "outside_booking_window", 422),
        ("L1", "soon", "notice_too_short", 422),
    ],
)
def test_each_rule_has_its_reason_and_is_on_record(
    api: Api, loan: str, slot: str, reason: str, status: int
) -> None:
    """Every rule refuses with its own reason, as an attempt of the database and a count."""
    today = api.bank.today
    api.bank.add_loan("closed", status="closed")
    api.bank.add_loan("later", eligible_from=today + timedelta(days=30))
    soon = (api.wall.now + timedelta(hours=8, minutes=30)).replace(second=0)  # local time, +08:00
    slots = {
        "open": api.bank.add_slot(),
        "shut": api.bank.add_slot(at="11:00", closed=True),
        "past": api.bank.add_slot(day=today - timedelta(days=1)),
        "far": api.bank.add_slot(day=today + timedelta(days=63)),
        "soon": api.bank.add_slot(day=soon.date(), at=f"{soon:%H:%M}"),
    }
    answer = api.book(loan, slots.get(slot, slot))
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    [attempt] = rows(api.bank.engine, "attempts")
    assert (attempt["outcome"], attempt["reason"]) == ("refused", reason)
    assert attempt["trace_id"] == answer.json()["trace_id"]
    assert api.metric("booking_attempts_total", channel="app", outcome="refused", reason=reason) == 1


def test_amounts_below_the_least_and_above_the_payoff_are_refused(api: Api) -> None:
    """The amount must lie between the loan's least prepayment and its payoff; both ends are in."""
    slot = api.bank.add_slot()
    for amount in ("999.99", "250000.01"):
        problem = api.book("L1", slot, amount=amount, option="full").json()
        assert problem["reason"] == "amount_out_of_range"
        assert problem["errors"][0]["pointer"] == "/amount"
        assert problem["remedies"] == [{"action": "change_field", "pointer": "/amount"}]
    assert api.book("L1", slot, amount="250000.00", option="full").status_code == 201


def test_a_loan_holds_one_booking_at_a_time(api: Api) -> None:
    """A second wish of a loan names the live booking and offers to cancel it, which makes room."""
    slot = api.bank.add_slot()
    ref = api.book("L1", slot).json()["booking"]["ref"]
    problem = api.book("L1", api.bank.add_slot(at="11:00")).json()
    assert problem["reason"] == "duplicate_booking"
    cancel = problem["remedies"][1]
    assert cancel == {"action": "cancel_booking", "method": "DELETE", "href": f"/v1/bookings/{ref}"}
    assert api.client.delete(cancel["href"]).json()["booking"]["status"] == "cancelled"
    assert api.client.delete(cancel["href"]).status_code == 200
    assert api.book("L1", slot).status_code == 201
    assert drift(api.bank.engine) == []


def test_confirm_makes_the_booking_once(api: Api) -> None:
    """A confirmed hold has no expiry; the same confirmation again is the same, another one a conflict."""
    ref = api.book("L1", api.bank.add_slot()).json()["booking"]["ref"]
    body = {"amount": "2000.00", "option": "full"}
    confirm = f"/v1/bookings/{ref}/confirm"
    assert api.client.post(confirm, json=body).json()["booking"]["status"] == "confirmed"
    assert api.client.post(confirm, json=body).status_code == 200
    other = api.client.post(confirm, json={**body, "amount": "3000.00"})
    assert other.json()["reason"] == "idempotency_conflict"
    assert api.client.get(f"/v1/bookings/{ref}").json()["booking"]["amount"] == "2000.00"
    history = [e["to_status"] for e in rows(api.bank.engine, "booking_events")]
    assert history == ["held", "confirmed"]


def test_a_hold_that_is_over_gives_its_unit_back(api: Api) -> None:
    """After its time a hold cannot be confirmed, its unit is free, and the refusal offers the slot again."""
    api.bank.add_quota("branch", "b1", "day", 1)
    slot = api.bank.add_slot(capacity=1)
    ref = api.book("L1", slot).json()["booking"]["ref"]
    api.wall.move(seconds=601)
    problem = api.client.post(f"/v1/bookings/{ref}/confirm", json={"amount": "2000", "option": "full"})
    assert (problem.status_code, problem.json()["reason"]) == (409, "hold_expired")
    assert api.book("L2", slot).status_code == 201
    assert drift(api.bank.engine) == []


def test_the_sweep_frees_holds_and_may_run_twice(api: Api) -> None:
    """The sweep expires what is over, once, and leaves confirmed bookings alone."""
    slot = api.bank.add_slot(capacity=2)
    api.book("L1", slot)
    api.book("L2", slot, amount="2000", option="full")
    core = api.client.app.state.core  # type: ignore[attr-defined]
    api.wall.move(seconds=601)
    assert (sweep(core), sweep(core)) == (1, 0)
    assert sorted(str(b["status"]) for b in rows(api.bank.engine, "bookings")) == ["confirmed", "expired"]
    assert drift(api.bank.engine) == []


def test_a_sweep_frees_the_holds_of_a_whole_storm(api: Api) -> None:
    """However many holds run out at one moment: those who left them keep nobody out for minutes."""
    slot = api.bank.add_slot(capacity=250)
    core = core_on(api.bank.engine, Wall(api.wall()))
    run(core, [taking(asking(), wish(api.bank.add_loan(f"X{n}"), slot), f"key-{n}") for n in range(250)])
    later = core_on(api.bank.engine, Wall(api.wall() + timedelta(seconds=601)))
    assert sweep(later) == len(rows(api.bank.engine, "bookings")) == 250
    assert drift(api.bank.engine) == []


def test_no_fault_ends_the_sweeps(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a sweep meets, the next one comes: without them no hold would ever be given back."""
    swept = threading.Semaphore(0)

    def moved(_: Core) -> int:
        swept.release()
        raise Moved

    monkeypatch.setattr(housekeeping, "sweep", moved)
    keeper = housekeeping.Housekeeper(core_on(engine), every_seconds=0.01)
    keeper.start()
    assert [swept.acquire(timeout=5) for _ in range(2)] == [True, True]
    keeper.stop()


def test_a_dry_run_decides_the_same_and_leaves_no_trace(api: Api) -> None:
    """dry_run tells what booking would, records nothing and takes nothing."""
    free, full = api.bank.add_slot(), api.bank.add_slot(at="11:00", capacity=0)
    yes, no = api.book("L1", free, query="?dry_run=true"), api.book("L1", full, query="?dry_run=true")
    assert (yes.status_code, yes.json()["bookable"]) == (200, True)
    assert (no.json()["reason"], no.json()["remedies"][0]["slot"]) == ("slot_full", free)
    assert [rows(api.bank.engine, name) for name in ("attempts", "bookings", "wish_episodes")] == [[], [], []]


def test_the_calendar_says_what_booking_would(api: Api) -> None:
    """Each slot of /v1/slots is bookable exactly where a booking succeeds, with the same reason where not."""
    day = api.bank.today + timedelta(days=2)
    api.bank.add_quota("branch", "b1", "day", 1)
    open_slot = api.bank.add_slot(day=day)
    shut = api.bank.add_slot(day=day, at="11:00", closed=True)
    span = f"/v1/slots?branch=b1&from={day}&to={day}"
    before = {s["slot"]: s for s in api.client.get(span).json()["slots"]}
    assert (before[open_slot]["bookable"], before[open_slot]["free_units"]) == (True, 1)
    assert (before[shut]["bookable"], before[shut]["reason"]) == (False, "slot_closed")
    api.book("L1", open_slot)
    after = {s["slot"]: s for s in api.client.get(f"{span}&loan=L2").json()["slots"]}
    assert (after[open_slot]["reason"], after[open_slot]["free_units"]) == ("quota_day_full", 0)


def test_a_long_calendar_comes_in_pages(api: Api) -> None:
    """A range above a month ends with the day to go on from."""
    day = api.bank.today
    last = day + timedelta(days=40)
    api.bank.add_slot(day=last)
    page = api.client.get(f"/v1/slots?branch=b1&from={day}&to={last}").json()
    assert page == {"slots": [], "next_cursor": str(day + timedelta(days=31))}
    rest = api.client.get(f"/v1/slots?branch=b1&from={page['next_cursor']}&to={last}").json()
    assert (len(rest["slots"]), rest["next_cursor"]) == (1, None)


def test_branches_loans_and_the_clock_can_be_read(api: Api) -> None:
    """Branches page by id, a loan tells its live booking, the clock its zone."""
    api.bank.add_branch("b2")
    page = api.client.get("/v1/branches?limit=1").json()
    rest = api.client.get(f"/v1/branches?cursor={page['next_cursor']}").json()
    assert [b["branch_id"] for b in page["branches"] + rest["branches"]] == ["b1", "b2"]
    ref = api.book("L1", api.bank.add_slot()).json()["booking"]["ref"]
    assert api.client.get("/v1/loans/L1").json()["live_booking"] == ref
    clock = api.client.get("/v1/clock").json()
    assert (clock["zone"], clock["offset_seconds"]) == ("Asia/Shanghai", 0)


def test_business_time_moves_forward_only_and_by_an_operator(api: Api) -> None:
    """The clock obeys an operator's token in quarter-hours, never back."""
    operator = api.issue("operator")

    def put(seconds: int, headers: dict[str, str]) -> Any:
        return api.client.put("/v1/clock", json={"offset_seconds": seconds}, headers=headers)

    assert put(900, {}).json()["reason"] == "forbidden"
    assert put(900, api.issue("operator", region="north")).json()["reason"] == "forbidden"
    assert put(900, operator).json()["offset_seconds"] == 900
    for wrong in (0, 901, 10**11):
        assert put(wrong, operator).json()["reason"] == "invalid_field"
    assert [a["action"] for a in rows(api.bank.engine, "audit")] == ["clock.put"]


def test_holds_live_in_wall_time_and_slots_in_business_time(api: Api) -> None:
    """Moving business time past a slot closes it, and leaves holds alone."""
    slot = api.bank.add_slot()
    ref = api.book("L1", slot).json()["booking"]["ref"]
    api.client.put("/v1/clock", json={"offset_seconds": 4 * 86400}, headers=api.issue("operator"))
    assert api.book("L2", slot).json()["reason"] == "outside_booking_window"
    assert api.client.get(f"/v1/bookings/{ref}").json()["booking"]["status"] == "held"


def test_times_on_record_are_wall_and_business(api: Api) -> None:
    """An attempt keeps when it was by the wall and by the bank's clock."""
    api.client.put("/v1/clock", json={"offset_seconds": 86400}, headers=api.issue("operator"))
    api.book("L1", api.bank.add_slot(day=api.bank.today + timedelta(days=4)))
    [attempt] = rows(api.bank.engine, "attempts")
    assert attempt["business_utc"] - attempt["at_utc"] == timedelta(days=1)  # type: ignore[operator]
    assert attempt["at_utc"] == api.wall.now.astimezone(UTC)


def test_the_contract_is_told_without_dangling_references(api: Api) -> None:
    """/openapi.json describes the booking body, and every reference in it leads somewhere."""
    told = api.client.get("/openapi.json")
    body = told.json()["paths"]["/v1/bookings"]["post"]["requestBody"]["content"]["application/json"]
    assert set(body["schema"]["required"]) == {"loan", "slot", "channel"}
    assert "#/$defs" not in told.text
