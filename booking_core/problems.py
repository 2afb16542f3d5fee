"""Refusals as RFC 9457 problems: one dict for every refusal, whoever refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from booking_core.domain import FieldError, Violation
from booking_core.messages import text_of
from metrics.contract import Cause, PlanRefusal, Reason

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[dict[Reason | PlanRefusal, int]] = {
    Reason.INVALID_FIELD: 400,
    Reason.MISSING_FIELD: 400,
    Reason.AMOUNT_OUT_OF_RANGE: 422,
    Reason.LOAN_NOT_FOUND: 404,
    Reason.LOAN_NOT_ELIGIBLE: 422,
    Reason.NOTICE_TOO_SHORT: 422,
    Reason.OUTSIDE_BOOKING_WINDOW: 422,
    Reason.SYSTEM_BUSY: 503,
    Reason.TIMEOUT: 504,
    Reason.DEPENDENCY_DOWN: 503,
    Reason.INTERNAL_ERROR: 500,
    Reason.UNAUTHENTICATED: 401,
    Reason.FORBIDDEN: 403,
    Reason.RATE_LIMITED: 429,
    PlanRefusal.PLAN_NOT_FOUND: 404,
    PlanRefusal.QUOTA_NOT_FOUND: 404,
    PlanRefusal.RESOURCE_NOT_FOUND: 404,
}
"""HTTP status of a reason; 409 (the state of things is against it) for those not named."""

RETRYABLE: Final = frozenset({Cause.CAPACITY, Cause.SYSTEM})
"""Causes under which the very same request may succeed later."""


def problem(
    reason: Reason | PlanRefusal,
    *,
    language: str,
    trace_id: str,
    context: Mapping[str, str] | None = None,
    violations: Sequence[Violation] = (),
    errors: Sequence[FieldError] = (),
    remedies: Sequence[Mapping[str, Any]] = (),
    retry_after_seconds: int | None = None,
) -> dict[str, Any]:
    """The body of a problem in the language ("en" or "zh")."""
    cause = reason.cause.value if isinstance(reason, Reason) else "plan"
    retryable = (isinstance(reason, Reason) and reason.cause in RETRYABLE) or reason is Reason.RATE_LIMITED
    told = {"retry_after": str(retry_after_seconds), **(context or {})}
    title, detail = text_of(reason, language, told)
    return {
        "type": f"urn:slotcast:problem:{reason.value}",
        "title": title,
        "status": STATUS.get(reason, 409),
        "detail": detail,
        "reason": reason.value,
        "cause": cause,
        "retryable": retryable,
        "retry_after": retry_after_seconds if retryable else None,
        "violations": violation_rows(violations),
        "errors": [
            {"pointer": e.pointer, "message": e.message_zh if language == "zh" else e.message_en}
            for e in errors
        ],
        "remedies": list(remedies),
        "trace_id": trace_id,
    }


def violation_rows(violations: Sequence[Violation]) -> list[dict[str, Any]]:
    """The violations as the contract names their parts: limit, used and next_limit in units, ISO dates.

    `quota` is the id of GET /v1/quotas (slot:ID for a full slot), `scope` its kind and id,
    `period` day, week, month or slot.
    """
    return [
        {
            "reason": violation.reason,
            "quota": violation.quota_id,
            "scope": f"{violation.scope_kind}:{violation.scope_id}",
            "period": violation.period_kind,
            "period_start": violation.period_start.isoformat(),
            "limit": violation.limit_units,
            "used": violation.used_units,
            "next_period_starts": (start := violation.next_period_starts) and start.isoformat(),
            "next_limit": violation.next_limit_units,
        }
        for violation in violations
    ]
