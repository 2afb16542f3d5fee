"""Overbooking: how many may be booked where the staff can serve `cap`, because some do not come.

The rule is the newsvendor's on the number who come, B(b) ~ Bin(b, 1 − no-show): one more booking is worth its
risk while the chance that the staff are full already is below Cu ÷ (Cu + Co), Cu being the cost of an idle
unit, Co that of a customer too many (e.g. R. Phillips, "Pricing and revenue optimization", 2005, chapter 9).
Off by default: a borrower who came and is not served has lost the day.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import nbinom

from forecasting.decisions.erlang import Ints
from forecasting.frames import Floats


def overbooked(caps: Ints, no_show_ratios: Floats, overbooking_cost: float) -> Ints:
    """Units to book where so many can be served: b + 1 while P(Bin(b, 1 − no-show) ≥ cap) < 1 ÷ (1 + cost).

    At least `cap` of b come just where no more than b − cap stay away before the cap-th comes, so the extra
    units are a quantile of the negative binomial distribution. caps, no_show_ratios (below 1): of the same
    shape. overbooking_cost: Co ÷ Cu, above 0. Never below the cap, which is itself 0 or more; the cap itself
    where everybody comes. Raises ValueError for a share of no-shows below 0, or of 1 and more.
    """
    if not ((no_show_ratios >= 0) & (no_show_ratios < 1)).all():
        raise ValueError(f"no_show_ratios {no_show_ratios}: expected shares from 0 to below 1")
    booked = np.maximum(caps, 0)
    some = (booked > 0) & (no_show_ratios > 0)
    extra = nbinom.ppf(1.0 / (1.0 + overbooking_cost), booked[some], 1.0 - no_show_ratios[some])
    booked[some] += np.rint(extra).astype(np.int64)
    return booked


def shrunk_ratio(events: float, trials: float, wider_ratio: float, prior_trials: float) -> float:
    """A share measured on few trials, drawn to that of the wider group (empirical Bayes, beta-binomial).

    prior_trials: so many trials weigh as much as the group; the group's own share where nothing is known.
    """
    weight = trials + prior_trials
    return wider_ratio if weight == 0 else (events + prior_trials * wider_ratio) / weight
