"""docker-compose.yml and deploy/Dockerfile, held to the compose schema, to each other and to house rules.

Nothing is started here: no container engine is needed.
"""

from __future__ import annotations

import copy
import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
EXAMPLE = (ROOT / "deploy" / ".env.example").read_text()
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY|CREDENTIAL")

each_service = pytest.mark.parametrize("name", SERVICES)


def one_shot(service: dict[str, Any]) -> bool:
    """Whether the service is a job that ends."""
    return service["restart"] == "no"


def texts(node: Any) -> list[str]:
    """List every text in the tree."""
    if isinstance(node, dict):
        return [text for child in node.values() for text in texts(child)]
    if isinstance(node, list):
        return [text for child in node for text in texts(child)]
    return [str(node)]


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """The compose specification's own schema, as the package check-jsonschema carries it."""
    try:
        package = resources.files("check_jsonschema")
    except ModuleNotFoundError:
        message = "check-jsonschema, which carries the compose schema, is not installed: make setup"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    text = (package / "builtin_schemas" / "vendor" / "compose-spec.json").read_text()
    return Draft202012Validator(json.loads(text))


def test_the_file_is_valid_compose(schema: Draft202012Validator) -> None:
    """The compose specification's schema finds nothing wrong."""
    assert [f"{list(fault.path)}: {fault.message}" for fault in schema.iter_errors(COMPOSE)] == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ("api", "healthcheck", {"test": ["CMD", "true"], "intervall": "5s"}),
        ("api", "depends_on", {"postgres": {"condition": "service_well"}}),
        ("api", "comand", ["true"]),
    ],
)
def test_the_schema_notices_a_slip(
    schema: Draft202012Validator, service: str, key: str, value: object
) -> None:
    """Negative control: an unknown key or condition is found."""
    spoilt = copy.deepcopy(COMPOSE)
    spoilt["services"][service][key] = value
    assert not schema.is_valid(spoilt)


@each_service
def test_health_is_checked(name: str) -> None:
    """What runs on has a health check; a job that ends is waited for instead."""
    service = SERVICES[name]
    if one_shot(service):
        waiting = [s.get("depends_on", {}).get(name, {}).get("condition") for s in SERVICES.values()]
        assert "service_completed_successfully" in waiting
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
        assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


@each_service
def test_nobody_is_root(name: str) -> None:
    """Every container has a user of its own, no capabilities and no way to gain any."""
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in {"0", "root", ""}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged", False)
    assert service.get("read_only", False) or service["image"].startswith("postgres:")


@each_service
def test_images_are_pinned(name: str) -> None:
    """An image has an exact version; ours are built from a target that exists."""
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    assert re.search(r"\d+\.\d+", tag)
    if "build" in service:
        assert re.search(rf"^FROM \w+ AS {service['build']['target']}$", DOCKERFILE, re.MULTILINE)
        assert (ROOT / service["build"]["dockerfile"]).is_file()


@each_service
def test_starts_are_ordered_by_condition(name: str) -> None:
    """A dependency says when it counts as there: healthy, or finished for a job."""
    for other, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if one_shot(SERVICES[other]) else "service_healthy"
        assert how["condition"] == wanted


@each_service
def test_ports_are_published_on_loopback(name: str) -> None:
    """Without a choice of the operator nothing is reachable from outside the machine."""
    assert all(port.startswith("${SLOTCAST_BIND:-127.0.0.1}:") for port in SERVICES[name].get("ports", []))


def test_databases_have_no_way_out() -> None:
    """PostgreSQL stands on the internal network only, and publishes nothing."""
    assert COMPOSE["networks"]["data"]["internal"] is True
    for name in ("postgres", "airflow-postgres"):
        assert SERVICES[name]["networks"] == ["data"]
        assert "ports" not in SERVICES[name]


def test_no_secret_is_written_down() -> None:
    """Values of secret names and passwords in URLs come from the environment; the example is empty."""
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if SECRET_NAME.search(key):
                assert VARIABLE.fullmatch(value), f"{name}: {key}"
            for password in re.findall(r"://[^:/]+:(.+)@", value):
                assert VARIABLE.fullmatch(password), f"{name}: {key}"
    for line in EXAMPLE.splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith("#") and SECRET_NAME.search(key):
            assert value == "", f".env.example: {key}"


