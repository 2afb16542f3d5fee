"""The application in this process, on a bank's database: for tests of what the API says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
from fastapi.testclient import TestClient

from booking_core.api.app import create_app
from booking_core.database import write_transaction
from booking_core.service.tokens import issue_token
from tests.support.bank import Bank
from tests.support.wishes import Wall


@dataclass
class Api:
    """A running application, its bank and its clock."""

    client: TestClient
    bank: Bank
    wall: Wall
    token: str
    _keys: Iterator[int] = field(default_factory=lambda: count(1))

    def issue(self, *scopes: str, **claims: str) -> dict[str, str]:
        """The headers of a new token."""
        with write_transaction(self.bank.engine) as connection:
            secret = issue_token(connection, name="test", scopes=scopes, **claims)  # type: ignore[arg-type]
        return {"Authorization": f"Bearer {secret}"}

    def book(
        self,
        loan: str,
        slot: str,
        *,
        key: str | None = None,
        query: str = "",
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """The answer to a booking request with a key of its own."""
        body = {"loan": loan, "slot": slot, "channel": "app", **more}
        sent = {"Idempotency-Key": key or f"key-{next(self._keys)}", **(headers or {})}
        return self.client.post(f"/v1/bookings{query}", json=body, headers=sent)

    def metric(self, name: str, **labels: str) -> float:
        """A figure of /metrics, 0 where it does not stand."""
        wanted = ",".join(f'{k}="{v}"' for k, v in labels.items())
        start = f"{name}{{{wanted}}} " if labels else f"{name} "
        lines = self.client.get("/metrics").text.splitlines()
        return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), 0.0)


@contextmanager
def api_on(bank: Bank, **options: Any) -> Iterator[Api]:
    """The application on the bank, asked with a channel token unless told otherwise."""
    wall = Wall()
    with TestClient(
        create_app(bank.engine, wall=wall, housekeeping=False, **options), raise_server_exceptions=False
    ) as client:
        api = Api(client, bank, wall, "")
        client.headers.update(api.issue("channel"))
        yield api
