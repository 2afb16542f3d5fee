"""The committed alerting files, held to the real promtool and amtool, to the contract and to each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from booking_core.api.app import create_app
from metrics import contract
from metrics.contract import Cause, Reason
from tests.support.tools import require_tool

ROOT = Path(__file__).parents[2]
METRICS = ROOT / "metrics"
RULE_FILES = sorted((METRICS / "rules").glob("*.yml"))
TEST_FILES = sorted((METRICS / "tests").glob("*_test.yml"))
ALERTMANAGER = METRICS / "alertmanager.yml"
ALWAYS_FIRES = {"Watchdog"}
"""Alerts without a case in which they must not fire: the heartbeat is their purpose."""
DATABASE_GAUGES_SEEN_LATER = {
    contract.FORECAST_TIMESTAMP,
    contract.FORECAST_COVERAGE,
    contract.PLAN_TIMESTAMP,
    contract.PLAN_KEPT,
    contract.WORKERS_RUNNING,
    contract.WORKERS_TARGET,
}
"""Gauges without a sample until the first training, plan or scaling decision."""


@cache
def rules() -> tuple[dict[str, Any], ...]:
    """Every recording and alert rule."""
    groups = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
    return tuple(rule for group in groups for rule in group["rules"])


def alerts() -> list[dict[str, Any]]:
    """Every alert rule."""
    return [rule for rule in rules() if "alert" in rule]


def alert_names() -> list[str]:
    """Each alert's name once."""
    return sorted({rule["alert"] for rule in alerts()})