def test_variables_and_the_example_are_the_same_list() -> None:
    """Each variable is explained in deploy/.env.example, and a required one comes with its remedy."""
    used = [match for text in texts(COMPOSE) for match in VARIABLE.finditer(text)]
    listed = set(re.findall(r"^(\w+)=", EXAMPLE, re.MULTILINE))
    assert {match[1] for match in used} == listed
    for match in used:
        assert match[2] in {":-", ":?"}, f"{match[1]} has neither default nor remedy"
        assert match[2] == ":-" or len(match[3]) > 10, f"{match[1]} has no remedy"


def test_every_mounted_file_exists() -> None:
    """A bind mount names a file of this repository, or the engine would make an empty folder of that name."""
    sources = [volume.split(":")[0] for s in SERVICES.values() for volume in s.get("volumes", [])]
    sources = [
        VARIABLE.sub(lambda match: match[3], source) for source in sources if not source.startswith("$")
    ]
    default = VARIABLE.search(SERVICES["alertmanager"]["volumes"][0])
    assert default
    for source in [*sources, default[3]]:
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"], source


def test_prometheus_finds_what_compose_runs() -> None:
    """The targets of compose name services and the ports that they serve."""
    folder = ROOT / "deploy" / "compose" / "targets"
    found = {
        path.stem: yaml.safe_load(path.read_text())[0]["targets"] for path in sorted(folder.glob("*.yml"))
    }
    assert found == {"booking_core": ["api:8080"], "alertmanager": ["alertmanager:9093"]}
    assert "--port=8080" in SERVICES["api"]["command"]
    committed = (ROOT / "metrics" / "prometheus.yml").read_text()
    assert set(re.findall(r"targets/(\w+)\.yml\]", committed)) == set(found)


def test_the_alert_log_listens_where_alertmanager_sends() -> None:
    """Alertmanager's committed receivers are on loopback: the receiver shares its network."""
    receivers = yaml.safe_load((ROOT / "metrics" / "alertmanager.yml").read_text())["receivers"]
    urls = [hook["url"] for receiver in receivers for hook in receiver["webhook_configs"]]
    assert SERVICES["alert-log"]["network_mode"] == "service:alertmanager"
    port = next(part for part in SERVICES["alert-log"]["command"] if part.startswith("--port=")).split("=")[1]
    assert all(url.startswith(f"http://127.0.0.1:{port}/") for url in urls)


def test_the_actuator_shares_what_it_needs_with_the_api() -> None:
    """Same run folder, same user, same bounds: gunicorn's control socket is for its owner only."""
    api, actuator = SERVICES["api"], SERVICES["actuator"]
    assert api["volumes"] == actuator["volumes"] == ["run:/run/slotcast"]
    assert api["user"] == actuator["user"]
    assert "SLOTCAST_RUN_DIR=/run/slotcast" in DOCKERFILE
    least = api["command"][-1].split("=")[1]
    assert f"--min={least}" in actuator["command"]


def test_the_image_is_built_from_the_lock_and_from_what_exists() -> None:
    """Pip demands hashes, no stage ends as root, and each file copied is there and let into the context."""
    assert "--require-hashes" in DOCKERFILE
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert {name for parent, name in stages if parent == "base"} == {
        "api",
        "actuator",
        "airflow",
        "dashboard",
    }
    allowed = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    for arguments in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in arguments.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in allowed, source


def test_images_carry_the_packages_that_their_commands_import() -> None:
    """The import rules name what the dashboard and the DAGs need; their images hold it."""
    for stage, packages in {
        "airflow": {"forecasting", "dags"},
        "dashboard": {"forecasting", "dashboard"},
    }.items():
        body = DOCKERFILE.split(f" AS {stage}\n")[1].split("\nFROM ")[0]
        assert set(re.findall(r"^COPY (\w+) ", body, re.MULTILINE)) == packages
