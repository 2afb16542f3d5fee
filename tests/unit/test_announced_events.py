"""Announced events become features of the days, and a person's estimate until history knows better."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.models.events import (
    AROUND_DAYS,
    SEEN_DAYS,
    event_features,
    fallback_effect,
    holding,
    unseen_kinds,
)
from metrics.contract import EventKind

MARCH = pd.date_range("2026-03-01", "2026-03-31", freq="D", unit="us")
NEVER = MARCH[:0]
DTYPES = {
    "kind": "str",
    "first_day": "datetime64[us]",
    "last_day": "datetime64[us]",
    "scope": "str",
    "confirmed": "bool",
    "expected_effect_ratio": "float64",
}


def frame(*events: dict[str, Any]) -> pd.DataFrame:
    """The events as booking_core.read.events gives them."""
    return pd.DataFrame(list(events), columns=list(DTYPES)).astype(DTYPES)


def event(first: str, last: str | None = None, kind: str = "rate_cut", **other: Any) -> dict[str, Any]:
    """A confirmed event of the whole bank."""
    return {
        "kind": kind,
        "first_day": pd.Timestamp(first),
        "last_day": pd.Timestamp(last or first),
        "scope": "bank:bank",
        "confirmed": True,
        "expected_effect_ratio": float("nan"),
        **other,
    }


def on(features: pd.DataFrame, column: str) -> dict[int, float]:
    """The days of the month on which the column is not 0, with its value."""
    values = features[column]
    return {day.day: value for day, value in values[values != 0].items()}


def test_an_event_is_felt_three_days_before_and_after() -> None:
    """Its own days are 1, and so are the three days on each side, in columns of their own."""
    features = event_features(frame(event("2026-03-10", "2026-03-11")), MARCH)
    assert on(features, "event_rate_cut") == {10: 1.0, 11: 1.0}
    assert on(features, "event_rate_cut_before") == {7: 1.0, 8: 1.0, 9: 1.0}
    assert on(features, "event_rate_cut_after") == {12: 1.0, 13: 1.0, 14: 1.0}
    others = [name for name in features if not name.startswith("event_rate_cut")]
    assert (features[others] == 0).all(axis=None)


def test_an_event_outside_the_days_is_still_felt_within_them() -> None:
    """The day after the last one asked for makes the last three days `before`."""
    features = event_features(frame(event("2026-04-01"), event("2026-02-27", kind="closure")), MARCH)
    assert on(features, "event_rate_cut_before") == {29: 1.0, 30: 1.0, 31: 1.0}
    assert on(features, "event_closure_after") == {1: 1.0, 2: 1.0}


def test_what_is_only_expected_counts_half() -> None:
    """0.5 on all its days; where a confirmed one overlaps, 1."""
    expected = event("2026-03-10", "2026-03-12", confirmed=False)
    features = event_features(frame(expected, event("2026-03-12")), MARCH)
    assert on(features, "event_rate_cut") == {10: 0.5, 11: 0.5, 12: 1.0}
    assert on(features, "event_rate_cut_before") == {7: 0.5, 8: 0.5, 9: 1.0}


def test_a_day_of_an_event_is_not_around_another_of_its_kind() -> None:
    """An event told in two pieces looks like one told whole; another kind's days are left alone."""
    pieces = event_features(frame(event("2026-03-10", "2026-03-11"), event("2026-03-12")), MARCH)
    whole = event_features(frame(event("2026-03-10", "2026-03-12")), MARCH)
    pd.testing.assert_frame_equal(pieces, whole)
    two = event_features(frame(event("2026-03-10"), event("2026-03-11", kind="campaign")), MARCH)
    assert 11 in on(two, "event_rate_cut_after")
    assert 10 in on(two, "event_campaign_before")


def test_only_what_holds_for_the_branch_is_left() -> None:
    """The bank's, the region's and the branch's own events; not a neighbour's."""
    scopes = ["bank:bank", "region:north", "region:south", "branch:b1", "branch:b2"]
    found = holding(
        frame(*(event("2026-03-10", scope=scope) for scope in scopes)),
        ("bank:bank", "region:north", "branch:b1"),
    )
    assert found["scope"].tolist() == ["bank:bank", "region:north", "branch:b1"]


