"""What becomes of a booking over HTTP: moved, checked in, served or not; and who may note it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.api import Api, api_on
from tests.support.bank import Bank
from tests.support.counts import attempts_by_outcome, drift, rows


@pytest.fixture
def api(bank: Bank) -> Iterator[Api]:
    """The application on each database in turn."""
    with api_on(bank) as running:
        yield running


def booked(api: Api, slot: str, loan: str = "L1", **more: Any) -> str:
    """The reference of a confirmed booking."""
    answer = api.book(loan, slot, amount="2000", option="full", **more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["booking"]["ref"])


def step(api: Api, ref: str, name: str, body: Any = None, **sent: Any) -> httpx.Response:
    """The answer to POST /v1/bookings/{ref}/NAME."""
    return api.client.post(f"/v1/bookings/{ref}/{name}", json=body, **sent)


def on_the_day(api: Api, days: int = 2) -> None:
    """Move both clocks to the slots' day, half an hour into the ten o'clock slot."""
    api.wall.now = api.wall.now.replace(hour=2, minute=15, second=0, microsecond=0)  # 10:15 in Shanghai
    day = api.bank.today + timedelta(days=days)
    api.wall.now = api.wall.now.replace(year=day.year, month=day.month, day=day.day)


def used(api: Api) -> dict[str, int]:
    """Units used of each slot."""
    return {str(s["slot_id"]): int(str(s["used_units"])) for s in rows(api.bank.engine, "slots")}


# --- moved ------------------------------------------------------------------------------------


def test_a_booking_moves_with_its_reference_status_and_end_of_hold(api: Api) -> None:
    """Rescheduling gives the old unit back, takes the new one and keeps all the rest."""
    for kind in ("day", "week", "month"):
        api.bank.add_quota("branch", "b1", kind, 1)
    early, late = api.bank.add_slot(), api.bank.add_slot(at="11:00")
    before = api.book("L1", early).json()["booking"]
    api.wall.move(seconds=60)
    moved = step(api, before["ref"], "reschedule", {"slot": late})
    after = moved.json()["booking"]
    assert moved.status_code == 200
    assert after == before | {"slot": late, "start": after["start"], "end": after["end"]}
    assert used(api) == {early: 0, late: 1}
    assert drift(api.bank.engine) == []


def test_moving_twice_to_the_same_slot_is_moving_once(api: Api) -> None:
    """A repetition is answered like the first one and leaves no second try or line of history."""
    ref, late = booked(api, api.bank.add_slot()), api.bank.add_slot(at="11:00")
    first = step(api, ref, "reschedule", {"slot": late})
    again = step(api, ref, "reschedule", {"slot": late})
    assert (again.status_code, again.json()["booking"]) == (200, first.json()["booking"])
    assert attempts_by_outcome(api.bank.engine) == {"held": 2}
    assert len(rows(api.bank.engine, "booking_events")) == 2
    assert api.metric("booking_attempts_total", channel="app", outcome="held", reason="") == 2


def test_a_refused_move_leaves_the_booking_where_it_was_and_offers_moves(api: Api) -> None:
    """A full target is refused like a booking there; each remedy, sent as given, moves the booking."""
    old, full, free = (
        api.bank.add_slot(),
        api.bank.add_slot(at="11:00", capacity=0),
        api.bank.add_slot(at="14:00"),
    )
    ref = booked(api, old)
    refused = step(api, ref, "reschedule", {"slot": full})
    assert (refused.status_code, refused.json()["reason"]) == (409, "slot_full")
    assert used(api) == {old: 1, full: 0, free: 0}
    assert api.client.get(f"/v1/bookings/{ref}").json()["booking"]["slot"] == old
    best = refused.json()["remedies"][0]
    assert best["href"] == f"/v1/bookings/{ref}/reschedule"
    taken = api.client.request(best["method"], best["href"], json=best["body"])
    assert (taken.status_code, taken.json()["booking"]["slot"]) == (200, best["slot"])
    assert attempts_by_outcome(api.bank.engine) == {"held": 2, "refused": 1}
    assert [e["outcome"] for e in rows(api.bank.engine, "wish_episodes")] == ["booked"]
    assert drift(api.bank.engine) == []


def test_a_move_within_a_full_quota_is_no_newcomer(api: Api) -> None:
    """Where every level is full with the booking itself it may still move, and change its channel."""
    for scope in ("branch", "region", "bank"):
        api.bank.add_quota(scope, {"branch": "b1", "region": "north"}.get(scope, ""), "month", 1)
    api.bank.add_quota("branch", "b1", "day", 1, channel="web")
    early, late = api.bank.add_slot(capacity=1), api.bank.add_slot(at="11:00", capacity=1)
    ref = booked(api, early)
    assert step(api, ref, "reschedule", {"slot": late}).status_code == 200
    other = step(api, ref, "reschedule", {"slot": late, "channel": "web"})
    assert (other.status_code, other.json()["booking"]["channel"]) == (200, "web")
    assert api.book("L2", early, channel="web").json()["reason"] == "quota_month_full"
    assert drift(api.bank.engine) == []


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("nothing", "invalid_field"),
        ("shut", "slot_closed"),
        ("far", "outside_booking_window"),
        ("soon", "notice_too_short"),
        ("early", "loan_not_eligible"),
        ("narrow", "quota_day_full"),
    ],
)
def test_the_target_is_judged_like_any_wish(api: Api, to: str, reason: str) -> None:
    """A move is refused for the same reasons as a booking there, and both slots stay as they were."""
    today = api.bank.today
    api.bank.add_loan("E1", eligible_from=today + timedelta(days=2))
    api.bank.add_branch("b2")
    api.bank.add_quota("branch", "b2", "day", 0, channel="app")
    slots = {
        "old": api.bank.add_slot(),
        "shut": api.bank.add_slot(at="11:00", closed=True),
        "far": api.bank.add_slot(day=today + timedelta(days=70)),
        "soon": api.bank.add_slot(day=today + timedelta(days=2), at="09:00"),
        "early": api.bank.add_slot(day=today + timedelta(days=1)),
        "narrow": api.bank.add_slot("b2"),
    }
    ref = booked(api, slots["old"], "E1")
    if to == "soon":
        on_the_day(api)
        api.wall.move(minutes=-80)  # 08:55
    assert step(api, ref, "reschedule", {"slot": slots.get(to, to)}).json()["reason"] == reason
    assert {slot for slot, units in used(api).items() if units} == {slots["old"]}
    assert attempts_by_outcome(api.bank.engine) == {"held": 1, "refused": 1}


def test_only_a_hold_or_booking_moves(api: Api) -> None:
    """What is over, cancelled or begun stays where it is, and the refusal says its status."""
    slot, late = api.bank.add_slot(), api.bank.add_slot(at="15:00")
    over, begun = api.book("L1", slot).json()["booking"]["ref"], booked(api, slot, "L2")
    api.wall.move(seconds=601)
    expired = step(api, over, "reschedule", {"slot": late}).json()
    assert (expired["reason"], "expired" in expired["detail"]) == ("hold_expired", True)
    assert expired["remedies"][0]["href"] == "/v1/bookings"
    on_the_day(api)
    assert step(api, begun, "check-in").status_code == 200
    refused = step(api, begun, "reschedule", {"slot": late}).json()
    assert (refused["reason"], "checked_in" in refused["detail"]) == ("hold_expired", True)
    assert drift(api.bank.engine) == []


def test_a_region_claim_covers_both_ends_of_a_move(api: Api) -> None:
    """A token of one region moves no booking out of it, and none of another region."""
    api.bank.add_region("south")
    api.bank.add_branch("s1", "south")
    here, there = api.bank.add_slot(), api.bank.add_slot("s1", region_id="south")
    ref = booked(api, here)
    north, south = (api.issue("channel", region=r) for r in ("north", "south"))
    assert step(api, ref, "reschedule", {"slot": there}, headers=north).json()["reason"] == "forbidden"
    assert step(api, ref, "reschedule", {"slot": here}, headers=south).json()["reason"] == "forbidden"
    assert step(api, ref, "reschedule", {"slot": there}).status_code == 200


def test_an_amount_once_confirmed_is_not_judged_again(api: Api) -> None:
    """A booking whose loan has shrunk since still moves: its amount was judged when it was stated."""
    ref, late = booked(api, api.bank.add_slot()), api.bank.add_slot(at="11:00")
    with api.bank.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE loans SET payoff_cny = 1500 WHERE loan_ref = 'L1'")
    assert step(api, ref, "reschedule", {"slot": late}).status_code == 200
    [booking] = rows(api.bank.engine, "bookings")
    assert booking["reserved_cny"] == 2000


# --- the day itself ---------------------------------------------------------------------------


def test_a_served_customer_leaves_times_and_history(api: Api) -> None:
    """Check-in and completion are told with their wall times, every step with its actor."""
    ref = booked(api, api.bank.add_slot())
    on_the_day(api)
    arrived = api.wall.now
    assert step(api, ref, "check-in").json()["booking"]["status"] == "checked_in"
    api.wall.move(minutes=20)
    assert step(api, ref, "complete").json()["booking"]["status"] == "completed"
    told = api.client.get(f"/v1/bookings/{ref}").json()
    times = [datetime.fromisoformat(told["booking"][f"service_{name}"]) for name in ("started", "ended")]
    assert times == [arrived, arrived + timedelta(minutes=20)]
    assert datetime.fromisoformat(told["booking"]["checked_in"]) == arrived
    assert [(e["from"], e["to"], e["actor"]) for e in told["history"]] == [
        (None, "confirmed", "test"),
        ("confirmed", "checked_in", "test"),
        ("checked_in", "completed", "test"),
    ]
    [booking] = rows(api.bank.engine, "bookings")
    assert booking["version"] == 3
    assert drift(api.bank.engine) == []


def test_each_step_may_be_repeated(api: Api) -> None:
    """A step sent twice is answered the same and leaves one line of history."""
    slot = api.bank.add_slot()
    served, absent = booked(api, slot), booked(api, slot, "L2")
    on_the_day(api)
    times = {"service_started": api.wall.now.isoformat()}
    for ref, name, body in (
        (served, "check-in", None),
        (served, "complete", times),
        (absent, "no-show", None),
    ):
        first, again = (step(api, ref, name, body) for _ in range(2))
        assert first.status_code == again.status_code == 200
        assert first.json()["booking"] == again.json()["booking"]
    other = step(api, served, "complete", {"service_ended": "2026-01-01T00:00:00Z"})
    assert other.json()["reason"] == "idempotency_conflict"
    assert len(rows(api.bank.engine, "booking_events")) == 5


def test_check_in_is_on_the_banks_own_day(api: Api) -> None:
    """Before and after the service day nobody checks in; the refusal names both days."""
    ref = booked(api, api.bank.add_slot())
    for days in (1, 3):
        on_the_day(api, days)
        refused = step(api, ref, "check-in")
        assert (refused.status_code, refused.json()["reason"]) == (422, "outside_booking_window")
        assert str(api.bank.today + timedelta(days=days)) in refused.json()["detail"]
    on_the_day(api)
    assert step(api, ref, "check-in").status_code == 200


def test_a_no_show_keeps_its_unit_and_frees_its_loan(api: Api) -> None:
    """Noted as absent from the slot's start on, the customer loses the place; the loan may book again."""
    ref, later = booked(api, api.bank.add_slot()), api.bank.add_slot(day=api.bank.today + timedelta(days=9))
    early = step(api, ref, "no-show")
    assert (early.status_code, early.json()["reason"]) == (422, "notice_too_short")
    on_the_day(api)
    assert step(api, ref, "no-show").json()["booking"]["status"] == "no_show"
    assert api.book("L1", later).status_code == 201
    assert sum(used(api).values()) == 2
    assert drift(api.bank.engine) == []


