"""What-if on a bank's database: limits, staff and waiting as they stand, and the command that asks."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from benchmarks import what_if as benchmark
from forecasting import what_if
from forecasting.__main__ import main
from forecasting.decisions.policy import Policy
from forecasting.decisions.situations import Changes, LimitChange, Shock
from forecasting.store import open_engine
from tests.support.bank import Bank
from tests.support.planning import MEAN_DAY, furnish
from tests.support.staffed import foresee, serve_customers, staff


@pytest.fixture
def region(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """Region north with b1 (60 a day) and b2 (20), south with b3 (20), and quotas of 20 a day each."""
    period = bank.today - timedelta(days=1)
    furnish(bank, period)
    foresee(bank, period, {"b1": 60.0, "b2": 20.0, "b3": 20.0})
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", bank.url)
    return bank


def asked(bank: Bank, changes: Changes, days: int = 7) -> dict[str, Any]:
    """The answer for region north for the days from today on."""
    return what_if.what_if_of((bank.today - timedelta(days=1)).isoformat(), "north", changes, days)


def test_the_regions_limits_stand_in_the_situation(region: Bank) -> None:
    """Day, week and month of branches and region, with what the days before used; staff by roster."""
    day = region.today - timedelta(days=1)
    serve_customers(region, "b1", day, served=3, absent=1)
    staff(region, "b2", region.today, ("09:00", "17:00", 1, "counter"))
    found, run_id, left_out = what_if.situation_of(open_engine(), "north", day, Policy(), 7)
    assert (found.branches, run_id, left_out) == (("b1", "b2"), f"demand-{day}", [])
    layers = {(layer.scope_kind, layer.period_kind): layer for layer in found.layers}
    assert (layers["branch", "day"].limits == MEAN_DAY).all()
    assert (layers["branch", "month"].limits == MEAN_DAY * 20).all()
    assert (layers["region", "month"].limits == MEAN_DAY * 40).all()
    assert np.isinf(layers["region", "day"].limits).all()
    used = 4.0 if day.month == region.today.month else 0.0
    assert layers["branch", "month"].used[:, 0].tolist() == [used, 0.0]
    assert layers["region", "month"].used[0, 0] == used
    assert found.staff_caps[:, 0].tolist() == [np.inf, 23.0]
    assert np.isinf(found.staff_caps[:, 1:]).all()
    assert found.elsewhere is not None
    assert found.elsewhere.shape == (7, 60)


def test_no_change_is_the_present_and_a_higher_quota_refuses_fewer(region: Bank) -> None:
    """Sixty a day against twenty places: b1 refuses; the changed quota is told, and both sides come back."""
    same = asked(region, Changes())
    assert same["present"] == same["changed"]
    assert same["present"]["refused_units"]["mean"] > 200
    told = asked(region, Changes(limits=(LimitChange("branch:b1", "day", 60),), shocks=(Shock(1.0),)))
    assert told["changed"]["refused_units"]["mean"] < told["present"]["refused_units"]["mean"]
    assert told["changes"]["limits"] == [{"scope": "branch:b1", "period_kind": "day", "units": 60}]
    json.dumps(told)


def test_a_branch_without_forecast_is_left_out_and_told(region: Bank) -> None:
    """A what-if of the others, which says whom it does not know."""
    region.add_branch("b9", "north")
    assert asked(region, Changes())["without_forecast"] == ["b9"]


def test_the_command_prints_both_sides(region: Bank, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, or JSON; every option reaches the changes."""
    period = (region.today - timedelta(days=1)).isoformat()
    command = ["what-if", "--region", "north", "--period", period, "--days", "5"]
    assert main([*command, "--demand", "1.2"]) == 0
    table = capsys.readouterr().out
    assert "refused_units" in table
    assert "as it stands" in table
    first, last = region.today, region.today + timedelta(days=1)
    options = [
        "--refused-cost", "4", "--idle-cost", "1", "--service-level", "0.8", "--quota-ratio", "1.1",
        "--limit", "region:north:month=900", "--staff", "b1=3", "--staff-ratio", "0.9",
        "--demand", f"1.5@branch:b1/{first}..{last}",
    ]  # fmt: skip
    assert main([*command, *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"] == {
        "refused_cost": 4.0,
        "idle_cost": 1.0,
        "service_level": 0.8,
        "quota_ratio": 1.1,
        "limits": [{"scope": "region:north", "period_kind": "month", "units": 900}],
        "staff_heads": {"b1": 3.0},
        "staff_ratio": 0.9,
        "shocks": [
            {"ratio": 1.5, "scope": "branch:b1", "first": first.isoformat(), "last": last.isoformat()}
        ],
    }


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--demand", "much"], "'much' is no number"),
        (["--demand", "1.2/tomorrow"], "days as FIRST..LAST"),
        (["--demand", "1.2@region:south"], "expected bank:bank, region:north or branch:ID"),
        (["--demand", "1.2/2020-01-01..2020-01-03"], "none of the days that are foreseen"),
        (["--limit", "b1=3"], "expected SCOPE:PERIOD=UNITS"),
        (["--limit", "branch:b1:year=3"], "expected one of branch:b1:day"),
        (["--staff", "b1"], "expected BRANCH=HEADS"),
        (["--staff", "b9=1"], "'b9' is none of region north"),
        (["--days", "0"], "expected 1 or more"),
    ],
)
def test_an_option_that_cannot_be_is_told_in_a_line(
    region: Bank, option: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, with what was expected."""
    period = (region.today - timedelta(days=1)).isoformat()
    assert main(["what-if", "--region", "north", "--period", period, *option]) == 2
    assert says in capsys.readouterr().err


def test_without_a_forecast_there_is_no_answer(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1: nothing was trained, or the region has no branches."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    period = (sqlite_bank.today - timedelta(days=1)).isoformat()
    for name in ("north", "nowhere"):
        assert main(["what-if", "--region", name, "--period", period]) == 1


def test_the_benchmark_writes_its_figure(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small region here; the setting says how large the measured one is."""
    monkeypatch.setattr(benchmark, "BRANCHES", 4)
    monkeypatch.setattr(benchmark, "PATHS", 10)
    assert benchmark.main(["--quick", "--json", str(tmp_path / "figures.json")]) == 0
    told = json.loads((tmp_path / "figures.json").read_text())
    assert told["figures"]["what_if_seconds"] > 0
    assert (told["setting"]["branches"], told["setting"]["days"]) == (4, 28)
