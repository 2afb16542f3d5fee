"""JSON logs: one object a line, with the trace id of the request, ids of customers and loans hashed."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, TextIO

trace_id_var: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id (32 hex) of the request being served; "" outside one."""

HASHED: Final = frozenset({"loan", "loan_ref", "holder", "customer", "contact"})
"""Names of values that are hashed before they are logged."""

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_encode: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}


def hashed(reference: str) -> str:
    """The first 16 hex of the sha256: how logs and attempts name a customer or a loan."""
    return hashlib.sha256(reference.encode()).hexdigest()[:16]


def new_trace_id() -> str:
    """A random W3C trace id: 32 hex, not all zero; it is a name and no secret."""
    return f"{random.getrandbits(128) or 1:032x}"


def trace_id_of(traceparent: str | None) -> str:
    """The trace id of a W3C traceparent header, a new one where it is absent or malformed."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return found["trace"] if found and found["trace"] != "0" * 32 else new_trace_id()


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object: at, level, logger, message, trace_id, and what `extra` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace_id := trace_id_var.get():
            line["trace_id"] = trace_id
        for name, value in record.__dict__.items():
            if name not in _STANDARD and not name.startswith("_"):
                line[name] = hashed(str(value)) if name in HASHED and value is not None else value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


def configure_logs(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every logger of this process through one JSON handler (default: standard error)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
