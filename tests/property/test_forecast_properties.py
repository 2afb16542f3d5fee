"""Whatever the history, a forecast answers every step, is never negative and never crosses."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.frames import QUANTILES, Floats, quantile_column
from forecasting.models.combine import Spread, Weights, combined, learn_weights
from forecasting.models.intraday import train_intraday
from forecasting.models.losses import weighted_quantile_loss
from forecasting.models.paths import block_bootstrap
from forecasting.models.train import train_series
from forecasting.models.weeks8 import weeks8_levels

COLUMNS = [quantile_column(level) for level in QUANTILES]

counts = st.one_of(
    st.just(0.0),
    st.just(float("nan")),
    st.integers(0, 40).map(float),
    st.floats(0, 1e-3),
    st.floats(1e9, 1e12),
)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def histories(draw: st.DrawFn, freq: str, most: int) -> pd.DataFrame:
    """Days or hours from any weekday on: constant, seasonal or wild values, with gaps, in any order."""
    length = draw(st.integers(1, most))
    steps = pd.date_range(
        draw(st.dates(date(1999, 12, 1), date(2025, 12, 31))),
        periods=length,
        freq=freq,
        unit="us",
    )
    pattern = draw(st.lists(counts, min_size=1, max_size=14))
    y = np.resize(np.array(pattern), length)
    frame = pd.DataFrame({"ds": steps, "y": y})
    absent = draw(st.lists(st.integers(0, length - 1), max_size=20))
    kept = frame.drop(index=[row for row in set(absent) if row != length - 1])
    return kept.sample(frac=1.0, random_state=draw(st.integers(0, 99)))


def assert_sound(table: pd.DataFrame, last: pd.Timestamp, step: pd.Timedelta, horizon: int) -> None:
    """Every step after the last, finite, ≥ 0, in order."""
    assert table["ds"].tolist() == [last + step * number for number in range(1, horizon + 1)]
    values = table[["mean", *COLUMNS]].to_numpy()
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (np.diff(table[COLUMNS].to_numpy(), axis=1) >= 0).all()


@few
@given(histories("D", 110), st.integers(1, 40), st.sampled_from(["CN", "US", "none"]))
def test_any_daily_history_has_a_sound_forecast(history: pd.DataFrame, horizon: int, country: str) -> None:
    """Short, gapped, constant, tiny, huge, unknown throughout: all steps are answered soundly and say why."""
    forecast = train_series(history, horizon, country=country, seed=1, paths=60)
    assert_sound(forecast.quantiles, history["ds"].max(), pd.Timedelta(days=1), horizon)
    assert forecast.paths.values.shape == (60, horizon)
    assert forecast.why.startswith(forecast.champion)


@few
@given(histories("h", 24 * 20), st.integers(1, 60))
def test_any_hourly_history_has_a_sound_forecast(history: pd.DataFrame, horizon: int) -> None:
    """The same holds below the day, from any hour on."""
    forecast = train_intraday(history, horizon, freq="h", country="none", seed=1, paths=40)
    assert forecast.values.shape == (40, horizon)
    assert_sound(forecast.table(QUANTILES), history["ds"].max(), pd.Timedelta(hours=1), horizon)


@settings(max_examples=6, deadline=None)
@given(histories("D", 110), st.integers(0, 2**31))
def test_the_same_call_gives_the_same_numbers(history: pd.DataFrame, seed: int) -> None:
    """Rows in another order and a second run change nothing."""
    first = train_series(history, 10, country="US", seed=seed, paths=30)
    np.random.default_rng().random()
    second = train_series(history.sort_values("ds"), 10, country="US", seed=seed, paths=30)
    pd.testing.assert_frame_equal(first.quantiles, second.quantiles)
    assert np.array_equal(first.paths.values, second.paths.values)


tables = arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.just(5), st.integers(1, 6)),
    elements=st.floats(0, 1e6),
)


@given(tables, st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_a_combination_lies_between_its_parts(quantiles: Floats, raw: list[float]) -> None:
    """Each quantile of the average lies between the models', and quantiles that did not cross do not."""
    ordered = np.sort(quantiles, axis=2)
    weights = np.array(raw[: len(ordered)]) / sum(raw[: len(ordered)])
    share = tuple(weights)
    mixed = combined(ordered, Weights(share, share[::-1]), np.arange(ordered.shape[3]) % 2 == 0)
    slack = 1e-9 * (1.0 + ordered.max())
    assert (mixed >= ordered.min(axis=0) - slack).all()
    assert (mixed <= ordered.max(axis=0) + slack).all()
    assert (np.diff(mixed, axis=1) >= -slack).all()


