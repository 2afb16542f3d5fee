"""Plans: what changes and why, what waits for a person, and how plans did."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from dashboard import data, figures, takeaways
from dashboard.core import PLAN_COMMANDS, Answer, Core
from dashboard.frame import REFRESH_SECONDS, View, chart, database_remedy, empty_state, remembered, table
from dashboard.reasons import MODELS, STATUSES, VERDICTS, named
from dashboard.texts import day_name, moment_name, number

STATUS_LOOKS: Final = {
    "pending": ("orange", ":material/hourglass_top:"),
    "approved": ("blue", ":material/thumb_up:"),
    "proposed": ("blue", ":material/lightbulb:"),
    "applied": ("green", ":material/check_circle:"),
    "shadow": ("violet", ":material/visibility:"),
    "kept": ("gray", ":material/pause:"),
    "superseded": ("gray", ":material/history:"),
    "rolled_back": ("gray", ":material/undo:"),
    "rejected": ("red", ":material/block:"),
}
PERIOD_WORDS: Final = {"day": "daily", "week": "weekly", "month": "monthly", "quarter_hour": "quarter_hourly"}
PLANS_SHOWN: Final = 50
CARDS: Final = 20
CARDS_IN_ROW: Final = 5


@st.fragment(run_every=REFRESH_SECONDS)
def draw(view: View) -> None:
    """Draw the page; it refreshes itself, so that a new plan shows."""
    with database_remedy(view.language):
        view = view.at(datetime.now(UTC))
        if "said" in st.session_state:
            icon, message = st.session_state.pop("said")
            st.toast(message, icon=icon)
        _controls(view)
        plans = data.latest_plans(view.url, view.region, PLANS_SHOWN)
        if plans.empty:
            empty_state(view.language, "no_plans")
            return
        plans = plans.iloc[(plans["status"] != "pending").argsort(kind="stable")]  # what waits comes first
        _overview(view, plans)
        _one_plan(view, plans)
        _scores(view)


def _controls(view: View) -> None:
    """The pause switch and, without a token, why nothing can be pressed."""
    if view.operator_token is None:
        st.caption(f":material/lock: {view.say('read_only')}")
        return
    if view.claimed:
        return  # pausing is bank-wide
    command = "resume" if data.settings(view.url).paused else "pause"
    icon = ":material/play_circle:" if command == "resume" else ":material/pause_circle:"
    if st.button(view.say(command), icon=icon, key="control"):
        _command(view, command, lambda core: core.control(command))


def _overview(view: View, plans: pd.DataFrame) -> None:
    """A card for each region: the plan that waits, else the newest."""
    st.markdown(f"#### {view.say('latest_plans')}")
    shown = plans[(plans["kind"] != "extra") | (plans["status"] == "pending")]  # corrections come and go
    newest = shown.drop_duplicates(["kind", "region_id"]).head(CARDS)
    read = data.plan_totals(view.url, view.region, tuple(newest["plan_id"]))
    totals = {str(row["plan_id"]): row for row in read.to_dict("records")}
    cards = list(newest.sort_values(["kind", "region_id"]).itertuples())
    for start in range(0, len(cards), CARDS_IN_ROW):
        row = cards[start : start + CARDS_IN_ROW]
        for column, plan in zip(st.columns(CARDS_IN_ROW), row, strict=False):
            with column.container(border=True, height="stretch"):
                _card(view, plan, totals.get(str(plan.plan_id)))


def _card(view: View, plan: Any, total: dict[Any, Any] | None) -> None:
    """One region's plan: status, old → new in all, and where it comes from."""
    st.markdown(f"**{_region_name(view, str(plan.region_id), str(plan.kind))}**")
    _status_badge(view, str(plan.status))
    if total is not None and plan.kind != "server":
        st.markdown(f"##### {number(total['old_units'])} → {number(total['new_units'])}")
        st.caption(view.say("card_line", changed=total["changed"], items=total["items"]))
    elif total is not None:
        st.markdown(f"##### {view.say('up_to_workers', workers=int(total['most']))}")
    st.caption(_facts(view, plan))


def _one_plan(view: View, plans: pd.DataFrame) -> None:
    """One plan in full: sentence, commands, chart, items with guardrails and conditions."""
    by_id = plans.set_index("plan_id")

    def label(plan_id: str) -> str:
        plan = by_id.loc[plan_id]
        status = named(STATUSES, plan["status"], view.language)
        region = _region_name(view, str(plan["region_id"]), str(plan["kind"]))
        return f"{status} · {region} · {_period(str(plan['period']), view)}"

    st.markdown(f"#### {view.say('what_changed')}")
    chosen = remembered(
        "plan",
        tuple(by_id.index),
        by_id.index[0],
        lambda key, options: st.selectbox(
            view.say("show_plan"),
            options,
            format_func=label,
            key=key,
            label_visibility="collapsed",
            width=560,
        ),
    )
    plan = by_id.loc[chosen]
    items = data.plan_items(view.url, view.region, chosen)
    with st.container(horizontal=True, vertical_alignment="center"):
        _status_badge(view, plan["status"])
        band = (
            ("in_band", "green", ":material/shield:")
            if plan["in_band"]
            else ("out_of_band", "orange", ":material/warning:")
        )
        st.badge(view.say(band[0]), color=band[1], icon=band[2])  # type: ignore[arg-type]
        st.caption(f"`{chosen}` · {view.say('model')}: {named(MODELS, plan['model'], view.language)} · "
                   f"{view.say('verdict')}: {named(VERDICTS, plan['verdict'], view.language)}")  # fmt: skip
    if judged := takeaways.judged_pressure(plan["inputs"] or {}, view.language):
        st.caption(judged)
    _commands(view, chosen, plan["status"])
    if items.empty:
        st.markdown(view.say("no_items"))
    elif plan["kind"] == "server":
        chart(view, "workers_by_quarter", takeaways.server_plan(items, view.zone, view.language),
              figures.plan_by_quarter(items, view.zone, view.language), key="plan_by_quarter")  # fmt: skip
    else:
        chart(view, "quota_by_day", takeaways.plan_change(items, view.language),
              figures.plan_by_day(items, view.language), key="plan_by_day")  # fmt: skip
    if not items.empty:
        _items(view, items)


