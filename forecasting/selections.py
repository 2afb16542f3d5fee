"""Selections kept from one training to the next: written as JSON, checked on load, used while they are fresh.

A selection judges models on backtest folds and is the dear part of a training. A later run of the same
branches forecasts with the one that was kept, at most `reselect_days` old; one that cannot be read is named
in the log, and the run selects anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, get_args, get_origin, get_type_hints

import numpy as np
from sqlalchemy import Engine

from booking_core.read.artifacts import latest_artifact
from booking_core.read.forecasts import ForecastRun
from forecasting import store
from forecasting.decisions.policy import Policy
from forecasting.frames import Floats
from forecasting.models.components import COMPONENTS
from forecasting.models.selection import COMBINATION, Selection

SELECTION: Final = "selection"
FORMAT: Final = 1
"""The version of the payload that is written, and the newest that is read."""

_HASH_DIGITS: Final = 16

log = logging.getLogger(__name__)


class SelectionError(ValueError):
    """The bytes hold no selection that this version can use."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selection for branches trained together, with the rates that their levels moved at."""

    ids: tuple[str, ...]
    """In the order of the selection's positions."""
    selection: Selection
    period: date
    """Business day it was made on."""


def selection_id(period: date, branch_ids: Sequence[str]) -> str:
    """The artefact's id: the same batch has the same one on the same day."""
    return f"{SELECTION}-{period.isoformat()}{_of_batch(branch_ids)}"


def kept_selection(
    engine: Engine, run: ForecastRun, branch_ids: Sequence[str], policy: Policy
) -> Chosen | None:
    """The batch's newest selection up to the run's period, `reselect_days` old at most; None: select anew."""
    batch = _of_batch(branch_ids)
    try:
        found = latest_artifact(engine, SELECTION, run.period, newest_format=FORMAT, id_end=batch)
        if found is None or run.period - found.period > timedelta(days=policy.reselect_days):
            return None
        if found.parameters.get("country") != run.parameters["country"]:
            return None  # other holidays: other day types
        ids, selection = loaded(found.data)
    except ValueError as error:
        log.warning("%s selects anew for its batch %s: %s", run.run_id, batch.lstrip("-"), error)
        return None
    return Chosen(ids, selection, found.period)


def keep_selection(
    engine: Engine,
    run: ForecastRun,
    branch_ids: Sequence[str],
    chosen: Chosen,
    span: tuple[date, date],
) -> None:
    """Keep what was chosen for the batch; one that stands already stays. span: first and last known day."""
    selection = chosen.selection
    store.save_artifact(
        engine,
        artifact_id=selection_id(chosen.period, branch_ids),
        kind=SELECTION,
        period=chosen.period,
        created_utc=datetime.now(UTC),
        span=span,
        parameters={
            "ids": list(chosen.ids),
            "country": run.parameters["country"],
            "seed": run.parameters["seed"],
            "until": run.parameters["until"],
        },
        libraries=run.libraries or {},
        scores=selection.as_record(),
        data=dumped(chosen.ids, selection),
        payload_format=FORMAT,
    )


def dumped(ids: Sequence[str], selection: Selection) -> bytes:
    """The selection as compressed JSON."""
    body = {"format": FORMAT, "ids": list(ids), "selection": asdict(selection)}
    return zlib.compress(json.dumps(body, sort_keys=True, allow_nan=False, default=_numbers).encode())


def loaded(data: bytes) -> tuple[tuple[str, ...], Selection]:
    """The ids and their selection, as `dumped` wrote them.

    Raises SelectionError for bytes that are no such JSON, another format, models that this version does not
    have, and numbers that do not fit the ids.
    """
    try:
        body = json.loads(zlib.decompress(data))
        if body["format"] != FORMAT:
            raise SelectionError(f"the selection has format {body['format']}, this version reads {FORMAT}")
        ids, selection = tuple(map(str, body["ids"])), _read(Selection, body["selection"])
    except (zlib.error, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise SelectionError(f"the bytes hold no selection: {error!r}; train anew") from error
    if problem := _problem(selection, len(ids)):
        raise SelectionError(f"the selection of {len(ids)} branches cannot be used: {problem}; train anew")
    return ids, selection


def _read(kind: Any, value: Any) -> Any:
    """The JSON value as the type says: data classes, arrays, tuples and lists of what they hold."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{each.name: _read(hints[each.name], value[each.name]) for each in fields(kind)})  # type: ignore[operator]
    if get_origin(kind) is np.ndarray:
        return np.array([np.nan if each is None else each for each in value], dtype=np.float64)
    if get_origin(kind) in {tuple, list}:
        return get_origin(kind)(_read(get_args(kind)[0], each) for each in value)
    return value


def _problem(selection: Selection, count: int) -> str | None:
    """What does not fit, in words; None: all does."""
    spread, groups = selection.spread.series, selection.groups
    by_series = (spread, selection.series_wql, selection.weeks8_wql, selection.coverage80, selection.rates)
    rules = (
        (selection.names == COMPONENTS, f"its models are {selection.names}, expected {COMPONENTS}"),
        (
            selection.champion in {COMBINATION, *COMPONENTS},
            f"its champion {selection.champion!r} is none of its models",
        ),
        (all(len(values) == count for values in by_series), "it has numbers for another count of branches"),
        (
            sorted(place for group in groups for place in group) == list(range(count)),
            f"its groups {groups} do not hold each branch once",
        ),
        (bool(np.isfinite(spread).all()), "its spread is not known for every branch"),
    )
    return next((problem for holds, problem in rules if not holds), None)


def _of_batch(branch_ids: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(sorted(branch_ids)).encode()).hexdigest()
    return f"-{digest[:_HASH_DIGITS]}"


def _numbers(values: Floats) -> list[float | None]:
    """The values as JSON has them: NaN is null."""
    return [float(value) if np.isfinite(value) else None for value in values]
