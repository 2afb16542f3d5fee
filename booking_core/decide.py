"""The one decision of booking: does this wish fit every rule and every limit? Pure: no I/O, no clock.

The same function answers "is it free?" (slots, dry run, remedies) and "take it" (booking under locks).
Order of judgement, which also chooses the reason that is told first: slot known → loan → slot's
time → duplicate → amount → capacity. Of several full limits the one that keeps the customer waiting
longest names the reason (month, week, day, then the slot), and every one is listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Final
from zoneinfo import ZoneInfo

from booking_core.domain import (
    Accepted,
    FieldError,
    LoanState,
    QuotaState,
    Refused,
    SlotState,
    Violation,
    Wish,
    next_period_start,
)
from metrics.contract import QUOTA_FULL, UNIT_PERIODS, PeriodKind, Reason, ScopeKind

PERIOD_ORDER: Final = (PeriodKind.MONTH, PeriodKind.WEEK, PeriodKind.DAY, PeriodKind.FUNDS_DAY)
SCOPE_ORDER: Final = (ScopeKind.BRANCH, ScopeKind.REGION, ScopeKind.BANK)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the bank's settings say about booking."""

    zone: ZoneInfo
    min_notice_minutes: int
    booking_window_days: int
    hold_seconds: int

    def last_day(self, business_now: datetime) -> date:
        """The last bank-local day that may be booked."""
        return business_now.astimezone(self.zone).date() + timedelta(days=self.booking_window_days)


def decide(
    wish: Wish,
    *,
    slot: SlotState | None,
    loan: LoanState | None,
    quotas: Iterable[QuotaState],
    rules: Rules,
    business_now: datetime,
    holder: str | None = None,
    waiting: int = 0,
) -> Accepted | Refused:
    """`Accepted` with what to take, or `Refused` with the first reason and every limit that binds.

    `holder` is the customer that a customer token speaks for; another's loan is "not found" to them.
    `waiting`: entries of the waitlist that the slot's free units go to first.
    """
    if slot is None:
        error = FieldError(
            "/slot",
            f"no slot {wish.slot_id!r}; take a slot id from GET /v1/slots",
            f"没有号源 {wish.slot_id!r}，请使用 GET /v1/slots 返回的编号",
        )
        return Refused(Reason.INVALID_FIELD, errors=(error,), context={"fields": "/slot"})
    if refused := judge_loan(wish, loan, slot, holder):
        return refused
    return decide_slot(
        wish, slot=slot, loan=loan, quotas=quotas, rules=rules, business_now=business_now, waiting=waiting
    )


def decide_slot(
    wish: Wish,
    *,
    slot: SlotState,
    quotas: Iterable[QuotaState],
    rules: Rules,
    business_now: datetime,
    loan: LoanState | None = None,
    waiting: int = 0,
) -> Accepted | Refused:
    """`decide` for a calendar looked at without a loan: the slot, its limits, nothing about a loan."""
    refused = judge_time(slot, rules, business_now)
    if refused is None and loan is not None:
        refused = judge_duplicate(loan) or judge_amount(wish.amount_cny, loan)
    cny = reserved_cny(wish, loan)
    refused = refused or judge_capacity(wish.units, slot, quotas, rules, cny=cny, waiting=waiting)
    if refused is not None:
        return refused
    confirm_at_once = wish.amount_cny is not None and wish.option is not None
    return Accepted(slot.slot_id, wish.units, cny, confirm_at_once)


def reserved_cny(wish: Wish, loan: LoanState | None) -> int:
    """What the wish takes of the day's funds: its amount, else the loan's whole payoff; yuan rounded up.

    Without a loan one yuan: a day whose funds are used up is full for everyone.
    """
    if wish.amount_cny is not None:
        return ceil(wish.amount_cny)
    return 1 if loan is None else ceil(loan.payoff_cny)


def judge_loan(wish: Wish, loan: LoanState | None, slot: SlotState, holder: str | None) -> Refused | None:
    """Why this loan may not be prepaid on the slot's day by this holder, or None."""
    if loan is None or (holder is not None and loan.holder != holder):
        return Refused(Reason.LOAN_NOT_FOUND, context={"loan": wish.loan_ref})
    if loan.status == "active" and (loan.eligible_from is None or slot.service_day >= loan.eligible_from):
        return None
    eligible_from = "–" if loan.eligible_from is None else str(loan.eligible_from)
    context = {"loan": loan.loan_ref, "status": loan.status, "eligible_from": eligible_from}
    return Refused(Reason.LOAN_NOT_ELIGIBLE, context=context)


