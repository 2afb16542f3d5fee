"""Bad input, wrong tokens and broken dependencies: each told clearly, recorded where it must be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from booking_core.database import make_engine
from booking_core.messages import TEXTS
from metrics.contract import Reason
from tests.support.api import Api, api_on
from tests.support.bank import Bank, make_bank
from tests.support.counts import rows
from tests.support.postgres import PostgresCluster


@pytest.fixture
def api(sqlite_bank: Bank) -> Iterator[Api]:
    """The application on SQLite."""
    with api_on(sqlite_bank) as running:
        yield running


def post(api: Api, raw: bytes | str, **headers: str) -> Any:
    """The answer to a raw body."""
    return api.client.post("/v1/bookings", content=raw, headers={"Idempotency-Key": "raw", **headers})


@pytest.mark.parametrize(
    ("raw", "pointer", "says"),
    [
        ('{"loan": "L1",\n "slot" "S"}', "", "line 2, column 9"),
        ("", "", "malformed JSON"),
        (b"\xff\xfe", "", "malformed JSON"),
        ("[1]", "", "expected one JSON object, got list"),
        ("{" + " " * 70_000 + "}", "", "65536 bytes"),
        ("[" * 60_000, "", "malformed JSON"),
        ('{"loan": "L1", "slot": "S", "channel": "app", "loan": "L2"}', "", "'loan' stands twice"),
        ('{"loan": "L1", "slot": "S", "channel": "app", "a/b~c": 1}', "/a~1b~0c", "not permitted"),
        ('{"loan": "L1", "slot": "S", "channel": "fax"}', "/channel", "app"),
        ('{"loan": "L1", "slot": "S", "channel": "app", "extra": 1}', "/extra", "not permitted"),
        ('{"loan": 5, "slot": "S", "channel": "app"}', "/loan", "string"),
        ('{"loan": "a\\u0000b", "slot": "S", "channel": "app"}', "/loan", "pattern"),
        ('{"loan": "L1", "slot": "S", "channel": "app", "amount": NaN}', "", "NaN is not JSON"),
        ('{"loan": "L1", "slot": "S", "channel": "app", "amount": -1}', "/amount", "greater than 0"),
        ('{"loan": "L1", "slot": "S", "channel": "app", "amount": 1.005}', "/amount", "2 decimal"),
        ('{"loan": "L1", "slot": "S", "channel": "app", "amount": 1e999999}', "/amount", "digits"),
        ('{"loan": "L1", "slot": "S", "channel": "app", "amount": 1e99999999999999999999}', "", "too great"),
        ('{"loan": "L1", "slot": "S", "channel": "app", "contact": "\\ud800"}', "/contact", "unicode"),
    ],
)
def test_an_unfit_body_names_the_field_and_what_was_expected(
    api: Api, raw: str | bytes, pointer: str, says: str
) -> None:
    """What cannot be read is told by JSON pointer or position, and is an attempt on record."""
    answer = post(api, raw)
    body = answer.json()
    assert (answer.status_code, body["reason"], body["cause"]) == (400, "invalid_field", "input")
    assert [e["pointer"] for e in body["errors"]] == [pointer]
    assert says in body["errors"][0]["message"]
    [attempt] = rows(api.bank.engine, "attempts")
    assert (attempt["outcome"], attempt["reason"]) == ("refused", "invalid_field")


def test_missing_fields_are_listed_together(api: Api) -> None:
    """Every missing field is named at once."""
    body = post(api, '{"channel": "app"}').json()
    assert body["reason"] == "missing_field"
    assert [e["pointer"] for e in body["errors"]] == ["/loan", "/slot"]


def test_the_idempotency_key_is_asked_for(api: Api) -> None:
    """Without a key nothing is booked, and the refusal says which header to send."""
    slot = api.bank.add_slot()
    answer = api.client.post("/v1/bookings", json={"loan": "L1", "slot": slot, "channel": "app"})
    assert (answer.status_code, answer.json()["reason"]) == (400, "missing_field")
    assert answer.json()["errors"][0]["pointer"] == "header:Idempotency-Key"
    long = api.book("L1", slot, key="k" * 129)
    assert long.json()["reason"] == "invalid_field"
    assert rows(api.bank.engine, "bookings") == []


def test_an_unfit_try_for_a_known_loan_and_slot_is_a_wish(api: Api) -> None:
    """A try refused for its form counts as demand where loan and slot are readable."""
    slot = api.bank.add_slot()
    post(api, f'{{"loan": "L1", "slot": "{slot}", "channel": "app", "amount": "much"}}')
    [episode] = rows(api.bank.engine, "wish_episodes")
    assert (episode["loan_ref"], episode["outcome"], episode["first_reason"]) == (
        "L1",
        "open",
        "invalid_field",
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v1/slots?branch=b1&from=2026-01-01",
        "/v1/slots?branch=b1&from=yesterday&to=2026-01-01",
        "/v1/slots?branch=b1&from=2026-02-01&to=2026-01-01",
        "/v1/slots?branch=b1&from=2026-02-01&to=2036-01-01",
        "/v1/branches?cursor=%00",
        "/v1/slots?branch=%00&from=2026-02-01&to=2026-02-01",
        "/v1/branches?limit=0",
        "/v1/loans/a%00b",
        "/v1/bookings/%27%3B--",
    ],
)
def test_unfit_parameters_are_problems(api: Api, path: str) -> None:
    """Parameters that do not fit are told as problems that name them."""
    answer = api.client.get(path)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/branches", 405),
        ("GET", "/v1/bookings/B0", 404),
        ("DELETE", "/v1/bookings/B0", 404),
        ("GET", "/v1/slots?branch=b9&from=2026-02-01&to=2026-02-01", 404),
        ("GET", "/v1/loans/L9", 404),
        ("GET", "/v1/%ff", 404),
    ],
)
def test_what_is_not_there_is_a_problem(api: Api, method: str, path: str, status: int) -> None:
    """Unknown paths, methods and things are problems with a trace id."""
    answer = api.client.request(method, path)
    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers.get("allow") == ("GET" if status == 405 else None)
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]


def test_no_token_a_wrong_one_and_one_without_the_right(api: Api) -> None:
    """Access refusals are counted, answered as 401 or 403, and never stored."""
    slot = api.bank.add_slot()
    for headers, status, reason in (
        ({"Authorization": ""}, 401, "unauthenticated"),
        ({"Authorization": "Bearer wrong"}, 401, "unauthenticated"),
        (api.issue("reader"), 403, "forbidden"),
    ):
        answer = api.book("L1", slot, headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json()["detail"].endswith("scope channel | customer | operator.")
    assert rows(api.bank.engine, "attempts") == []
    counted = {"channel": "unknown", "outcome": "refused"}
    assert api.metric("booking_attempts_total", **counted, reason="unauthenticated") == 2
    assert api.metric("booking_attempts_total", **counted, reason="forbidden") == 1


def test_a_region_claim_ends_at_its_region(api: Api) -> None:
    """A token of one region neither books, looks nor cancels in another."""
    api.bank.add_region("south")
    api.bank.add_branch("s1", "south")
    api.bank.add_loan("S1", branch_id="s1")
    slot = api.bank.add_slot("s1", region_id="south")
    ref = api.book("S1", slot).json()["booking"]["ref"]
    north = api.issue("channel", region="north")
    day = slot.removeprefix("s1-")[:10]
    answers = [
        api.book("L1", slot, headers=north),
        api.book("L1", slot, headers=north, query="?dry_run=true"),
        *(
            api.client.get(path, headers=north)
            for path in (
                f"/v1/slots?branch=s1&from={day}&to={day}",
                "/v1/loans/S1",
                f"/v1/bookings/{ref}",
            )
        ),
        api.client.delete(f"/v1/bookings/{ref}", headers=north),
    ]
    assert [(a.status_code, a.json()["reason"]) for a in answers] == [(403, "forbidden")] * 6
    seen = api.client.get("/v1/branches", headers=north).json()["branches"]
    assert [b["branch_id"] for b in seen] == ["b1"]


def test_a_customer_sees_only_their_own_loans(api: Api) -> None:
    """To a customer another's loan and booking do not exist; their own can be booked."""
    slot = api.bank.add_slot()
    ref = api.book("L1", slot).json()["booking"]["ref"]
    mine = api.issue("customer", holder="c-L2")
    assert api.book("L1", slot, headers=mine).json()["reason"] == "loan_not_found"
    assert api.client.get("/v1/loans/L1", headers=mine).status_code == 404
    assert api.client.get(f"/v1/bookings/{ref}", headers=mine).status_code == 404
    assert api.client.delete(f"/v1/bookings/{ref}", headers=mine).status_code == 404
    assert api.book("L2", slot, headers=mine).status_code == 201


