"""What forecasting keeps: artefacts that are checked when read, drift, a forecast's details."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.read.artifacts import NEWEST_FORMAT, ArtifactError, latest_artifact
from booking_core.read.forecasts import series_details
from booking_core.read.scores import forecast_drift
from forecasting import store
from forecasting.decisions.score import DriftScore
from tests.support.bank import Bank
from tests.support.counts import rows
from tests.support.recorded import DAY, NOON, put, run_row, two_regions

PAYLOAD = bytes(range(256))


def keep(bank: Bank, artifact_id: str = "a1", period: date = DAY, **changes: Any) -> None:
    """An artefact of the kind `selection`."""
    store.save_artifact(
        bank.engine,
        **{
            "artifact_id": artifact_id,
            "kind": "selection",
            "period": period,
            "created_utc": NOON,
            "span": (DAY - timedelta(days=730), DAY),
            "parameters": {"seed": 7},
            "libraries": {"prophet": "1.5"},
            "scores": {"wql": 0.1},
            "data": PAYLOAD,
            **changes,
        },
    )


def damage(bank: Bank, **columns: Any) -> None:
    """The columns of every artefact, changed behind the store's back."""
    with write_transaction(bank.engine) as connection:
        connection.execute(update(tf.forecast_artifacts).values(**columns))


def test_an_artefact_is_read_as_it_was_kept(bank: Bank) -> None:
    """Every stamp and every byte; the digest is that of the bytes."""
    keep(bank)
    found = latest_artifact(bank.engine, "selection")
    assert found is not None
    assert (found.artifact_id, found.kind, found.period, found.created_utc) == ("a1", "selection", DAY, NOON)
    assert (found.span_from, found.span_to) == (DAY - timedelta(days=730), DAY)
    assert (found.parameters, found.libraries, found.scores) == (
        {"seed": 7},
        {"prophet": "1.5"},
        {"wql": 0.1},
    )
    assert (found.format, found.data) == (NEWEST_FORMAT, PAYLOAD)
    assert found.sha256 == hashlib.sha256(PAYLOAD).hexdigest()
    assert "data" not in repr(found)


def test_the_newest_of_the_kind_until_the_period_is_read(bank: Bank) -> None:
    """A run for a past period uses what had been learned by then."""
    assert latest_artifact(bank.engine, "selection") is None
    for days in (0, 7, 14):
        keep(bank, f"a{days}", DAY + timedelta(days=days))
    keep(bank, "other", DAY + timedelta(days=9), kind="pressure", span=None, scores=None)
    for until, expected in ((None, "a14"), (13, "a7"), (7, "a7"), (6, "a0"), (-1, None)):
        period = None if until is None else DAY + timedelta(days=until)
        found = latest_artifact(bank.engine, "selection", period)
        assert (found and found.artifact_id) == expected
    pressure = latest_artifact(bank.engine, "pressure")
    assert pressure is not None
    assert (pressure.span_from, pressure.span_to, pressure.scores) == (None, None, None)


def test_a_second_write_changes_nothing(bank: Bank) -> None:
    """An artefact that stands already stays, whatever is written under its id."""
    keep(bank)
    before = rows(bank.engine, "forecast_artifacts")
    keep(bank, data=b"other", parameters={}, period=DAY + timedelta(days=1))
    assert rows(bank.engine, "forecast_artifacts") == before


def test_damaged_bytes_are_refused_by_name(bank: Bank) -> None:
    """One flipped bit is found, and the error names the artefact, both digests and what to do."""
    keep(bank)
    flipped = bytes([PAYLOAD[0] ^ 1]) + PAYLOAD[1:]
    damage(bank, data=flipped)
    with pytest.raises(ArtifactError, match="artefact 'a1' of 2026-03-31 is damaged") as refused:
        latest_artifact(bank.engine, "selection")
    for told in (hashlib.sha256(flipped).hexdigest(), hashlib.sha256(PAYLOAD).hexdigest(), "train anew"):
        assert told in str(refused.value)
    damage(bank, data=PAYLOAD)
    assert latest_artifact(bank.engine, "selection") is not None


def test_a_newer_format_is_refused_by_name(bank: Bank) -> None:
    """What a later version wrote is not guessed at; one that knows the format reads it."""
    keep(bank, payload_format=NEWEST_FORMAT + 1)
    with pytest.raises(ArtifactError, match=r"artefact 'a1' .* has format 2, this version reads up to 1"):
        latest_artifact(bank.engine, "selection")
    newer = latest_artifact(bank.engine, "selection", newest_format=NEWEST_FORMAT + 1)
    assert newer is not None
    assert newer.format == NEWEST_FORMAT + 1


def drift(scope: str = "bank", **changes: Any) -> DriftScore:
    """A run's drift on DAY: as promised."""
    values: dict[str, Any] = {
        "run_id": "r1",
        "day": DAY,
        "scope": scope,
        "days": 28,
        "coverage80": 0.79,
        "coverage80_promised": 0.8,
        "wape": 0.2,
        "wape_promised": 0.21,
        **changes,
    }
    return DriftScore(**values)


def test_drift_is_kept_once_and_read_by_day_and_scope(bank: Bank) -> None:
    """What was judged before stays as it was judged; a promise that was not made reads as NaN."""
    put(bank, tf.forecast_runs, run_row("r1", DAY))
    veto = {"verdict": "drift", "condition": "80 % band held 41 %"}
    silent: dict[str, Any] = {"coverage80_promised": None, "wape": None, "wape_promised": None}
    store.save_drift(bank.engine, [drift(), drift("group:small", **veto), drift("group:new", **silent)])
    before = rows(bank.engine, "forecast_drift")
    store.save_drift(bank.engine, [drift(coverage80=0.1)])
    assert rows(bank.engine, "forecast_drift") == before
    frame = forecast_drift(bank.engine, since=DAY)
    assert frame["scope"].tolist() == ["bank", "group:new", "group:small"]
    assert frame["verdict"].isna().tolist() == [True, True, False]
    assert frame.loc[2, "condition"] == "80 % band held 41 %"
    assert frame.loc[1, ["coverage80_promised", "wape", "wape_promised"]].isna().all()
    assert forecast_drift(bank.engine, since=DAY, scope="bank")["coverage80"].tolist() == [0.79]
    assert forecast_drift(bank.engine, since=DAY + timedelta(days=1)).empty


def test_a_forecast_keeps_how_it_came_about(bank: Bank) -> None:
    """Details are read back as given, by branch and region; without any the branch is left out."""
    two_regions(bank)
    put(bank, tf.forecast_runs, run_row("r1", DAY))
    choice = {"champion": "combination", "why": "lower loss", "observations": 100}
    details = {"weights": {"prophet": 0.4, "weeks8": 0.6}, "group": "small", "calibration": [1.1, 0.9]}

    def save(branch_id: str, details: dict[str, Any] | None) -> None:
        store.save_series(
            bank.engine,
            run_id="r1",
            branch_id=branch_id,
            choice=choice,
            quantiles=None,
            paths=None,
            details=details,
        )

    save("b1", None)
    save("b2", details)
    save("b2", {"weights": {}})
    assert series_details(bank.engine, "r1") == {"b2": details}
    assert series_details(bank.engine, "r1", "north") == {}
    assert series_details(bank.engine, "r2") == {}
