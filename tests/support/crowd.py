"""A crowd of customers at a real server: they take no silence for an answer, and keep what they were told."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from metrics.contract import Cause, Reason
from tests.support.serving import Served

SETTLED = {Cause.CAPACITY, Cause.RULE}
"""Causes of an answer that asking again at once would not change."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a customer was told: 201 and the reference, or a problem; status 0 = the connection broke."""

    asked: str
    status: int
    seconds: float
    at: float
    """time.monotonic() of the answer."""
    body: dict[str, Any] = field(default_factory=dict)
    retry_after: str | None = None

    @property
    def ref(self) -> str | None:
        """The booking's reference."""
        return self.body["booking"]["ref"] if self.status == 201 else None

    @property
    def reason(self) -> Reason | None:
        """The reason of a problem."""
        return Reason(self.body["reason"]) if self.body.get("reason") in set(Reason) else None

    @property
    def in_form(self) -> bool:
        """Whether it is what the contract promises: success, or a problem that names its reason.

        A refusal of ours says when to come back.
        """
        if self.status in {200, 201}:
            return True
        told = self.reason is not None and self.reason is not Reason.INTERNAL_ERROR
        ours = told and self.reason is not None and self.reason.cause is Cause.SYSTEM
        return told and self.body["trace_id"] != "" and (not ours or (self.retry_after or "").isdigit())


class Crowd:
    """Customers who each book one slot for one loan under one key, and ask again until they are answered."""

    def __init__(self, served: Served, wishes: Iterable[tuple[str, str]], customers: int = 16) -> None:
        self._served = served
        self._wishes = iter(wishes)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._customer, daemon=True) for _ in range(customers)]
        self.answers: list[Answer] = []
        self.unsettled: set[str] = set()
        """Loans that gave up waiting for an answer."""

    @property
    def acknowledged(self) -> dict[str, str]:
        """The reference that each loan was told."""
        return {a.asked: a.ref for a in list(self.answers) if a.ref}

    @property
    def broken(self) -> int:
        """How many requests got no answer."""
        return sum(answer.status == 0 for answer in list(self.answers))

    @contextmanager
    def at_it(self, give_up_seconds: float = 60) -> Iterator[Crowd]:
        """The crowd while it asks; on exit everyone has got an answer, or has given up."""
        self._give_up_seconds = give_up_seconds
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(give_up_seconds + 30)

    def wait(self, until: Callable[[Crowd], bool], seconds: float) -> None:
        """Wait until the crowd has seen that."""
        deadline = time.monotonic() + seconds
        while not until(self):
            assert time.monotonic() < deadline, (len(self.answers), self._served.log()[-2000:])
            time.sleep(0.05)

    def _customer(self) -> None:
        """Ask for one wish after the other, each until it is settled."""
        teller = Teller(self._served)
        while not self._stop.is_set():
            with self._lock:
                wish = next(self._wishes, None)
            if wish is None:
                return
            loan, slot = wish
            give_up = time.monotonic() + self._give_up_seconds
            body = {"loan": loan, "slot": slot, "channel": "app"}
            while True:
                answer = teller.ask("POST", "/v1/bookings", body, key=loan, asked=loan)
                self.answers.append(answer)
                if answer.ref or (answer.reason and answer.reason.cause in SETTLED):
                    break
                if time.monotonic() > give_up:
                    self.unsettled.add(loan)
                    break
                time.sleep(0.2)
        teller.close()


class Teller:
    """One keep-alive connection; a broken one is an answer too, and made anew."""

    def __init__(self, served: Served, scope: str = "channel") -> None:
        self._headers = {"Authorization": f"Bearer {served.tokens[scope]}"}
        self._connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=60)

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, asked: str = ""
    ) -> Answer:
        """The answer to one request."""
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        begun = time.monotonic()
        try:
            self._connection.request(method, path, body and json.dumps(body), headers)
            response = self._connection.getresponse()
            told = json.loads(response.read())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Answer(asked, 0, time.monotonic() - begun, time.monotonic())
        now = time.monotonic()
        return Answer(asked, response.status, now - begun, now, told, response.getheader("Retry-After"))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
