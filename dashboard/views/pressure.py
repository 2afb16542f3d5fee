"""Peak pressure: demand against quota by day, requests against workers by quarter-hour, the next peak."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import streamlit as st

from dashboard import data, figures, takeaways
from dashboard.frame import REFRESH_SECONDS, View, chart, database_remedy, empty_state, table
from dashboard.texts import day_name

MIN_BACK_DAYS: Final = 14
"""A shorter past would leave the forecast without anything to compare it with."""


@st.fragment(run_every=REFRESH_SECONDS)
def draw(view: View) -> None:
    """Draw the page; it refreshes itself, the clock moving on."""
    with database_remedy(view.language):
        view = view.at(datetime.now(UTC))
        _by_day(view)
        _by_quarter_hour(view)


def _by_day(view: View) -> None:
    days = data.demand_days(view.url, view.region, view.today, max(MIN_BACK_DAYS, view.days))
    if days.empty:
        empty_state(view.language, "no_demand")
        return
    run = data.demand_run(view.url)
    peak = takeaways.next_peak(days, view.today, view.language)
    with st.container(border=True):
        st.markdown(f"**:material/trending_up: {view.say('next_peak')}** · {peak}")
        if run is None:
            st.caption(view.say("no_forecast_help"))
        else:
            trained = run.trained_utc.astimezone(view.local_now.tzinfo)
            st.caption(
                view.say(
                    "model_line",
                    run=run.run_id,
                    period=day_name(run.period, view.language),
                    trained=f"{trained:%Y-%m-%d %H:%M}",
                )
            )
    note = f" {view.say('synthetic_note')}" if days["synthetic"].fillna(0).gt(0).any() else ""
    chart(
        view,
        "demand_chart",
        takeaways.days_short(days, view.today, view.language) + note,
        figures.demand_by_day(days, view.today, view.language),
        key="demand_by_day",
    )
    rows = days.assign(day=days["day"].map(lambda day: day_name(day.date(), view.language))).round(1)
    columns = {"day": "day", "actual": "actual", "synthetic": "synthetic", "q50": "forecast", "q10": "q10",
               "q90": "q90", "limit_units": "quota", "capacity_units": "capacity",
               "used_units": "used"}  # fmt: skip
    table(view, rows, "demand_by_day_table", columns)


def _by_quarter_hour(view: View) -> None:
    found = data.intraday(view.url, view.midnight(), view.midnight(2))
    frames = (found.observed, found.expected, found.workers, found.planned)
    if all(each.empty for each in frames):
        st.markdown(f"#### {view.say('intraday_chart')}")
        st.markdown(view.say("no_pressure"))
        return
    note = f" {view.say('synthetic_rps_note')}" if found.observed["synthetic"].any() else ""
    sentence = takeaways.intraday(found.observed, found.expected, view.business_now, view.zone, view.language)
    chart(
        view,
        "intraday_chart",
        sentence + note,
        figures.intraday(*frames, view.business_now, view.zone, view.language),
        key="intraday",
    )
    if decision := takeaways.last_decision(found.decisions, view.language):
        st.caption(decision)
    rows = (
        found.observed[["starts_utc", "requests", "rps"]]
        .merge(found.expected, how="outer", on="starts_utc")
        .merge(found.workers, how="outer", on="starts_utc")
        .merge(found.planned, how="outer", on="starts_utc")
    )
    rows["starts_utc"] = rows["starts_utc"].dt.tz_convert(view.zone).dt.strftime("%m-%d %H:%M")
    columns = {"starts_utc": "time", "requests": "requests", "rps": "observed", "q50_rps": "forecast_rps",
               "q90_rps": "q90", "running": "running", "target": "target",
               "workers": "planned_workers"}  # fmt: skip
    table(view, rows.round(2), "intraday_table", columns)
