"""A client of the core's API for planners: plain dictionaries in and out, clear errors, patience."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Final, Self

import httpx

API_URL_VARIABLE: Final = "SLOTCAST_API_URL"
TOKEN_VARIABLE: Final = "SLOTCAST_PLANNER_TOKEN"  # noqa: S105  (the variable's name)
APPROVER_VARIABLE: Final = "SLOTCAST_APPROVER_TOKEN"
"""Of scope operator, for who brings a person's decision on a plan; without it nobody is asked."""
DEFAULT_API_URL: Final = "http://127.0.0.1:8080"

_TRIES: Final = 5
_FIRST_WAIT_SECONDS: Final = 0.5
_TIMEOUT_SECONDS: Final = 60.0
"""A plan of a large region is applied in one transaction."""


class CoreError(RuntimeError):
    """The core refused a command or could not be reached; `reason` is its code, "" where it gave none."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class CoreClient:
    """The API of one core. Close it, or use it as a context manager."""

    def __init__(self, url: str, token: str, *, first_wait_seconds: float = _FIRST_WAIT_SECONDS) -> None:
        self._first_wait_seconds = first_wait_seconds
        self._http = httpx.Client(
            base_url=url,
            timeout=_TIMEOUT_SECONDS,
            headers={"Authorization": f"Bearer {token}", "Accept-Language": "en"},
        )

    @classmethod
    def from_environment(cls, variable: str = TOKEN_VARIABLE, scope: str = "planner") -> Self:
        """The client of SLOTCAST_API_URL with the variable's token of the scope; CoreError without one."""
        token = os.environ.get(variable, "")
        if not token:
            raise CoreError(
                f"{variable} is not set; issue one with: "
                f"python -m booking_core token --name {scope} --scope {scope}"
            )
        return cls(os.environ.get(API_URL_VARIABLE, DEFAULT_API_URL), token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def post_plan(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The plan as the core stored it; posting the same body again gives the same plan."""
        return self._call("POST", "/v1/plans", body)

    def plan(self, plan_id: str) -> dict[str, Any] | None:
        """The plan with its items; None where the core knows none of this id."""
        try:
            return self._call("GET", f"/v1/plans/{plan_id}")
        except CoreError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def apply_plan(self, plan_id: str) -> dict[str, Any]:
        """The plan after its application; CoreError with the core's reason where it may not be applied."""
        return self._call("POST", f"/v1/plans/{plan_id}/apply")

    def decide_plan(
        self, plan_id: str, *, approved: bool, by: str, note: str | None = None
    ) -> dict[str, Any]:
        """The plan after somebody's decision; needs a token of scope operator."""
        verb = "approve" if approved else "reject"
        return self._call("POST", f"/v1/plans/{plan_id}/{verb}", {"by": by, "note": note})

    def earn_mode(self, region: str, mode: str, reason: str) -> dict[str, Any]:
        """The region after the core put it into the mode; CoreError region_fixed where a person fixed it."""
        return self._call("POST", "/v1/control/autonomy", {"region": region, "mode": mode, "reason": reason})

    def post_roster(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The roster as the core keeps it; posting the same body again changes nothing."""
        return self._call("POST", "/v1/rosters", body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer's JSON. Every call is idempotent by the plan's id, so a lost answer is asked again."""
        wait = self._first_wait_seconds
        for attempt in range(1, _TRIES + 1):
            try:
                answer = self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                failure = CoreError(f"{method} {self._http.base_url}{path}: core not reachable ({error})")
            else:
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return _answer(method, path, answer)
                failure = CoreError(f"{method} {path}: core is busy (503)", status=answer.status_code)
            if attempt == _TRIES:
                raise failure
            time.sleep(wait)
            wait *= 2
        raise AssertionError("unreachable")


def _answer(method: str, path: str, answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object; CoreError with reason, detail and field errors of a problem."""
    try:
        content = answer.json()
    except ValueError:
        content = None
    if answer.is_success and isinstance(content, dict):
        return content
    problem = content if isinstance(content, dict) else {}
    reason = str(problem.get("reason", ""))
    detail = problem.get("detail") or problem.get("title") or answer.text[:200]
    fields = "; ".join(f"{e.get('pointer')}: {e.get('message', e)}" for e in problem.get("errors") or [])
    message = f"{method} {path}: {answer.status_code} {reason} {detail}{f' ({fields})' if fields else ''}"
    raise CoreError(message, status=answer.status_code, reason=reason)
