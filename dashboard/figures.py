"""Figures from frames: pure builders, with a palette that does not depend on telling red from green.

Colours are Okabe and Ito's; each thing also differs by pattern, dash or marker, never by colour alone.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.reasons import cause_name, reason_name
from dashboard.texts import number, text
from metrics.contract import CAUSE_OF, Cause, Reason

INK: Final = "#17212b"
MUTED: Final = "#5b6b7b"
GRID: Final = "#e6ecf2"
BLUE: Final = "#0072b2"
SKY: Final = "#56b4e9"
ORANGE: Final = "#e69f00"
VERMILLION: Final = "#d55e00"
PURPLE: Final = "#aa4499"
GREY: Final = "#8a97a5"
PALE: Final = "#c3d3e2"

CAUSE_COLOURS: Final[dict[Cause, tuple[str, ...]]] = {
    Cause.CAPACITY: ("#d55e00", "#a84300", "#f0935a", "#7a3100", "#f7c4a3"),
    Cause.INPUT: ("#e69f00", "#b37b00", "#f5cd73"),
    Cause.RULE: ("#0072b2", "#56b4e9", "#004c77", "#8ecdf0", "#00324f", "#2e93cf", "#b9e0f6", "#6f9bb8"),
    Cause.SYSTEM: ("#aa4499", "#7d2f70", "#d18bc4", "#551f4c"),
    Cause.ACCESS: ("#8a97a5", "#5b6b7b", "#b9c3cd"),
}
PATTERNS: Final = ("", "/", ".", "x", "\\", "-", "|", "+")
FONT: Final = "'Source Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"
TOP_BRANCHES: Final = 12
DAY_SECONDS: Final = 86400
MOST_WORKER_TICKS: Final = 8


def reason_style(reason: str) -> tuple[str, str]:
    """The reason's colour (its cause's hue) and pattern, the same wherever it is drawn."""
    try:
        known = Reason(reason)
    except ValueError:
        return GREY, "x"
    siblings = [r for r in Reason if CAUSE_OF[r] is CAUSE_OF[known]]
    place = siblings.index(known)
    return CAUSE_COLOURS[CAUSE_OF[known]][place], PATTERNS[place]


def refusals_over_time(course: pd.DataFrame, zone: str, language: str, step_seconds: int) -> go.Figure:
    """Bars of refusals stacked by reason, the reasons grouped by cause in the legend.

    course: [at, outcome, reason, cause, attempts] as failures.over_time gives; step_seconds: width of a
    bar. Reasons stand in the order of the contract, so that a cause's bars lie together.
    """
    figure = go.Figure()
    refused = course[course["outcome"] == "refused"]
    order = {str(reason): place for place, reason in enumerate(Reason)}
    for reason in sorted(refused["reason"].dropna().unique(), key=lambda r: order.get(r, len(order))):
        rows = refused[refused["reason"] == reason]
        colour, pattern = reason_style(reason)
        cause = str(rows["cause"].iloc[0])
        figure.add_bar(
            x=_local(rows["at"], zone)
            + timedelta(seconds=0 if step_seconds >= DAY_SECONDS else step_seconds / 2),
            y=rows["attempts"],
            width=step_seconds * 1000 * 0.86,
            name=reason_name(reason, language),
            legendgroup=cause,
            legendgrouptitle_text=cause_name(cause, language),
            marker={"color": colour, "pattern": _pattern(pattern)},
            hovertemplate="%{y:,}",
        )
    figure.update_layout(
        barmode="stack", hovermode="x unified", legend={"traceorder": "grouped", "groupclick": "toggleitem"}
    )
    _styled(figure, text("refusals", language), height=370, legend_y=-0.2)
    return _time_axis(figure, language, days=step_seconds >= DAY_SECONDS)


def refusals_by_branch(branches: pd.DataFrame, language: str) -> go.Figure:
    """Horizontal bars of the branches that refuse most: refused and held, with the refused share in words.

    branches: as failures.by_branch gives, most refusals first; at most TOP_BRANCHES are drawn.
    """
    rows = branches[branches["refused"] > 0].head(TOP_BRANCHES).iloc[::-1]
    names = rows["name_zh" if language == "zh" else "name_en"]
    share = [
        f"  {text('refused', language)} {100 * r / a:.0f} %"
        for r, a in zip(rows["refused"], rows["attempts"], strict=True)
    ]
    figure = go.Figure()
    figure.add_bar(
        y=names, x=rows["refused"], orientation="h", name=text("refused", language),
        marker={"color": VERMILLION, "pattern": _pattern("/")}, hovertemplate="%{x:,}",
    )  # fmt: skip
    figure.add_bar(
        y=names, x=rows["held"], orientation="h", name=text("held", language),
        marker={"color": PALE}, hovertemplate="%{x:,}",
    )  # fmt: skip
    figure.add_scatter(
        y=names, x=rows["attempts"], mode="text", text=share, textposition="middle right", showlegend=False,
        textfont={"color": MUTED, "size": 12}, cliponaxis=False, hoverinfo="skip",
    )  # fmt: skip
    figure.update_layout(barmode="stack", bargap=0.3)
    _styled(figure, "", height=70 + 27 * max(4, len(rows)), legend_y=None)
    figure.update_layout(margin_r=90)
    figure.update_xaxes(title={"text": text("attempts", language), "font": {"size": 12, "color": MUTED}},
                        gridcolor=GRID, showgrid=True, tickformat=",")  # fmt: skip
    figure.update_yaxes(type="category", automargin=True, showgrid=False, ticksuffix="  ")
    return figure


def demand_by_day(days: pd.DataFrame, today: date, language: str) -> go.Figure:
    """Past demand as bars, the forecast as a line in its 80 % band, quota and capacity as steps.

    days: [day, actual, synthetic, q10, q50, q90, limit_units, capacity_units, used_units], missing where
    unknown; `synthetic` is the part of `actual` that is overlay, and is hatched. Month ends are marked.
    """
    figure = go.Figure()
    x = days["day"]
    past = days["day"].dt.date <= today
    real = days["actual"] - days["synthetic"].fillna(0.0)
    figure.add_bar(
        x=x, y=real.where(past), name=text("actual", language), marker={"color": PALE, "line_width": 0},
        hovertemplate="%{y:,.0f}",
    )  # fmt: skip
    if days["synthetic"].fillna(0.0).gt(0).any():
        figure.add_bar(
            x=x, y=days["synthetic"].where(past), name=text("synthetic", language), hovertemplate="%{y:,.0f}",
            marker={"color": PALE, "pattern": {"shape": "/", "fgcolor": MUTED, "size": 5, "solidity": 0.35}},
        )  # fmt: skip
    if days.loc[~past, "actual"].fillna(0.0).gt(0).any():
        figure.add_bar(
            x=x, y=days["actual"].where(~past), name=text("so_far", language), hovertemplate="%{y:,.0f}",
            marker={"color": ORANGE, "pattern": _pattern(".")},
        )  # fmt: skip
    ahead = days[days["q50"].notna()]
    if not ahead.empty:
        figure.add_scatter(
            x=ahead["day"],
            y=ahead["q90"],
            mode="lines",
            line={"width": 0},
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=ahead["day"], y=ahead["q10"], mode="lines", line={"width": 0}, fill="tonexty",
            fillcolor="rgba(0,114,178,0.20)", name=text("band", language),
            customdata=ahead["q90"], hovertemplate="%{y:,.0f} – %{customdata:,.0f}",
        )  # fmt: skip
        figure.add_scatter(
            x=ahead["day"], y=ahead["q50"], mode="lines+markers", name=text("forecast", language),
            line={"color": BLUE, "width": 2}, marker={"size": 5}, hovertemplate="%{y:,.0f}",
        )  # fmt: skip
    for column, key, colour, dash in (
        ("limit_units", "quota", VERMILLION, "solid"),
        ("capacity_units", "capacity", GREY, "dot"),
        ("used_units", "used", INK, "dash"),
    ):
        values = days[column].astype("float64")
        if values.fillna(0.0).gt(0).any():
            figure.add_scatter(
                x=x, y=values, mode="lines", name=text(key, language), hovertemplate="%{y:,.0f}",
                line={"color": colour, "width": 2, "dash": dash, "shape": "hvh"},
            )  # fmt: skip
    figure.update_layout(barmode="stack", bargap=0.25, hovermode="x unified")
    for day in x[x.dt.is_month_end]:
        _mark(figure, day, text("month_end", language), GREY)
    if not days.empty:
        _mark(figure, pd.Timestamp(today) + timedelta(hours=12), text("now", language), INK, top=1.16)
    return _time_axis(_styled(figure, text("wishes", language), height=420), language, days=True)


def intraday(
    observed: pd.DataFrame,
    expected: pd.DataFrame,
    workers: pd.DataFrame,
    planned: pd.DataFrame,
    now: datetime,
    zone: str,
    language: str,
) -> go.Figure:
    """Requests per second by business quarter-hour above, workers running, target and planned below.

    observed: [starts_utc, rps, synthetic]; expected: [starts_utc, q50_rps, q90_rps];
    workers: [starts_utc, running, target]; planned: [starts_utc, workers].
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.07)
    if not expected.empty:
        x = _local(expected["starts_utc"], zone)
        figure.add_scatter(
            x=x, y=expected["q50_rps"], mode="lines", name=text("forecast_rps", language),
            line={"color": BLUE, "width": 2, "dash": "dash", "shape": "hv"}, hovertemplate="%{y:.1f}",
            row=1, col=1,
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=expected["q90_rps"], mode="lines", name=text("band_rps", language), fill="tonexty",
            fillcolor="rgba(0,114,178,0.16)", line={"color": SKY, "width": 1, "shape": "hv"},
            hovertemplate="%{y:.1f}", row=1, col=1,
        )  # fmt: skip
    for synthetic in (False, True):
        rows = observed[observed["synthetic"] == synthetic]
        if not rows.empty:
            figure.add_bar(
                x=_local(rows["starts_utc"], zone) + timedelta(minutes=7, seconds=30), y=rows["rps"],
                width=13 * 60 * 1000,
                name=text("observed", language) + (" · synthetic" if synthetic else ""),
                marker={"color": PALE, "pattern": _pattern("/")} if synthetic else {"color": ORANGE},
                hovertemplate="%{y:.1f}", row=1, col=1,
            )  # fmt: skip
    for rows, column, key, colour, dash in (
        (workers, "running", "running", INK, "solid"),
        (workers, "target", "target", VERMILLION, "dot"),
        (planned, "workers", "planned_workers", BLUE, "dash"),
    ):
        if not rows.empty:
            figure.add_scatter(
                x=_local(rows["starts_utc"], zone), y=rows[column], mode="lines", name=text(key, language),
                line={"color": colour, "width": 2, "dash": dash, "shape": "hv"}, hovertemplate="%{y}",
                row=2, col=1,
            )  # fmt: skip
    _styled(figure, text("rps", language), height=460)
    _time_axis(figure, language, days=False)
    figure.update_layout(hovermode="x unified", margin_t=40)
    figure.update_yaxes(
        title_text=text("workers", language),
        row=2,
        col=1,
        rangemode="tozero",
        tickformat="d",
        dtick=1 if _most_workers(workers, planned) <= MOST_WORKER_TICKS else None,
        nticks=5,
    )
    here = pd.Timestamp(now).tz_convert(zone).tz_localize(None)
    _mark(figure, here, text("now", language), INK)
    return figure


