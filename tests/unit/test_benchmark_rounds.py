"""Rounds, ratios and reports of the benchmarks."""

from __future__ import annotations

import json
import math

from benchmarks.support.report import as_json, number
from benchmarks.support.rounds import figure, interleave, ratio


def test_rounds_alternate_and_every_other_goes_backwards() -> None:
    """A machine that slows down by and by must not favour whoever comes first."""
    order: list[str] = []

    def noted(name: str) -> str:
        order.append(name)
        return name

    seen = interleave({"a": lambda: noted("a"), "b": lambda: noted("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert seen == {"a": ["a"] * 3, "b": ["b"] * 3}


def test_a_ratio_is_taken_within_each_round() -> None:
    """The median of ratios, not the ratio of medians; its range is that of the rounds."""
    found = ratio("r", [10, 40, 30], [10, 10, 10], at_least=2.5)
    assert (found.value, found.low, found.high) == (3, 1, 4)
    assert found.met
    assert found.target == "≥ 2.5"


def test_a_target_can_be_missed_on_either_side() -> None:
    """At least and at most; a figure without a target is neither met nor missed."""
    assert figure("f", [0.9], at_least=1).met is False
    assert figure("f", [1.3], at_most=1.2).met is False
    assert figure("f", [0.0], at_most=0).met is True
    assert figure("f", [1.0]).met is None


def test_a_round_without_a_value_spoils_the_figure_visibly() -> None:
    """Nothing accepted below the line: no number is made up, and JSON says null."""
    found = ratio("r", [1, 2, 3], [1, 0, 1], at_least=1)
    assert math.isnan(found.value)
    assert not found.met
    assert as_json([found], {})["figures"] == {"r": None}


def test_the_file_holds_figures_and_setting() -> None:
    """Names map to numbers; ranges and targets stand in the setting beside what the caller tells."""
    told = as_json([figure("f", [1, 2, 4], at_most=3), figure("g", [7])], {"cores": 2})
    assert json.loads(json.dumps(told)) == {
        "figures": {"f": 2, "g": 7},
        "setting": {"cores": 2, "ranges": {"f": [1, 4], "g": [7, 7]}, "targets": {"f": "≤ 3"}},
    }


def test_numbers_are_told_briefly() -> None:
    """Three digits or so."""
    assert [number(v) for v in (0, 0.95, 12.34, 1234.5, 300_000)] == [
        "0",
        "0.950",
        "12.3",
        "1,234.5",
        "300,000",
    ]
