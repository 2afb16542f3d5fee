"""A bank's own calendar: pay days on workdays, weeks of the month, school terms."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.models.calendar import day_types, extra_regressors

YEARS = pd.date_range("2023-01-01", "2024-12-31", freq="D", unit="us")


def marked(column: str, first: str, last: str, *pay_days: int, country: str = "CN") -> list[str]:
    """The days on which the column is 1, MM-DD."""
    days = pd.date_range(first, last, freq="D", unit="us")
    values = extra_regressors(days, country, pay_days=pay_days)[column]
    return [day.strftime("%m-%d") for day in values.index[values == 1]]


@pytest.mark.parametrize(
    ("pay_day", "first", "last", "paid"),
    [
        (15, "2024-03-01", "2024-03-31", ["03-15"]),  # a Friday
        (16, "2024-03-01", "2024-03-31", ["03-15"]),  # a Saturday
        (18, "2024-02-01", "2024-02-29", ["02-18"]),  # a Sunday that is worked (调休)
        (10, "2024-02-01", "2024-02-29", ["02-09"]),  # the first day of Spring Festival
        (17, "2024-02-01", "2024-02-29", ["02-09"]),  # its last day
        (5, "2024-09-25", "2024-10-31", ["09-30"]),  # in National Day's week: the month before
        (31, "2024-02-01", "2024-02-29", ["02-29"]),  # a leap year's month end, a Thursday
        (30, "2023-02-01", "2023-02-28", ["02-28"]),
        (29, "2023-02-01", "2023-02-28", ["02-28"]),
        (31, "2024-06-01", "2024-06-30", ["06-28"]),  # 30 June was a Sunday
    ],
)
def test_a_pay_day_is_the_last_workday_until_the_day_named(
    pay_day: int, first: str, last: str, paid: list[str]
) -> None:
    """Days off move it forward in time, make-up workdays do not, and a short month pays on its last day."""
    assert marked("pay_day", first, last, pay_day) == paid


def test_the_workdays_around_a_pay_day_are_marked() -> None:
    """Before and after are counted in workdays, over weekends and breaks, make-up days included."""
    february = ("2024-02-01", "2024-02-29")
    assert marked("pay_day_before", *february, 10) == ["02-08"]
    assert marked("pay_day_after", *february, 10) == ["02-18"]
    assert marked("pay_day_after", "2024-03-01", "2024-03-31", 15) == ["03-18"]


def test_a_pay_day_outside_the_days_is_seen_from_within_them() -> None:
    """The 1st of next month, a day off, is paid within this one; the day after may begin the range."""
    assert marked("pay_day", "2024-04-20", "2024-04-30", 1) == ["04-30"]
    assert marked("pay_day_after", "2024-03-18", "2024-03-20", 15) == ["03-18"]
    assert marked("pay_day_before", "2024-03-10", "2024-03-14", 15) == ["03-14"]


def test_several_pay_days_are_marked_alike() -> None:
    """A bank whose customers are paid on the 5th and the 20th has both."""
    assert marked("pay_day", "2024-03-01", "2024-03-31", 5, 20) == ["03-05", "03-20"]


def test_weeks_of_the_month_begin_with_its_first_day() -> None:
    """Days 1 to 7 are week 1, and a leap year's 29 February is alone in week 5."""
    days = pd.date_range("2024-02-01", "2024-02-29", freq="D", unit="us")
    table = extra_regressors(days, "CN")
    assert list(table) == [f"week_of_month_{n}" for n in range(1, 6)]
    assert (table.sum(axis=1) == 1).all()
    assert table["week_of_month_1"].to_numpy().nonzero()[0].tolist() == list(range(7))
    assert table.index[table["week_of_month_5"] == 1].tolist() == [pd.Timestamp("2024-02-29")]


def test_school_terms_include_both_ends() -> None:
    """Without terms there is no such column."""
    days = pd.date_range("2024-02-24", "2024-02-28", freq="D", unit="us")
    terms = [(date(2024, 2, 25), date(2024, 2, 26)), (date(2024, 2, 28), date(2024, 7, 5))]
    assert extra_regressors(days, "CN", school_terms=terms)["school_term"].tolist() == [0, 1, 1, 0, 1]
    assert "school_term" not in extra_regressors(days, "CN")


def test_what_cannot_be_is_told() -> None:
    """Pay days that no month has and terms that end before they begin name what was expected."""
    with pytest.raises(ValueError, match="pay day 32: expected a day of the month, 1 to 31"):
        extra_regressors(YEARS, "CN", pay_days=[15, 32])
    with pytest.raises(ValueError, match="ends before it begins"):
        extra_regressors(YEARS, "CN", school_terms=[(date(2024, 2, 2), date(2024, 2, 1))])


def test_no_days_give_no_rows() -> None:
    """The columns are there all the same."""
    table = extra_regressors(
        YEARS[:0], "CN", pay_days=[15], school_terms=[(date(2024, 2, 1), date(2024, 2, 2))]
    )
    assert table.shape == (0, 9)


@given(
    st.lists(st.integers(1, 31), min_size=1, max_size=3),
    st.sampled_from(["CN", "US", "IL", "none"]),
    st.integers(0, 600),
)
def test_pay_days_are_workdays_and_do_not_depend_on_the_range(
    pay_days: list[int], country: str, start: int
) -> None:
    """One for each month and day named (some may fall together), each on a workday, whatever is asked for."""
    whole = extra_regressors(YEARS, country, pay_days=pay_days)
    works = day_types(YEARS, country)["works"].to_numpy()
    for name in ("pay_day", "pay_day_before", "pay_day_after"):
        assert works[whole[name].to_numpy() == 1].all()
    assert whole["pay_day"].sum() <= 24 * len(set(pay_days)) + len(pay_days)
    assert whole["pay_day"].sum() >= 23
    part = slice(start, start + 40)
    pd.testing.assert_frame_equal(
        extra_regressors(YEARS[part], country, pay_days=pay_days), whole.iloc[part], check_freq=False
    )
    assert set(np.unique(whole.to_numpy())) <= {0.0, 1.0}
