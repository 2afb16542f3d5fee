"""Who may call a route: bearer tokens with scopes, looked up once in a few seconds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from booking_core.api.responses import ProblemError
from booking_core.service.core import Asking, Caller, Core
from booking_core.service.tokens import caller_of
from metrics.contract import Reason, TokenScope
from metrics.instruments import UNKNOWN_CHANNEL
from metrics.logs import trace_id_var

ATTEMPT_PATH: Final = "/v1/bookings"
"""POST here, or below, is a try to take a slot."""
CACHE_SECONDS: Final = 5.0
"""How long a revoked token may still pass."""
CACHE_TOKENS: Final = 10_000

_bearer = HTTPBearer(auto_error=False, description="`python -m booking_core token` issues one")


@dataclass(slots=True)
class TokenCache:
    """Callers by secret for a few seconds; one in each process."""

    known: dict[str, tuple[Caller, float]]

    async def caller(self, core: Core, secret: str) -> Caller | None:
        """Who the secret belongs to, None for an unknown one (which is not cached)."""
        now = time.monotonic()
        hit = self.known.get(secret)
        if hit is not None and hit[1] > now:
            return hit[0]

        def look_up() -> Caller | None:
            with core.engine.connect() as connection:
                return caller_of(connection, secret, core.wall())

        caller = await run_in_threadpool(look_up)
        if len(self.known) >= CACHE_TOKENS:
            self.known.clear()
        if caller is None:
            self.known.pop(secret, None)
        else:
            self.known[secret] = (caller, now + CACHE_SECONDS)
        return caller


def the_core(request: Request) -> Core:
    """The running core of this process."""
    core: Core = request.app.state.core
    return core


def allow(*scopes: TokenScope) -> Callable[..., Awaitable[Asking]]:
    """A dependency: who asks, if their token has one of the scopes.

    Raises ProblemError: unauthenticated (401) or forbidden (403); a denied attempt is counted, never stored.
    """

    def denied(request: Request, reason: Reason, needs: str = "") -> ProblemError:
        if request.method == "POST" and request.url.path.startswith(ATTEMPT_PATH):
            request.app.state.core.instruments.refused(UNKNOWN_CHANNEL, reason)
        return ProblemError(reason, context={"needs": needs})

    async def asking(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Asking:
        state = request.app.state
        caller = await state.tokens.caller(state.core, credentials.credentials) if credentials else None
        if caller is None:
            raise denied(request, Reason.UNAUTHENTICATED)
        if not caller.scopes & set(scopes):
            raise denied(request, Reason.FORBIDDEN, f"scope {' | '.join(sorted(scopes))}")
        return Asking(caller, trace_id_var.get(), request.scope["state"]["started"])

    return asking


TheCore = Annotated[Core, Depends(the_core)]
Customers = Annotated[Asking, Depends(allow(TokenScope.CUSTOMER, TokenScope.CHANNEL, TokenScope.OPERATOR))]
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
