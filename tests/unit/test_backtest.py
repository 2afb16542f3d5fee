"""The gate's folds and figures."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from forecasting.frames import SCORED_QUANTILES, Floats
from forecasting.models.backtest import FoldResult, Judgement, fold_origins, judge


def judgement(**wql: float) -> Judgement:
    return Judgement(folds=3, fold_days=28, wql=wql, results={})


def normal_errors(band: float) -> Floats:
    """300 errors of which 80 % are within `band`: the normal quantiles, shuffled."""
    normal = NormalDist()
    sizes = np.array([normal.inv_cdf((place + 0.5) / 300) for place in range(300)])
    return np.random.default_rng(1).permutation(sizes) * band / normal.inv_cdf(0.9)


def results(errors: Floats, folds: int = 3) -> dict[str, list[FoldResult]]:
    """A model whose 80 % band is -10 to 10 about 100 and whose actuals miss the middle by `errors`."""
    band = 100.0 + np.linspace(-10, 10, len(SCORED_QUANTILES))
    return {
        "m": [
            FoldResult(100.0 + part, np.repeat(band[:, None], len(part), axis=1))
            for part in np.split(errors, folds)
        ]
    }


@pytest.mark.parametrize(
    ("length", "horizon", "folds", "days"),
    [(800, 62, 3, 28), (800, 7, 3, 7), (113, 28, 2, 28), (112, 28, 3, 14), (85, 28, 2, 14), (84, 28, 0, 0)],
)
def test_folds_leave_eight_weeks_before_the_first(length: int, horizon: int, folds: int, days: int) -> None:
    """Long histories get three folds, shorter ones shorter folds, too short ones none."""
    found = fold_origins(length, horizon)
    assert len(found) == folds
    assert all(
        fold.origin >= 56 and fold.origin + fold.days <= length and fold.days == days for fold in found
    )


@pytest.mark.parametrize(
    ("wql", "best"),
    [
        ({"prophet": 0.10, "weeks8": 0.20, "blend": 0.15}, "prophet"),
        ({"prophet": 0.20, "weeks8": 0.10, "blend": 0.15}, "weeks8"),
        ({"prophet": 0.100, "weeks8": 0.20, "blend": 0.104}, "blend"),  # within 5 %: steadier
        ({"prophet": 0.30, "weeks8": 0.100, "blend": 0.102}, "weeks8"),  # never over a better fallback
        ({"prophet": 0.0, "weeks8": 0.0, "blend": 0.0}, "weeks8"),
        ({"prophet": np.nan, "weeks8": np.inf}, "weeks8"),
        ({}, "weeks8"),
    ],
)
def test_the_best_is_taken_and_doubt_goes_to_the_steadier(wql: dict[str, float], best: str) -> None:
    """The least WQL wins; a blend within 5 % replaces it unless weeks8 is better than the blend."""
    assert judgement(**wql).best(steady="blend", fallback="weeks8") == best


def test_a_band_that_is_too_narrow_is_widened_and_one_too_wide_narrowed() -> None:
    """The factor grows with errors outside the band, shrinks with errors well inside, and is bounded."""
    fitting = normal_errors(10.0)
    assert Judgement(3, 100, {}, results(fitting)).spread_factor("m") == pytest.approx(1.0, abs=0.1)
    assert Judgement(3, 100, {}, results(fitting * 1.5)).spread_factor("m") == pytest.approx(1.45, abs=0.1)
    assert Judgement(3, 100, {}, results(fitting * 0.1)).spread_factor("m") == 0.7
    assert Judgement(3, 100, {}, results(fitting * 99)).spread_factor("m") == 2.0
    assert Judgement(3, 100, {}, {}).spread_factor("m") == 1.0


def test_coverage_is_that_of_folds_calibrated_on_the_others() -> None:
    """A band two thirds as wide as it should be covers 80 % once calibrated on the other folds."""
    errors = normal_errors(15.0)
    judged = Judgement(3, 100, {}, results(errors))
    covered = judged.coverage80("m")
    assert np.mean(np.abs(errors) <= 10) < 0.65
    assert covered is not None
    assert covered == pytest.approx(0.8, abs=0.05)
    assert judged.coverage80("absent") is None


def test_a_model_that_fails_in_one_fold_is_not_judged() -> None:
    """Only models that answered in every fold have a figure, so that all are judged on the same days."""
    y = pd.Series(np.ones(200), index=pd.date_range("2024-01-01", periods=200, freq="D"))

    def forecast(past: pd.Series, coming: pd.DatetimeIndex, fold: int) -> dict[str, Floats]:
        assert past.index[-1] < coming[0]
        ones = np.ones((5, len(coming)))
        return {"always": ones} if fold == 1 else {"always": ones, "sometimes": ones}

    judged = judge(y, fold_origins(200, 28), forecast)
    assert judged.wql == {"always": 0.0}
