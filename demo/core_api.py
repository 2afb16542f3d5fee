"""The booking core over HTTP, as the demo's operator uses it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import httpx

from demo import clock
from demo.preflight import Ports

OK: Final = 200


class CoreApi:
    """The core's operator commands."""

    def __init__(self, ports: Ports, operator_token: str) -> None:
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{ports.api}",
            headers={"Authorization": f"Bearer {operator_token}", "Accept-Language": "en"},
            timeout=30,
        )

    def ready(self) -> bool:
        """Whether it serves and its database is at the newest schema."""
        try:
            return self._client.get("/readyz", timeout=2).status_code == OK
        except httpx.HTTPError:
            return False

    def put_quota(self, quota_id: str, limit_units: int) -> None:
        """Set a standing limit."""
        self._client.put(f"/v1/quotas/{quota_id}", json={"limit_units": limit_units}).raise_for_status()

    def step_clock(self, target: datetime, wall_now: datetime) -> None:
        """Put business time into the target's quarter-hour."""
        offset = clock.offset_for(target, wall_now)
        self._client.put("/v1/clock", json={"offset_seconds": offset}).raise_for_status()

    def plans(self, **filters: str) -> list[dict[str, Any]]:
        """The plans that the filters let through."""
        rows = self._client.get("/v1/plans", params=filters).raise_for_status().json()["plans"]
        return list(rows)
