"""The one sentence that goes with each chart: what it shows, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import pandas as pd

from dashboard.reasons import SCALING, cause_name, named, reason_name
from dashboard.texts import day_name, moment_name, number, percent, text
from metrics.contract import BANK_SCOPE_ID

MANY_RATIO: Final = 0.5
"""A branch, or a reason, with at least this share of all is said to lead."""


def refusals_over_time(reasons: pd.DataFrame, course: pd.DataFrame, zone: str, language: str) -> str:
    """Which reason leads, whose move it is, and when most was refused."""
    total = int(reasons["attempts"].sum())
    if not total:
        return text("no_refusals", language)
    first = reasons.iloc[0]
    refused = course[course["outcome"] == "refused"].groupby("at")["attempts"].sum().reset_index()
    peak = _highest(refused, "attempts")
    starts, most = refused["at"].dt.tz_convert(zone), number(peak["attempts"])
    by_day = bool((starts == starts.dt.normalize()).all())
    at = peak["at"].tz_convert(ZoneInfo(zone))
    worst = day_name(at.date(), language) if by_day else moment_name(at, language)
    share = percent(first["attempts"] / total)
    reason, cause = reason_name(first["reason"], language), cause_name(first["cause"], language)
    if language == "zh":
        return f"{number(total)} 次被拒中 {share} 源于“{reason}”（{cause}）；{worst} 最多，达 {most} 次。"
    return (
        f"{share} of {number(total)} refusals are “{reason}” ({cause.lower()}); the most on {worst} ({most})."
    )


def refusals_by_branch(branches: pd.DataFrame, language: str) -> str:
    """Which branch refuses most and whether few branches make up most refusals."""
    refused = branches[branches["refused"] > 0]
    total = int(refused["refused"].sum())
    if not total:
        return text("no_refusals", language)
    first = refused.iloc[0]
    few = int((refused["refused"].cumsum() < MANY_RATIO * total).sum()) + 1
    share = percent(first["refused"] / first["attempts"])
    refusals, attempts = number(first["refused"]), number(first["attempts"])
    if language == "zh":
        return (
            f"{first['name_zh']} 被拒最多：{attempts} 次尝试中 {refusals} 次（{share}）；"
            f"{len(branches)} 个网点中的 {few} 个占了一半以上的被拒。"
        )
    return (
        f"{first['name_en']} refuses most: {refusals} of {attempts} attempts ({share}); "
        f"{few} of {len(branches)} branches make up half of all refusals."
    )


def peak_day(days: pd.DataFrame, today: date) -> pd.Series | None:
    """The coming day whose expected demand most exceeds (or comes nearest to) its quota.

    days: [day, q10, q50, q90, limit_units …] as `figures.demand_by_day` takes. None without a forecast.
    """
    ahead = days[(days["day"].dt.date > today) & days["q50"].notna()]
    if ahead.empty:
        return None
    over = ahead["q50"] - ahead["limit_units"].astype("float64")
    return _highest(ahead.assign(over=over if over.notna().any() else ahead["q50"]), "over")


def next_peak(days: pd.DataFrame, today: date, language: str) -> str:
    """The next peak named: day, expected wishes and band, quota, and by how much they differ."""
    peak = peak_day(days, today)
    if peak is None:
        return text("no_forecast", language)
    name, wishes = day_name(peak["day"].date(), language), number(peak["q50"])
    low, high = number(peak["q10"]), number(peak["q90"])
    if pd.isna(peak["limit_units"]):
        if language == "zh":
            return f"{name}：预计 {wishes} 个需求（80% 区间 {low}–{high}），当日无限额。"
        return f"{name}: {wishes} wishes expected (80 % band {low} to {high}), with no quota set."
    limit = int(peak["limit_units"])
    short = peak["q50"] - limit
    if language == "zh":
        gap = f"预计缺口 {number(short)}" if short > 0 else f"预计余量 {number(-short)}"
        return f"{name}：预计 {wishes} 个需求（80% 区间 {low}–{high}），配额 {number(limit)}，{gap}。"
    gap = f"{number(short)} short" if short > 0 else f"{number(-short)} to spare"
    return (
        f"{name}: {wishes} wishes expected (80 % band {low} to {high}) against quota {number(limit)}, {gap}."
    )


def days_short(days: pd.DataFrame, today: date, language: str) -> str:
    """On how many of the coming days the expected demand, or its high end, exceeds the quota."""
    ahead = days[(days["day"].dt.date > today) & days["q50"].notna() & days["limit_units"].notna()]
    if ahead.empty:
        return text("no_quota_ahead" if days["q50"].notna().any() else "no_forecast", language)
    limits = ahead["limit_units"].astype("float64")
    likely, possible = int((ahead["q50"] > limits).sum()), int((ahead["q90"] > limits).sum())
    if language == "zh":
        return (
            f"未来 {len(ahead)} 天中，{likely} 天的预计需求超过配额，{possible} 天的需求上沿（q90）超过配额。"
        )
    return (
        f"On {likely} of the next {len(ahead)} days expected demand exceeds the quota; "
        f"on {possible} its high end (q90) does."
    )


def intraday(observed: pd.DataFrame, expected: pd.DataFrame, now: datetime, zone: str, language: str) -> str:
    """The highest pressure seen so far, and the highest that is still forecast."""
    parts = []
    if not observed.empty:
        top = _highest(observed, "rps")
        at = moment_name(top["starts_utc"].tz_convert(ZoneInfo(zone)), language)
        parts.append(
            f"实测最高 {top['rps']:.1f} 请求/秒（{at}）"
            if language == "zh"
            else f"Highest so far {top['rps']:.1f} requests/s ({at})"
        )
    ahead = expected[expected["starts_utc"] > now]
    if not ahead.empty:
        top = _highest(ahead, "q90_rps")
        at = moment_name(top["starts_utc"].tz_convert(ZoneInfo(zone)), language)
        parts.append(
            f"预计 {at} 达到 {top['q50_rps']:.1f}，九成把握不超过 {top['q90_rps']:.1f}"
            if language == "zh"
            else f"{'next' if parts else 'Next'} peak {at}: {top['q50_rps']:.1f} expected, "
            f"{top['q90_rps']:.1f} at the 90 % level"
        )
    if not parts:
        return text("no_pressure", language)
    return ("；" if language == "zh" else "; ").join(parts) + ("。" if language == "zh" else ".")


def plan_change(items: pd.DataFrame, language: str) -> str:
    """How many limits of a quota plan change, from what to what in all, and how many a guardrail bound."""
    days = items[items["period_kind"] == "day"] if (items["period_kind"] == "day").any() else items
    changed = days[days["new_limit"].notna() & (days["new_limit"] != days["old_limit"]).fillna(value=True)]
    bound = int(items["guardrail"].notna().sum())
    known = days[days["old_limit"].notna()]
    old = int(known["old_limit"].sum())
    new = int(known["new_limit"].fillna(known["old_limit"]).sum())
    if language == "zh":
        return (
            f"{len(days)} 项日限额中 {len(changed)} 项变化，合计 {number(old)} → {number(new)}；"
            f"{bound} 项受护栏约束。"
        )
    return (
        f"{len(changed)} of {len(days)} day limits change, {number(old)} → {number(new)} in all; "
        f"a guardrail bound {bound} items."
    )


def server_plan(items: pd.DataFrame, zone: str, language: str) -> str:
    """The most workers that a server plan asks for, and from when."""
    workers = items.assign(workers=items["new_limit"].fillna(items["old_limit"]).astype("float64"))
    if workers["workers"].isna().all():
        return text("no_items", language)
    top, least = _highest(workers, "workers"), workers["workers"].min()
    at = moment_name(top["starts_utc"].tz_convert(ZoneInfo(zone)), language)
    if language == "zh":
        return f"最多需要 {top['workers']:.0f} 个进程，自 {at} 起；最少 {least:.0f} 个。"
    return f"At most {top['workers']:.0f} workers, from {at}; at least {least:.0f}."


def judged_pressure(inputs: Mapping[str, Any], language: str) -> str:
    """What a server plan's forecast was judged by; empty for a plan that says nothing of it."""
    judged = inputs.get("reliability")
    if not judged:
        return ""
    above, below = percent(judged["above"]), percent(judged["far_below"])
    missed, last = f"{judged['error']:.2f}", f"{judged['naive_error']:.2f}"
    if language == "zh":
        return (
            f"已核对 {judged['steps']} 个时段：{above} 高于预测的 0.9 分位，{below} 远低于 0.1 分位；"
            f"中位数平均偏差 {missed} 个进程，沿用上一时段的值则为 {last}。"
        )
    return (
        f"{judged['steps']} quarter-hours judged: {above} above the forecast's 0.9 quantile, {below} far "
        f"below its 0.1 quantile; the median missed by {missed} workers, the last value by {last}."
    )


