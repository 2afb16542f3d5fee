"""What a selection of models learned, as it was stored: checked when it is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Engine, select

from booking_core import tables_forecast as tf

NEWEST_FORMAT: Final = 1
"""The version of the payload that this code writes, and the newest that it reads."""


class ArtifactError(ValueError):
    """The artefact cannot be used: its bytes are not those that were stored, or its format is not known."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One row of forecast_artifacts, its bytes checked."""

    artifact_id: str
    kind: str
    period: date
    """Business day it was made on."""
    created_utc: datetime
    """Wall time."""
    span_from: date | None
    span_to: date | None
    """First and last day of what it learned from."""
    parameters: dict[str, Any]
    libraries: dict[str, str]
    scores: dict[str, Any] | None
    format: int
    """Version of the payload."""
    sha256: str
    """Of data, in hexadecimal digits."""
    data: bytes = field(repr=False)


def latest_artifact(
    engine: Engine,
    kind: str,
    until_period: date | None = None,
    *,
    newest_format: int = NEWEST_FORMAT,
    id_end: str = "",
) -> Artifact | None:
    """The newest artefact of the kind, by period then time of making; None where there is none.

    until_period: only those made on that day or before; id_end: only those whose id ends so. Raises
    ArtifactError where the newest one's bytes do not match their sha256, or its format is newer than
    `newest_format`.
    """
    a = tf.forecast_artifacts.c
    statement = (
        select(tf.forecast_artifacts)
        .where(a.kind == kind, *([] if until_period is None else [a.period <= until_period]))
        .where(a.artifact_id.endswith(id_end, autoescape=True))
        .order_by(a.period.desc(), a.created_utc.desc(), a.artifact_id.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    found = Artifact(**row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
    _check(found, newest_format)
    return found


def _check(found: Artifact, newest_format: int) -> None:
    name = f"artefact {found.artifact_id!r} of {found.period}"
    if found.format > newest_format:
        raise ArtifactError(
            f"{name} has format {found.format}, this version reads up to {newest_format}: "
            "upgrade Slotcast, or delete the artefact and train anew"
        )
    digest = hashlib.sha256(found.data).hexdigest()
    if digest != found.sha256:
        raise ArtifactError(
            f"{name} is damaged: its {len(found.data)} bytes have the sha256 {digest}, expected "
            f"{found.sha256}; restore it from a backup, or delete it and train anew"
        )
