"""The demo's alert receiver: an Alertmanager webhook that writes one JSON line an alert.

    python -m metrics.alert_log --port 9095

POST /page, /ticket, /heartbeat take Alertmanager's webhook body (version 4); the path names the receiver.
Heartbeats are remembered, not printed: GET /heartbeat answers 200 while the Watchdog was heard within
the silence allowed and 503 afterwards, so that a container's health check is the dead man's switch.
Standard library only. A bank puts its own pager in metrics/alertmanager.yml instead (docs/alerts.md).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TextIO

RECEIVERS: Final = ("page", "ticket", "heartbeat")
MAX_BODY_BYTES: Final = 1_000_000


def alert_lines(receiver: str, body: bytes) -> Iterator[str]:
    """One JSON line for each alert of the webhook body.

    Raises ValueError when the body is no Alertmanager webhook.
    """
    try:
        alerts = json.loads(body)["alerts"]
        for alert in alerts:
            labels, annotations = alert["labels"], alert.get("annotations", {})
            line = {
                "receiver": receiver,
                "status": alert["status"],
                "alert": labels["alertname"],
                "severity": labels.get("severity"),
                "starts_at": alert["startsAt"],
                "summary": annotations.get("summary"),
                "summary_zh": annotations.get("summary_zh"),
                "runbook": annotations.get("runbook_url"),
            }
            yield json.dumps(line, ensure_ascii=False)
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f'expected an Alertmanager webhook, {{"alerts": [...]}}: {error!r}') from error


class AlertLog(ThreadingHTTPServer):
    """An HTTP server that takes alerts on loopback or the address given."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        *,
        out: TextIO = sys.stdout,
        silence_seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(address, _Handler)
        self.out = out
        self.silence_seconds = silence_seconds
        self.clock = clock
        self.heard = clock()  # a receiver just started has not missed anything yet

    @property
    def heartbeat_age_seconds(self) -> float:
        """Seconds since the last heartbeat, or since the start."""
        return self.clock() - self.heard


class _Handler(BaseHTTPRequestHandler):
    server: AlertLog

    def do_GET(self) -> None:
        """Answer whether the heartbeat is fresh, or that this process is alive."""
        if self.path == "/healthz":
            self._answer(HTTPStatus.OK, {"status": "ok"})
        elif self.path == "/heartbeat":
            age = self.server.heartbeat_age_seconds
            fresh = age <= self.server.silence_seconds
            status = HTTPStatus.OK if fresh else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, {"heartbeat_age_seconds": round(age, 1)})
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "GET /healthz or /heartbeat"})

    def do_POST(self) -> None:
        """Write the alerts of one webhook call."""
        receiver = self.path.strip("/")
        length = self.headers.get("Content-Length", "")
        if receiver not in RECEIVERS:
            self._answer(HTTPStatus.NOT_FOUND, {"error": f"POST to one of {RECEIVERS}"})
            return
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            error = f"expected Content-Length of at most {MAX_BODY_BYTES}"
            self._answer(HTTPStatus.BAD_REQUEST, {"error": error})
            return
        try:
            lines = list(alert_lines(receiver, self.rfile.read(int(length))))
        except ValueError as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        if receiver == "heartbeat":
            self.server.heard = self.server.clock()
        else:
            self.server.out.write("".join(line + "\n" for line in lines))
            self.server.out.flush()
        self._answer(HTTPStatus.OK, {"alerts": len(lines)})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the alerts are the log."""

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m metrics.alert_log", description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9095)
    parser.add_argument(
        "--silence", type=float, default=300.0, help="seconds without a heartbeat until GET /heartbeat is 503"
    )
    options = parser.parse_args(arguments)
    with AlertLog((options.host, options.port), silence_seconds=options.silence) as server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