@pytest.mark.parametrize("name", ["check-in", "complete", "no-show", "reschedule", "confirm"])
def test_a_cancelled_booking_is_at_its_end(api: Api, name: str) -> None:
    """After cancellation no step is possible; the answer is told in both languages with the status."""
    slot = api.bank.add_slot()
    ref = booked(api, slot)
    api.client.delete(f"/v1/bookings/{ref}")
    body = {"reschedule": {"slot": slot}, "confirm": {"amount": "2000", "option": "full"}}.get(name)
    for language, status in (("en", "cancelled"), ("zh", "已取消")):
        refused = step(api, ref, name, body, headers={"Accept-Language": language})
        assert (refused.status_code, refused.json()["reason"]) == (409, "hold_expired")
        assert status in refused.json()["detail"]


def test_what_staff_note_and_a_cancellation_are_no_tries_to_take_a_slot(api: Api) -> None:
    """A refused note or cancellation is told, but is no attempt on record and no count of failed bookings."""
    ref = booked(api, api.bank.add_slot())
    assert step(api, ref, "complete").json()["reason"] == "hold_expired"
    assert "confirmed" in step(api, ref, "complete").json()["detail"]
    on_the_day(api)
    step(api, ref, "check-in")
    assert api.client.delete(f"/v1/bookings/{ref}").json()["remedies"] == []
    assert attempts_by_outcome(api.bank.engine) == {"held": 1}
    counted = {"channel": "app", "outcome": "refused", "reason": "hold_expired"}
    assert api.metric("booking_attempts_total", **counted) == 0


