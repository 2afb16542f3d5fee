"""Quota policies on real demand: how much of what could be served each of them serves.

All policies are replayed in one run on the same demand (forecasting.replay). With a total, each shares out
the same units every week: the series' mean week over the 52 weeks before. Prophet's default upper bound joins
as a further rival: fitted as often as ours, its 0.9 quantile (the upper end of its default 80 % band) of the
days ahead gives the shares.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.support.anchors import LEVELS, prophet, weeks8
from benchmarks.support.demand_sets import DemandSet
from benchmarks.support.rounds import Figure
from forecasting.frames import Floats
from forecasting.replay.faults import FAULTS
from forecasting.replay.policies import (
    by_trust,
    in_proportion,
    last_week,
    policies_at_level,
    weekly_totals,
)
from forecasting.replay.quotas import (
    FORESIGHT,
    OWN_QUANTILE,
    SAME_TOTAL,
    SLOTCAST,
    STATIC,
    QuotaReplay,
    Window,
    gap_closed,
    replay_quotas,
    window_of,
)

SERVICE_LEVEL: Final = 0.9
"""9:1: a refused customer costs nine idle units."""
PROPHET: Final = "prophet_upper"
FAULTY_SINCE: Final = 14
"""The forecast breaks after two weeks."""
Q90: Final = int(np.flatnonzero(np.isclose(LEVELS, 0.9))[0])
LEAST_GAP: Final = 0.002
"""Of demand: where static serves all but this, there is nothing to close."""


@dataclass(frozen=True, slots=True)
class SetResult:
    """What one set of demand showed; picklable."""

    name: str
    series: int
    weeks: int
    gap: float
    """Unmet demand of static minus foresight's, as a share of demand."""
    closed: dict[str, float]
    """By policy, foresight left out."""
    cost: dict[str, float]
    """Newsvendor cost ÷ demand by policy, each at its own quantile."""
    broken: dict[str, float]
    """By fault: Slotcast's unmet demand ÷ last week's, minus 1."""
    broken_alone: dict[str, float]
    """By fault: Slotcast's cost at its own quantile ÷ last week's, minus 1, with nothing to stop it."""
    nights_to_distrust: dict[str, int]
    """By fault: nights until the forecast's models weigh half of what they did."""
    raised_cost: dict[str, float]
    """As cost, the units raised for those who wait paid for."""
    waited: dict[str, float]
    """Average days a waitlisted customer waits by policy, each at its own quantile, raised by who waits."""
    waited_same_total: dict[str, float]
    """The same at the same total, where nobody may raise a quota."""
    waited_by_all: dict[str, float]
    """Days waited ÷ demand, those at once served included; as waited."""
    rows: list[dict[str, Any]]


def wanted(found: DemandSet, most_series: int, most_weeks: int) -> Window | None:
    """The window to replay of a set, of at most so many series evenly spread over the ids."""
    window = window_of(found.series, most_weeks)
    if window is None or len(window.series) <= most_series:
        return window
    ids = list(window.series)
    kept = [ids[place] for place in np.linspace(0, len(ids) - 1, most_series).astype(int)]
    return Window({name: window.series[name] for name in kept}, window.first, window.weeks, ())


