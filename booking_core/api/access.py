"""Who may call a route: bearer tokens with scopes, looked up once in a few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from starlette.types import Scope

from booking_core.api.responses import ProblemError
from booking_core.service.batching import TooLate
from booking_core.service.core import Asking, Caller, Core
from booking_core.service.tokens import caller_of
from metrics.contract import Reason, TokenScope
from metrics.instruments import UNKNOWN_CHANNEL
from metrics.logs import trace_id_var

ATTEMPT_PATH: Final = "/v1/bookings"
STAFFS_NOTES: Final = ("/check-in", "/complete", "/no-show")
BOOKERS: Final = (TokenScope.CUSTOMER, TokenScope.CHANNEL, TokenScope.OPERATOR)
CACHE_SECONDS: Final = 5.0
"""How long a revoked token may still pass."""
CACHE_TOKENS: Final = 10_000
ASKED_AT_ONCE: Final = 200
"""Secrets that are looked up at the same time."""

_bearer = HTTPBearer(auto_error=False, description="`python -m booking_core token` issues one")


class TokenCache:
    """Callers by secret for a few seconds; one in each process."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._known: dict[str, tuple[Caller, float]] = {}
        self._asked: dict[str, asyncio.Future[Caller | None]] = {}

    async def caller(self, secret: str) -> Caller | None:
        """Who the secret belongs to, None for an unknown one (which is not cached).

        Looked up once, however many requests bear the same one just then.
        """
        hit = self._known.get(secret)
        if hit is not None and hit[1] > time.monotonic():
            return hit[0]
        asked = self._asked.get(secret)
        if asked is None:
            if len(self._asked) >= ASKED_AT_ONCE:
                raise TooLate("too many tokens are looked up at once")
            asked = self._asked[secret] = asyncio.ensure_future(self._look_up(secret))
            asked.add_done_callback(lambda _: self._asked.pop(secret))
        return await asyncio.shield(asked)

    async def _look_up(self, secret: str) -> Caller | None:
        def look_up() -> Caller | None:
            with self._core.engine.connect() as connection:
                return caller_of(connection, secret, self._core.wall())

        caller = await run_in_threadpool(look_up)
        if len(self._known) >= CACHE_TOKENS:
            self._known.clear()
        if caller is None:
            self._known.pop(secret, None)
        else:
            self._known[secret] = (caller, time.monotonic() + CACHE_SECONDS)
        return caller


async def admitted(tokens: TokenCache, secret: str | None, scopes: Collection[TokenScope]) -> Caller:
    """Who bears the secret, if their token has one of the scopes.

    Raises ProblemError: unauthenticated (401) or forbidden (403).
    """
    caller = await tokens.caller(secret) if secret else None
    if caller is None:
        raise ProblemError(Reason.UNAUTHENTICATED)
    if caller.scopes.isdisjoint(scopes):
        asked = " | ".join(sorted(scopes))
        needs = {"needs": f"scope {asked}", "needs_zh": f"需要权限 {asked}"}
        raise ProblemError(Reason.FORBIDDEN, context=needs)
    return caller


def secret_of(authorization: str | None) -> str | None:
    """The secret of an Authorization header, None where it bears none."""
    scheme, secret = get_authorization_scheme_param(authorization)
    return secret if secret and scheme.lower() == "bearer" else None


def is_attempt(scope: Scope) -> bool:
    """Whether the request is a try to take a slot; a dry run and what staff note of a booking are none."""
    below = scope["path"].startswith(ATTEMPT_PATH) and not scope["path"].endswith(STAFFS_NOTES)
    return below and scope["method"] == "POST" and b"dry_run=true" not in scope["query_string"]


def the_core(request: Request) -> Core:
    """The running core of this process."""
    core: Core = request.app.state.core
    return core


def allow(*scopes: TokenScope) -> Callable[..., Awaitable[Asking]]:
    """A dependency: who asks, if their token has one of the scopes.

    Raises ProblemError: unauthenticated (401) or forbidden (403); a denied attempt is counted, never stored.
    """

    async def asking(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Asking:
        state = request.app.state
        try:
            caller = await admitted(state.tokens, credentials.credentials if credentials else None, scopes)
        except ProblemError as denied:
            if is_attempt(request.scope):
                state.core.instruments.refused(UNKNOWN_CHANNEL, denied.reason)
            raise
        return Asking(caller, trace_id_var.get(), request.scope["state"]["started"])

    return asking


TheCore = Annotated[Core, Depends(the_core)]
Customers = Annotated[Asking, Depends(allow(*BOOKERS))]
"""Who may book: customers, and staff for them."""
Staff = Annotated[Asking, Depends(allow(TokenScope.CHANNEL, TokenScope.OPERATOR))]
"""Who may note what became of an appointment."""
Anyone = Annotated[Asking, Depends(allow(*TokenScope))]
"""Who may look: any valid token."""
Operators = Annotated[Asking, Depends(allow(TokenScope.OPERATOR))]
"""Who may steer."""
Readers = Annotated[Asking, Depends(allow(TokenScope.READER, TokenScope.PLANNER, TokenScope.OPERATOR))]
"""Who may look at plans and quotas."""
Planners = Annotated[Asking, Depends(allow(TokenScope.PLANNER, TokenScope.OPERATOR))]
"""Who may hand in and apply plans."""