def _commands(view: View, plan_id: str, status: str) -> None:
    """The buttons that the plan's status allows an operator."""
    commands = PLAN_COMMANDS.get(status, ())
    if view.operator_token is None or not commands:
        return
    with st.container(horizontal=True):
        for place, command in enumerate(commands):
            kind = "primary" if place == 0 and command != "rollback" else "secondary"
            if st.button(view.say(command), key=f"command_{command}", type=kind):  # type: ignore[arg-type]
                _command(view, plan_id, lambda core, word=command: core.plan(plan_id, word))  # type: ignore[misc]


def _command(view: View, target: str, send: Callable[[Core], Answer]) -> None:
    """Send a command to the core, remember what it said, and draw the page anew."""
    answer = send(Core(view.api_url, view.operator_token or "", view.language))
    data.forget_plans()
    if answer.ok:
        status = named(STATUSES, answer.message, view.language)
        message = view.say("command_done", plan=target, status=status)
    else:
        message = view.say("command_refused", message=answer.message)
    st.session_state["said"] = (":material/check_circle:" if answer.ok else ":material/error:", message)
    st.rerun()


def _items(view: View, items: pd.DataFrame) -> None:
    """The items as a table, the largest change first."""
    names = data.branches(view.url, view.region).set_index("branch_id")[
        "name_zh" if view.language == "zh" else "name_en"
    ]
    change = items["new_limit"].astype("float64") - items["old_limit"].astype("float64")
    starts = (
        items["period_start"]
        .dt.strftime("%Y-%m-%d")
        .fillna(items["starts_utc"].dt.tz_convert(view.zone).dt.strftime("%m-%d %H:%M"))
    )
    rows = items.assign(
        scope=items["scope_id"].map(lambda scope: names.get(scope) or _region_name(view, scope, "quota")),
        kind=items["period_kind"].map(
            lambda kind: view.say(PERIOD_WORDS[kind]) if kind in PERIOD_WORDS else kind
        ),
        starts=starts,
        change=change,
        proposed=items["proposed"].round(1),
        guardrail=items["guardrail"].map(lambda name: named(VERDICTS, name, view.language)),
    )
    rows = rows.iloc[change.abs().fillna(0.0).argsort(kind="stable")[::-1]]
    columns = {"scope": "scope", "kind": "kind_of_period", "starts": "starts", "old_limit": "old",
               "proposed": "proposed", "new_limit": "new", "change": "change",
               "applied_limit": "applied_limit", "guardrail": "why", "condition": "condition"}  # fmt: skip
    table(view, rows, "plan_items_table", columns, expanded=True)


def _scores(view: View) -> None:
    """How plans did against what came, where days have been scored."""
    scores = data.plan_scores(view.url, view.region, view.today - timedelta(days=view.days))
    st.markdown(f"#### {view.say('scores')}")
    if scores.empty:
        st.caption(view.say("no_scores"))
        return
    st.markdown(takeaways.plan_scores(scores, view.language))
    rows = scores.assign(
        day=scores["day"].dt.strftime("%Y-%m-%d"),
        region=scores["region_id"].map(lambda region: _region_name(view, region, "quota")),
    ).round(1)
    columns = {"day": "day", "region": "region", "plan_id": "plan", "demand_units": "demand",
               "served_units": "served", "refused_units": "refused_new", "refused_old_units": "refused_old",
               "idle_units": "idle", "regret_units": "regret"}  # fmt: skip
    table(view, rows, "plan_scores_table", columns)


def _status_badge(view: View, status: str) -> None:
    colour, icon = STATUS_LOOKS.get(status, ("gray", ":material/help:"))
    st.badge(named(STATUSES, status, view.language), color=colour, icon=icon)  # type: ignore[arg-type]


def _facts(view: View, plan: Any) -> str:
    """Model, verdict and period of a plan in one line."""
    facts = [view.say("for_period", period=_period(plan.period, view))]
    facts += [named(MODELS, plan.model, view.language)] if isinstance(plan.model, str) else []
    facts += [named(VERDICTS, plan.verdict, view.language)] if isinstance(plan.verdict, str) else []
    return " · ".join(facts)


def _region_name(view: View, region_id: str, kind: str) -> str:
    if kind == "server":
        return view.say("servers")
    known = data.regions(view.url, view.region).set_index("region_id")
    return (
        str(known.loc[region_id, "name_zh" if view.language == "zh" else "name_en"])
        if region_id in known.index
        else region_id
    )


def _period(period: str, view: View) -> str:
    """The plan's period in words: a day, or a moment in the bank's zone; as it stands where neither."""
    try:
        moment = datetime.fromisoformat(period)
    except ValueError:
        return period
    if moment.tzinfo is None:
        return day_name(moment.date(), view.language)
    return moment_name(moment.astimezone(ZoneInfo(view.zone)), view.language)
