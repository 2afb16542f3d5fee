"""Figures and sentences say what their frames hold, in both languages, and never by colour alone."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from string import Formatter
from typing import Any

import pandas as pd
import pytest

from booking_core.scaling import ScalingReason
from dashboard import figures, reasons, takeaways, texts
from metrics.contract import CAUSE_OF, Cause, Reason

ZONE = "Asia/Shanghai"
TODAY = date(2026, 3, 29)
NOW = datetime(2026, 3, 29, 4, tzinfo=UTC)
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def course(*rows: tuple[str, str, int]) -> pd.DataFrame:
    """What failures.over_time gives, from (time, reason, attempts); reason "" = held."""
    return pd.DataFrame(
        {
            "at": pd.to_datetime([at for at, _, _ in rows], utc=True),
            "outcome": ["refused" if reason else "held" for _, reason, _ in rows],
            "reason": [reason or None for _, reason, _ in rows],
            "cause": [CAUSE_OF[Reason(reason)] if reason else None for _, reason, _ in rows],
            "attempts": [attempts for _, _, attempts in rows],
        }
    )


def day_frame(**columns: list[Any]) -> pd.DataFrame:
    """What figures.demand_by_day takes: 28 to 31 March, nothing known but the columns given."""
    frame = pd.DataFrame({"day": pd.date_range("2026-03-28", periods=4).astype("datetime64[us]")})
    for name in ("actual", "synthetic", "q10", "q50", "q90", "limit_units", "capacity_units", "used_units"):
        frame[name] = pd.Series(columns.get(name, [None] * 4), dtype="float64")
    return frame


def expected_peak() -> pd.DataFrame:
    """Demand that exceeds its quota most on 31 March."""
    return day_frame(
        actual=[900, 950, 40, None],
        synthetic=[0, 300, 0, None],
        q10=[None, None, 800, 3900],
        q50=[None, None, 1000, 4180],
        q90=[None, None, 1200, 4500],
        limit_units=[1000, 1000, 900, 2100],
    )


def branch_rows() -> pd.DataFrame:
    """What failures.by_branch gives, for three branches."""
    return pd.DataFrame(
        {
            "branch_id": ["b1", "b2", "b3"],
            "name_en": ["Clark", "Monroe", "Polk"],
            "name_zh": ["克拉克", "门罗", "波尔克"],
            "attempts": [100, 50, 10],
            "held": [40, 40, 10],
            "refused": [60, 10, 0],
        }
    )


def quota_items() -> pd.DataFrame:
    """Items of a quota plan: two changed (one clipped), one kept, and a week limit."""
    return pd.DataFrame(
        {
            "period_kind": ["day", "day", "day", "week"],
            "period_start": pd.to_datetime(["2026-03-30", "2026-03-31", "2026-03-31", "2026-03-30"]),
            "old_limit": pd.array([10, 10, 20, None], dtype="Int64"),
            "proposed": [12.4, 55.0, 21.0, 300.0],
            "new_limit": pd.array([13, 30, None, 300], dtype="Int64"),
            "guardrail": pd.Series([None, "max_step_up", None, None], dtype="str"),
        }
    )


def names(figure: Any) -> list[str]:
    """The names of the traces."""
    return [trace.name for trace in figure.data if trace.name]


def test_every_reason_looks_different_without_its_colour() -> None:
    """Reasons of one cause differ by pattern; reasons of two causes differ by hue; no style repeats."""
    styles = [figures.reason_style(reason) for reason in Reason]
    assert len(set(styles)) == len(styles)
    for cause in Cause:
        patterns = [figures.reason_style(reason)[1] for reason in Reason if CAUSE_OF[reason] is cause]
        assert len(set(patterns)) == len(patterns)


def test_a_reason_of_a_newer_core_is_drawn_all_the_same() -> None:
    """A reason that this version does not know keeps its raw name and a neutral style."""
    assert figures.reason_style("moon_phase") == (figures.GREY, "x")
    assert reasons.reason_name("moon_phase", "zh") == "moon phase"
    rows = course(("2026-03-29T01:00Z", "slot_full", 3)).assign(reason="moon_phase")
    assert names(figures.refusals_over_time(rows, ZONE, "en", 900)) == ["moon phase"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_refusals_are_stacked_by_reason_and_grouped_by_cause(language: str) -> None:
    """Each reason is one trace in the contract's order, under its cause; held attempts are not drawn."""
    rows = course(
        ("2026-03-29T01:00Z", "timeout", 1),
        ("2026-03-29T01:00Z", "quota_day_full", 5),
        ("2026-03-29T02:00Z", "quota_day_full", 7),
        ("2026-03-29T02:00Z", "", 90),
    )
    figure = figures.refusals_over_time(rows, ZONE, language, 3600)
    assert names(figure) == [reasons.reason_name(r, language) for r in ("quota_day_full", "timeout")]
    assert [trace.legendgroup for trace in figure.data] == ["capacity", "system"]
    assert list(figure.data[0].y) == [5, 7]
    assert pd.Timestamp(figure.data[0].x[0]) == pd.Timestamp("2026-03-29 09:30")  # mid of 09:00 in Shanghai


