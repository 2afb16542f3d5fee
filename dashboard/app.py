"""Slotcast's dashboard: run with `python -m streamlit run dashboard/app.py` from the project's folder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from booking_core.database import database_url
from dashboard import data, frame
from dashboard.texts import text
from dashboard.views import failures, plans, pressure

LOGO: Final = Path(__file__).with_name("logo.svg")
STYLE: Final = ".stMainBlockContainer {padding-top: 3rem; padding-bottom: 3rem}"


def page(draw: Callable[[frame.View], None], title: str, language: str) -> None:
    """Draw one page, or the remedy where the database is missing or empty."""
    st.title(text(title, language), anchor=False)
    with frame.database_remedy(language):
        if not data.is_migrated(database_url()):
            frame.empty_state(language, "not_migrated", icon=":material/database:", url=frame.shown_url())
            return
        draw(frame.choose_view(language, datetime.now(UTC)))


def main() -> None:
    """Draw the dashboard: navigation, sidebar and the page chosen."""
    st.set_page_config(page_title="Slotcast", page_icon=":material/event_available:", layout="wide")
    st.logo(str(LOGO), size="large")
    st.html(f"<style>{STYLE}</style>")
    language = frame.choose_language()
    chosen = st.navigation(
        [
            st.Page(
                _named(partial(page, draw, title, language), title),
                title=text(title, language),
                icon=icon,
                url_path=title,
                default=title == "failures",
            )
            for draw, title, icon in (
                (failures.draw, "failures", ":material/event_busy:"),
                (pressure.draw, "pressure", ":material/monitoring:"),
                (plans.draw, "plans", ":material/fact_check:"),
            )
        ]
    )
    try:
        ready = data.is_migrated(database_url())
    except (SQLAlchemyError, ValueError):
        ready = False  # the page says what to do
    if ready:
        frame.sidebar(language)
    chosen.run()


def _named(function: Callable[[], None], name: str) -> Callable[[], None]:
    """The function under a name of its own, by which Streamlit tells pages apart."""
    function.__name__ = name
    return function


main()
