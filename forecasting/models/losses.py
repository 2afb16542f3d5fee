"""How good a forecast is: each loss with its formula, its sign and where it comes from.

Arrays: `actual` (steps,), quantile forecasts (levels, steps). Steps whose actual is NaN count nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecasting.frames import Floats


def pinball(actual: Floats, forecast: Floats, level: float) -> Floats:
    """The pinball (quantile) loss of each step, ≥ 0, lower is better, in units of the series.

    level · (actual − forecast) where actual ≥ forecast, else (1 − level) · (forecast − actual).
    Reference: Koenker and Bassett, "Regression Quantiles", Econometrica 46 (1978).
    """
    error = actual - forecast
    loss: Floats = np.maximum(level * error, (level - 1.0) * error)
    return loss


def weighted_quantile_loss(actual: Floats, forecasts: Floats, levels: Sequence[float]) -> float:
    """WQL, ≥ 0, lower is better: mean over levels of 2 · Σ pinball ÷ Σ |actual|.

    A perfect forecast of nothing but zeros is 0; any other forecast of it is infinite; no known step is NaN.
    Reference: Salinas et al., "DeepAR", International Journal of Forecasting 36 (2020), section 4.
    """
    known = ~np.isnan(actual)
    if not known.any():
        return float("nan")
    total = sum(
        float(pinball(actual[known], forecast[known], level).sum())
        for forecast, level in zip(forecasts, levels, strict=True)
    )
    size = float(np.abs(actual[known]).sum())
    if size == 0.0:
        return 0.0 if total == 0.0 else float("inf")
    return 2.0 * total / (size * len(levels))


def mase(actual: Floats, forecast: Floats, history: Floats, *, season: int) -> float:
    """Mean absolute scaled error, ≥ 0, lower is better; 1 = as good as seasonal naive was within the history.

    mean |actual − forecast| ÷ mean |history[t] − history[t − season]|. NaN when the history never changes
    from season to season or is too short. Reference: Hyndman and Koehler, International Journal of
    Forecasting 22 (2006).
    """
    steps = np.abs(history[season:] - history[:-season])
    steps = steps[~np.isnan(steps)]
    errors = np.abs(actual - forecast)
    errors = errors[~np.isnan(errors)]
    if len(steps) == 0 or len(errors) == 0 or steps.mean() == 0.0:
        return float("nan")
    return float(errors.mean() / steps.mean())


def coverage(actual: Floats, low: Floats, high: Floats) -> float:
    """The share of known steps with low ≤ actual ≤ high, 0..1; best is the interval's nominal level.

    Reference: Christoffersen, "Evaluating Interval Forecasts", International Economic Review 39 (1998).
    """
    known = ~np.isnan(actual)
    if not known.any():
        return float("nan")
    inside = (actual[known] >= low[known]) & (actual[known] <= high[known])
    return float(inside.mean())
