"""What all pages share: the view that the filters choose, the sidebar, and remedies for what is missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import pandas as pd
import streamlit as st
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from booking_core.database import database_url
from dashboard import data
from dashboard.figures import described
from dashboard.texts import LANGUAGES, full_day_name, text

REFRESH_SECONDS: Final = 5
PERIODS: Final = (1, 7, 28, 90)
DEFAULT_PERIOD: Final = 7
WHOLE_BANK: Final = "all"


@dataclass(frozen=True, slots=True)
class View:
    """What the user looks at, and when."""

    url: str
    language: str
    region: str | None
    """Region claim of this dashboard, else the region chosen; None = whole bank."""
    claimed: bool
    """Whether the dashboard is bound to its region."""
    days: int
    zone: str
    business_now: datetime
    """Aware UTC."""
    api_url: str
    operator_token: str | None

    @property
    def local_now(self) -> datetime:
        """Business time in the bank's zone."""
        return pd.Timestamp(self.business_now).tz_convert(self.zone).to_pydatetime()

    @property
    def today(self) -> date:
        """The bank-local business day."""
        return self.local_now.date()

    @property
    def since(self) -> datetime:
        """Start of the period chosen: midnight, so many days before the end of today."""
        return self.midnight(1 - self.days)

    @property
    def until(self) -> datetime:
        """End of today: nothing is attempted later, and the span stays the same all day."""
        return self.midnight(1)

    def midnight(self, days: int = 0) -> datetime:
        """The start (UTC) of the bank-local day so many days from today."""
        day = self.today + timedelta(days=days)
        return (
            pd.Timestamp(datetime.combine(day, time()))
            .tz_localize(self.zone)
            .tz_convert("UTC")
            .to_pydatetime()
        )

    def at(self, wall_now: datetime) -> View:
        """The same view at another time: what a refresh looks at."""
        return replace(self, business_now=data.settings(self.url).business_now(wall_now))

    def say(self, key: str, **values: object) -> str:
        """The text in the user's language."""
        return text(key, self.language, **values)


def choose_language() -> str:
    """The language chosen in the sidebar, kept in the URL."""
    with st.sidebar:
        return str(
            remembered(
                "lang",
                tuple(LANGUAGES),
                "en",
                lambda key, options: st.segmented_control(
                    "Language · 语言", options, format_func=LANGUAGES.__getitem__, key=key, required=True
                ),
            )
        )


def choose_view(language: str, wall_now: datetime) -> View:
    """The view that the filters above the page choose, kept in the URL."""
    url = database_url()
    settings = data.settings(url)
    claim = os.environ.get("SLOTCAST_REGION") or None
    known = data.regions(url, claim).set_index("region_id")
    names = known["name_zh" if language == "zh" else "name_en"].to_dict()
    options = (claim,) if claim else (WHOLE_BANK, *names)
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters"):
        region = remembered(
            "region",
            options,
            options[0],
            lambda key, choices: st.selectbox(
                text("region", language),
                choices,
                format_func=lambda r: text("whole_bank", language) if r == WHOLE_BANK else names.get(r, r),
                key=key,
                disabled=claim is not None,
                width=240,
            ),
        )
        days = remembered(
            "days",
            PERIODS,
            DEFAULT_PERIOD,
            lambda key, choices: st.segmented_control(
                text("period", language),
                choices,
                format_func=lambda n: (
                    text("today", language) if n == 1 else text("last_days", language, days=n)
                ),
                key=key,
                required=True,
            ),
        )
    return View(
        url=url,
        language=language,
        region=None if region == WHOLE_BANK else str(region),
        claimed=claim is not None,
        days=int(days),
        zone=settings.zone,
        business_now=settings.business_now(wall_now),
        api_url=os.environ.get("SLOTCAST_API_URL", "http://127.0.0.1:8080").rstrip("/"),
        operator_token=os.environ.get("SLOTCAST_OPERATOR_TOKEN") or None,
    )