# --- who --------------------------------------------------------------------------------------


def test_customers_do_not_note_what_became_of_them(api: Api) -> None:
    """Check-in, completion and no-show are noted by staff; customers move and cancel their own only."""
    slot, late = api.bank.add_slot(), api.bank.add_slot(at="11:00")
    ref = booked(api, slot)
    mine, other = api.issue("customer", holder="c-L1"), api.issue("customer", holder="c-L2")
    denied = {"channel": "unknown", "outcome": "refused", "reason": "forbidden"}
    for name in ("check-in", "complete", "no-show"):
        refused = step(api, ref, name, headers=mine)
        assert (refused.status_code, refused.json()["reason"]) == (403, "forbidden")
    assert api.metric("booking_attempts_total", **denied) == 0
    assert step(api, ref, "reschedule", {"slot": late}, headers=other).status_code == 404
    assert step(api, ref, "reschedule", {"slot": late}, headers=mine).status_code == 200
    told = api.client.get(f"/v1/bookings/{ref}", headers=mine).json()
    assert {e["actor"] for e in told["history"]} == {None}
    assert api.client.delete(f"/v1/bookings/{ref}", headers=mine).status_code == 200


def test_operators_book_for_customers_at_the_counter_and_by_phone(api: Api) -> None:
    """An operator's booking counts in the counter's own quota; operators alone can lead it to its end."""
    slot, late = api.bank.add_slot(), api.bank.add_slot(at="11:00")
    api.bank.add_quota("branch", "b1", "day", 1, channel="counter")
    operator = api.issue("operator")
    assert api.book("L1", slot, headers=operator).json()["reason"] == "forbidden"
    ref = api.book("L1", slot, headers=operator, channel="counter").json()["booking"]["ref"]
    assert api.book("L2", slot, headers=operator, channel="counter").json()["reason"] == "quota_day_full"
    assert api.book("L2", slot, headers=operator, channel="phone").status_code == 201
    settled = step(api, ref, "confirm", {"amount": "2000", "option": "full"}, headers=operator)
    assert settled.json()["booking"]["status"] == "confirmed"
    assert step(api, ref, "reschedule", {"slot": late}, headers=operator).status_code == 200
    on_the_day(api)
    assert step(api, ref, "check-in", headers=operator).status_code == 200
    assert step(api, ref, "complete", headers=operator).status_code == 200
    assert drift(api.bank.engine) == []


