"""`python -m benchmarks.support.limited serve …`: the core, each worker limited to so many requests a second.

More workers do nothing for a machine whose cores are busy, so on two cores scaling cannot be seen. Here a
worker is held by something else: it treats SLOTS requests at a time, each for HOLD_SECONDS more than it takes
(a stand-in for a core banking system behind it), keeps WAITING more waiting and refuses the rest with 503.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

SLOTS: Final = 2
HOLD_SECONDS: Final = 0.05
WAITING: Final = 20
WORKER_RPS: Final = SLOTS / HOLD_SECONDS
PATH: Final = "/v1/branches"
"""Held for this route alone, so that the probes of the benchmark itself stay free."""


class Limited:
    """The innermost middleware: what it refuses or holds is counted by all around it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._slots: asyncio.Semaphore | None = None
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer within the limit, or refuse."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        self._slots = self._slots or asyncio.Semaphore(SLOTS)
        if self._waiting >= WAITING:
            await JSONResponse({"reason": "system_busy"}, status_code=503)(scope, receive, send)
            return
        self._waiting += 1
        async with self._slots:
            self._waiting -= 1
            await asyncio.sleep(HOLD_SECONDS)
            await self._app(scope, receive, send)


def main() -> int:
    """What the core's own command returns."""
    from booking_core import serving  # noqa: PLC0415 – the benchmark imports the numbers above alone
    from booking_core.__main__ import main as command  # noqa: PLC0415

    made = serving.create_app

    def limited(**options: Any) -> Any:
        app = made(**options)
        app.user_middleware.append(Middleware(Limited))
        return app

    serving.create_app = limited
    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