def _most_workers(workers: pd.DataFrame, planned: pd.DataFrame) -> int:
    """The highest number of workers drawn, at least 1."""
    drawn = pd.concat([workers["running"], workers["target"], planned["workers"]]).dropna()
    return 1 if drawn.empty else max(1, int(drawn.max()))


def plan_by_day(items: pd.DataFrame, language: str) -> go.Figure:
    """Old limit, what the forecast asks for and new limit, summed over a quota plan's day items, by day."""
    days = items[items["period_kind"] == "day"].copy()
    days["new_limit"] = days["new_limit"].fillna(days["old_limit"])
    total = days.groupby("period_start")[["old_limit", "proposed", "new_limit"]].sum(min_count=1)
    figure = go.Figure()
    figure.add_bar(
        x=total.index, y=total["new_limit"].astype("float64"), name=text("new", language),
        marker={"color": SKY}, hovertemplate="%{y:,.0f}",
    )  # fmt: skip
    figure.add_scatter(
        x=total.index, y=total["old_limit"].astype("float64"), name=text("old", language), mode="lines",
        line={"color": INK, "width": 2, "dash": "dash", "shape": "hvh"}, hovertemplate="%{y:,.0f}",
    )  # fmt: skip
    figure.add_scatter(
        x=total.index, y=total["proposed"], name=text("proposed", language), mode="markers",
        marker={"color": VERMILLION, "symbol": "diamond", "size": 8}, hovertemplate="%{y:,.0f}",
    )  # fmt: skip
    figure.update_layout(hovermode="x unified", bargap=0.25)
    for day in total.index:
        if pd.Timestamp(day).is_month_end:
            _mark(figure, day, text("month_end", language), GREY)
    return _time_axis(_styled(figure, text("units", language), height=350), language, days=True)


