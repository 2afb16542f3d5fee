"""The waitlist over HTTP: one click from a refusal, tokens and claims, bad input told like everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.service.admission import Limits
from booking_core.service.offers import promote
from tests.support.api import Api, api_on
from tests.support.bank import Bank
from tests.support.counts import rows


@pytest.fixture
def api(sqlite_bank: Bank) -> Iterator[Api]:
    with api_on(sqlite_bank) as running:
        yield running


def core_of(api: Api) -> Any:
    return api.client.app.state.core  # type: ignore[attr-defined]


def wish(api: Api, loan: str = "L1", **other: Any) -> dict[str, Any]:
    """A join as one click sends it."""
    day = api.bank.today + timedelta(days=2)
    return {"loan": loan, "branch": "b1", "wished_day": str(day), "channel": "app", **other}


def join(api: Api, loan: str = "L1", *, headers: dict[str, str] | None = None, **other: Any) -> Any:
    return api.client.post("/v1/waitlist", json=wish(api, loan, **other), headers=headers)


def full_slot(api: Api) -> tuple[str, str]:
    """A slot whose one unit is held, and the booking."""
    slot = api.bank.add_slot(capacity=1)
    return slot, api.book("L5", slot).json()["booking"]["ref"]


def test_from_a_refusal_to_a_booking_by_what_the_answers_say(api: Api) -> None:
    """Refused, joined, the place freed, offered, accepted, confirmed: each step is told by the one before."""
    slot, held = full_slot(api)
    assert api.book("L1", slot).status_code == 409
    joined = join(api)
    assert (joined.status_code, joined.json()["position"]) == (201, 1)
    assert joined.json()["trace_id"]
    entry = f"/v1/waitlist/{joined.json()['entry']['ref']}"
    assert api.client.post(f"{entry}/accept").status_code == 404
    api.client.delete(f"/v1/bookings/{held}")
    promote(core_of(api))
    offered = api.client.get(entry).json()
    assert (offered["entry"]["status"], offered["offer"]["slot"]) == ("offered", slot)
    assert offered["position"] is None
    accepted = api.client.post(f"{entry}/accept")
    assert accepted.status_code == 200
    booking = accepted.json()["booking"]
    settled = api.client.post(
        f"/v1/bookings/{booking['ref']}/confirm", json={"amount": "5000", "option": "full"}
    )
    assert settled.json()["booking"]["status"] == "confirmed"
    assert api.client.get(entry).json()["entry"]["booking"] == booking["ref"]
    assert api.metric("booking_waitlist_offers_total", outcome="accepted") == 1
    assert api.metric("booking_attempts_total", channel="app", outcome="held", reason="") == 2


def test_a_promise_is_told_in_a_sentence_of_the_callers_language(api: Api) -> None:
    """The day with its chance, or that there is none and the chance by the last one; in whole percents."""
    full_slot(api)
    entry = join(api).json()["entry"]
    last = entry["latest_day"]
    cases: list[tuple[dict[str, Any], str, str]] = [
        (
            {"by": "2026-03-12", "chance": 0.939},
            "An offer by 2026-03-12 at the latest, with a chance of 93 %.",
            "最迟 2026-03-12 为您提供名额，可能性为 93%。",
        ),
        (
            {"by": None, "chance": 0.4},
            f"No day can be promised; the chance of an offer by {last} is 40 %.",
            f"暂时无法承诺日期；{last} 前（含当日）提供名额的可能性为 40%。",
        ),
    ]
    for told, en, zh in cases:
        with write_transaction(api.bank.engine) as connection:
            connection.execute(update(t.waitlist).values(promise=told))
        for language, text in (("en", en), ("zh-CN", zh)):
            path, headers = f"/v1/waitlist/{entry['ref']}", {"Accept-Language": language}
            assert api.client.get(path, headers=headers).json()["promise"] == told | {"text": text}
            assert join(api, headers=headers).json()["promise"] == told | {"text": text}


def test_who_has_an_offer_and_books_is_told_to_accept_it(api: Api) -> None:
    """The refusal's first remedy is the acceptance; followed, it is a hold."""
    slot = api.bank.add_slot()
    join(api)
    refused = api.book("L1", slot).json()
    assert refused["reason"] == "duplicate_booking"
    remedy = refused["remedies"][0]
    assert remedy["action"] == "accept_offer"
    taken = api.client.request(remedy["method"], remedy["href"])
    assert taken.json()["booking"]["status"] == "held"
    assert [r["action"] for r in api.book("L1", slot).json()["remedies"]] == [
        "view_booking",
        "cancel_booking",
    ]