def run_set(name: str, country: str, window: Window, refit_days: int) -> SetResult:
    """The replay of one set; Prophet, ours and the rival, is fitted every `refit_days`."""
    warnings.simplefilter("ignore")
    replay = replay_quotas(
        window,
        country=country,
        service_level=SERVICE_LEVEL,
        upper=partial(_prophet_upper, refit_days=refit_days),
        refit_days=refit_days,
    )
    broken, nights = _broken(replay)
    static, best = (replay.result(SAME_TOTAL, p) for p in (STATIC, FORESIGHT))
    with_total = [p for p in replay.quotas[SAME_TOTAL] if p != FORESIGHT]
    own = {policy: replay.result(OWN_QUANTILE, policy) for policy in replay.quotas[OWN_QUANTILE]}
    return SetResult(
        name=name,
        series=len(window.series),
        weeks=window.weeks,
        gap=(static.unmet - best.unmet) / static.demand,
        closed={policy: gap_closed(replay.results, policy) for policy in with_total},
        cost={policy: result.cost / static.demand for policy, result in own.items()},
        broken=broken,
        broken_alone=_broken_alone(replay),
        nights_to_distrust=nights,
        raised_cost={policy: result.raised_cost / static.demand for policy, result in own.items()},
        waited={policy: result.waiting.average_days for policy, result in own.items()},
        waited_same_total={p: replay.result(SAME_TOTAL, p).waiting.average_days for p in with_total},
        waited_by_all={policy: r.waiting.waited_days / static.demand for policy, r in own.items()},
        rows=[
            {
                "set": name,
                "setting": r.setting,
                "policy": r.policy,
                "unmet": round(r.unmet / r.demand, 4),
                "idle": round(r.idle / r.demand, 4),
                "cost": round(r.cost / r.demand, 4),
                "waitlisted": round(r.waiting.waitlisted / r.demand, 4),
                "waited_days": round(r.waiting.average_days, 2),
                "gave_up": round(r.waiting.gave_up / r.demand, 4),
                "raised": round(r.raised / r.demand, 4),
                "raised_cost": round(r.raised_cost / r.demand, 4),
            }
            for r in replay.results
        ],
    )


def figures_of(results: list[SetResult]) -> list[Figure]:
    """The figures over all sets; sets without a gap to close count for the costs only."""
    ahead = {r.name: r.closed[SLOTCAST] - _best_rival(r.closed) for r in results if r.gap > LEAST_GAP}
    rivals = [policy for policy in results[0].cost if policy != SLOTCAST]
    broken = [value for r in results for value in r.broken.values()]
    alone = [value for r in results for value in r.broken_alone.values()]
    nights = [float(value) for r in results for value in r.nights_to_distrust.values()]
    some_wait = [r for r in results if r.waited_same_total[STATIC] > 0]
    number = [r.waited_same_total[STATIC] for r in some_wait]
    own, same = [r.waited[SLOTCAST] for r in some_wait], [r.waited_same_total[SLOTCAST] for r in some_wait]
    gains = list(ahead.values())
    return [
        Figure("gap_closed_over_best", float(np.mean(gains)), min(gains), max(gains), at_least=0.08),
        Figure("gap_closed_worst", min(gains), min(gains), min(gains), at_least=0.0),
        _over_best("newsvendor_ratio", [r.cost for r in results], at_most=0.9),
        _over_each_best("newsvendor_ratio_each_best", [r.cost for r in results]),
        Figure("broken_forecast_worse", max(broken), min(broken), max(broken), at_most=0.02),
        Figure("broken_forecast_own_quantile", max(alone), min(alone), max(alone)),
        Figure("nights_to_distrust_spikes", float(np.median(nights)), min(nights), max(nights)),
        _of_means("waiting_days_ratio", own, number, at_most=0.5),
        _of_means("waiting_days_ratio_same_total", same, number),
        _over_best("waiting_cost_ratio", [r.raised_cost for r in results]),
        *(
            _of_means(
                f"{name}_{rival}", [each[SLOTCAST] for each in by_set], [each[rival] for each in by_set]
            )
            for rival in rivals
            for name, by_set in (
                ("waiting_days_ratio", [r.waited for r in results]),
                ("waiting_by_all_ratio", [r.waited_by_all for r in results]),
            )
        ),
    ]


def _over_best(name: str, costs: Sequence[Mapping[str, float]], *, at_most: float | None = None) -> Figure:
    """Slotcast's costs ÷ those of the rival that is best over all sets; geometric mean over sets."""
    means = {
        policy: float(np.exp(np.mean([math.log(each[policy]) for each in costs]))) for policy in costs[0]
    }
    best = min((policy for policy in means if policy != SLOTCAST), key=lambda policy: means[policy])
    each = [cost[SLOTCAST] / cost[best] for cost in costs]
    return Figure(name, means[SLOTCAST] / means[best], min(each), max(each), at_most=at_most)


