"""Bearer tokens: only the sha256 of the secret is stored."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from booking_core import tables as t


def secret_hash(secret: str) -> str:
    """What is stored of a token's secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add_token(connection: Connection, secret: str, **values: Any) -> None:
    """Write a token."""
    connection.execute(insert(t.tokens).values(token_hash=secret_hash(secret), **values))


def find_token(connection: Connection, secret: str, now: datetime) -> Row[Any] | None:
    """The token with this secret if it is neither revoked nor expired."""
    c = t.tokens.c
    current = c.revoked_utc.is_(None) & (c.expires_utc.is_(None) | (c.expires_utc > now))
    return connection.execute(select(t.tokens).where(c.token_hash == secret_hash(secret), current)).first()
