"""What is missing or taken is told in one line, with its remedy."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from demo.preflight import (
    AlertPrograms,
    NotReady,
    Ports,
    check_ports,
    check_programs,
    is_free,
    variable_of,
)
from tests.support.tools import free_port

ROOT = Path(__file__).parents[2]


def test_busy_port_names_itself_and_the_way_out() -> None:
    """A busy port is told with its number, its use and the variable that changes it, in one line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NotReady) as told:
            check_ports(replace(Ports(), api=port), ("api",))
    assert str(told.value).count("\n") == 0
    assert f"port {port} (api) is in use" in str(told.value)
    assert f"SLOTCAST_API_PORT={port + 10} make run" in str(told.value)


def test_free_ports_pass() -> None:
    """Free ports are no reason to stop."""
    ports = replace(Ports(), api=free_port())
    check_ports(ports, ("api",))
    assert is_free(ports.api)


def test_every_port_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLOTCAST_<NAME>_PORT changes each port."""
    for number, field in enumerate(fields(Ports), start=20_000):
        monkeypatch.setenv(variable_of(field.name), str(number))
    chosen = Ports.from_environment()
    assert [getattr(chosen, field.name) for field in fields(Ports)] == list(
        range(20_000, 20_000 + len(fields(Ports)))
    )


@pytest.mark.parametrize("text", ["", "http", "0", "65536", "-1"])
def test_no_port_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is no port is told with its variable."""
    monkeypatch.setenv("SLOTCAST_API_PORT", text)
    with pytest.raises(NotReady, match="SLOTCAST_API_PORT"):
        Ports.from_environment()


def test_missing_alert_programs_are_told_with_their_packages() -> None:
    """Without Prometheus the demo says "alerts off" and how to install it; with both it says nothing."""
    told = AlertPrograms(prometheus=None, alertmanager="/usr/bin/alertmanager").remedy
    assert told is not None
    assert "alerts off" in told
    assert "apt-get install prometheus" in told
    assert AlertPrograms(prometheus="/a", alertmanager="/b").remedy is None


def test_incomplete_environment_is_told(tmp_path: Path) -> None:
    """A missing program of the environment is named with `make setup`."""
    with pytest.raises(NotReady, match=r"airflow is missing.*make setup"):
        check_programs(tmp_path)


def test_run_on_a_busy_port_ends_with_one_line(tmp_path: Path) -> None:
    """`python -m demo run` on a busy port starts nothing, prints the remedy and exits with 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "demo", "run", "--var", str(tmp_path / "var")],
            cwd=ROOT,
            env={"SLOTCAST_API_PORT": str(port), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert f"port {port} (api)" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "var").exists()
