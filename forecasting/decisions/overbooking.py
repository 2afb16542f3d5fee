"""Overbooking: how many may be booked where the staff can serve `cap`, because some do not come.

The rule is the newsvendor's on the number who come, B(b) ~ Bin(b, 1 − no-show): one more booking is worth its
risk while the chance that the staff are full already is below Cu ÷ (Cu + Co), Cu being the cost of an idle
unit, Co that of a customer too many (e.g. R. Phillips, "Pricing and revenue optimization", 2005, chapter 9).
Off by default: a borrower who came and is not served has lost the day.
"""

from __future__ import annotations

from typing import Final

from scipy.stats import binom

GREATEST_NO_SHOW: Final = 0.5
"""Of more no-shows than come nothing is concluded: the measurement or the bank's reminders are at fault."""


def overbooked(cap: int, no_show_ratio: float, overbooking_cost: float) -> int:
    """The units to book where `cap` can be served: b + 1 while P(Bin(b, 1 − no-show) ≥ cap) < 1 ÷ (1 + cost).

    overbooking_cost: Co ÷ Cu, above 0. Never below the cap; the cap itself where everybody comes. Raises
    ValueError for a no-show share outside 0..1.
    """
    if not 0 <= no_show_ratio <= 1:
        raise ValueError(f"no_show_ratio {no_show_ratio}: expected a share between 0 and 1")
    if cap <= 0 or no_show_ratio == 0:
        return max(cap, 0)
    comes, worth = 1.0 - min(no_show_ratio, GREATEST_NO_SHOW), 1.0 / (1.0 + overbooking_cost)
    booked = cap
    while binom.sf(cap - 1, booked, comes) < worth:
        booked += 1
    return booked


def shrunk_ratio(events: float, trials: float, wider_ratio: float, prior_trials: float) -> float:
    """A share measured on few trials, drawn to that of the wider group (empirical Bayes, beta-binomial).

    prior_trials: so many trials weigh as much as the group; the group's own share where nothing is known.
    """
    weight = trials + prior_trials
    return wider_ratio if weight == 0 else (events + prior_trials * wider_ratio) / weight
