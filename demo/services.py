"""Which processes the demo runs, with what command and environment."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo import airflow_api
from demo.preflight import AlertPrograms, Ports
from demo.processes import Service

API_THREADS: Final = 8
MAX_WORKERS: Final = 4
SCALE_LEAD_SECONDS: Final = 25
"""Workers are started so many wall seconds ahead of a forecast peak: eight quarter-hours of the demo."""
JSON_ERRORS: Final = ('"level": "error"', '"level": "critical"', "traceback")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the run's files lie."""

    root: Path
    var: Path

    @property
    def database_url(self) -> str:
        """The embedded database of the run."""
        return f"sqlite:///{self.var}/slotcast.db"

    def token_file(self, name: str) -> Path:
        """The file (mode 0600) that holds the token of that name."""
        return self.var / "run" / "tokens" / name

    def environment(self, ports: Ports) -> dict[str, str]:
        """What every process of ours needs to know."""
        return {
            "SLOTCAST_DATABASE_URL": self.database_url,
            "SLOTCAST_API_URL": f"http://127.0.0.1:{ports.api}",
            "SLOTCAST_RUN_DIR": str(self.var / "run"),
            "SLOTCAST_ALERTMANAGER_URL": f"http://127.0.0.1:{ports.alertmanager}",
            "PYTHONPATH": str(self.root),
        }


def services(places: Places, ports: Ports, alerts: AlertPrograms) -> list[Service]:
    """All processes of the demo, alerts where installed."""
    env = places.environment(ports)
    python = sys.executable
    bin_folder = Path(python).parent
    core = (python, "-m", "booking_core")
    serve = (
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(ports.api),
        "--workers",
        "1",
        "--threads",
        str(API_THREADS),
    )
    scale = ("scale", "--min", "1", "--max", str(MAX_WORKERS), "--lead-seconds", str(SCALE_LEAD_SECONDS))
    page = (python, "-m", "streamlit", "run", "dashboard/app.py", "--server.address", "127.0.0.1")
    airflow_env = {
        **env,
        **airflow_api.environment(root=places.root, var=places.var, ports=ports),
        "PATH": f"{bin_folder}:/usr/local/bin:/usr/bin:/bin",
    }
    found = [
        Service("api", (*core, *serve), env, shows=JSON_ERRORS),
        Service(
            "dashboard",
            (*page, "--server.port", str(ports.dashboard)),
            env,
            secrets={"SLOTCAST_OPERATOR_TOKEN": places.token_file("operator")},
        ),
        Service("actuator", (*core, *scale), env, shows=(*JSON_ERRORS, '"message": "workers ')),
    ]
    found += [
        Service(
            f"airflow-{name}",
            (str(bin_folder / "airflow"), name),
            airflow_env,
            secrets={"SLOTCAST_PLANNER_TOKEN": places.token_file("planner")},
            shows=("traceback",),
        )
        for name in airflow_api.COMPONENTS
    ]
    found += alert_services(places, ports, alerts)
    return found


def alert_services(places: Places, ports: Ports, alerts: AlertPrograms) -> list[Service]:
    """Prometheus, Alertmanager and the receiver of its alerts, as far as installed."""
    if alerts.remedy is not None:
        return []
    folder = write_alert_config(places, ports)
    prometheus = (
        str(alerts.prometheus),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={places.var}/prometheus",
        "--storage.tsdb.retention.time=2d",
        f"--web.listen-address=127.0.0.1:{ports.prometheus}",
    )
    alertmanager = (
        str(alerts.alertmanager),
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={places.var}/alertmanager",
        f"--web.listen-address=127.0.0.1:{ports.alertmanager}",
        "--cluster.listen-address=",
    )
    receiver = (sys.executable, "-m", "metrics.alert_log", "--port", str(ports.alert_log))
    quiet = ("level=error",)
    return [
        Service("prometheus", prometheus, optional=True, shows=quiet),
        Service("alertmanager", alertmanager, optional=True, shows=quiet),
        Service("alerts", receiver, optional=True, shows=('"status": "firing"',)),
    ]


def write_alert_config(places: Places, ports: Ports) -> Path:
    """The folder with the committed alerting configuration, turned to this run's ports."""
    folder = places.var / "alerting"
    source = places.root / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source / "rules", folder / "rules")
    shutil.copytree(source / "targets", folder / "targets")
    standard, chosen = Ports(), ports
    for path in (source / "prometheus.yml", source / "alertmanager.yml"):
        shutil.copy(path, folder / path.name)
    for path in (*folder.glob("*.yml"), *folder.glob("targets/*.yml")):
        text = path.read_text()
        for name in ("api", "alertmanager", "alert_log"):
            text = text.replace(f"127.0.0.1:{getattr(standard, name)}", f"127.0.0.1:{getattr(chosen, name)}")
        path.write_text(text)
    return folder
