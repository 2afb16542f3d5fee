"""What must be true before anything starts: free ports, programs in place. One line of remedy each."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass, fields
from pathlib import Path


class NotReady(Exception):  # noqa: N818
    """Something is missing or taken; the text is the one-line remedy."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the demo listens, on loopback; each field is changed by SLOTCAST_<FIELD>_PORT."""

    api: int = 8080
    airflow: int = 8081
    dashboard: int = 8501
    prometheus: int = 9090
    alertmanager: int = 9093
    alert_log: int = 9095
    airflow_logs: int = 8793

    @classmethod
    def from_environment(cls) -> Ports:
        """The defaults, changed by the environment. Raises NotReady for a value that is no port."""
        chosen: dict[str, int] = {}
        for field in fields(cls):
            variable = variable_of(field.name)
            text = os.environ.get(variable)
            if text is None:
                continue
            if not text.isdigit() or not 1 <= int(text) <= 65535:  # noqa: PLR2004
                raise NotReady(f"{variable}={text!r} is no port; expected a number from 1 to 65535")
            chosen[field.name] = int(text)
        return cls(**chosen)


def variable_of(field: str) -> str:
    """The environment variable that changes the port."""
    return f"SLOTCAST_{field.upper()}_PORT"


def check_ports(ports: Ports, names: tuple[str, ...]) -> None:
    """Nothing, when all named ports are free. Raises NotReady naming each busy one and how to change it."""
    busy = [name for name in names if not is_free(getattr(ports, name))]
    if busy:
        told = ", ".join(f"{getattr(ports, name)} ({name})" for name in busy)
        example = " ".join(f"{variable_of(name)}={getattr(ports, name) + 10}" for name in busy)
        raise NotReady(
            f"port {told} is in use: stop what listens there, or choose another: {example} make run"
        )


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class AlertPrograms:
    """Prometheus and Alertmanager, where installed."""

    prometheus: str | None
    alertmanager: str | None

    @property
    def remedy(self) -> str | None:
        """The line that installs what is missing; None when nothing is."""
        missing = []
        if not self.prometheus:
            missing.append("prometheus")
        if not self.alertmanager:
            missing.append("prometheus-alertmanager")
        if not missing:
            return None
        install = f"sudo apt-get install {' '.join(missing)}"
        return f"alerts off: {' and '.join(missing)} not installed (on Debian: {install})"


def alert_programs() -> AlertPrograms:
    """What is installed of the two."""
    return AlertPrograms(
        prometheus=shutil.which("prometheus"),
        alertmanager=shutil.which("prometheus-alertmanager") or shutil.which("alertmanager"),
    )


def check_programs(bin_folder: Path) -> None:
    """Nothing, when the environment has its programs. Raises NotReady naming what is missing."""
    for name in ("airflow", "streamlit", "locust"):
        if not (bin_folder / name).exists():
            raise NotReady(f"{name} is missing from {bin_folder}: run `make setup` (or rm -rf .venv first)")
