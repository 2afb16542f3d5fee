"""Why bookings fail: how many attempts, how many refused, for which reasons, where, and what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pandas as pd
import streamlit as st

from dashboard import data, figures, takeaways
from dashboard.frame import REFRESH_SECONDS, View, chart, database_remedy, empty_state, table
from dashboard.reasons import advice, cause_name, reason_name
from dashboard.texts import number, percent

STEP_SECONDS: Final = {"quarter_hour": 900, "hour": 3600, "day": 86400}


@st.fragment(run_every=REFRESH_SECONDS)
def draw(view: View) -> None:
    """Draw the page; it refreshes itself, the clock moving on."""
    with database_remedy(view.language):
        _draw(view.at(datetime.now(UTC)))


def _draw(view: View) -> None:
    found = data.failure_reads(view.url, view.region, view.since, view.until)
    if not found.totals.attempts:
        empty_state(view.language, "no_attempts")
        return
    _figures_row(view, found)
    reasons = _in_words(found.reasons, view.language)
    step = STEP_SECONDS[found.grain]
    chart(
        view,
        "refusals_over_time",
        takeaways.refusals_over_time(found.reasons, found.course, view.zone, view.language),
        figures.refusals_over_time(found.course, view.zone, view.language, step),
        key="refusals_over_time",
    )
    refused = found.course[found.course["outcome"] == "refused"]
    refused = refused.assign(
        at=refused["at"].dt.tz_convert(view.zone).dt.strftime("%Y-%m-%d %H:%M"),
        reason=refused["reason"].map(lambda r: reason_name(r, view.language)),
        cause=refused["cause"].map(lambda c: cause_name(c, view.language)),
    )
    columns = {"at": "time", "cause": "cause", "reason": "reason", "attempts": "refused"}
    table(view, refused, "refusals_over_time_table", columns)
    if not reasons.empty:
        st.markdown(f"#### {view.say('reasons_and_advice')}")
        labels = {
            "reason": "reason",
            "cause": "cause",
            "attempts": "refused",
            "share": "share",
            "advice": "what_to_do",
        }
        shown = reasons[list(labels)].rename(columns={name: view.say(key) for name, key in labels.items()})
        st.table(shown.set_index(view.say("reason")))
    if found.branches["refused"].gt(0).any():
        _branches(view, found.branches)


def _figures_row(view: View, found: data.Failures) -> None:
    totals = found.totals
    with st.container(horizontal=True):
        st.metric(
            view.say("attempts"),
            number(totals.attempts),
            border=True,
            height="stretch",
            help=view.say("attempts_help"),
        )
        st.metric(view.say("held"), number(totals.held), border=True, height="stretch")
        st.metric(
            view.say("refused_share"),
            percent(totals.refused_ratio),
            delta=f"{number(totals.refused)} {view.say('refused').lower()}",
            delta_color="off",
            delta_arrow="off",
            border=True,
            height="stretch",
            help=view.say("refused_share_help"),
        )
        st.metric(
            view.say("unmet"),
            number(totals.unmet + totals.open),
            delta=view.say("of_wishes", wishes=number(totals.wishes)),
            delta_color="off",
            delta_arrow="off",
            border=True,
            height="stretch",
            help=view.say("unmet_help"),
        )


def _branches(view: View, branches: pd.DataFrame) -> None:
    chart(
        view,
        "refusals_by_branch",
        takeaways.refusals_by_branch(branches, view.language),
        figures.refusals_by_branch(branches, view.language),
        key="refusals_by_branch",
    )
    rows = branches.assign(
        branch=branches["name_zh" if view.language == "zh" else "name_en"],
        share=(branches["refused"] / branches["attempts"].where(branches["attempts"] > 0)).map(
            lambda ratio: "–" if pd.isna(ratio) else percent(ratio)
        ),
        top=branches["top_reason"].map(lambda r: reason_name(r, view.language)),
    )
    columns = {"branch": "branch", "attempts": "attempts", "held": "held", "refused": "refused",
               "share": "refused_share", "top": "top_reason"}  # fmt: skip
    table(view, rows, "refusals_by_branch_table", columns)


def _in_words(reasons: pd.DataFrame, language: str) -> pd.DataFrame:
    """The reasons with names, shares and advice in the language."""
    total = max(1, int(reasons["attempts"].sum()))
    return pd.DataFrame(
        {
            "reason": reasons["reason"].map(lambda r: reason_name(r, language)),
            "cause": reasons["cause"].map(lambda c: cause_name(c, language)),
            "attempts": reasons["attempts"].map(number),
            "share": (reasons["attempts"] / total).map(percent),
            "advice": reasons["reason"].map(lambda r: advice(r, language)),
        }
    )