def test_the_takeaway_names_the_leading_reason_and_the_worst_time() -> None:
    """Share, reason, cause, time in the bank's zone and count are all in the sentence."""
    rows = course(("2026-03-29T01:15Z", "quota_day_full", 6), ("2026-03-29T02:00Z", "slot_full", 2))
    ranked = rows.groupby(["reason", "cause"], as_index=False)["attempts"].sum()
    english = takeaways.refusals_over_time(ranked, rows, ZONE, "en")
    assert english == "75 % of 8 refusals are “Day quota full” (capacity); the most on Sun 29 Mar, 09:15 (6)."
    chinese = takeaways.refusals_over_time(ranked, rows, ZONE, "zh")
    assert chinese == "8 次被拒中 75 % 源于“日配额已满”（容量）；3月29日 周日 09:15 最多，达 6 次。"


def test_branches_without_refusals_are_not_ranked() -> None:
    """The chart holds those that refuse, the largest on top; the sentence counts all."""
    figure = figures.refusals_by_branch(branch_rows(), "en")
    assert list(figure.data[0].y) == ["Monroe", "Clark"]
    sentence = takeaways.refusals_by_branch(branch_rows(), "en")
    assert sentence.startswith("Clark refuses most: 60 of 100 attempts (60 %); 1 of 3 branches")


def test_demand_shows_its_band_quota_month_end_and_synthetic_part() -> None:
    """The overlay is a trace of its own, named synthetic, and adds up with the rest to what was recorded."""
    figure = figures.demand_by_day(expected_peak(), TODAY, "en")
    by_name = {trace.name: trace for trace in figure.data}
    assert {"Recorded demand", "of it synthetic", "Wished so far", "80 % band", "Forecast, median"} <= set(
        by_name
    )
    assert by_name["Recorded demand"].y[1] + by_name["of it synthetic"].y[1] == 950
    assert by_name["of it synthetic"].marker.pattern.shape == "/"
    assert "month end" in [annotation.text for annotation in figure.layout.annotations]


def test_no_synthetic_trace_where_nothing_is_synthetic() -> None:
    """A production bank shows no overlay."""
    frame = expected_peak().assign(synthetic=0.0)
    assert "of it synthetic" not in names(figures.demand_by_day(frame, TODAY, "en"))


def test_the_next_peak_is_named_in_words() -> None:
    """The day on which demand most exceeds its quota, with wishes, band, quota and the gap."""
    english = takeaways.next_peak(expected_peak(), TODAY, "en")
    assert english == (
        "Tue 31 Mar: 4,180 wishes expected (80 % band 3,900 to 4,500) against quota 2,100, 2,080 short."
    )
    chinese = takeaways.next_peak(expected_peak(), TODAY, "zh")
    assert chinese == "3月31日 周二：预计 4,180 个需求（80% 区间 3,900–4,500），配额 2,100，预计缺口 2,080。"


def test_the_next_peak_lies_ahead_and_needs_a_forecast() -> None:
    """Today's and yesterday's shortage are past; without quota the highest demand is named."""
    assert takeaways.next_peak(day_frame(actual=[1, 2, 3, 4]), TODAY, "en") == "No forecast is ready."
    unlimited = expected_peak().assign(limit_units=float("nan"))
    assert "no quota set" in takeaways.next_peak(unlimited, TODAY, "en")
    assert takeaways.days_short(expected_peak(), TODAY, "en").startswith("On 2 of the next 2 days")
    assert takeaways.days_short(unlimited, TODAY, "en") == "No quota is set for the coming days."