def expected_cases() -> Iterator[dict[str, Any]]:
    """Every alert case of the promtool tests."""
    for path in TEST_FILES:
        for test in yaml.safe_load(path.read_text())["tests"]:
            yield from test["alert_rule_test"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    return run(require_tool("promtool", "prometheus"), *arguments)


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run amtool to its end."""
    return run(require_tool("amtool", "prometheus-alertmanager"), *arguments)


def test_prometheus_takes_its_configuration() -> None:
    """Promtool finds the configuration and every rule file valid."""
    done = promtool("check", "config", str(METRICS / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULE_FILES)} rule files found" in done.stdout


def test_alertmanager_takes_its_configuration() -> None:
    """Amtool finds the configuration valid."""
    done = amtool("check-config", str(ALERTMANAGER))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.name)
def test_rules_fire_as_their_promtool_tests_say(path: Path) -> None:
    """Every promtool case holds."""
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("attempt_failures:increase1h >= 10", "attempt_failures:increase1h >= 0"),
        ("> 14.4 * 0.005", "> 30 * 0.005"),
        ('up{job="booking_core"}) or vector(0)', 'up{job="booking_core"})'),
        (r"system_busy|timeout", r"quota_day_full|timeout"),
    ],
    ids=["gate gone", "threshold raised", "absence unseen", "capacity taken for failure"],
)
def test_a_spoilt_rule_is_noticed(old: str, new: str, tmp_path: Path) -> None:
    """Negative control: the promtool tests fail on a rule that was tampered with."""
    copy = tmp_path / "metrics"
    for folder in ("rules", "tests"):
        shutil.copytree(METRICS / folder, copy / folder)
    texts = {path: path.read_text() for path in (copy / "rules").glob("*.yml")}
    assert any(old in text for text in texts.values())
    for path, text in texts.items():
        path.write_text(text.replace(old, new))
    assert promtool("check", "rules", *map(str, texts)).returncode == 0, "spoilt, but still valid rules"
    assert promtool("test", "rules", str(copy / "tests" / "service_test.yml")).returncode != 0


@pytest.mark.parametrize(
    "rule", alerts(), ids=lambda rule: "-".join([rule["alert"], *rule["labels"].values()])
)
def test_each_alert_is_told_whole_and_seen_firing(rule: dict[str, Any]) -> None:
    """An alert has severity, summaries and runbook, and a promtool case in which this very rule fires."""
    severity = "heartbeat" if rule["alert"] in ALWAYS_FIRES else rule["labels"]["severity"]
    assert severity in {"page", "ticket", "heartbeat"}
    assert set(rule["annotations"]) == {"summary", "summary_zh", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"metrics/runbooks/{rule['alert']}.md"
    fired = [
        alert["exp_labels"]
        for case in expected_cases()
        if case["alertname"] == rule["alert"]
        for alert in case["exp_alerts"]
    ]
    assert any(rule["labels"].items() <= labels.items() for labels in fired)


@pytest.mark.parametrize("name", alert_names())
def test_each_alert_is_seen_silent(name: str) -> None:
    """Every alert but the heartbeat has a promtool case in which it must not fire."""
    silent = any(case["alertname"] == name and not case["exp_alerts"] for case in expected_cases())
    assert silent != (name in ALWAYS_FIRES)


def test_runbooks_and_alerts_are_the_same_list() -> None:
    """Every alert has its runbook, and no runbook lacks its alert."""
    assert sorted(path.stem for path in (METRICS / "runbooks").glob("*.md")) == alert_names()


@pytest.mark.parametrize("name", alert_names())
def test_runbooks_tell_what_the_one_woken_needs(name: str) -> None:
    """A runbook says what it means for customers, what to check, causes, remedy, proof and whom to call."""
    text = (METRICS / "runbooks" / f"{name}.md").read_text()
    assert text.startswith(f"# {name} (")
    assert "**For customers**" in text
    headings = ["Check first", "Likely causes", "Remedy", "Verify", "Escalate"]
    assert [h for h in headings if not re.search(rf"^## {h}", text, re.MULTILINE)] == []


@pytest.mark.parametrize(
    "path", [*RULE_FILES, *sorted((METRICS / "runbooks").glob("*.md"))], ids=lambda p: p.name
)
def test_metric_names_are_the_contracts(path: Path) -> None:
    """Rules and runbooks name only metrics of metrics/contract.py and series recorded by the rules."""
    names = {value for key, value in vars(contract).items() if key.isupper() and isinstance(value, str)}
    suffixed = {f"{name}_{part}" for name in names for part in ("bucket", "count", "sum")}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    text = path.read_text()
    used = set(
        re.findall(r"\b(?:booking_(?!core\b)[a-z_]+|(?:forecast|plan)_[a-z_]*(?:seconds|ratio|kept))\b", text)
    )
    assert used - names - suffixed - {"booking_id"} == set()
    assert set(re.findall(r"slotcast:[a-z_]+:[a-z0-9]+", text)) <= recorded


def test_reason_lists_are_the_contracts() -> None:
    """Each list of reasons in a rule is exactly the reasons of one cause."""
    of_cause = {cause: sorted(reason.value for reason in Reason if reason.cause is cause) for cause in Cause}
    found = {
        (sign, tuple(sorted(listed.split("|"))))
        for rule in rules()
        for sign, listed in re.findall(r'reason(=~|!~)"([^"]+)"', rule["expr"])
    }
    assert found == {
        ("=~", tuple(of_cause[Cause.SYSTEM])),
        ("=~", tuple(of_cause[Cause.CAPACITY])),
        ("!~", tuple(of_cause[Cause.ACCESS])),
    }


def test_no_alert_watches_a_series_that_the_core_never_exports(engine: Engine) -> None:
    """Every selector of the rules matches a sample of the real core's /metrics after one booking request."""
    with TestClient(create_app(engine, housekeeping=False)) as client:
        client.post("/v1/bookings", json={})
        exposed = client.get("/metrics").text
    samples = [
        (name, dict(re.findall(r'(\w+)="([^"]*)"', labels or "")))
        for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? \S+$", exposed, re.MULTILINE)
    ]
    for rule in rules():
        for name, matchers in re.findall(
            r"\b(?!booking_core\b)((?:booking|forecast|plan)_[a-z_]+)\b(?:\{([^}]*)\})?", rule["expr"]
        ):
            if name in DATABASE_GAUGES_SEEN_LATER:
                continue
            wanted = re.findall(r'(\w+)(=~|!~|=)"([^"]*)"', matchers)
            fits = [
                labels for found, labels in samples if found == name and all(fit(labels, *w) for w in wanted)
            ]
            assert fits, f"{rule.get('alert') or rule['record']}: nothing exported for {name}{{{matchers}}}"


def fit(labels: dict[str, str], label: str, sign: str, value: str) -> bool:
    """Whether the labels satisfy one matcher, as Prometheus would judge."""
    have = labels.get(label, "")
    if sign == "=":
        return have == value
    return bool(re.fullmatch(value, have)) == (sign == "=~")


@pytest.mark.parametrize(
    "rule", alerts(), ids=lambda rule: "-".join([rule["alert"], *rule["labels"].values()])
)
def test_each_alert_reaches_the_receiver_of_its_severity(rule: dict[str, Any]) -> None:
    """Pages go to the pager, tickets to the queue, the heartbeat to the dead man's switch."""
    labels = {"alertname": rule["alert"], **rule["labels"]}
    receiver = rule["labels"]["severity"]
    done = amtool(
        "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"--verify.receivers={receiver}",
        *(f"{key}={value}" for key, value in labels.items()),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_without_severity_still_reaches_someone() -> None:
    """What no route matches becomes a ticket."""
    done = amtool("config", "routes", "test", f"--config.file={ALERTMANAGER}", "alertname=Unheard")
    assert done.stdout.strip() == "ticket"


def test_inhibitions_name_existing_alerts() -> None:
    """Every alert named in an inhibition exists, and none mutes a breach of an invariant or the heartbeat."""
    inhibitions = yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]
    named: dict[str, set[str]] = {"source_matchers": set(), "target_matchers": set()}
    for inhibition in inhibitions:
        for side, found in named.items():
            for matcher in inhibition[side]:
                found |= set(re.findall(r"\b[A-Z]\w+", matcher))
    assert named["source_matchers"] | named["target_matchers"] <= set(alert_names())
    assert not named["target_matchers"] & {"InvariantViolated", "Watchdog", "ServiceDown"}


def test_alertmanager_holds_no_secret() -> None:
    """Credentials come from files only."""
    keys = re.findall(r"^\s*-?\s*(\w+):", ALERTMANAGER.read_text(), re.MULTILINE)
    secret = re.compile(r"(password|credentials|_key|token|api_url|secret)$")
    assert [key for key in keys if secret.search(key)] == []