def test_refusals_speak_the_callers_language(api: Api) -> None:
    """Accept-Language chooses Chinese or English, English where neither is asked for."""
    for accept, language, title in (
        ("zh-CN,zh;q=0.9,en;q=0.1", "zh", TEXTS[Reason.LOAN_NOT_FOUND][1].title),
        ("fr", "en", TEXTS[Reason.LOAN_NOT_FOUND][0].title),
    ):
        answer = api.book("L9", "S", headers={"Accept-Language": accept, "Idempotency-Key": accept[:2]})
        assert answer.headers["content-language"] == language
        slot = api.bank.add_slot(at="10:00" if language == "zh" else "11:00")
        assert api.book("L9", slot, headers={"Accept-Language": accept}).json()["title"] == title


def test_the_calendar_ends_with_the_calendar(api: Api) -> None:
    """The last days that a date can name are asked for like any others."""
    answer = api.client.get("/v1/slots?branch=b1&from=9999-12-20&to=9999-12-31")
    assert (answer.status_code, answer.json()) == (200, {"slots": [], "next_cursor": None})


def test_amounts_are_told_as_money(api: Api) -> None:
    """However an amount was written, it is told in plain digits with two decimals, now and later."""
    slot = api.bank.add_slot()
    told = api.book("L1", slot, amount="1e3", option="full").json()["booking"]
    assert told["amount"] == "1000.00"
    assert api.client.get(f"/v1/bookings/{told['ref']}").json()["booking"]["amount"] == "1000.00"