def plan_by_quarter(items: pd.DataFrame, zone: str, language: str) -> go.Figure:
    """Workers of a server plan by business quarter-hour: old, asked for and new."""
    x = _local(items["starts_utc"], zone)
    figure = go.Figure()
    for column, key, colour, dash in (
        ("new_limit", "new", BLUE, "solid"),
        ("old_limit", "old", INK, "dash"),
        ("proposed", "proposed", VERMILLION, "dot"),
    ):
        figure.add_scatter(
            x=x, y=items[column].astype("float64"), mode="lines", name=text(key, language),
            line={"color": colour, "width": 2, "dash": dash, "shape": "hv"}, hovertemplate="%{y:.1f}",
        )  # fmt: skip
    figure.update_layout(hovermode="x unified")
    return _time_axis(_styled(figure, text("workers", language), height=320), language, days=False)


def described(figure: go.Figure) -> str:
    """What the figure holds, in one line for a screen reader: each trace with its sum or range."""
    parts = []
    for trace in figure.data:
        values = pd.to_numeric(pd.Series(trace.x if trace.orientation == "h" else trace.y), errors="coerce")
        if trace.name and values.notna().any():
            parts.append(f"{trace.name}: {number(values.min())}–{number(values.max())}")
    return "; ".join(parts)


