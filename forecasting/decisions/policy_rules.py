"""The rules that the fields of a policy must keep, and what each expects."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Final

from forecasting.decisions.half_hours import HALF_HOUR_MINUTES, half_hour

if TYPE_CHECKING:
    from forecasting.decisions.policy import Policy

Rule = tuple[str, object, bool, str]
"""(field, value, holds, what is expected)."""

LEAST_JUDGED: Final = 3
"""From fewer days no test can tell luck from merit."""

_TOTAL: Final = re.compile(r"(?:bank:bank|region:[^:]+):(?:day|week|month)")


def rules_of(policy: Policy) -> list[Rule]:
    """Every rule that the fields must keep."""
    shares = ("service_level", "max_step_down_ratio", "auto_band_clipped_ratio",
              "auto_band_clipped_down_ratio", "coverage_low_ratio",
              "clearly_better_ratio", "max_unfit_ratio", "target_utilisation", "drift_coverage_gap",
              "drift_level_ratio", "drift_chance", "drift_day_correlation", "backlog_day_ratio",
              "autonomy_chance", "bad_plan_chance", "staff_utilisation", "counter_level",
              "phone_level", "full_utilisation", "reliability_regain_ratio",
              "reliability_far_below_factor")  # fmt: skip
    positive = ("plan_days", "correction_days", "correction_least_units", "channel_days",
                "channel_prior_units", "score_days", "server_hours", "pressure_weeks", "min_workers",
                "requests_per_wish", "cost_seconds", "worse_ratio", "drift_days",
                "drift_least_days", "approval_hours", "funds_days", "bad_plan_days", "tune_days",
                "tune_horizon_days", "tune_least_days", "counter_handling_seconds",
                "phone_handling_seconds",
                "staff_short_cost", "staff_weeks", "overbooking_cost", "worker_price_workers",
                "reliability_least_steps", "reliability_naive_ratio",
                "reliability_least_load")  # fmt: skip
    not_negative = (
        "floor_units", "min_step_units", "stale_days", "min_observations", "max_lead_days",
        "special_month_end_days", "special_least_units",
        "correction_least_ratio", "correction_auto_ratio", "release_hours_before",
        "cost_least_requests", "reselect_days", "trust_weeks", "ceiling_day_units",
        "ceiling_week_units", "ceiling_month_units", "autonomy_margin_ratio",
        "bad_plan_margin_ratio", "tune_gap_ratio", "tune_most_ratio",
        "counter_wait_seconds", "phone_wait_seconds", "phone_patience_seconds", "phone_calls_per_unit",
        "staff_prior_units", "break_after_hours", "break_minutes",
    )  # fmt: skip
    rules: list[Rule] = []
    for name in shares:
        value = getattr(policy, name)
        rules.append((name, value, 0 < value <= 1, "expected a share between 0 and 1"))
    for name in positive:
        value = getattr(policy, name)
        rules.append((name, value, value > 0, "expected more than 0"))
    for name in not_negative:
        value = getattr(policy, name)
        rules.append((name, value, value >= 0, "expected 0 or more"))
    kept_back = policy.hold_back_ratio
    rules.append(("hold_back_ratio", kept_back, 0 <= kept_back < 1, "expected 0 or more, less than 1"))
    level, ceiling, periods = policy.service_level, policy.ceiling_ratio, policy.autonomy_periods
    rules.append(("service_level", level, level < 1, "expected less than 1"))
    for name in ("tune_chance", "tune_highest_level", "overbooking_most_no_shows_ratio"):
        share = getattr(policy, name)
        rules.append((name, share, 0 < share < 1, "expected a share above 0 and below 1"))
    rules.append(("ceiling_ratio", ceiling, ceiling >= 1, "expected 1 or more"))
    highest = policy.tune_highest_level
    rules.append(("tune_highest_level", highest, highest >= level, "expected service_level or more"))
    rules.append(("autonomy_periods", periods, periods >= LEAST_JUDGED, f"expected {LEAST_JUDGED} or more"))
    days = policy.bad_plan_days
    rules.append(("bad_plan_days", days, days >= LEAST_JUDGED, f"expected {LEAST_JUDGED} or more"))
    up, low, high = policy.max_step_up_ratio, policy.auto_band_low_ratio, policy.auto_band_high_ratio
    rules.append(("max_step_up_ratio", up, up >= 1, "expected 1 or more"))
    rules.append(("auto_band_low_ratio", low, 0 <= low <= 1, "expected between 0 and 1"))
    least = policy.auto_band_least_ratio
    rules.append(("auto_band_least_ratio", least, 0 <= least <= 1, "expected between 0 and 1"))
    rules.append(("auto_band_high_ratio", high, high >= 1, "expected 1 or more"))
    for name in ("drift", "tune"):
        span, fewest = getattr(policy, f"{name}_days"), getattr(policy, f"{name}_least_days")
        wanted = f"expected {name}_days ({span}) or less"
        rules.append((f"{name}_least_days", fewest, fewest <= span, wanted))
    error = policy.drift_wape_ratio
    rules.append(("drift_wape_ratio", error, error >= 1, "expected 1 or more"))
    workers = policy.max_workers
    rules.append(("max_workers", workers, workers >= policy.min_workers, "expected min_workers or more"))
    hour = policy.day_closes_hour
    rules.append(("day_closes_hour", hour, 0 <= hour < 24, "expected an hour from 0 to 23"))  # noqa: PLR2004
    rules.append(("frozen_days", policy.frozen_days, _are_days(policy.frozen_days), "expected ISO days"))
    fixed = policy.fixed_totals
    rules.append(
        (
            "fixed_totals",
            fixed,
            _are_totals(fixed),
            "expected region:ID:PERIOD or bank:bank:PERIOD, day to month",
        )
    )
    pay_days = policy.pay_days
    rules.append(("pay_days", pay_days, _are_month_days(pay_days), "expected days of the month, 1 to 31"))
    return rules + _staff_rules(policy) + _server_rules(policy)


def _server_rules(policy: Policy) -> list[Rule]:
    """The rules of the fields on servers that are more than a sign or a share."""
    names = ("worker_price", "reliability_above_ratio", "reliability_far_below_ratio")
    rules: list[Rule] = [
        (name, share, 0 < share < 1, "expected a share above 0 and below 1")
        for name, share in ((name, getattr(policy, name)) for name in names)
    ]
    memory, least = policy.reliability_memory_steps, policy.reliability_least_steps
    wanted = "expected reliability_least_steps or more"
    return [*rules, ("reliability_memory_steps", memory, memory >= least, wanted)]


def _staff_rules(policy: Policy) -> list[Rule]:
    """The rules of the fields on staff."""
    rules: list[Rule] = [
        (name, level, level < 1, "expected less than 1: nobody can promise that nobody ever waits")
        for name, level in (("counter_level", policy.counter_level), ("phone_level", policy.phone_level))
    ]
    times = (("opens", (policy.opens,)), ("closes", (policy.closes,)), ("shift_starts", policy.shift_starts))
    clock = "expected a bank-local time on a whole half-hour, such as 09:00 or 13:30"
    rules += [(name, texts, all(map(_is_half_hour, texts)), clock) for name, texts in times]
    rules.append(
        ("closes", policy.closes, policy.closes > policy.opens, f"expected later than {policy.opens}")
    )
    lengths = policy.shift_hours
    rules.append(
        ("shift_hours", lengths, _are_lengths(lengths), "expected lengths in hours such as 4 or 7.5")
    )
    if all(ok for *_, ok, _ in rules):
        open_hours = (half_hour(policy.closes) - half_hour(policy.opens)) / 2
        wanted = f"expected one that fits between {policy.opens} and {policy.closes} ({open_hours:g} hours)"
        rules.append(("shift_hours", lengths, min(lengths) <= open_hours, wanted))
    pause = policy.break_minutes
    rules.append(("break_minutes", pause, pause % HALF_HOUR_MINUTES == 0, "expected whole half-hours"))
    return rules


def _is_half_hour(text: object) -> bool:
    """Whether the text is a bank-local time on a whole half-hour, 00:00 to 24:00."""
    return isinstance(text, str) and re.fullmatch(r"(([01]\d|2[0-3]):(00|30)|24:00)", text) is not None


def _are_days(days: tuple[str, ...]) -> bool:
    """Whether all are ISO days."""
    try:
        return all(date.fromisoformat(day) is not None for day in days)
    except (TypeError, ValueError):
        return False


def _are_totals(names: tuple[str, ...]) -> bool:
    """Whether all name a limit of a region or the bank, by day, week or month."""
    return all(isinstance(name, str) and _TOTAL.fullmatch(name) for name in names)


def _are_month_days(days: tuple[int, ...]) -> bool:
    """Whether all are days of a month."""
    return all(type(day) is int and 1 <= day <= 31 for day in days)  # noqa: PLR2004 – days of a month


def _are_lengths(hours: tuple[float, ...]) -> bool:
    """Whether all are lengths in whole half-hours, and there is one."""
    return bool(hours) and all(
        type(each) in {int, float} and each > 0 and float(each * 2).is_integer() for each in hours
    )
