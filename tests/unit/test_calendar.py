"""Days are typed as the country lives them."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from forecasting.models.calendar import UnknownCountryError, check_country, day_types, regressors

DATA = Path(os.environ.get("SLOTCAST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def days(first: str, last: str) -> pd.DatetimeIndex:
    return pd.date_range(first, last, freq="D", unit="us")


@pytest.mark.parametrize(
    ("country", "day", "kind"),
    [
        ("CN", "2024-02-12", "holiday"),  # Spring Festival, a Monday
        ("CN", "2024-02-18", "make_up"),  # a Sunday that makes up for it
        ("CN", "2024-10-07", "holiday"),  # the last day of National Day's week
        ("CN", "2024-10-12", "make_up"),
        ("CN", "2024-10-13", "weekend"),
        ("US", "2016-07-04", "holiday"),
        ("US", "2016-07-29", "work"),
        ("DE", "2024-10-03", "holiday"),
        ("none", "2016-07-04", "work"),
        ("IL", "2024-01-05", "weekend"),  # a Friday
        ("IL", "2024-01-07", "work"),  # a Sunday
    ],
)
def test_a_day_is_what_its_country_makes_of_it(country: str, day: str, kind: str) -> None:
    """Holidays, make-up workdays and weekends follow the country's own calendar."""
    assert day_types(days(day, day), country)["kind"].iloc[0] == kind


def test_month_and_quarter_ends_are_counted_in_workdays() -> None:
    """The last workday of July 2016 was Friday 29, of September 2016 Friday 30, in the US."""
    july = day_types(days("2016-07-01", "2016-09-30"), "US")
    assert july.loc["2016-07-29", "month_end"] == 1
    assert july.loc["2016-07-28", "month_end"] == 2
    assert july.loc["2016-07-30", "month_end"] == 0
    assert july.loc["2016-07-29", "quarter_end"] == 45
    assert july.loc["2016-09-30", ["month_end", "quarter_end"]].tolist() == [1, 1]
    assert july.loc["2016-08-01", "month_start"] == 1
    assert july.loc["2016-07-05", "month_start"] == 2  # the 4th was a holiday, 2 and 3 a weekend


def test_a_make_up_sunday_can_end_the_month() -> None:
    """Sunday 2024-09-29 was worked in China, and 30 September was the month's last workday."""
    september = day_types(days("2024-09-01", "2024-09-30"), "CN")
    assert september.loc["2024-09-29", ["kind", "month_end"]].tolist() == ["make_up", 2]
    assert september.loc["2024-09-30", ["month_end", "until_break"]].tolist() == [1, 7]


def test_breaks_are_seen_from_both_sides() -> None:
    """The weekend of Memorial Day 2016 is a break of three days between a Friday and a Tuesday."""
    table = day_types(days("2016-05-26", "2016-06-01"), "US")
    assert table.loc["2016-05-27", "until_break"] == 3
    assert table.loc["2016-05-28", "break_days"] == 3
    assert table.loc["2016-05-31", "since_break"] == 3
    assert table.loc["2016-06-01", ["break_days", "since_break", "until_break"]].tolist() == [0, 0, 0]


@pytest.mark.parametrize("first", ["2015-02-19", "2016-02-08", "2024-02-10", "2026-02-17"])
def test_spring_festival_is_day_zero(first: str) -> None:
    """The offset is 0 on the first day of Spring Festival, whichever date that is."""
    table = day_types(days(f"{first[:4]}-01-10", f"{first[:4]}-03-20"), "CN")
    assert table.index[table["spring_offset"] == 0].tolist() == [pd.Timestamp(first)]
    assert table["spring_offset"].max() == 999


def test_regressors_hold_a_make_up_day_as_an_average_workday() -> None:
    """A make-up Sunday has no Sunday in it: a fifth of each workday, and its own column."""
    row = regressors(days("2024-02-18", "2024-02-18"), "CN").iloc[0]
    assert row["weekday_6"] == 0
    assert row[["weekday_1", "weekday_2", "weekday_3", "weekday_4"]].tolist() == [0.2] * 4
    assert row["make_up"] == 1


def test_regressors_name_holidays_the_same_every_year() -> None:
    """An observed holiday bears the name of the day it stands for, and days off in lieu have no name."""
    names = [name for name in regressors(days("2015-01-01", "2017-12-31"), "US") if name.startswith("named_")]
    assert "named_Christmas Day" in names
    assert not any("observed" in name for name in names)
    assert not any("Day off" in name for name in regressors(days("2023-01-01", "2024-12-31"), "CN"))


def test_an_unknown_country_is_told_with_what_was_expected() -> None:
    """A code without a calendar is an error that names codes that have one."""
    assert check_country("cn") == "CN"
    assert check_country("None") == "none"
    with pytest.raises(UnknownCountryError, match="expected an ISO 3166 code"):
        check_country("XX")


def test_the_state_councils_calendar_agrees() -> None:
    """Every day off and every make-up workday of 2010 to 2026 published by the State Council is typed so."""
    published = DATA / "holiday_cn_2007_2026.csv"
    if not published.is_file():
        pytest.skip(f"{published} is not here")
    table = pd.read_csv(published, parse_dates=["ds"]).set_index("ds").sort_index()
    table = table[(table.index >= "2010-01-01") & (table.index <= "2026-12-31")]
    works = day_types(days("2010-01-01", "2026-12-31"), "CN")["works"]
    differing = works[table.index][works[table.index].to_numpy() == (table["is_off_day"] == 1).to_numpy()]
    assert differing.empty, differing
