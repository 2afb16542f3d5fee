"""The plain POST /v1/bookings on a socket: answered as by gunicorn, whatever else comes along."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.bank import Bank
from tests.support.counts import attempts_by_outcome
from tests.support.serving import Served, serve

Answer = tuple[int, dict[str, str], dict[str, Any]]


@pytest.fixture
def served(sqlite_bank: Bank) -> Iterator[Served]:
    """One worker on SQLite."""
    with serve(sqlite_bank.url) as running:
        yield running


class Line:
    """A connection that says bytes and reads whole answers."""

    def __init__(self, served: Served) -> None:
        host, port = served.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._token = served.tokens["channel"]
        self._read = b""

    def request(self, loan: str, slot: str, *fields: str) -> bytes:
        """The plain form, with further fields."""
        body = json.dumps({"loan": loan, "slot": slot, "channel": "app"}).encode()
        told = [
            "POST /v1/bookings HTTP/1.1",
            "Host: bank",
            f"Authorization: Bearer {self._token}",
            f"Idempotency-Key: key-{loan}",
            f"Content-Length: {len(body)}",
            *fields,
        ]
        return "\r\n".join([*told, "", ""]).encode() + body

    def say(self, *parts: bytes) -> None:
        """Send the parts, a moment apart."""
        for part in parts:
            self._socket.sendall(part)
            time.sleep(0.05 if len(parts) > 1 else 0)

    def hear(self) -> Answer:
        """The next answer: status, fields, body."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        while len(self._read) < int(fields["content-length"]):
            self._more()
        length = int(fields["content-length"])
        body, self._read = self._read[:length], self._read[length:]
        is_json = "json" in fields.get("content-type", "")
        return int(first.split()[1]), fields, json.loads(body) if is_json else {}

    def ended(self) -> bool:
        """Whether the server closed the connection."""
        return self._socket.recv(1) == b""

    def _more(self) -> None:
        data = self._socket.recv(65536)
        assert data, f"the connection ended after {self._read!r}"
        self._read += data


def test_in_one_piece_or_in_parts_the_answer_is_the_same(sqlite_bank: Bank, served: Served) -> None:
    """A plain request, one that comes in parts and one with a query are told the same."""
    slot, line = sqlite_bank.add_slot(capacity=9), Line(served)
    plain, parts, routed = (line.request(sqlite_bank.add_loan(f"R{n}"), slot) for n in range(3))
    heard = []
    for said in ((plain,), (parts[:40], parts[40:-9], parts[-9:]), (routed.replace(b" HTTP", b"?a=b HTTP"),)):
        line.say(*said)
        heard.append(line.hear())
    assert [status for status, _, _ in heard] == [201, 201, 201]
    assert len({frozenset(fields) for _, fields, _ in heard}) == 1, [f for _, f, _ in heard]
    assert len({frozenset(body["booking"]) for _, _, body in heard}) == 1
    assert all(len(fields["x-trace-id"]) == 32 for _, fields, _ in heard)
    assert all(fields["x-trace-id"] == body["trace_id"] for _, fields, body in heard)


def test_what_comes_before_the_answer_waits_for_it(sqlite_bank: Bank, served: Served) -> None:
    """Requests sent without waiting are answered in their order, plain or not, on one connection."""
    slot, line = sqlite_bank.add_slot(capacity=9), Line(served)
    loans = [sqlite_bank.add_loan(f"R{n}") for n in range(4)]
    health = b"GET /healthz HTTP/1.1\r\nHost: bank\r\n\r\n"
    first, second, third, fourth = (line.request(loan, slot) for loan in loans)
    line.say(first, second + health + third)
    line.say(fourth)
    heard = [line.hear() for _ in range(5)]
    assert [status for status, _, _ in heard] == [201, 201, 200, 201, 201]
    booked = [body["booking"]["loan"] for _, _, body in heard if "booking" in body]
    assert booked == loans
    line.say(first)
    assert line.hear()[1]["idempotent-replay"] == "true"


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 5",),
        ("Transfer-Encoding: chunked",),
        ("Transfer-Encoding : chunked",),
        ("X-Folded: a\r\n b",),
    ],
)
def test_a_message_whose_end_is_in_doubt_is_refused(
    sqlite_bank: Bank, served: Served, fields: tuple[str, ...]
) -> None:
    """Two lengths, a length beside chunks, a malformed field: refused by gunicorn, and nothing is booked."""
    slot, line = sqlite_bank.add_slot(capacity=9), Line(served)
    line.say(line.request(sqlite_bank.add_loan("R1"), slot, *fields))
    assert line.hear()[0] == 400
    assert line.ended()
    assert attempts_by_outcome(sqlite_bank.engine).get("held", 0) == 0


def test_refusals_are_problems(sqlite_bank: Bank, served: Served) -> None:
    """A full slot, bad JSON and a wrong token are told as problems, each with its trace id."""
    slot, line = sqlite_bank.add_slot(capacity=0), Line(served)
    asked = line.request(sqlite_bank.add_loan("R1"), slot, "Connection: keep-alive", "Accept-Language: zh")
    for said, status, reason in (
        (asked, 409, "slot_full"),
        (asked[:-1] + b"]", 400, "invalid_field"),
        (asked.replace(b"Bearer ", b"Bearer x"), 401, "unauthenticated"),
    ):
        line.say(said)
        got, fields, body = line.hear()
        assert (got, body["reason"]) == (status, reason)
        assert fields["content-type"] == "application/problem+json"
        assert fields["x-trace-id"] == body["trace_id"]
        assert fields["content-language"] == "zh"