@given(tables, st.floats(0.5, 2.5), st.floats(0.5, 2.5))
def test_spreading_keeps_the_median_and_the_sign(quantiles: Floats, usual: float, special: float) -> None:
    """Widened quantiles have the same median at each step, and stay at 0 or above, in order."""
    ordered = np.sort(quantiles[0], axis=1)
    days = np.arange(ordered.shape[2]) % 2 == 0
    moved = Spread(np.full(len(ordered), usual), special).widened(ordered, days, 2)
    assert (moved >= 0).all()
    assert np.allclose(moved[:, 2], ordered[:, 2])
    assert (np.diff(moved, axis=1) >= -1e-9 * (1.0 + ordered.max())).all()


@given(
    arrays(np.float64, st.tuples(st.integers(1, 4), st.just(3), st.just(20)), elements=st.floats(0, 1e3)),
    arrays(np.float64, st.just(20), elements=st.floats(0, 1e3)),
)
def test_learned_weights_are_shares(quantiles: Floats, actual: Floats) -> None:
    """Whatever the models said, their weights are at least 0 and sum to 1."""
    weights = learn_weights(actual, np.sort(quantiles, axis=1), np.array([0.1, 0.5, 0.9]))
    assert (weights >= 0).all()
    assert np.isclose(weights.sum(), 1.0)


@given(
    arrays(np.float64, st.integers(1, 60), elements=st.floats(-9, 9)),
    st.integers(1, 50),
    st.integers(1, 14),
    st.integers(1, 14),
)
def test_bootstrapped_blocks_are_contiguous_pieces(
    residuals: Floats, steps: int, block: int, align: int
) -> None:
    """Within a block, each residual is followed by the one that followed it."""
    drawn = block_bootstrap(residuals, 3, steps, block=block, align=align, rng=np.random.default_rng(1))
    assert drawn.shape == (3, steps)
    following = {(a, b) for a, b in zip(residuals, np.roll(residuals, -1), strict=True)}
    for path in drawn:
        for place in range(1, steps):
            if place % block:
                assert (path[place - 1], path[place]) in following


@given(arrays(np.float64, st.integers(0, 90), elements=counts), st.integers(1, 30))
def test_weeks8_stays_within_what_was_seen(history: Floats, steps: int) -> None:
    """No quantile of weeks8 is outside the known values, and they ascend."""
    found = weeks8_levels(history, steps, np.array([0.1, 0.5, 0.9]), season=7)
    known = history[~np.isnan(history)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    assert (found >= low * (1 - 1e-12)).all()
    assert (found <= high * (1 + 1e-12)).all()
    assert (np.diff(found, axis=0) >= -1e-6 * (1.0 + high)).all()


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0.1, 1e6)), st.floats(0.1, 1e4))
def test_wql_has_no_unit(actual: Floats, unit: float) -> None:
    """Counting in another unit leaves the WQL as it is, and a perfect forecast has none."""
    forecasts = np.vstack([actual * 0.5, actual * 1.2])
    levels = (0.2, 0.7)
    here = weighted_quantile_loss(actual, forecasts, levels)
    assert np.isclose(here, weighted_quantile_loss(actual * unit, forecasts * unit, levels))
    assert weighted_quantile_loss(actual, np.vstack([actual, actual]), levels) == 0.0