def test_only_staff_book_at_the_counter(api: Api) -> None:
    """The counter's places are the branch's own: neither channels nor customers take them, or move there."""
    slot, late = api.bank.add_slot(), api.bank.add_slot(at="11:00")
    for headers in ({}, api.issue("customer", holder="c-L1")):
        refused = api.book("L1", slot, headers=headers, channel="counter")
        assert (refused.status_code, refused.json()["reason"]) == (403, "forbidden")
    ref = api.book("L1", slot, headers=api.issue("operator"), channel="counter").json()["booking"]["ref"]
    app = booked(api, slot, "L2")
    assert step(api, app, "reschedule", {"slot": late, "channel": "counter"}).status_code == 403
    kept = step(api, ref, "reschedule", {"slot": late})
    assert kept.json()["booking"]["channel"] == "counter", "a customer moves what staff booked for them"


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "raw", "pointer", "says"),
    [
        ("reschedule", "{}", "/slot", "required"),
        ("reschedule", '{"slot": "S", "channel": "fax"}', "/channel", "app"),
        ("reschedule", '{"slot": "S", "loan": "L2"}', "/loan", "not permitted"),
        ("reschedule", '{"slot": "S", "slot": "T"}', "", "stands twice"),
        ("reschedule", "", "", "malformed JSON"),
        ("reschedule", '{"slot": "a\\u0000b"}', "/slot", "pattern"),
        ("complete", '{"service_started": "ten"}', "/service_started", "with offset"),
        ("complete", '{"service_started": 1700000000}', "/service_started", "with offset"),
        ("complete", '{"service_started": "1700000000"}', "/service_started", "with offset"),
        ("complete", '{"service_ended": "2026-03-02T10:00:00"}', "/service_ended", "timezone"),
        ("complete", '{"service_ended": "2026-02-30T10:00:00Z"}', "/service_ended", "datetime"),
        ("complete", '{"service_started": "0001-01-01T00:00:00+14:00"}', "/service_started", "before"),
        ("complete", '{"service_ended": "9999-12-31T23:59:59-14:00"}', "/service_ended", "future"),
        ("complete", '{"ended": null}', "/ended", "not permitted"),
        ("complete", "[]", "", "one JSON object"),
    ],
)
def test_an_unfit_body_names_its_field(api: Api, name: str, raw: str, pointer: str, says: str) -> None:
    """Bodies of the steps are refused like those of bookings: by field, in words, and nothing is changed."""
    ref = booked(api, api.bank.add_slot())
    on_the_day(api)
    step(api, ref, "check-in") if name == "complete" else None
    refused = api.client.post(f"/v1/bookings/{ref}/{name}", content=raw)
    assert refused.status_code == 400
    assert [e["pointer"] for e in refused.json()["errors"]] == [pointer]
    assert says in refused.json()["errors"][0]["message"]
    assert {"action": "change_field", "pointer": pointer} in refused.json()["remedies"]


