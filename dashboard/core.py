"""The core's HTTP API and Alertmanager, as far as the dashboard needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import httpx

PLAN_COMMANDS: Final = {
    "pending": ("approve", "reject"),
    "approved": ("apply", "reject"),
    "proposed": ("apply", "reject"),
    "applied": ("rollback",),
}
"""What an operator may do with a plan, by its status."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the core said to a command."""

    ok: bool
    message: str
    """The new status, or why it was refused and what to do."""


@dataclass(frozen=True, slots=True)
class Core:
    """The booking core, spoken to with an operator's token."""

    url: str
    token: str
    language: str = "en"
    timeout_seconds: float = 10.0

    def plan(self, plan_id: str, command: str) -> Answer:
        """The answer to approve, apply, rollback or reject."""
        return self._post(f"/v1/plans/{plan_id}/{command}")

    def control(self, command: str) -> Answer:
        """The answer to pause or resume."""
        return self._post(f"/v1/control/{command}")

    def _post(self, path: str) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}", "Accept-Language": self.language}
        try:
            answer = httpx.post(f"{self.url}{path}", headers=headers, timeout=self.timeout_seconds)
        except httpx.HTTPError as error:
            return Answer(ok=False, message=f"{self.url}: {type(error).__name__}: {error}")
        if answer.is_success:
            return Answer(ok=True, message=str(_json(answer).get("status", "")))
        return Answer(ok=False, message=_problem(answer))


@dataclass(frozen=True, slots=True)
class Alerts:
    """What Alertmanager says: reachable or not, and the names of what fires."""

    reachable: bool
    firing: tuple[str, ...] = ()


def alerts(url: str | None, timeout_seconds: float = 0.8) -> Alerts:
    """The alerts that fire now, but for the heartbeat, which always does.

    Not reachable where no URL is set or nothing answers there.
    """
    if not url:
        return Alerts(reachable=False)
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/api/v2/alerts",
            params={"active": "true", "filter": 'severity!="heartbeat"'},
            timeout=timeout_seconds,
        )
        answer.raise_for_status()
        names = {str(alert["labels"].get("alertname", "?")) for alert in answer.json()}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Alerts(reachable=False)
    return Alerts(reachable=True, firing=tuple(sorted(names)))


def _problem(answer: httpx.Response) -> str:
    """A problem+json in one line: title, detail and reason."""
    body = _json(answer)
    parts = [str(body[key]) for key in ("title", "detail") if body.get(key)]
    reason = f" [{body['reason']}]" if body.get("reason") else ""
    return (": ".join(parts) or f"HTTP {answer.status_code}") + reason


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
