"""What machines ask: is the process alive, can it serve, what has it counted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy.exc import SQLAlchemyError

from booking_core.api.access import TheCore
from booking_core.migrating import pending

router = APIRouter(tags=["operations"])


class _Workers(MultiProcessCollector):
    """The figures of all workers; a file that one has just begun, or never came to fill, is none."""

    def collect(self) -> Any:
        """The figures, merged."""
        files = [str(file) for file in Path(self._path).glob("*.db") if file.stat().st_size]
        return self.merge(files, accumulate=True)  # type: ignore[no-untyped-call]


@router.get("/healthz")
async def get_health() -> dict[str, str]:
    """The process is alive."""
    return {"status": "alive"}


@router.get("/readyz")
def get_readiness(core: TheCore) -> JSONResponse:
    """The database answers and has every table; otherwise 503 with what to do."""
    try:
        with core.engine.connect() as connection:
            missing = pending(connection)
    except SQLAlchemyError as fault:
        return JSONResponse({"status": "database unreachable", "detail": str(fault).splitlines()[0]}, 503)
    if missing:
        return JSONResponse(
            {"status": "not migrated", "detail": f"run: python -m booking_core migrate ({missing})"}, 503
        )
    return JSONResponse({"status": "ready"})


@router.get("/metrics")
def get_metrics(request: Request, core: TheCore) -> PlainTextResponse:
    """Prometheus text: this machine's workers together, and what the database tells."""
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        _Workers(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(core.instruments.registry)
    registry.register(request.app.state.database_collector)
    return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