def last_decision(decisions: pd.DataFrame, language: str) -> str:
    """The actuator's newest decision and its reason; empty where it made none lately."""
    if decisions.empty:
        return ""
    newest = decisions.iloc[-1]
    why, need = named(SCALING, newest["reason"], language), newest["forecast_need"]
    foretold = "–" if pd.isna(need) else f"{need}"
    if language == "zh":
        return (
            f"最近决定：运行 {newest['running']} 个进程，目标 {newest['target']}（{why}）；"
            f"实际负载需 {newest['reactive_need']}，预测需 {foretold}。"
        )
    return (
        f"Last decision: {newest['running']} workers run, target {newest['target']} ({why}); the observed "
        f"load needs {newest['reactive_need']}, the forecast {foretold}."
    )


def plan_scores(scores: pd.DataFrame, language: str) -> str:
    """Refusals under the regions' plans against those had the old quotas stayed; the bank's own limits apart.

    Who is refused by both would count twice in a sum.
    """
    own = scores["region_id"] == BANK_SCOPE_ID
    told = _refusals(scores[~own], language)
    if not own.any():
        return told
    bank, old = scores.loc[own, "refused_units"].sum(), scores.loc[own, "refused_old_units"].sum()
    if language == "zh":
        return f"{told}全行限额本身拒绝 {number(bank)} 个；若维持原限额则为 {number(old)} 个。"
    return (
        f"{told} The bank's own limits refused {number(bank)}; the old ones would have refused {number(old)}."
    )


def _refusals(scores: pd.DataFrame, language: str) -> str:
    """What the plans refused of how much demand, and what the old quotas would have."""
    refused, old = scores["refused_units"].sum(), scores["refused_old_units"].sum()
    demand = scores["demand_units"].sum()
    if language == "zh":
        return (
            f"{number(demand)} 个需求中，方案下被拒 {number(refused)} 个；若维持原配额则为 {number(old)} 个。"
        )
    return (
        f"Of {number(demand)} wishes the plans refused {number(refused)}; "
        f"the old quotas would have refused {number(old)}."
    )


def _highest(rows: pd.DataFrame, column: str) -> pd.Series:
    """The first row with the highest value of the column."""
    return rows.nlargest(1, column).iloc[0]
