"""Wrong records are marked and told; what the calendar, the season or the series explains is not."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.frames import Floats
from forecasting.models.gaps import GapKind, without_gaps

FIRST = "2013-01-07"
PLAIN_DAY = "2014-02-12"  # a Wednesday in the middle of a month, far from any holiday of GB


def branch(seed: int = 1, days: int = 1100, deviation: float = 0.1) -> pd.Series:
    """Some 100 customers a day, fewer at weekends."""
    rng = np.random.default_rng(seed)
    index = pd.date_range(FIRST, periods=days, freq="D", unit="us")
    usual = 100.0 * np.array([1.2, 1.0, 1.0, 1.0, 1.1, 0.6, 0.4])[np.asarray(index.weekday)]
    return pd.Series(np.round(usual * np.exp(deviation * rng.standard_normal(days))), index=index)


def marked(y: pd.Series, country: str = "GB") -> list[tuple[str, GapKind]]:
    cleaned, gaps = without_gaps(y, country)
    assert [gap.day for gap in gaps] == [day.date() for day in y.index[y.notna() & cleaned.isna()]]
    return [(gap.day.isoformat(), gap.kind) for gap in gaps]


def test_an_ordinary_branch_has_nothing_marked() -> None:
    """Three years without a wrong record stay as they are."""
    assert marked(branch()) == []


@pytest.mark.parametrize(
    ("units", "kind"), [(4.0, GapKind.PARTIAL_OUTAGE), (0.0, GapKind.PARTIAL_OUTAGE), (330.0, GapKind.SPIKE)]
)
def test_a_day_that_cannot_be_is_marked_and_told(units: float, kind: GapKind) -> None:
    """A day of almost nothing or of three times the usual becomes unknown, with the numbers that say why."""
    y = branch()
    y[PLAIN_DAY] = units
    cleaned, (gap,) = without_gaps(y, "GB")
    assert (gap.day, gap.kind, gap.units) == (date.fromisoformat(PLAIN_DAY), kind, units)
    assert gap.usual_units == pytest.approx(100.0, rel=0.15)
    assert "usual" in gap.why
    assert np.isnan(cleaned[PLAIN_DAY])


def test_a_run_of_zeros_is_an_outage() -> None:
    """Five days of nothing are marked as one outage, day by day."""
    y = branch()
    y["2014-02-10":"2014-02-14"] = 0.0  # type: ignore[misc]
    assert marked(y) == [(f"2014-02-{day}", GapKind.OUTAGE) for day in range(10, 15)]


def test_a_run_of_almost_nothing_is_a_partial_outage() -> None:
    """Five days at a twentieth of the usual are marked, though none is zero."""
    y = branch()
    y["2014-02-10":"2014-02-14"] = 5.0  # type: ignore[misc]
    assert marked(y) == [(f"2014-02-{day}", GapKind.PARTIAL_OUTAGE) for day in range(10, 15)]


@pytest.mark.parametrize("units", [4.0, 400.0])
def test_nothing_near_a_holiday_or_a_months_end_is_marked(units: float) -> None:
    """The day after New Year's Day and the last day of October may be anything."""
    y = branch()
    y["2014-01-02"] = units
    y["2014-10-31"] = units
    assert marked(y) == []


@pytest.mark.parametrize("units", [4.0, 400.0])
def test_what_comes_back_each_year_is_no_wrong_record(units: float) -> None:
    """A day that is odd in two years is a custom; odd in one year alone, the control, it is marked."""
    y = branch()
    y["2014-02-12"] = units
    assert len(marked(y)) == 1
    y["2015-02-11"] = units
    assert marked(y) == []


def test_a_storm_with_its_days_before_and_after_is_demand() -> None:
    """A low day whose neighbours are low too was lived, not lost."""
    y = branch()
    y["2014-02-11"] = 45.0
    y["2014-02-12"] = 8.0
    y["2014-02-13"] = 60.0
    assert marked(y) == []


def test_a_series_that_varies_has_odd_days_by_nature() -> None:
    """Where days of thrice the usual come by chance none is marked."""
    assert marked(branch(deviation=0.6)) == []


def test_a_series_with_many_odd_days_is_like_that() -> None:
    """A dozen of odd days, three weeks apart, are how the branch works, not a dozen of wrong records."""
    y = branch()
    y.iloc[200:560:29] = 400.0
    assert marked(y) == []


def test_small_counts_say_nothing() -> None:
    """Below five customers a day a day of none is chance."""
    y = (branch() / 50.0).round()
    y[PLAIN_DAY] = 0.0
    assert marked(y) == []


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.just(float("nan")), st.just(0.0), st.integers(0, 50).map(float), st.floats(0, 1e12)),
        min_size=1,
        max_size=120,
    ),
    st.integers(1, 3),
    st.sampled_from(["CN", "GB", "none"]),
)
def test_marking_only_ever_makes_days_unknown(values: list[float], times: int, country: str) -> None:
    """Whatever the series: days are left as they are or marked and told, never changed."""
    repeated: Floats = np.tile(np.array(values), times)
    y = pd.Series(repeated, index=pd.date_range(FIRST, periods=len(repeated), freq="D", unit="us"))
    cleaned, gaps = without_gaps(y, country)
    kept = cleaned.notna()
    assert (cleaned[kept] == y[kept]).all()
    assert len(gaps) == int(y.notna().sum() - kept.sum())
