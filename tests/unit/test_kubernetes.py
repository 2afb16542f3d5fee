"""The Kubernetes manifests avoid the known traps of KEDA and of shutting down under load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from booking_core.actuator import API_POOL_SIZE, SPARE_CONNECTIONS
from booking_core.api import app

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
HPA_TOLERANCE = 0.1
DEFAULT_THREADS = 8
"""Of `serve --threads`."""


def resource(kind: str) -> dict[str, Any]:
    """Find the one resource of the kind."""
    found = [
        document
        for path in FOLDER.glob("*.yml")
        for document in yaml.safe_load_all(path.read_text())
        if document["kind"] == kind
    ]
    assert len(found) == 1
    return found[0]


def container() -> dict[str, Any]:
    """Find the API's container."""
    return resource("Deployment")["spec"]["template"]["spec"]["containers"][0]


def trigger(kind: str) -> dict[str, Any]:
    """Find the scaler's trigger of the type."""
    return next(t for t in resource("ScaledObject")["spec"]["triggers"] if t["type"] == kind)


def test_a_lost_metric_is_a_fault_and_never_pulls_pods_down() -> None:
    """KEDA's defaults (a null is zero, a static fallback) are both overruled."""
    assert trigger("prometheus")["metadata"]["ignoreNullValues"] == "false"
    fallback = resource("ScaledObject")["spec"]["fallback"]
    assert fallback["behavior"] == "currentReplicasIfHigher"
    assert fallback["replicas"] >= resource("ScaledObject")["spec"]["minReplicaCount"]


def test_totals_are_divided_by_pods_once() -> None:
    """Both triggers ask for a total of the bank and let AverageValue divide it."""
    assert trigger("prometheus")["metadata"]["query"].startswith("sum(")
    assert {t["metricType"] for t in resource("ScaledObject")["spec"]["triggers"]} == {"AverageValue"}


def test_the_autoscalers_tolerance_never_leaves_fewer_workers_than_planned() -> None:
    """At every number of pods where the autoscaler rests, the pods' workers cover the plan."""
    workers_of_pod = int(next(a for a in container()["command"] if a.startswith("--workers=")).split("=")[1])
    target = float(trigger("postgresql")["metadata"]["targetQueryValue"])
    assert rests_below_plan(workers_of_pod, target) == []
    assert rests_below_plan(workers_of_pod, workers_of_pod), (
        "negative control: without the margin it falls short"
    )


def rests_below_plan(workers_of_pod: int, target: float) -> list[tuple[int, int]]:
    """List (workers planned, pods) at which the autoscaler would rest with too few workers."""
    return [
        (planned, pods)
        for planned in range(1, 201)
        for pods in range(1, 120)
        if planned / (target * pods) <= 1 + HPA_TOLERANCE and pods * workers_of_pod < planned
    ]


def test_pods_are_not_set_twice_and_leave_slowly() -> None:
    """The Deployment names no replicas, and scale-in waits longer than an outage's dip, a pod at a time."""
    assert "replicas" not in resource("Deployment")["spec"]
    down = resource("ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"][
        "scaleDown"
    ]
    assert down["stabilizationWindowSeconds"] >= 600
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_pods_fit_the_databases_connections() -> None:
    """All pods together stay below the 200 connections of docker-compose.yml, 20 spared for others."""
    most = resource("ScaledObject")["spec"]["maxReplicaCount"]
    assert most * 2 * API_POOL_SIZE <= 200 - SPARE_CONNECTIONS
    assert API_POOL_SIZE == DEFAULT_THREADS + app.SPARE_CONNECTIONS, "what a worker really may open"


def test_a_leaving_pod_may_finish_its_requests() -> None:
    """The grace period covers taking the pod out and gunicorn's own 30 s."""
    spec = resource("Deployment")["spec"]["template"]["spec"]
    pause = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] >= pause + 30
    assert container()["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_pods_run_without_root_and_hold_no_secret() -> None:
    """Non-root, read-only, no capabilities; the database URL comes from a Secret."""
    assert resource("Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]
    assert container()["securityContext"]["readOnlyRootFilesystem"]
    assert container()["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert all("valueFrom" in variable for variable in container()["env"])
    assert not container()["image"].endswith(":latest")