def test_a_trace_is_carried_on(api: Api) -> None:
    """A caller's W3C trace id is answered and recorded; a malformed one is replaced."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    slot = api.bank.add_slot()
    carried = api.book("L1", slot, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert carried.json()["trace_id"] == trace
    assert rows(api.bank.engine, "attempts")[0]["trace_id"] == trace
    replaced = api.book("L2", slot, headers={"traceparent": "00-zz-1-01"}).json()["trace_id"]
    assert len(replaced) == 32


def test_a_database_that_went_away_is_told_and_counted_and_comes_back() -> None:
    """With the database down a booking is a 503 that says when to retry; afterwards it succeeds."""
    with PostgresCluster.start() as cluster:
        bank = make_bank(cluster.fresh_database())
        slot = bank.add_slot()
        with api_on(bank) as api:
            assert api.book("L1", slot).status_code == 201
            cluster.control("-m", "immediate", "stop")
            down = api.book("L2", slot, key="again")
            assert (down.status_code, down.json()["reason"]) == (503, "dependency_down")
            assert int(down.headers["retry-after"]) == down.json()["retry_after"] >= 1
            assert api.client.get("/healthz").status_code == 200
            assert api.client.get("/readyz").status_code == 503
            assert api.metric("booking_db_pool_in_use") >= 0
            cluster.control("-l", str(cluster.data / "log"), "restart")
            assert api.book("L2", slot, key="again").status_code == 201
        reasons = [attempt["reason"] for attempt in rows(bank.engine, "attempts")]
        assert sorted(reasons, key=str) == [None, None, "dependency_down"]
        bank.engine.dispose()


def test_a_forgotten_lock_is_a_time_out_and_not_a_hang(postgres_bank: Bank) -> None:
    """Behind a lock that nobody gives back a booking is 504 timeout; afterwards the same key succeeds."""
    slot = postgres_bank.add_slot()
    engine = make_engine(postgres_bank.url, statement_seconds=0.3)
    with api_on(replace(postgres_bank, engine=engine)) as api:
        with postgres_bank.engine.begin() as forgotten:
            forgotten.execute(text("SELECT * FROM slots FOR UPDATE"))
            late = api.book("L1", slot, key="again")
            assert (late.status_code, late.json()["reason"]) == (504, "timeout")
            assert late.json()["retryable"]
            assert int(late.headers["retry-after"]) >= 1
        assert api.book("L1", slot, key="again").status_code == 201
    engine.dispose()


def test_a_fault_of_ours_is_an_internal_error_with_a_trace(api: Api) -> None:
    """A broken schema answers 500 internal_error as a problem, and the process goes on."""
    slot = api.bank.add_slot()
    other = make_engine(api.bank.url)
    with other.begin() as connection:
        connection.execute(text("DROP TABLE booking_events"))
    answer = api.book("L1", slot)
    assert answer.status_code >= 500
    assert answer.json()["cause"] == "system"
    assert rows(api.bank.engine, "bookings") == []
    assert api.client.get("/healthz").status_code == 200


def test_too_many_requests_in_flight_are_shed_at_once(sqlite_bank: Bank) -> None:
    """Above its bound a worker says system_busy with a time to come back; its health can still be asked."""
    with api_on(sqlite_bank, shed_above=0) as api:
        answer = api.book("L1", "any")
        assert (answer.status_code, answer.json()["reason"]) == (503, "system_busy")
        assert 1 <= int(answer.headers["retry-after"]) <= 3
        assert api.client.get("/healthz").status_code == 200
        counted = {"channel": "unknown", "outcome": "refused", "reason": "system_busy"}
        assert api.metric("booking_attempts_total", **counted) == 1
