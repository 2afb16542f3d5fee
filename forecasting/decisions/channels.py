"""Quotas narrowed to a channel: its share of demand, the quantile of its part, never more than the whole.

A channel's demand is the branch's, each unit of which comes through the channel with the channel's share:
a binomial thinning of the sample paths. Its quantile is the smallest whole number that the mixture of these
binomials reaches with the level, without drawing: small counts stay exact, and the same paths give the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import bdtr

from forecasting.decisions.guardrails import Guardrail
from forecasting.frames import Floats
from metrics.contract import ALL_CHANNELS

Shares = dict[str, dict[str, float]]
"""Of each branch the share of its demand by channel; they add up to 1."""


def channel_shares(
    wishes: Mapping[tuple[str, str], int], regions: Mapping[str, str], prior_units: float
) -> Shares:
    """The share of each branch's demand by channel, drawn to its region's; empty where nobody ever wished.

    wishes: wishes by (branch, channel). regions: the region of every branch. prior_units: so many wishes
    weigh as much as the region; likewise the region is drawn to the bank (Dirichlet posterior means).
    """
    bank, by_region = dict[str, float](), dict[tuple[str, str], float]()
    for (branch, channel), units in wishes.items():
        bank[channel] = bank.get(channel, 0.0) + units
        key = (regions[branch], channel)
        by_region[key] = by_region.get(key, 0.0) + units
    total = sum(bank.values())
    if not total:
        return {}
    of_bank = {channel: units / total for channel, units in sorted(bank.items())}
    of_region = {
        region: _drawn({c: by_region.get((region, c), 0.0) for c in of_bank}, of_bank, prior_units)
        for region in set(regions.values())
    }
    return {
        branch: _drawn(
            {c: float(wishes.get((branch, c), 0)) for c in of_bank}, of_region[region], prior_units
        )
        for branch, region in regions.items()
    }


def _drawn(counts: Mapping[str, float], towards: Mapping[str, float], prior_units: float) -> dict[str, float]:
    """Shares of the counts with `prior_units` more that are spread as `towards`."""
    total = sum(counts.values()) + prior_units
    if not total:
        return dict(towards)
    return {channel: (units + prior_units * towards[channel]) / total for channel, units in counts.items()}


def thinned_units(totals: Floats, expected: Floats, level: float) -> int:
    """The fewest units that the channel's part of the totals stays within with probability `level`.

    totals: the sample paths' units of all channels together, (paths,), rounded to whole ones. expected: what
    of each comes through the channel on average. Summed over branches with unlike shares a binomial of the
    same mean is a little wider than the truth, so never too few.
    """
    counts = np.rint(totals)
    chance = np.divide(expected, totals, out=np.zeros_like(expected), where=totals > 0).clip(0.0, 1.0)
    least, most = 0, int(counts.max(initial=0.0))
    while least < most:
        middle = (least + most) // 2
        within = np.where(counts <= middle, 1.0, bdtr(middle, np.maximum(counts, middle + 1), chance))
        if float(within.mean()) >= level:
            most = middle
        else:
            least = middle + 1
    return least


def within_whole(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The plan's items, each channel's new limit at most that of all channels of its scope and period.

    Where the whole keeps its limit that one counts; never below what the channel has used.
    """

    def period(item: Mapping[str, Any]) -> tuple[str, str, str, str]:
        return item["scope_kind"], item["scope_id"], item["period_kind"], item["period_start"]

    wholes = {
        period(item): item["old_limit"] if item["new_limit"] is None else item["new_limit"]
        for item in items
        if item["channel"] == ALL_CHANNELS
    }
    return [
        item
        if item["channel"] == ALL_CHANNELS or item["new_limit"] is None
        else _within(item, wholes.get(period(item)))
        for item in items
    ]


def _within(item: dict[str, Any], whole: int | None) -> dict[str, Any]:
    if whole is None or item["new_limit"] <= whole:
        return item
    inputs = item["inputs"] | {"bound": [*item["inputs"]["bound"], str(Guardrail.CHANNEL_SHARE)]}
    return item | {
        "new_limit": max(whole, item["inputs"]["used_units"]),
        "guardrail": str(Guardrail.CHANNEL_SHARE),
        "condition": f"{item['new_limit']} is more than the {whole} of all channels together",
        "inputs": inputs,
    }