def test_servers_say_what_was_decided_and_what_the_forecast_was_worth() -> None:
    """The actuator's newest decision with its reason; the judgement of a server plan's forecast."""
    assert set(reasons.SCALING) == set(ScalingReason)
    decided = pd.DataFrame(
        {"running": [2, 2], "target": [2, 5], "reactive_need": [1, 2], "reason": ["steady", "forecast_only"]}
    ).assign(forecast_need=pd.Series([None, 5], dtype="Int64"))
    assert takeaways.last_decision(decided, "en") == (
        "Last decision: 2 workers run, target 5 (only written down, not carried out); the observed load "
        "needs 2, the forecast 5."
    )
    assert "仅记录，不执行" in takeaways.last_decision(decided, "zh")
    assert "the forecast –" in takeaways.last_decision(decided.iloc[:1], "en")
    assert takeaways.last_decision(decided.iloc[:0], "en") == ""
    judged = {"steps": 96, "above": 0.42, "far_below": 0.15, "error": 4.3, "naive_error": 0.45}
    english = takeaways.judged_pressure({"reliability": judged}, "en")
    assert english.startswith(
        "96 quarter-hours judged: 42 % above the forecast's 0.9 quantile, 15 % far below"
    )
    assert "42 % 高于预测的 0.9 分位" in takeaways.judged_pressure({"reliability": judged}, "zh")
    assert takeaways.judged_pressure({}, "zh") == ""
    assert reasons.named(reasons.VERDICTS, "distrusted", "zh") == "实时预测不可信"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_intraday_draws_pressure_above_workers(language: str) -> None:
    """Observed, synthetic, forecast and workers each have a trace; clocks show the bank's time."""
    starts = pd.Series(pd.date_range(NOW - timedelta(minutes=15), periods=2, freq="15min"))
    observed = pd.DataFrame({"starts_utc": starts, "rps": [4.0, 9.0], "synthetic": [False, True]})
    expected = pd.DataFrame(
        {"starts_utc": starts + timedelta(hours=1), "q50_rps": [5.0, 6.0], "q90_rps": [8.0, 9.5]}
    )
    workers = pd.DataFrame({"starts_utc": starts, "running": [1, 2], "target": [2, 2]})
    planned = pd.DataFrame({"starts_utc": starts, "workers": [2, 3]})
    figure = figures.intraday(observed, expected, workers, planned, NOW, ZONE, language)
    assert len(figure.data) == 7
    assert any("synthetic" in name for name in names(figure))
    sentence = takeaways.intraday(observed, expected, NOW, ZONE, language)
    assert "12:00" in sentence
    assert "9.5" in sentence
    nothing = figures.intraday(observed[:0], expected[:0], workers[:0], planned[:0], NOW, ZONE, language)
    assert not nothing.data
    assert takeaways.intraday(observed[:0], expected[:0], NOW, ZONE, language) == texts.text(
        "no_pressure", language
    )


def test_a_plan_sums_kept_limits_as_the_old_ones() -> None:
    """Old → new counts a kept item with its old limit; week limits are not mixed in."""
    figure = figures.plan_by_day(quota_items(), "en")
    assert [list(trace.y) for trace in figure.data] == [[13.0, 50.0], [10.0, 30.0], [12.4, 76.0]]
    sentence = takeaways.plan_change(quota_items(), "en")
    assert sentence == "2 of 3 day limits change, 40 → 63 in all; a guardrail bound 1 items."


def test_a_server_plan_names_its_most_workers() -> None:
    """The sentence says how many workers, and from when."""
    starts = pd.Series(pd.date_range(NOW, periods=3, freq="15min"))
    items = pd.DataFrame(
        {
            "starts_utc": starts,
            "old_limit": pd.array([2, 2, 2], dtype="Int64"),
            "proposed": [1.2, 3.8, 2.1],
            "new_limit": pd.array([2, 4, None], dtype="Int64"),
        }
    )
    assert (
        takeaways.server_plan(items, ZONE, "en") == "At most 4 workers, from Sun 29 Mar, 12:15; at least 2."
    )
    assert len(figures.plan_by_quarter(items, ZONE, "zh").data) == 3


def test_a_figure_is_described_for_those_who_cannot_see_it() -> None:
    """The description names every trace with its range."""
    assert figures.described(figures.plan_by_day(quota_items(), "en")) == (
        "New limit: 13–50; Old limit: 10–30; Forecast asks: 12–76"
    )


def test_every_reason_has_a_name_and_advice_in_both_languages() -> None:
    """No reason or cause of the contract is left without words."""
    assert set(reasons.REASONS) == set(reasons.ADVICE) == set(Reason)
    assert set(reasons.CAUSES) == set(Cause)
    for table in (reasons.REASONS, reasons.ADVICE, reasons.CAUSES):
        assert all(words.en.strip() and CHINESE.search(words.zh) for words in table.values())


@pytest.mark.parametrize("key", sorted(texts.TEXTS))
def test_both_languages_take_the_same_values(key: str) -> None:
    """A text's placeholders are the same in English and Chinese."""
    fields = [{name for _, name, _, _ in Formatter().parse(words) if name} for words in texts.TEXTS[key]]
    assert fields[0] == fields[1]


@pytest.mark.parametrize(("ratio", "words"), [(0.0, "0 %"), (0.004, "0.4 %"), (0.12, "12 %"), (1.0, "100 %")])
def test_small_shares_keep_a_decimal(ratio: float, words: str) -> None:
    """Rare things do not read as 0 %."""
    assert texts.percent(ratio) == words
