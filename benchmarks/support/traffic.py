"""Many keep-alive HTTP connections driven by one epoll loop, as cheaply as Python can.

The load shares its cores with what it measures, so an answer costs one `recv`, one search for the end of
its head, and one `send`: about 20 µs, most of it the kernel's. What customers say comes from a Script.

Closed loop: every connection is a customer who asks again when answered. Open loop: customers arrive by
themselves (Poisson); one who finds no free connection is offered and lost, as at the door of a full house.
"""

from __future__ import annotations

import random
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

LENGTH: Final = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
REASON: Final = re.compile(rb'"reason":\s*"([a-z_]+)"')
CREATED: Final = 201
MULTIPLE_CHOICES: Final = 300
"""From this status on a request was not granted."""
DRAIN_SECONDS: Final = 5.0
"""How long answers still due after the end are waited for, so that the next round begins in peace."""
RECONNECT_SECONDS: Final = 0.05

Saying = tuple[bytes, Any]
"""A request, and what the script wants to be reminded of when it is answered."""


class Script(Protocol):
    """What customers do."""

    def begin(self) -> Saying | None:
        """The next customer's first request, None when there are no more."""

    def answered(self, told: Any, status: int, answer: bytes) -> Saying | None:
        """What the customer says next on the same connection, None when done."""


@dataclass
class Tally:
    """What was seen within the window."""

    seconds: float = 0.0
    accepted: int = 0
    late: int = 0
    """Accepted after the deadline: no goodput."""
    answers: int = 0
    offered: int = 0
    sent: int = 0
    lost: int = 0
    dropped: int = 0
    """Connections that the server closed."""
    refused: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    """Of the accepted, from arrival to the whole answer."""


class _Connection:
    __slots__ = ("asked", "busy", "connecting", "fd", "part", "recv", "send", "sock", "told")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.fd = sock, sock.fileno()
        self.recv, self.send = sock.recv, sock.send
        self.part = b""
        self.told: Any = None
        self.asked = 0.0
        self.busy = False
        self.connecting = True


class Traffic:
    """The connections of one load, to one address."""

    def __init__(self, address: tuple[str, int], connections: int, script: Script) -> None:
        self._address = address
        self._script = script
        self._epoll = select.epoll()
        self._by_fd: dict[int, _Connection] = {}
        self._free: list[_Connection] = []
        self._again: list[float] = []
        self._busy = 0
        self._exhausted = False
        self.tally = Tally()
        for _ in range(connections):
            self._connect()

    def run(
        self,
        *,
        seconds: float | None,
        ramp: float = 0.0,
        rate: float | None = None,
        deadline: float = float("inf"),
        at_edge: Callable[[], None] = lambda: None,
        seed: int = 7,
    ) -> Tally:
        """What the window saw that follows the ramp; without `seconds` it lasts until the script is done.

        `at_edge` is called at both ends of the window. With a rate (arrivals a second) the loop is open.
        """
        draw, clock = random.Random(seed).expovariate, time.perf_counter
        start = clock()
        opens, closes = start + ramp, start + ramp + (seconds if seconds is not None else float("inf"))
        measuring, next_arrival = False, start
        while True:
            now = clock()
            if not measuring and now >= opens:
                at_edge()
                measuring, self.tally, began = True, Tally(), clock()
                closes += began - now
            if now >= closes or (self._exhausted and not self._busy):
                break
            if rate is None:
                while self._free and not self._exhausted:
                    self._begin(now)
            else:
                while next_arrival <= now:
                    self._arrive(next_arrival)
                    next_arrival += draw(rate)
            self._turn(0.001 if rate else 0.05, deadline)
        tally, tally.seconds = self.tally, clock() - began
        at_edge()
        self._drain()
        return tally

    def _begin(self, now: float) -> bool:
        """Let the next customer ask on a free connection; False where there is none left."""
        saying = self._script.begin()
        if saying is None:
            self._exhausted = True
            return False
        self._say(self._free.pop(), saying, now)
        return True

    def _arrive(self, when: float) -> None:
        self.tally.offered += 1
        if not self._free or not self._begin(when):
            self.tally.lost += 1

    def _say(self, connection: _Connection, saying: Saying, now: float) -> None:
        connection.told = saying[1]
        connection.asked = now
        if not connection.busy:
            connection.busy = True
            self._busy += 1
        self.tally.sent += 1
        try:
            connection.send(saying[0])
        except OSError:
            self._lose(connection)

    def _turn(self, wait: float, deadline: float) -> None:
        """Read what has come, and let scripts go on."""
        by_fd, answered, clock = self._by_fd, self._script.answered, time.perf_counter
        if self._again and self._again[0] <= clock():
            self._again.pop(0)
            self._connect()
        for fd, event in self._epoll.poll(wait):
            connection = by_fd[fd]
            if connection.connecting:
                self._connected(connection, event)
                continue
            data = self._answer_of(connection)
            if data is None:
                continue
            status, now = int(data[9:12]), clock()
            self._count(status, data, now - connection.asked, deadline)
            saying = answered(connection.told, status, data)
            if saying is not None:
                self._say(connection, saying, now)
            else:
                connection.busy = False
                self._busy -= 1
                self._free.append(connection)

    def _answer_of(self, connection: _Connection) -> bytes | None:
        """The whole answer, None while parts of it are missing or when the connection broke."""
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self._lose(connection)
            return None
        if connection.part:
            data = connection.part + data
        end = data.find(b"\r\n\r\n")
        length = LENGTH.search(data, 0, end) if end > 0 else None
        if end < 0 or (length and len(data) < end + 4 + int(length[1])):
            connection.part = data
            return None
        connection.part = b""
        return data

    def _count(self, status: int, data: bytes, latency: float, deadline: float) -> None:
        tally = self.tally
        tally.answers += 1
        if status == CREATED:
            tally.latencies.append(latency)
            if latency <= deadline:
                tally.accepted += 1
            else:
                tally.late += 1
        elif status >= MULTIPLE_CHOICES:
            told = REASON.search(data)
            tally.refused[told[1].decode() if told else str(status)] += 1

    def _connect(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(self._address)
        connection = _Connection(sock)
        self._by_fd[connection.fd] = connection
        self._epoll.register(connection.fd, select.EPOLLIN | select.EPOLLOUT)

    def _connected(self, connection: _Connection, event: int) -> None:
        if event & (select.EPOLLERR | select.EPOLLHUP):
            self._lose(connection)
            return
        connection.connecting = False
        self._epoll.modify(connection.fd, select.EPOLLIN)
        self._free.append(connection)

    def _lose(self, connection: _Connection) -> None:
        """Forget a connection that broke, and open another a moment later."""
        self._epoll.unregister(connection.fd)
        del self._by_fd[connection.fd]
        connection.sock.close()
        if connection.busy:
            self._busy -= 1
        elif connection in self._free:
            self._free.remove(connection)
        self.tally.dropped += 1
        self._again.append(time.perf_counter() + RECONNECT_SECONDS)

    def _drain(self) -> None:
        """Wait for the answers still due; they count no more."""
        self.tally, limit = Tally(), time.perf_counter() + DRAIN_SECONDS
        while self._busy and time.perf_counter() < limit:
            self._turn(0.05, float("inf"))
        for connection in self._by_fd.values():
            connection.sock.close()
        self._epoll.close()
