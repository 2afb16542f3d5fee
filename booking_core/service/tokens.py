"""Issuing tokens and telling who a secret belongs to."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from booking_core.clock import utc_now
from booking_core.service.core import Caller
from booking_core.store import tokens as store
from metrics.contract import TokenScope

LONGEST: Final = 64
"""Characters of a name or holder, which the bookings' history keeps."""


def issue_token(
    connection: Connection,
    *,
    name: str,
    scopes: Collection[str],
    region: str | None = None,
    holder: str | None = None,
    expires_utc: datetime | None = None,
    now: datetime | None = None,
) -> str:
    """The secret of a new token; it cannot be read again.

    Raises ValueError for an unknown scope, for none, for a name or holder that does not fit,
    and for a customer token without its holder.
    """
    unknown = set(scopes) - {scope.value for scope in TokenScope}
    if unknown or not scopes:
        raise ValueError(
            f"scope {sorted(unknown) or 'missing'}: expected some of {[s.value for s in TokenScope]}"
        )
    if TokenScope.CUSTOMER in scopes and holder is None:
        raise ValueError("a customer token needs its holder (--holder): it acts on that holder's loans only")
    for what, value in (("name", name), ("holder", holder)):
        if value is not None and not (0 < len(value) <= LONGEST and value.isprintable()):
            raise ValueError(f"{what} {value[:LONGEST]!r}: expected 1 to {LONGEST} printable characters")
    secret = f"slotcast_{secrets.token_urlsafe(32)}"
    store.add_token(
        connection,
        secret,
        token_id=secrets.token_hex(8),
        name=name,
        scopes=sorted(set(scopes)),
        region_id=region,
        holder=holder,
        created_utc=now or utc_now(),
        expires_utc=expires_utc,
    )
    return secret


def caller_of(connection: Connection, secret: str, now: datetime) -> Caller | None:
    """Who the secret belongs to, None for an unknown, expired or revoked one."""
    row = store.find_token(connection, secret, now)
    if row is None:
        return None
    scopes = frozenset(TokenScope(scope) for scope in row.scopes)
    return Caller(row.token_id, row.name, scopes, row.region_id, row.holder)