def test_the_waitlist_of_a_refusal_can_be_joined_as_it_stands(api: Api) -> None:
    """One click: the remedy's method, address and body are a join."""
    slot, _ = full_slot(api)
    remedies = api.book("L1", slot).json()["remedies"]
    remedy = next(r for r in remedies if r["action"] == "join_waitlist")
    joined = api.client.request(remedy["method"], remedy["href"], json=remedy["body"])
    assert (joined.status_code, joined.json()["position"]) == (201, 1)


def test_leaving_is_told_and_repeated(api: Api) -> None:
    """DELETE answers the entry, left; so does the second one."""
    full_slot(api)
    entry = f"/v1/waitlist/{join(api).json()['entry']['ref']}"
    first, again = (api.client.delete(entry) for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert first.json()["entry"]["status"] == again.json()["entry"]["status"] == "left"
    assert api.client.post(f"{entry}/accept").json()["reason"] == "hold_expired"


def test_a_customer_token_speaks_for_its_own_loans_only(api: Api) -> None:
    """Another's loan is not found, and so is another's entry, whatever is done with it."""
    full_slot(api)
    entry = f"/v1/waitlist/{join(api).json()['entry']['ref']}"
    other, own = (api.issue("customer", holder=holder) for holder in ("c-L2", "c-L1"))
    assert join(api, "L1", headers=other).json()["reason"] == "loan_not_found"
    for method, path in (("GET", entry), ("DELETE", entry), ("POST", f"{entry}/accept")):
        assert api.client.request(method, path, headers=other).status_code == 404
    assert api.client.get(entry, headers=own).status_code == 200


def test_a_region_claim_keeps_out_of_other_regions(api: Api) -> None:
    """A token for the south may neither join in the north nor see an entry there."""
    full_slot(api)
    entry = f"/v1/waitlist/{join(api).json()['entry']['ref']}"
    south = api.issue("channel", region="south")
    assert join(api, "L2", headers=south).json()["reason"] == "forbidden"
    for method, path in (("GET", entry), ("DELETE", entry), ("POST", f"{entry}/accept")):
        assert api.client.request(method, path, headers=south).json()["reason"] == "forbidden"


def test_only_staff_give_priority_and_for_their_channels(api: Api) -> None:
    """A channel may not; an operator may, by counter or phone."""
    full_slot(api)
    more = {"priority": 1, "priority_reason": "hardship"}
    assert join(api, **more).json()["reason"] == "forbidden"
    staff = api.issue("operator")
    assert join(api, headers=staff, **more).json()["reason"] == "forbidden"
    told = join(api, headers=staff, channel="counter", **more).json()["entry"]
    assert (told["priority"], told["channel"]) == (1, "counter")


@pytest.mark.parametrize(
    ("change", "pointer", "message_zh"),
    [
        ({"wished_day": None}, "/wished_day", "不是日期（YYYY-MM-DD）"),
        ({"wished_day": 20261126}, "/wished_day", "不是日期（YYYY-MM-DD）"),
        ({"wished_day": "2026-13-01"}, "/wished_day", "不是日期（YYYY-MM-DD）"),
        ({"wished_day": "9999-12-31"}, "/wished_day", None),
        ({"latest_day": "2020-01-01"}, "/latest_day", None),
        ({"branch": "nowhere"}, "/branch", "没有网点 'nowhere'，可用 GET /v1/branches 查询"),
        (
            {"channel": "fax"},
            "/channel",
            "不是可选值，可选：'app'、'web'、'mini_program'、'phone'、'counter'",
        ),
        ({"priority": True, "priority_reason": "x"}, "/priority", "须为整数"),
        ({"priority": 2, "priority_reason": "x"}, "/priority", None),
        ({"priority": 1}, "/priority_reason", None),
        ({"slot": "s1"}, "/slot", "不认识的字段，请删除"),
    ],
)
def test_bad_input_names_the_field_in_both_languages(
    api: Api, change: dict[str, Any], pointer: str, message_zh: str | None
) -> None:
    """Nothing joins; the field is told by JSON pointer, in the language that was asked for."""
    for language in ("en", "zh"):
        answer = join(api, headers={"Accept-Language": language}, **change)
        assert answer.status_code == 400, answer.text
        (error,) = answer.json()["errors"]
        assert error["pointer"] == pointer
        if language == "zh" and message_zh:
            assert error["message"] == message_zh
    assert rows(api.bank.engine, "waitlist") == []


def test_a_customer_who_hammers_the_list_is_told_when_to_come_back(sqlite_bank: Bank) -> None:
    """Joining has the pace of trying to take a slot, counted and recorded like it; others are free."""
    with api_on(sqlite_bank, limits=Limits(burst=2, per_second=0.25)) as api:
        assert [join(api).status_code for _ in range(2)] == [201, 201]
        told = join(api)
        assert (told.status_code, told.json()["reason"], told.headers["retry-after"]) == (
            429,
            "rate_limited",
            "4",
        )
        assert join(api, "L2").status_code == 201
        limited = {"channel": "app", "outcome": "refused", "reason": "rate_limited"}
        assert api.metric("booking_attempts_total", **limited) == 1
    assert [row["reason"] for row in rows(sqlite_bank.engine, "attempts")] == ["rate_limited"]


def test_the_calendar_tells_what_is_left_beside_those_who_wait(api: Api) -> None:
    """Three free, one waits: two may be booked by newcomers; the calendar, a dry run and booking say so."""
    slot, _ = full_slot(api)
    join(api)
    api.bank.add_slot(at="11:00", capacity=3)
    day = str(api.bank.today + timedelta(days=2))
    for free in (2, 1, 0):
        found = api.client.get("/v1/slots", params={"branch": "b1", "from": day, "to": day}).json()["slots"]
        told = next(one for one in found if one["slot"] != slot)
        assert (told["free_units"], told["bookable"]) == (free, free > 0)
        answers = [api.book(f"L{free + 2}", told["slot"], query=q).status_code for q in ("?dry_run=true", "")]
        assert answers == ([200, 201] if free else [409, 409])


def test_nonsense_is_not_found_or_invalid_and_never_a_fault(api: Api) -> None:
    """Unknown references, strange ones and bodies that are no object."""
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/accept")):
        assert api.client.request(method, f"/v1/waitlist/W0{path}").status_code == 404
        assert api.client.request(method, f"/v1/waitlist/%00{path}").status_code in {400, 404}
    for body in (b"", b"[]", b"{", b"\xff"):
        assert api.client.post("/v1/waitlist", content=body).status_code == 400


def test_the_contract_is_in_the_openapi_document(api: Api) -> None:
    """All four operations, and the join's body."""
    paths = api.client.get("/openapi.json").json()["paths"]
    assert set(paths["/v1/waitlist"]) == {"post"}
    assert set(paths["/v1/waitlist/{entry_ref}"]) == {"get", "delete"}
    assert set(paths["/v1/waitlist/{entry_ref}/accept"]) == {"post"}
    schema = paths["/v1/waitlist"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"loan", "branch", "wished_day", "channel"} == set(schema["required"])