def _local(times: pd.Series, zone: str) -> pd.Series:
    """The moments as the bank's clocks show them: plotly draws naive times as they stand."""
    local: pd.Series = times.dt.tz_convert(zone).dt.tz_localize(None)
    return local


def _pattern(shape: str) -> dict[str, Any]:
    return {"shape": shape, "fgcolor": "white", "size": 6, "solidity": 0.25}


def _mark(figure: go.Figure, at: pd.Timestamp, label: str, colour: str, top: float = 1.07) -> None:
    """A dotted vertical line with its label above the chart."""
    moment = at.isoformat()
    figure.add_shape(
        type="line", x0=moment, x1=moment, y0=0, y1=1, xref="x", yref="paper",
        line={"color": colour, "width": 1, "dash": "dot"},
    )  # fmt: skip
    figure.add_annotation(
        x=moment, y=top, xref="x", yref="paper", text=label, showarrow=False,
        font={"size": 11, "color": colour},
    )  # fmt: skip


def _styled(figure: go.Figure, y_title: str, height: int, legend_y: float | None = -0.16) -> go.Figure:
    """The figure in the house style: white, quiet grid, the legend below (legend_y None: above)."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        font={"family": FONT, "size": 13, "color": INK},
        margin={"l": 10, "r": 10, "t": 40 if figure.layout.annotations else 12, "b": 10},
        hoverlabel={"font": {"family": FONT}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "x": 0, "itemwidth": 40}
        | ({"y": 1.0, "yanchor": "bottom"} if legend_y is None else {"y": legend_y, "yanchor": "top"}),
    )
    if figure.layout.legend.traceorder is None:
        figure.update_layout(legend_traceorder="normal")
    figure.update_xaxes(showgrid=False, linecolor=GRID, tickfont={"color": MUTED})
    figure.update_yaxes(gridcolor=GRID, zeroline=False, tickfont={"color": MUTED}, rangemode="tozero")
    title_font = {"size": 12, "color": MUTED}
    figure.update_yaxes(title_font=title_font)
    if y_title:
        figure.update_yaxes(title_text=y_title, selector=0)
    return figure


def _time_axis(figure: go.Figure, language: str, *, days: bool) -> go.Figure:
    """The figure with dates, or clock times with the date beneath, in the language's order."""
    day = "%-m月%-d日" if language == "zh" else "%-d %b"
    figure.update_xaxes(
        tickformat=day if days else f"%H:%M\n{day}", hoverformat=day if days else f"{day} %H:%M"
    )
    return figure
