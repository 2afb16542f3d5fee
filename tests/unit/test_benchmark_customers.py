"""What the benchmarks' customers send, byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace

from benchmarks.figures.storm import CUSTOMERS, MONTH_END, REGIONS, STORM, _wishes
from benchmarks.support.banks import SPREAD
from benchmarks.support.scripts import Booking, BookingAndCancelling, Following, Requests

REQUESTS = Requests("secret", "run1")
REFUSED = (
    b"HTTP/1.1 409 Conflict\r\n\r\n"
    + json.dumps(
        {
            "cause": "capacity",
            "remedies": [
                {"action": "take_slot", "href": "/v1/bookings", "body": {"loan": "L00000007", "slot": "s2"}}
            ],
        }
    ).encode()
)


def parsed(request: bytes) -> tuple[str, dict[str, str], str]:
    """First line, headers, body."""
    head, _, body = request.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


def test_a_booking_is_a_whole_request_with_a_key_of_its_own() -> None:
    """The length fits, loan and key carry the loan's number."""
    first, headers, body = parsed(REQUESTS.booking(42, "b1-0930-001"))
    assert first == "POST /v1/bookings HTTP/1.1"
    assert headers["Idempotency-Key"] == "run1-00000042"
    assert int(headers["Content-Length"]) == len(body)
    assert json.loads(body) == {"loan": "L00000042", "slot": "b1-0930-001", "channel": "app"}


def test_loans_are_used_once_and_those_told_to_come_back_come_back() -> None:
    """Only who was turned away is asked for again."""
    script = Booking(REQUESTS, range(2), ["s1"], seed=1)
    first, second = script.begin(), script.begin()
    assert first
    assert second
    assert script.begin() is None
    script.answered(first[1], 201, b"")
    script.answered(second[1], 503, b"")
    assert script.begin() == second
    assert script.counts["loans"] == 2


def test_an_accepted_customer_cancels_the_booking_that_was_answered() -> None:
    """DELETE of its reference."""
    script = BookingAndCancelling(REQUESTS, range(1), ["s1"], seed=1, cancelled=1.0)
    saying = script.answered(0, 201, b'HTTP/1.1 201 Created\r\n\r\n{"booking":{"ref":"B7"}}')
    assert saying
    assert saying[0].startswith(b"DELETE /v1/bookings/B7 HTTP/1.1\r\n")


def test_a_refused_customer_follows_the_first_remedy_once() -> None:
    """Its body as offered, a new key; what comes then counts as remedied or not."""
    script = Following(REQUESTS, [(7, "s1")])
    wish = script.begin()
    assert wish
    follow = script.answered(wish[1], 409, REFUSED)
    assert follow
    _, headers, body = parsed(follow[0])
    assert json.loads(body)["slot"] == "s2"
    assert headers["Idempotency-Key"] != parsed(wish[0])[1]["Idempotency-Key"]
    assert script.answered(follow[1], 201, b"") is None
    assert script.counts == {"refused": 1, "first_take_slot": 1, "remedied": 1}


def test_every_round_of_the_storm_has_customers_and_slots_of_its_own() -> None:
    """Nobody's loan or units are gone before their round begins."""
    shape = replace(STORM, regions=2 * REGIONS)
    first, second = _wishes(shape, 0), _wishes(shape, 1)
    assert len(first) == len(second) == REGIONS * CUSTOMERS
    assert not {loan for loan, _ in first} & {loan for loan, _ in second}
    assert not {slot for _, slot in first} & {slot for _, slot in second}
    assert {slot for _, slot in first + second} <= set(shape.slot_ids(MONTH_END))


def test_a_thousand_slots_of_two_hundred_branches() -> None:
    """The spread is what its figure says it is."""
    assert len(SPREAD.slot_ids(0)) == 1000
    assert len(SPREAD.branches) == 200
    assert {scope for scope, _ in SPREAD.limits} == {"branch", "region"}