def judge_time(slot: SlotState, rules: Rules, business_now: datetime) -> Refused | None:
    """Why the slot's own time does not allow a booking now, or None."""
    earliest = business_now + timedelta(minutes=rules.min_notice_minutes)
    last_day = rules.last_day(business_now)
    if slot.closed:
        reason = Reason.SLOT_CLOSED
    elif slot.start_utc <= business_now or slot.service_day > last_day:
        reason = Reason.OUTSIDE_BOOKING_WINDOW
    elif slot.start_utc < earliest:
        reason = Reason.NOTICE_TOO_SHORT
    else:
        return None
    context = {
        "slot": slot.slot_id,
        "start": slot.start_utc.astimezone(rules.zone).isoformat(),
        "earliest": earliest.astimezone(rules.zone).isoformat(timespec="minutes"),
        "last_day": last_day.isoformat(),
        "minutes": str(rules.min_notice_minutes),
    }
    return Refused(reason, context=context)


def judge_duplicate(loan: LoanState) -> Refused | None:
    """A refusal if the loan already has a live booking, or None."""
    if loan.live_booking_ref is None:
        return None
    return Refused(Reason.DUPLICATE_BOOKING, context={"booking": loan.live_booking_ref})


def judge_amount(amount: Decimal | None, loan: LoanState) -> Refused | None:
    """A refusal if the amount is below the least prepayment or above the payoff, or None."""
    low, high = min(loan.min_prepayment_cny, loan.payoff_cny), loan.payoff_cny
    if amount is None or low <= amount <= high:
        return None
    error = FieldError(
        "/amount", f"{amount} is outside {low} to {high} CNY", f"{amount} 不在 {low} 至 {high} 元之间"
    )
    context = {"amount": str(amount), "low": str(low), "high": str(high)}
    return Refused(Reason.AMOUNT_OUT_OF_RANGE, errors=(error,), context=context)


def judge_capacity(
    units: int,
    slot: SlotState,
    quotas: Iterable[QuotaState],
    rules: Rules,
    *,
    cny: int = 0,
    waiting: int = 0,
) -> Refused | None:
    """Every limit that the units (for the day's funds: the yuan) would break, longest wait first, or None.

    Those who wait come first: as many units as they are have to be left for them.
    """
    quotas, free = list(quotas), slot.free_units
    full = [q for q in quotas if q.used_units + q.key.measured(units, cny) > q.limit_units]
    kept = waiting > 0 and _room(free, quotas) < units + waiting
    if not full and free >= units and not kept:
        return None
    full.sort(key=lambda q: (PERIOD_ORDER.index(q.key.period_kind), SCOPE_ORDER.index(q.key.scope_kind)))
    violations = [
        Violation(
            reason=QUOTA_FULL[q.key.period_kind],
            quota_id=q.key.quota_id,
            scope_kind=q.key.scope_kind,
            scope_id=q.key.scope_id,
            period_kind=q.key.period_kind,
            period_start=q.start,
            limit_units=q.limit_units,
            used_units=q.used_units,
            next_period_starts=next_period_start(q.key.period_kind, q.start),
        )
        for q in full
    ]
    if free < units:
        taken = slot.used_units + slot.offered_units
        violations.append(_slot_violation(slot, "slot", slot.slot_id, slot.capacity_units, taken))
    if kept:
        violations.append(_slot_violation(slot, "waitlist", slot.branch_id, free, waiting))
    first = violations[0]
    return Refused(
        first.reason,
        violations=tuple(violations),
        retry_after_seconds=rules.hold_seconds,
        context={
            "slot": slot.slot_id,
            "scope": first.scope_id,
            "period_start": str(first.period_start),
            "limit": str(first.limit_units),
            "used": str(first.used_units),
        },
    )


def _room(free: int, quotas: Iterable[QuotaState]) -> int:
    """The units left at the narrowest of the slot and its limits."""
    return min([free, *(q.free_units for q in quotas if q.key.period_kind in UNIT_PERIODS)])


def _slot_violation(slot: SlotState, kind: str, scope_id: str, limit: int, used: int) -> Violation:
    """A violation of the slot itself: its units are taken, or promised to those who wait for them."""
    return Violation(
        Reason.SLOT_FULL, f"{kind}:{scope_id}", kind, scope_id, "slot", slot.service_day, limit, used
    )