def _over_each_best(name: str, costs: Sequence[Mapping[str, float]]) -> Figure:
    """Slotcast's costs ÷ those of the rival that is best on the same set; geometric mean over sets."""
    each = [
        cost[SLOTCAST] / min(value for policy, value in cost.items() if policy != SLOTCAST) for cost in costs
    ]
    return Figure(name, float(np.exp(np.mean(np.log(each)))), min(each), max(each))


def _of_means(
    name: str, ours: Sequence[float], theirs: Sequence[float], *, at_most: float | None = None
) -> Figure:
    """The mean over sets of ours ÷ that of theirs; NaN where theirs is 0."""
    mean = float(np.mean(theirs)) if len(theirs) else 0.0
    value = float(np.mean(ours)) / mean if mean > 0 else math.nan
    return Figure(name, value, value, value, at_most=at_most)


def _best_rival(closed: Mapping[str, float]) -> float:
    return max(value for policy, value in closed.items() if policy != SLOTCAST)


def _broken(replay: QuotaReplay) -> tuple[dict[str, float], dict[str, int]]:
    """By fault: Slotcast's unmet over last week's from the fault on, with a total; nights to distrust."""
    values, first = replay.window.values()
    totals, days = weekly_totals(values, first), replay.window.days
    came = values[:, first + FAULTY_SINCE : first + days]
    plain = in_proportion(last_week(values, first, days), totals)
    unmet_plain = float(np.maximum(came - plain[:, FAULTY_SINCE:], 0.0).sum())
    worse: dict[str, float] = {}
    distrusted: dict[str, int] = {}
    for name, fault in FAULTS.items():
        models = {name: fault(levels, FAULTY_SINCE) for name, levels in replay.rolling.models.items()}
        quotas, nights = by_trust(values, first, models, totals)
        unmet = float(np.maximum(came - quotas[:, FAULTY_SINCE:], 0.0).sum())
        worse[name] = unmet / unmet_plain - 1.0 if unmet_plain > 0 else 0.0
        if name == "spikes":
            trusted = [sum(weights[model] for model in models) for weights in nights[FAULTY_SINCE:]]
            low = [night for night, share in enumerate(trusted) if share < trusted[0] / 2]
            distrusted[name] = low[0] if low else days
    return worse, distrusted


def _broken_alone(replay: QuotaReplay) -> dict[str, float]:
    """By fault: Slotcast's cost at its own quantile ÷ last week's, minus 1, from the fault on.

    No veto is replayed: it is what a broken forecast would cost until the drift watch stops it.
    """
    values, first = replay.window.values()
    days = replay.window.days
    came = values[:, first + FAULTY_SINCE : first + days]

    def cost(units: Floats) -> float:
        short = np.maximum(came - units[:, FAULTY_SINCE:], 0.0).sum() * SERVICE_LEVEL
        return float(short + np.maximum(units[:, FAULTY_SINCE:] - came, 0.0).sum() * (1.0 - SERVICE_LEVEL))

    plain = cost(last_week(values, first, days))
    found = {}
    for name, fault in FAULTS.items():
        levels = fault(replay.rolling.levels, FAULTY_SINCE)
        ours = policies_at_level(values, first, levels, SERVICE_LEVEL)[SLOTCAST]
        found[name] = cost(ours) / plain - 1.0 if plain > 0 else 0.0
    return found


def _prophet_upper(
    series: Mapping[str, pd.Series], first: pd.Timestamp, days: int, *, refit_days: int
) -> dict[str, Floats]:
    """Prophet's upper bound of each day, fitted every `refit_days` nights; weeks8's where it cannot."""
    upper = np.empty((len(series), days))
    for place, y in enumerate(series.values()):
        for start in range(0, days, refit_days):
            steps = min(refit_days, days - start)
            known = y.loc[: first + pd.Timedelta(days=start - 1)]
            try:
                made = prophet(known, steps, 1, "none")
            except Exception:  # noqa: BLE001 - a rival that cannot answer is lent the simplest one's answer
                made = weeks8(known, steps, 1, "none")
            upper[place, start : start + steps] = made[Q90]
    return {PROPHET: upper}