def test_a_wrong_time_is_told_in_chinese_as_well(api: Api) -> None:
    """What is wrong with a time is told in the caller's language."""
    ref = booked(api, api.bank.add_slot())
    for wrong in (1700000000, "ten", "2026-03-02T10:00:00"):
        refused = step(api, ref, "complete", {"service_ended": wrong}, headers={"Accept-Language": "zh"})
        assert "2026-03-01T09:00:00+08:00" in refused.json()["errors"][0]["message"]


@pytest.mark.parametrize("name", ["check-in", "complete", "no-show", "reschedule"])
def test_an_unknown_booking_is_not_found(api: Api, name: str) -> None:
    """A step of a booking that is not there is told as 404."""
    body = {"slot": "S"} if name == "reschedule" else None
    assert step(api, "B0", name, body).status_code == 404
    assert step(api, "b%00", name, body).status_code == 400


def test_the_contract_tells_every_step(api: Api) -> None:
    """/openapi.json describes the bodies of the steps."""
    paths = api.client.get("/openapi.json").json()["paths"]
    for name, fields in (
        ("reschedule", {"slot", "channel"}),
        ("complete", {"service_started", "service_ended"}),
    ):
        told = paths[f"/v1/bookings/{{booking_ref}}/{name}"]["post"]["requestBody"]
        assert set(told["content"]["application/json"]["schema"]["properties"]) == fields
    assert {"/v1/bookings/{booking_ref}/check-in", "/v1/bookings/{booking_ref}/no-show"} <= set(paths)
