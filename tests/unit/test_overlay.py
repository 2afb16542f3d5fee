"""The synthetic overlay is what data/README.md says; the committed files are what the generator writes."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo import overlay, sample
from demo.wishes import Wish, read_wishes, write_loans, write_wishes

GENERATED = (
    "branches.csv",
    "overlay_month_end.csv.gz",
    "overlay_pressure.csv.gz",
    "overlay_day_shape.csv",
    "overlay_channels.csv",
)
SURGE_DAY = date(2016, 7, 29)


def share_of(day: str) -> float:
    """The expected extra of one day within a span around it."""
    around = pd.date_range(pd.Timestamp(day) - pd.Timedelta(days=40), periods=90)
    return float(overlay.surge_share(around)[pd.Timestamp(day)])


def test_committed_files_are_what_the_seed_gives(tmp_path: Path) -> None:
    """Generating the overlay again gives the committed files byte for byte."""
    (tmp_path / sample.REAL_FILE).write_bytes((sample.DATA / sample.REAL_FILE).read_bytes())
    overlay.generate(tmp_path)
    for name in GENERATED:
        assert (tmp_path / name).read_bytes() == (sample.DATA / name).read_bytes(), name


def test_another_seed_gives_another_surge() -> None:
    """The surge depends on its seed (so the test above would notice a changed one)."""
    assert not overlay.month_end_surge(sample.real()).equals(overlay.month_end_surge(sample.real(), seed=1))


@pytest.mark.parametrize(
    ("day", "share"),
    [
        ("2016-07-27", 0.40),
        ("2016-07-28", 0.70),
        ("2016-07-29", 1.10),
        ("2016-07-30", 0.0),
        ("2016-08-01", 0.0),
        ("2016-06-30", 1.10 * 1.25),
        ("2016-05-31", 1.10),
        ("2016-05-30", 0.0),
    ],
)
def test_surge_falls_on_the_last_workdays(day: str, share: float) -> None:
    """The last three workdays of a month rise by 40, 70 and 110 %, quarter ends more, days off not at all."""
    assert share_of(day) == pytest.approx(share)


def test_surge_recurs_through_the_whole_history() -> None:
    """Every whole month of the sample has its surge, so that a model can learn it."""
    months = set(sample.surge()["ds"].dt.to_period("M"))
    assert months == set(pd.period_range("2012-08", "2016-07", freq="M"))


def test_overlay_never_lowers_a_real_count() -> None:
    """All surge rows are whole and above 0, and the real sample has no negative day."""
    surge = sample.surge()["y"]
    assert (surge > 0).all()
    assert (surge == surge.round()).all()
    assert (sample.real()["y"] >= 0).all()


def test_real_demand_is_entries_divided_by_fifty() -> None:
    """A unit stands for 50 entries, rounded: 3,019 entries at Addison on the first day are 60 units."""
    first = sample.real().query("unique_id == 'Addison'").iloc[0]
    assert (first["ds"], first["y"]) == (pd.Timestamp("2012-08-15"), 60)


def test_day_has_a_morning_and_a_lunch_peak() -> None:
    """The shares of the quarter-hours sum to 1 and peak around 10:00 and 12:30."""
    shape = overlay.day_shape().set_index("quarter")["share"]
    assert shape.sum() == pytest.approx(1)
    assert len(shape) == overlay.QUARTERS
    assert shape.idxmax() in ("09:45", "10:00")
    assert shape.loc["11:30":].idxmax() in ("12:15", "12:30")  # type: ignore[misc]


def test_files_of_the_overlay_are_small() -> None:
    """What is generated and committed stays below 200 KB."""
    assert sum((sample.DATA / name).stat().st_size for name in GENERATED) < 200_000


def test_wishes_are_the_real_day_and_its_surge() -> None:
    """Each branch wishes as often as its real and synthetic units say, and always the same."""
    wishes = sample.wishes_of(SURGE_DAY)
    of_day = sample.demand().query("ds == @pd.Timestamp(@SURGE_DAY)").set_index("unique_id")["y"]
    assert pd.Series([w.branch_id for w in wishes]).value_counts().to_dict() == of_day.astype(int).to_dict()
    assert wishes == sample.wishes_of(SURGE_DAY)
    assert len({w.loan_ref for w in wishes}) == len(wishes)
    assert [w.at_quarters for w in wishes] == sorted(w.at_quarters for w in wishes)


def test_wishes_beyond_the_sample_are_refused() -> None:
    """A day that the sample does not have names the sample's last one."""
    with pytest.raises(ValueError, match="ends on 2016-08-14"):
        sample.wishes_of(date(2016, 8, 15))


def test_guessed_quotas_are_too_low_for_the_surge() -> None:
    """Every branch's guessed day quota lies well below its demand on the month's last workday."""
    limits = {limit.quota_id: limit.limit_units for limit in sample.standing_limits(sample.FIRST_EVE)}
    of_day = sample.demand().query("ds == @pd.Timestamp(@SURGE_DAY)").set_index("unique_id")["y"]
    assert len(limits) == 3 * (20 + 4)
    for branch in sample.branches():
        assert limits[f"branch:{branch.branch_id}:*:day"] < 0.6 * of_day[branch.branch_id]


def test_region_quotas_bind_before_the_sum_of_their_branches() -> None:
    """A region may book less than its branches together."""
    limits = {limit.quota_id: limit.limit_units for limit in sample.standing_limits(sample.FIRST_EVE)}
    for region in {branch.region_id for branch in sample.branches()}:
        own = [b.branch_id for b in sample.branches() if b.region_id == region]
        assert limits[f"region:{region}:*:day"] < sum(limits[f"branch:{b}:*:day"] for b in own)


@given(st.sampled_from(sample.wishes_of(SURGE_DAY, only=["California"])), st.sampled_from("abc"))
def test_wishes_survive_their_file(wish: Wish, name: str) -> None:
    """Writing wishes and reading them gives the same wishes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.csv"
        write_wishes([wish], path)
        assert read_wishes(path) == [wish]


def test_each_wish_has_a_loan_of_its_own(tmp_path: Path) -> None:
    """The loans file holds one loan a wish, owed as the wish says."""
    wishes = sample.wishes_of(SURGE_DAY, only=["California"])
    write_loans(wishes, tmp_path / "loans.csv")
    loans = pd.read_csv(tmp_path / "loans.csv", dtype=str)
    assert list(loans["loan_ref"]) == [w.loan_ref for w in wishes]
    assert list(loans["payoff_cny"]) == [str(w.payoff_cny) for w in wishes]
    assert set(loans["status"]) == {"active"}