def test_a_persons_estimate_counts_until_history_has_seen_three_days() -> None:
    """Two seen days of the kind leave the estimate in force, three take it away."""
    past = event("2025-11-01", "2025-11-03")
    coming = event("2026-03-10", expected_effect_ratio=1.6)
    for seen in range(SEEN_DAYS + 2):
        known = pd.date_range("2025-10-20", periods=12 + seen, freq="D", unit="us")
        effect = fallback_effect(frame(past, coming), MARCH, known_days=known)
        assert effect[pd.Timestamp("2026-03-10")] == pytest.approx(1.6 if seen < SEEN_DAYS else 1.0)
        assert effect.drop(pd.Timestamp("2026-03-10")).eq(1.0).all()


def test_days_seen_of_a_kind_are_counted_once_and_confirmed_only() -> None:
    """Overlapping events do not count a day twice, nor does what was only expected show that it came."""
    known = pd.date_range("2026-03-01", "2026-03-02", freq="D", unit="us")
    twice = frame(event("2026-03-01", "2026-03-02"), event("2026-03-01", "2026-03-02"))
    assert EventKind.RATE_CUT in unseen_kinds(twice, known)
    expected = frame(event("2026-03-01", "2026-03-09", confirmed=False))
    assert unseen_kinds(expected, MARCH) == frozenset(EventKind)
    assert EventKind.RATE_CUT not in unseen_kinds(frame(event("2026-03-01", "2026-03-09")), MARCH)


def test_estimates_multiply_and_what_is_expected_counts_with_its_root() -> None:
    """Two events of a day multiply; an unconfirmed ratio of 4 counts 2; no estimate is 1."""
    effect = fallback_effect(
        frame(
            event("2026-03-10", "2026-03-11", expected_effect_ratio=1.5),
            event("2026-03-11", kind="closure", expected_effect_ratio=0.5),
            event("2026-03-12", kind="campaign", confirmed=False, expected_effect_ratio=4.0),
            event("2026-03-13"),
        ),
        MARCH,
        known_days=NEVER,
    )
    assert effect["2026-03-10":"2026-03-13"].tolist() == pytest.approx([1.5, 0.75, 2.0, 1.0])  # type: ignore[misc]


def test_without_events_there_are_the_same_columns_all_zero() -> None:
    """Columns do not depend on what is announced, so history and future always fit together."""
    none, some = event_features(frame(), MARCH), event_features(frame(event("2026-03-10")), MARCH)
    assert list(none) == list(some)
    assert len(list(none)) == 3 * len(EventKind)
    assert (none == 0).all(axis=None)
    assert set(none.dtypes) == {np.dtype("float64")}
    assert (fallback_effect(frame(), MARCH, known_days=MARCH) == 1.0).all()
    assert event_features(frame(event("2026-03-10")), NEVER).shape == (0, 3 * len(EventKind))


@st.composite
def some_events(draw: st.DrawFn) -> pd.DataFrame:
    """Up to six events around March 2026."""
    made = []
    for _ in range(draw(st.integers(0, 6))):
        first = pd.Timestamp("2026-02-20") + pd.Timedelta(days=draw(st.integers(0, 50)))
        last = first + pd.Timedelta(days=draw(st.integers(0, 6)))
        kind, confirmed = draw(st.sampled_from(list(EventKind))).value, draw(st.booleans())
        made.append(event(str(first.date()), str(last.date()), kind, confirmed=confirmed))
    return frame(*made)


@given(some_events(), st.randoms())
def test_features_depend_on_the_days_alone(events: pd.DataFrame, random: Any) -> None:
    """Any order of the events and any cut of the days gives the same values, of 0, 0.5 and 1."""
    features = event_features(events, MARCH)
    assert set(np.unique(features.to_numpy())) <= {0.0, 0.5, 1.0}
    order = list(range(len(events)))
    random.shuffle(order)
    pd.testing.assert_frame_equal(event_features(events.iloc[order], MARCH), features)
    pd.testing.assert_frame_equal(event_features(events, MARCH[5:20]), features.iloc[5:20])
    for kind in EventKind:
        day, before = features[f"event_{kind}"] > 0, features[f"event_{kind}_before"] > 0
        assert not (day & before).any()
        # every day before an event is followed by one of its days within three days, unless March ends
        for place in np.flatnonzero(before.to_numpy()):
            assert day.iloc[place + 1 : place + 1 + AROUND_DAYS].any() or place >= len(MARCH) - AROUND_DAYS
