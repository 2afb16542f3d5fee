"""What the customers of a load do: book once, book and cancel, follow the first remedy."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks.support.traffic import CREATED, Saying

REF: Final = re.compile(rb'"ref":\s*"([^"]+)"')
COME_BACK: Final = frozenset({429, 503})
CAPACITY: Final = re.compile(rb'"cause":\s*"capacity"')


class Requests:
    """Requests as bytes: all but the loan's number is built once for each slot."""

    def __init__(self, token: str, run: str) -> None:
        self._head = f"Host: bench\r\nAuthorization: Bearer {token}\r\n".encode()
        self._run = run.encode()
        self._by_slot: dict[str, bytes] = {}

    def booking(self, loan: int, slot: str) -> bytes:
        """POST /v1/bookings for the loan of this number, with a key of its own."""
        template = self._by_slot.get(slot)
        if template is None:
            body = json.dumps({"loan": loan_ref(0), "slot": slot, "channel": "app"}, separators=(",", ":"))
            booked = body.replace(loan_ref(0), "L%08d").encode()
            template = self._post(len(body), b"%08d", booked)
            self._by_slot[slot] = template
        return template % (loan, loan)

    def follow(self, href: str, body: dict[str, Any], key: str) -> bytes:
        """A remedy's action as it was offered, with a new key."""
        raw = json.dumps(body).encode()
        post = self._post(len(raw), key.encode(), b"").replace(b"/v1/bookings", href.encode(), 1)
        return post + raw

    def cancel(self, ref: bytes) -> bytes:
        """DELETE of a booking."""
        return b"DELETE /v1/bookings/" + ref + b" HTTP/1.1\r\n" + self._head + b"\r\n"

    def _post(self, length: int, key: bytes, body: bytes) -> bytes:
        told = b"Content-Type: application/json\r\nContent-Length: " + str(length).encode()
        return (
            b"POST /v1/bookings HTTP/1.1\r\n" + self._head + told
            + b"\r\nIdempotency-Key: " + self._run + b"-" + key + b"\r\n\r\n" + body
        )  # fmt: skip


def loan_ref(number: int) -> str:
    """The reference of the benchmark banks' loan of this number."""
    return f"L{number:08}"


class Booking:
    """Each customer asks once for a slot drawn from those given, with a loan never used before.

    Where the loans run out, customers who were told to come back come back, the first of them first.
    """

    def __init__(self, requests: Requests, loans: range, slots: Sequence[str], seed: int) -> None:
        self._requests = requests
        self._loans: Iterator[int] = iter(loans)
        self._slots = slots
        self._draw = random.Random(seed).random
        self._turned_away: deque[int] = deque()
        self.counts: Counter[str] = Counter()

    def begin(self) -> Saying | None:
        """The next customer's booking."""
        loan = next(self._loans, None)
        if loan is not None:
            self.counts["loans"] += 1
        elif self._turned_away:
            loan = self._turned_away.popleft()
        else:
            return None
        slot = self._slots[int(self._draw() * len(self._slots))]
        return self._requests.booking(loan, slot), loan

    def answered(self, told: Any, status: int, _answer: bytes) -> Saying | None:
        """Nothing more; a customer who was turned away may be needed again."""
        if status in COME_BACK:
            self._turned_away.append(told)
        return None


class BookingAndCancelling(Booking):
    """Booking, where this share of the accepted cancels at once."""

    def __init__(
        self, requests: Requests, loans: range, slots: Sequence[str], seed: int, cancelled: float
    ) -> None:
        super().__init__(requests, loans, slots, seed)
        self._cancelled = cancelled

    def answered(self, _told: Any, status: int, answer: bytes) -> Saying | None:
        """A cancellation now and then."""
        if status != CREATED or self._draw() >= self._cancelled:
            return None
        ref = REF.search(answer)
        self.counts["cancelled"] += 1
        return (self._requests.cancel(ref[1]), None) if ref else None


class Following:
    """Each customer wishes for one slot; refused for capacity, they follow the first remedy at once."""

    def __init__(self, requests: Requests, wishes: Sequence[tuple[int, str]]) -> None:
        self._requests = requests
        self._wishes = iter(wishes)
        self.counts: Counter[str] = Counter()

    def begin(self) -> Saying | None:
        """The next customer's wish."""
        wish = next(self._wishes, None)
        return wish and (self._requests.booking(*wish), f"{wish[0]}-again")

    def answered(self, told: Any, status: int, answer: bytes) -> Saying | None:
        """The first remedy, where it is a slot; a customer follows once."""
        if told is None:
            self.counts["remedied" if status == CREATED else "refused_again"] += 1
            return None
        if status == CREATED:
            self.counts["held_at_once"] += 1
            return None
        if not CAPACITY.search(answer):
            self.counts["other_refusal"] += 1
            return None
        self.counts["refused"] += 1
        remedies: list[dict[str, Any]] = json.loads(answer.partition(b"\r\n\r\n")[2])["remedies"]
        first: dict[str, Any] = remedies[0] if remedies else {"action": "none"}
        self.counts[f"first_{first['action']}"] += 1
        if first["action"] != "take_slot":
            return None
        return self._requests.follow(first["href"], first["body"], told), None
