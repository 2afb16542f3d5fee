"""The folds that every model is judged on."""

from __future__ import annotations

import pytest

from forecasting.models.backtest import fold_origins


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
