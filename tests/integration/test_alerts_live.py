"""Real Prometheus and Alertmanager on the committed files: an alert fires and reaches its receiver."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from metrics.alert_log import AlertLog
from metrics.contract import INVARIANT_VIOLATIONS
from tests.support.tools import free_port, require_tool

METRICS = Path(__file__).parents[2] / "metrics"


@dataclass
class Alerting:
    """A running chain from a scraped target to the demo's receiver."""

    violations: Gauge
    receiver: AlertLog
    printed: io.StringIO
    prometheus_url: str
    alertmanager_url: str
    stop_target: Callable[[], None]

    def told(self) -> list[dict[str, Any]]:
        """List what the receiver wrote so far."""
        return [json.loads(line) for line in self.printed.getvalue().splitlines()]

    def told_of(self, alert: str, status: str) -> dict[str, Any]:
        """Wait for what the receiver writes of this alert."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.told() if (line["alert"], line["status"]) == (alert, status)]

        until(found, f"{alert} {status}")
        return found()[0]


def until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait for the condition; fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def hurried_configuration(folder: Path, *, target: int, alertmanager: int, receiver: int) -> None:
    """Write the committed configuration with this run's ports, and seconds where it says minutes."""
    for name in ("rules", "targets"):
        shutil.copytree(METRICS / name, folder / name)
    (folder / "targets/booking_core.yml").write_text(yaml.safe_dump([{"targets": [f"127.0.0.1:{target}"]}]))
    (folder / "targets/alertmanager.yml").write_text(
        yaml.safe_dump([{"targets": [f"127.0.0.1:{alertmanager}"]}])
    )
    prometheus = yaml.safe_load((METRICS / "prometheus.yml").read_text())
    prometheus["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(prometheus))
    for path in (folder / "rules").glob("*.yml"):
        content = yaml.safe_load(path.read_text())
        for rule in (rule for group in content["groups"] for rule in group["rules"]):
            # longer than Prometheus takes to find its target (5 s), or ServiceDown would fire at every start
            rule |= {name: wait for name, wait in (("for", "8s"), ("keep_firing_for", "2s")) if name in rule}
        path.write_text(yaml.safe_dump(content))
    text = (METRICS / "alertmanager.yml").read_text().replace("127.0.0.1:9095", f"127.0.0.1:{receiver}")
    routes = yaml.safe_load(text)
    for route in (routes["route"], *routes["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s"}
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(routes))


@contextmanager
def program(*command: str, log: Path) -> Iterator[None]:
    """Run a program until the block ends."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=10)


@pytest.fixture
def alerting(tmp_path: Path) -> Iterator[Alerting]:
    """Target, Prometheus, Alertmanager and receiver, running and ready."""
    prometheus = require_tool("prometheus", "prometheus")
    alertmanager = require_tool("prometheus-alertmanager", "prometheus-alertmanager")
    ports = {name: free_port() for name in ("target", "alertmanager", "receiver")}
    page = free_port()
    hurried_configuration(tmp_path, **ports)
    registry, printed = CollectorRegistry(), io.StringIO()
    violations = Gauge(INVARIANT_VIOLATIONS, "Rows", ["invariant"], registry=registry)
    violations.labels("slot_within_capacity").set(0)
    target, target_thread = start_http_server(ports["target"], "127.0.0.1", registry)

    def stop_target() -> None:
        target.shutdown()
        target.server_close()
        target_thread.join()

    with ExitStack() as running:
        receiver = running.enter_context(AlertLog(("127.0.0.1", ports["receiver"]), out=printed))
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        running.callback(receiver.shutdown)
        running.enter_context(
            program(
                alertmanager,
                f"--config.file={tmp_path}/alertmanager.yml",
                f"--storage.path={tmp_path}/am",
                f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
                "--cluster.listen-address=",
                log=tmp_path / "alertmanager.log",
            )
        )
        running.enter_context(
            program(
                prometheus,
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/tsdb",
                f"--web.listen-address=127.0.0.1:{page}",
                "--rules.alert.resend-delay=1s",  # Alertmanager is discovered seconds after the first alert
                log=tmp_path / "prometheus.log",
            )
        )
        urls = f"http://127.0.0.1:{page}", f"http://127.0.0.1:{ports['alertmanager']}"
        for url in urls:
            until(lambda url=url: answers(f"{url}/-/ready"), f"{url} ready")
        yield Alerting(violations, receiver, printed, *urls, stop_target)


def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        return httpx.get(url, timeout=1).is_success
    except httpx.HTTPError:
        return False


def test_a_breach_pages_and_its_end_is_told_and_the_heartbeat_beats(alerting: Alerting) -> None:
    """InvariantViolated reaches the pager with its runbook, then resolves; ServiceDown follows a death."""
    started = alerting.receiver.heard
    until(lambda: alerting.receiver.heard > started, "the Watchdog's heartbeat")
    assert alerting.told() == [], "nothing but the heartbeat fires on a healthy target"

    alerting.violations.labels("slot_within_capacity").set(3)
    page = alerting.told_of("InvariantViolated", "firing")
    assert page["receiver"] == "page"
    assert "3 rows" in page["summary"]
    assert page["runbook"] == "metrics/runbooks/InvariantViolated.md"

    alerting.violations.labels("slot_within_capacity").set(0)
    alerting.told_of("InvariantViolated", "resolved")

    alerting.stop_target()
    assert alerting.told_of("ServiceDown", "firing")["receiver"] == "page"


def test_a_dead_service_mutes_its_echoes(alerting: Alerting) -> None:
    """While ServiceDown fires, BookingSlow is suppressed; without it, it is not (negative control)."""
    post(alerting, "BookingSlow", "page")
    alerting.told_of("BookingSlow", "firing")
    assert state_of(alerting, "BookingSlow") == "active"
    post(alerting, "ServiceDown", "page")
    until(lambda: state_of(alerting, "BookingSlow") == "suppressed", "BookingSlow suppressed")
    assert state_of(alerting, "ServiceDown") == "active"


def post(alerting: Alerting, name: str, severity: str) -> None:
    """Hand Alertmanager an alert as Prometheus would."""
    alert = {
        "labels": {"alertname": name, "severity": severity},
        "annotations": {"summary": name},
        "startsAt": datetime.now(UTC).isoformat(),
    }
    httpx.post(f"{alerting.alertmanager_url}/api/v2/alerts", json=[alert]).raise_for_status()


def state_of(alerting: Alerting, name: str) -> str:
    """Alertmanager's view of one alert: active, suppressed or unprocessed."""
    found = httpx.get(f"{alerting.alertmanager_url}/api/v2/alerts", params={"filter": f"alertname={name}"})
    return str(found.json()[0]["status"]["state"])


def test_the_receiver_refuses_what_is_no_webhook_and_knows_silence() -> None:
    """A bad body or path gets one clear error; a heartbeat missed for too long turns /heartbeat to 503."""
    now, printed = [0.0], io.StringIO()
    with AlertLog(("127.0.0.1", 0), out=printed, silence_seconds=300, clock=lambda: now[0]) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{receiver.server_address[1]}"
        assert "expected an Alertmanager webhook" in httpx.post(f"{url}/page", content=b"{").json()["error"]
        assert "expected an Alertmanager webhook" in httpx.post(f"{url}/page", json=[1]).json()["error"]
        assert httpx.post(f"{url}/pager", json={}).status_code == 404
        assert printed.getvalue() == ""
        now[0] = 301.0
        assert httpx.get(f"{url}/heartbeat").status_code == 503
        assert httpx.post(f"{url}/heartbeat", json={"alerts": []}).status_code == 200
        assert httpx.get(f"{url}/heartbeat").status_code == 200
        receiver.shutdown()