def remembered(
    key: str, options: Sequence[Any], default: Any, widget: Callable[[str, Sequence[Any]], Any]
) -> Any:
    """What the widget says, starting from the URL and written back to it.

    Streamlit's own `bind` writes the label shown, which changes with the language; this writes the value,
    so that a link opens the same view in either.
    """
    kept, asked = f"kept_{key}", st.query_params.get(key)
    current = st.session_state.get(key)
    if current not in options:  # first run, or dropped by a page switch
        from_url = next((option for option in options if str(option) == asked), default)
        current = st.session_state.get(kept, from_url)
    if current not in options:
        current = default
    st.session_state[key] = current  # said anew on every run, or the widget of another page starts empty
    chosen = widget(key, options)
    chosen = current if chosen is None else chosen
    st.session_state[kept] = chosen
    if chosen == default:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != str(chosen):
        st.query_params[key] = str(chosen)
    return chosen


def sidebar(language: str) -> None:
    """Draw clock, alerts and notices; refreshes itself."""
    with st.sidebar:
        _notices(language)


@st.fragment(run_every=REFRESH_SECONDS)
def _notices(language: str) -> None:
    url = database_url()
    try:
        settings = data.settings(url)
        synthetic = data.has_synthetic(url)
    except SQLAlchemyError:
        return
    now = settings.business_now(datetime.now(UTC)).astimezone(settings.tzinfo())
    st.metric(text("business_time", language), f"{now:%H:%M}", border=True)
    note = f" · {text('demo_clock', language)}" if settings.business_offset_seconds else ""
    st.caption(f"{full_day_name(now.date(), language)} · {settings.zone}{note}")
    said = data.alerts(os.environ.get("SLOTCAST_ALERTMANAGER_URL"))
    if not said.reachable:
        label, help_text = text("alerts_off", language), text("alerts_off_help", language)
        st.badge(label, icon=":material/notifications_off:", color="gray", help=help_text)
    elif said.firing:
        label = text("alerts_firing", language, names=", ".join(said.firing))
        st.badge(label, icon=":material/notifications_active:", color="red")
    else:
        st.badge(text("alerts_quiet", language), icon=":material/notifications:", color="green")
    if settings.paused:
        help_text = text("paused_help", language)
        st.badge(text("paused", language), icon=":material/pause_circle:", color="orange", help=help_text)
    if synthetic:
        help_text = text("synthetic_help", language)
        st.badge(text("synthetic_badge", language), icon=":material/science:", color="violet", help=help_text)


@contextmanager
def database_remedy(language: str) -> Iterator[None]:
    """Show, instead of an exception, what to do where the database cannot be read."""
    try:
        yield
    except (SQLAlchemyError, ArgumentError, ValueError) as error:
        if isinstance(error, ValueError) and "SLOTCAST_DATABASE_URL" not in str(error):
            raise
        empty_state(language, "no_database", icon=":material/database_off:", url=shown_url())
        st.caption(str(getattr(error, "orig", None) or error).splitlines()[0])


def shown_url() -> str:
    """The database's URL without its password."""
    try:
        return make_url(database_url()).render_as_string(hide_password=True)
    except ArgumentError:
        return "?"


def empty_state(language: str, key: str, *, icon: str = ":material/inbox:", **values: object) -> None:
    """Draw a friendly box: what is missing, and what to do (texts KEY and KEY_help)."""
    with st.container(border=True):
        st.markdown(f"### {icon} {text(key, language)}")
        st.markdown(text(f"{key}_help", language, **values))


def chart(view: View, title: str, takeaway: str, figure: Any, key: str) -> None:
    """Draw a chart under its title and its one-sentence takeaway."""
    st.markdown(f"#### {view.say(title)}")
    st.markdown(takeaway)
    config = {
        "displayModeBar": False,
        "responsive": True,
        "locale": "zh-CN" if view.language == "zh" else "en",
    }
    st.plotly_chart(figure, key=key, theme=None, config=config, alt=f"{view.say(title)}. {described(figure)}")


def table(
    view: View, rows: pd.DataFrame, key: str, columns: dict[str, str], *, expanded: bool = False
) -> None:
    """Draw an expander with the numbers behind a chart; columns: column → text key."""
    with st.expander(view.say("table"), icon=":material/table_rows:", expanded=expanded):
        shown = rows[list(columns)].rename(columns={name: view.say(label) for name, label in columns.items()})
        widths = {view.say("condition"): st.column_config.TextColumn(width="large")}
        st.dataframe(shown, hide_index=True, key=key, placeholder="–", column_config=widths)
