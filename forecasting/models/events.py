"""Announced events as day features of one branch, and their expected effect where history knows none.

An events frame has the columns kind, first_day, last_day (inclusive), scope, confirmed and
expected_effect_ratio (NaN = not told), as booking_core.read.events gives them. Days are the bank's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.frames import Floats
from metrics.contract import EventKind

AROUND_DAYS: Final = 3
"""Days before and after an event that have a feature of their own."""
SEEN_DAYS: Final = 3
"""Known days of a kind of event from which its effect is learned rather than taken from a person."""
EXPECTED: Final = 0.5
"""What an event that is only expected counts for; a confirmed one counts for 1."""
EFFECT: Final = "event_effect"

Integers = npt.NDArray[np.int64]
_Event = tuple[str, int, int, float, float]


def holding(events: pd.DataFrame, scopes: Collection[str]) -> pd.DataFrame:
    """The events that hold for a branch of these scopes (bank:bank, region:ID, branch:ID)."""
    return events[events["scope"].isin(scopes)].reset_index(drop=True)


def event_features(events: pd.DataFrame, days: pd.DatetimeIndex) -> pd.DataFrame:
    """Three float columns for each EventKind, whatever the events, index `days`; 0 where there is none.

    `event_KIND` is 1 on days of an event, `event_KIND_before` on the 3 days before one and
    `event_KIND_after` on the 3 days after; 0.5 where it is only expected, the greater one where events
    overlap. A day of an event is neither before nor after another one of its kind.
    """
    at = _ordinals(days)
    columns = {
        f"event_{kind}{part}": np.zeros(len(at)) for kind in EventKind for part in ("", "_before", "_after")
    }
    for kind, first, last, weight, _ in _each(events):
        name = f"event_{kind}"
        _raise(columns[name], weight, (at >= first) & (at <= last))
        _raise(columns[f"{name}_before"], weight, (at >= first - AROUND_DAYS) & (at < first))
        _raise(columns[f"{name}_after"], weight, (at > last) & (at <= last + AROUND_DAYS))
    for kind in EventKind:
        for part in ("_before", "_after"):
            columns[f"event_{kind}{part}"][columns[f"event_{kind}"] > 0] = 0.0
    return pd.DataFrame(columns, index=days)


def unseen_kinds(events: pd.DataFrame, known_days: pd.DatetimeIndex) -> frozenset[str]:
    """The kinds with confirmed events on fewer than 3 of the days whose demand is known."""
    at = _ordinals(known_days)
    seen = {kind.value: np.zeros(len(at), dtype=np.bool_) for kind in EventKind}
    for kind, first, last, weight, _ in _each(events):
        if weight == 1.0:
            seen[kind] |= (at >= first) & (at <= last)
    return frozenset(kind for kind, on in seen.items() if len(np.unique(at[on])) < SEEN_DAYS)


def fallback_effect(
    events: pd.DataFrame, days: pd.DatetimeIndex, *, known_days: pd.DatetimeIndex
) -> pd.Series:
    """What to multiply each day's forecast by, as people expect, index `days`; 1 where nothing is expected.

    The product of the expected_effect_ratio of the day's events, of kinds that `known_days` (days whose
    demand is known) have hardly seen; an event that is only expected counts with the square root of its
    ratio, as its feature of 0.5 would in a model of log demand.
    """
    at, unseen = _ordinals(days), unseen_kinds(events, known_days)
    log_effect = np.zeros(len(at))
    for kind, first, last, weight, ratio in _each(events):
        if kind in unseen and not np.isnan(ratio):
            log_effect[(at >= first) & (at <= last)] += weight * np.log(ratio)
    return pd.Series(np.exp(log_effect), index=days, name=EFFECT)


def _each(events: pd.DataFrame) -> Iterator[_Event]:
    """Kind, first and last day (days since 1970), weight and expected ratio of each event."""
    first, last = (_ordinals(events[name]).tolist() for name in ("first_day", "last_day"))
    weight = np.where(events["confirmed"].to_numpy(), 1.0, EXPECTED).tolist()
    ratio = events["expected_effect_ratio"].to_numpy(dtype=np.float64).tolist()
    yield from zip(events["kind"].tolist(), first, last, weight, ratio, strict=True)


def _ordinals(days: pd.DatetimeIndex | pd.Series) -> Integers:
    """The days as whole days since 1970."""
    return days.to_numpy().astype("datetime64[D]").astype(np.int64)


def _raise(column: Floats, value: float, where: npt.NDArray[np.bool_]) -> None:
    column[where] = np.maximum(column[where], value)
