"""Why a day's forecast is what it is: parts that multiply to the forecast, and a table that says so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecasting.models import explain
from forecasting.models.explain import DayEffects, day_effects, explanation, part_of, short_table
from forecasting.models.train import train_panel

NAMES = ("weekday_1", "holiday", "before_break", "days_1_5", "yearly_1_sin", "event_campaign")


def history(name: str, days: int, *, scale: float = 40.0, seed: int = 1) -> dict[str, pd.DataFrame]:
    index = pd.date_range("2023-01-02", periods=days, freq="D")
    level = scale * np.where(index.day_of_week == 6, 0.0, np.where(index.day_of_week == 5, 0.5, 1.0))
    y = np.random.default_rng(seed).poisson(level)
    return {name: pd.DataFrame({"ds": index, "y": y.astype(float)})}


def test_every_feature_of_the_calendar_has_its_part() -> None:
    """Names as the calendar and daytype give them; what neither has is an announced event."""
    found = {name: part_of(name) for name in (*NAMES, "make_up", "named_Diwali", "spring_0_6", "bridge")}
    assert found == {
        "weekday_1": "weekday", "holiday": "holiday", "before_break": "break", "days_1_5": "month",
        "yearly_1_sin": "season", "event_campaign": "event", "make_up": "holiday", "named_Diwali": "holiday",
        "spring_0_6": "holiday", "bridge": "break",
    }  # fmt: skip
    assert part_of("event_campaign_before") == "event"
    assert part_of("quarter_end_1") == part_of("month_start_3") == "month"
    assert part_of("weekend_in_break") == part_of("after_long_break") == "break"


def test_an_effect_says_how_many_times_the_usual_day() -> None:
    """One part alone: its effect is (z ÷ (z − part))²; parts that do nothing have effect 1."""
    effects = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 5.0])
    coming = np.array([[0, 0, 0, 0, 0, 1.0], [0, 0, 0, 0, 0, 0.0]])
    made = day_effects(10.0, effects, coming, np.zeros(6), NAMES)
    assert made.base == pytest.approx(100.0)
    assert made.effects["event"] == pytest.approx([2.25, 1.0])
    assert made.effects["weekday"] == pytest.approx([1.0, 1.0])


def test_the_usual_day_is_counted_from_where_features_usually_are() -> None:
    """Two of seven days with the feature: the base holds two sevenths of it."""
    effects = np.array([7.0, 0, 0, 0, 0, 0])
    usual = np.array([2 / 7, 0, 0, 0, 0, 0])
    made = day_effects(3.0, effects, np.array([[1.0, 0, 0, 0, 0, 0]]), usual, NAMES)
    assert made.base == pytest.approx(25.0)
    assert made.product == pytest.approx([100.0])


def test_an_ordinary_day_owes_nothing_to_holidays() -> None:
    """Holidays, breaks and events count from a day without them: on such a day their effect is exactly 1."""
    effects = np.array([1.0, -4.0, 2.0, 1.0, 1.0, 3.0])
    made = day_effects(10.0, effects, np.array([[1.0, 0, 0, 1, 0, 0]]), np.full(6, 0.1), NAMES)
    for part in ("holiday", "break", "event"):
        assert made.effects[part] == pytest.approx([1.0])
    assert made.effects["weekday"][0] > 1.0


def test_parts_that_cancel_out_keep_their_own_effects() -> None:
    """Up and down by the same: the product is 1, each effect is not."""
    effects = np.array([2.0, -2.0, 0, 0, 0, 0])
    made = day_effects(10.0, effects, np.array([[1.0, 1, 0, 0, 0, 0]]), np.zeros(6), NAMES)
    assert made.product == pytest.approx([100.0])
    assert made.effects["weekday"][0] > 1.3
    assert made.effects["holiday"][0] < 0.8


def test_the_table_has_the_parts_in_the_order_they_are_made() -> None:
    """A closed day is 0 through `closed`; the parts multiply to daytype's median."""
    days = pd.date_range("2024-01-01", periods=2)
    table = explanation(
        days,
        forecast=np.array([11.0, 0.0]),
        closed=np.array([False, True]),
        models={"daytype": np.array([12.0, 0.0]), "weeks8": np.array([10.0, 0.0])},
        weights={"daytype": np.array([0.5, 0.6]), "weeks8": np.array([0.5, 0.4])},
        wql={"daytype": 0.1, "weeks8": 0.2},
        spread=np.array([1.1, 1.2]),
        champion="combination",
        champion_wql=0.09,
        day_type=DayEffects(8.0, {"weekday": np.array([1.25, 1.0])}),
        day_type_median=np.array([12.0, 0.0]),
    )
    assert list(table.columns) == list(explain.COLUMNS)
    first = table[table["ds"] == days[0]].set_index("part")
    assert list(first.index) == [
        "usual_day", "weekday", "closed", "past_errors", "daytype", "weeks8", "spread", "forecast",
    ]  # fmt: skip
    assert first["units"]["usual_day"] * first["effect"].drop("spread").prod() == pytest.approx(12.0)
    second = table[table["ds"] == days[1]].set_index("part")
    assert second["effect"]["closed"] == 0.0
    assert second["effect"].drop("spread").prod() == 0.0
    assert second["units"]["forecast"] == 0.0
    assert (table["champion"] == "combination").all()
    text = short_table(table)
    assert "daytype·0.55" in text
    assert "closed" in text
    assert "Mon 2024-01-01" in text


def test_a_trained_series_is_explained_to_its_median() -> None:
    """Base × effects is daytype's median each day; Sundays are closed; the models' weights sum to 1."""
    made = train_panel(history("a", 300), 14, country="none", seed=1, explain=True)["a"]
    table = made.explanation
    assert table is not None
    for day, rows in table.groupby("ds"):
        parts = rows.set_index("part")
        factors = parts["effect"].drop("spread").dropna()
        told = parts["units"]["usual_day"] * factors.prod()
        assert told == pytest.approx(parts["units"]["daytype"], abs=1e-6)
        assert parts["weight"].sum() == pytest.approx(1.0)
        assert (pd.Timestamp(str(day)).day_of_week == 6) == (parts["effect"]["closed"] == 0.0)
    forecast = table.loc[table["part"] == "forecast", "units"].to_numpy()
    assert forecast == pytest.approx(made.table([0.5])["q0.5"].to_numpy())


def test_nothing_is_explained_unless_asked() -> None:
    """The refresh of thousands of branches does not build tables that nobody reads."""
    assert train_panel(history("a", 60), 7, country="none", seed=1)["a"].explanation is None


def test_a_series_without_a_fit_tells_what_stood_in() -> None:
    """Ten days: no parts of daytype, but who forecast and what."""
    made = train_panel(history("a", 10), 5, country="none", seed=1, explain=True)["a"]
    assert made.explanation is not None
    assert "usual_day" not in set(made.explanation["part"])
    last = made.explanation[made.explanation["part"] == "forecast"]
    assert (last["champion"] == "seasonal_naive").all()
    assert last["units"].notna().all()
