"""The pick-up benchmark as a command: it says what it was measured on, and it does not peek."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pickup
from benchmarks.pickup import AHEAD, CLOCKS, _as_of
from benchmarks.support.booking_curves import LEADS


def test_without_the_shared_data_a_synthetic_curve_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every figure is there and finite, and the setting and the first lines say synthetic."""
    monkeypatch.setenv("SLOTCAST_DATA", str(tmp_path))
    monkeypatch.setattr(pickup, "QUICK_STEP", 60)
    file = tmp_path / "figures.json"
    assert pickup.main(["--quick", "--json", str(file)]) == 0
    told = json.loads(file.read_text())
    wanted = {f"pickup_{name}_{left}" for name in ("wql_ratio", "cov80") for left in AHEAD}
    wanted |= {f"within_day_{name}_{clock}" for name in ("wql_ratio", "cov80") for clock in CLOCKS}
    assert set(told["figures"]) == wanted | {"pickup_wql_ratio"}
    assert all(math.isfinite(value) for value in told["figures"].values())
    assert (told["setting"]["bookings"], told["setting"]["arrivals"]) == ("synthetic", "synthetic")
    assert "no booking curves" in capsys.readouterr().err


def test_the_benchmark_does_not_peek() -> None:
    """What becomes known after the origin changes nothing that is learned from; what was known does."""
    rng = np.random.default_rng(5)
    units, kinds = rng.poisson(2.0, (300, LEADS)).astype(float), np.arange(300) % 7
    mean = rng.gamma(9, 9, units.shape)
    opened = np.arange(300)[:, None] - np.arange(LEADS)
    later = np.where(opened >= 250, 99.0, units)
    seen, same = (_as_of(250, each, kinds, mean, mean) for each in (units, later))
    assert np.array_equal(seen.units, same.units, equal_nan=True)
    earlier = _as_of(250, np.where(opened == 249, 99.0, units), kinds, mean, mean)
    assert not np.array_equal(seen.units, earlier.units, equal_nan=True)
    assert seen.mean is not None
    assert np.isnan(seen.mean[250:]).all()
